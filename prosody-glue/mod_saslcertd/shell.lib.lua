-- What an administrator asks in Prosody's shell or with prosodyctl: the certificates of an account, their revocation, and how things
-- stand with the daemon.
--
-- It must not decide, and prints nothing: each function returns whether it could be done, a closing text, and lines that come
-- before that.

local change_timeout = 10;
-- As many digits tell two certificates apart.
local fingerprint_digits = 16;

local function date(format, seconds)
	local ok, text = pcall(os.date, "!" .. format, seconds);
	return ok and type(seconds) == "number" and text or "?";
end

local function plural(count, one, many)
	return ("%d %s"):format(count, count == 1 and one or many);
end

-- with: certificates (see certificates.lib.lua); ask(method, params, options); close_revoked(account, key_id) (how many were closed;
--   nil where no sessions are); split_jid(jid) (prepared); serves(host); exists(username, host) (nil if that can't be said);
--   state() (see status); why() (the daemon is away); timeout(); null; shown(record) (of certificates.lib.lua)
local function new(with)
	local shell = {};

	local shown = with.shown;

	-- Quoted, so that a name can't pass for more than a name. Only one that is shown comes here.
	local function quoted(text) return '"' .. tostring(text):gsub('"', "\\u{22}") .. '"'; end

	local function shortened(fingerprint)
		fingerprint = tostring(fingerprint or "?");
		return #fingerprint > fingerprint_digits and fingerprint:sub(1, fingerprint_digits) .. "…" or fingerprint;
	end

	local function away(why)
		return ("saslcertd can't be asked%s"):format(why and ": " .. tostring(why) or "");
	end

	local function text_of(failure, is_change)
		if failure.code then return failure.message or "saslcertd could not decide it"; end
		if failure.reason == "lost" or failure.reason == "timeout" then
			return "saslcertd did not answer" .. (is_change and "; it may have been done or not" or "");
		end
		if failure.reason == "too-long" or failure.reason == "not-text" then return "That is too long, or not UTF-8 text"; end
		return away(with.why());
	end

	-- Account and username and host, or nil and what is wrong.
	local function account_of(jid)
		local username, host, resource;
		if type(jid) == "string" then username, host, resource = with.split_jid(jid); end
		if not username or not host or resource then
			local is_named = type(jid) == "string" and jid:find("%S");
			return nil, is_named and "This is not an account (user@host)" or "Whose? An account (user@host) is needed";
		end
		if not with.serves(host) then return nil, ("%s is no host with saslcertd here"):format(host); end
		return username .. "@" .. host, username, host;
	end

	-- Of every account that ever had the name.
	local function question(account)
		return {
			account = account;
			incarnation = with.null;
			session = { secure = true, by = "admin", jid = with.null, address = with.null };
		};
	end

	local function missing(account, username, host)
		if with.exists(username, host) == false then return ("There is no account %s"):format(account); end
	end

	local function line_of(record)
		local until_text = "valid until " .. date("%Y-%m-%d", record.not_after);
		if record.expired == true then until_text = until_text .. " (EXPIRED)"; end
		local used = "never used";
		local last_use, texts = record.last_use, shown(record);
		if type(last_use) == "table" then
			used = "last used " .. date("%Y-%m-%d %H:%M UTC", last_use.at);
			if texts.address ~= nil then used = used .. " from " .. texts.address; end
		end
		local online = {};
		for i, resource in ipairs(texts.resources) do online[i] = quoted(resource); end
		return ("%s  sha256 %s  %s  %s  %s"):format(quoted(texts.name), shortened(record.fingerprint), until_text, used,
			online[1] and ("%s: %s"):format(plural(#online, "session", "sessions"), table.concat(online, ", ")) or "no session");
	end

	-- The certificates of an account.
	function shell.list(jid)
		local account, username, host = account_of(jid);
		if not account then return false, username; end
		local records, disabled = with.certificates.fetch(question(account));
		if not records then return false, text_of(disabled); end
		local lines = {};
		for _, record in ipairs(records) do lines[#lines + 1] = line_of(record); end
		for _, mark in ipairs(disabled) do
			lines[#lines + 1] = ("%s  sha256 %s  disabled; it can still be revoked"):format(quoted(shown(mark).name), shortened(mark.fingerprint));
		end
		if not lines[1] then
			local problem = missing(account, username, host);
			if problem then return false, problem; end
		end
		return true, ("%s of %s"):format(plural(#records, "certificate", "certificates"), account), lines;
	end

	-- Revokes a certificate and its key.
	function shell.revoke(jid, name)
		local account, username, host = account_of(jid);
		if not account then return false, username; end
		if type(name) ~= "string" or name == "" then return false, "Which certificate? Its name is needed"; end
		local details = question(account);
		details.name = name;
		local result, failure = with.ask("certificate.revoke", details, { timeout = math.max(with.timeout(), change_timeout) });
		if not result then
			if failure.denial ~= "name-unknown" then return false, text_of(failure, true); end
			return false, missing(account, username, host) or ("%s has no certificate with this name"):format(account);
		end
		local closed = type(result.key_id) == "string" and with.close_revoked(account, result.key_id) or nil;
		local lines = {};
		local texts = shown(result);
		for _, removed in ipairs(texts.removed) do
			if removed ~= texts.name then lines[#lines + 1] = ("%s had the same key, and is gone, too"):format(quoted(removed)); end
		end
		lines[#lines + 1] = ("To lift it: saslcertd cert unrevoke %s %s"):format(account, tostring(result.key_id));
		return true, ("Revoked %s of %s (sha256 %s); %s"):format(quoted(texts.name), account, shortened(result.fingerprint),
			closed and ("%s closed"):format(plural(closed, "session", "sessions")) or "its sessions are closed"), lines;
	end

	-- How things stand: false when somebody can't log in with a certificate because of that.
	--
	-- state(): socket; connected; silent (and yet it does not answer); since (when that began, if known); why (it is away); software;
	-- sessions (live ones that logged in with a certificate, if known); hosts: name, ready (nil if not known), errors, in_daemon, scram, withdrawn
	function shell.status()
		local state = with.state();
		local since = state.since and " since " .. date("%Y-%m-%d %H:%M:%S UTC", math.floor(state.since)) or "";
		local lines, unready = {}, {};
		if state.connected then
			lines[1] = ("Connected%s to %s at %s"):format(since, tostring(state.software or "saslcertd"), state.socket);
		else
			lines[1] = ("Not connected%s to saslcertd at %s"):format(since, state.socket);
		end
		table.sort(state.hosts, function (a, b) return a.name < b.name; end);
		for _, host in ipairs(state.hosts) do
			local how = "not declared to saslcertd yet";
			if host.withdrawn then
				how = "withdrawn because of another module, see the log";
			elseif host.ready then
				how = "ready";
			elseif host.ready == false then
				how = "NOT ready: " .. table.concat(host.errors, "; ");
			end
			if host.ready == false or host.withdrawn then unready[#unready + 1] = host.name; end
			local accounts = "accounts in Prosody";
			if host.in_daemon then
				accounts = "accounts in saslcertd";
				for i, hash in ipairs(host.scram or {}) do
					accounts = accounts .. (i == 1 and " (" or ", ") .. "SCRAM-" .. hash .. (host.scram[i + 1] and "" or ")");
				end
			end
			lines[#lines + 1] = ("%s: %s; %s"):format(host.name, how, accounts);
		end
		if state.sessions then
			lines[#lines + 1] = plural(state.sessions, "session", "sessions") .. " logged in with a certificate";
		end
		if not state.connected then return false, away(state.why), lines; end
		if state.silent then return false, away("it does not answer"), lines; end
		if unready[1] then return false, "Not ready: " .. table.concat(unready, ", "), lines; end
		return true, "All is well", lines;
	end

	return shell;
end

return { new = new };
