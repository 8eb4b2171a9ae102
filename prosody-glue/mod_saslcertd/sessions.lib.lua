-- Sessions that logged in with a certificate: their tag (session.saslcert), what the daemon hears of them, closing
-- those whose key is revoked, and what such a session may not do. And closing all sessions of an account.
--
-- It must not look at the connection's certificate: a password session may have presented one too, and a hibernating
-- session has no connection any more. Only the tag counts.
--
-- session.saslcert_account (mod_auth_saslcertd): whom a password that was right has logged in, or will when its delay is over, or
-- for whom the daemon has said yes to whatever else has logged in.
-- session.saslcert_mechanism: the SASL mechanism by which the session has logged in.

local xmlns_sm = { "urn:xmpp:sm:2", "urn:xmpp:sm:3" };
-- Well below the limit of a question.
local max_report_bytes = 96 * 1024;

local function same_key(tag, account, key_id)
	return tag ~= nil and tag.account == account and tag.key_id == key_id;
end

local function is_of(session, account)
	if session.saslcert_account == account or session.saslcert and session.saslcert.account == account then return true; end
	-- Before the login is complete, username is what somebody claims.
	return session.type ~= "c2s_unauthed" and session.username ~= nil and session.username .. "@" .. tostring(session.host) == account;
end

-- with: notify(method, params); request(method, params, options, callback); encode; array; null; st; split_jid; join_jid;
--   pieces_of (see client); prosody_hosts; connections (tables whose values are sessions, those not yet bound too); resumption_tokens
--   (of mod_smacks); update_session (13);
--   after(seconds, f); log(level, format, …)
local function new(with)
	local sessions = {};
	local st = with.st;

	local function entry_of(session)
		local tag = session.saslcert;
		return {
			account = tag.account;
			fingerprint = tag.fingerprint;
			key_id = tag.key_id;
			incarnation = tag.incarnation or with.null;
			path = tag.path or with.null;
			not_after = tag.not_after or with.null;
			resource = session.resource or with.null;
			address = session.ip or with.null;
		};
	end

	-- Calls found(session) for each session: bound ones, hibernating or not, and those not yet bound. No closing inside of
	-- it, that changes the tables.
	local function each_session(found)
		local seen = {};
		local function look_at(session)
			if seen[session] or session.destroyed then return; end
			seen[session] = true;
			found(session);
		end
		for _, host_session in pairs(with.prosody_hosts) do
			for _, user in pairs(host_session.type == "local" and host_session.sessions or {}) do
				for _, session in pairs(user.sessions) do look_at(session); end
			end
		end
		for _, connections in ipairs(with.connections) do
			for _, session in pairs(connections) do look_at(session); end
		end
	end

	local function each_tagged(found)
		each_session(function (session)
			if session.saslcert then found(session); end
		end);
	end

	-- How many live sessions logged in with a certificate.
	function sessions.count()
		local count = 0;
		each_tagged(function () count = count + 1; end);
		return count;
	end

	local function close_all(list, reason)
		for _, session in ipairs(list) do
			-- A login that still waits for its delay, over BOSH say, finds that it has come to nothing.
			session.saslcert_account = nil;
			local ok, err = pcall(session.close, session, reason);
			if not ok then with.log("error", "A session could not be closed: %s", err); end
		end
		return #list;
	end

	local function close_where(doomed, why, condition, text)
		local list = {};
		each_session(function (session)
			if doomed(session) then list[#list + 1] = session; end
		end);
		for _, session in ipairs(list) do session.log("info", "Closing the session: %s", why); end
		return close_all(list, { condition = condition, text = text });
	end

	-- Closes the sessions of this account that logged in with this key, and with this certificate if there is a fingerprint;
	-- without a key all of them, also those that have not bound a resource yet, or still wait for the delay of their password.
	-- Returns how many.
	function sessions.close(account, key_id, condition, text, fingerprint)
		if key_id == nil then
			return close_where(function (session) return is_of(session, account); end, text or condition, condition, text);
		end
		return close_where(function (session)
			local tag = session.saslcert;
			return same_key(tag, account, key_id) and (fingerprint == nil or tag.fingerprint == fingerprint);
		end, text or condition, condition, text);
	end

	-- The same, of each of these: account, key_id, condition, text, fingerprint.
	function sessions.close_each(closings)
		for _, over in ipairs(type(closings) == "table" and closings or {}) do
			sessions.close(over.account, over.key_id, over.condition or "not-authorized", over.text, over.fingerprint);
		end
	end

	-- Those of the account that have no resource: Prosody overlooks them.
	function sessions.close_unbound(account, condition, text)
		return close_where(function (session) return not session.resource and is_of(session, account); end, text, condition, text);
	end

	-- Those of a host that goes: Prosody overlooks them, and whatever they wait for would find the host gone.
	function sessions.close_unbound_of(host, condition, text)
		return close_where(function (session) return not session.resource and session.host == host; end, text, condition, text);
	end

	-- The same, in the words of a revocation.
	function sessions.close_revoked(account, key_id)
		return sessions.close(account, key_id, "not-authorized", "This client certificate has been revoked");
	end

	-- Which round of each kind of question is the newest: an older one is given up.
	local rounds = {};

	-- Asks about all entries, in pieces, one after the other. heard(result) for each; when one of them could not be answered the
	-- others are asked about all the same, and again(), a while later, begins anew.
	local function ask_about(method, field, entries, options, heard, again)
		local round = (rounds[method] or 0) + 1;
		rounds[method] = round;
		local pieces = with.pieces_of(entries, max_report_bytes, function (entry) return #with.encode(entry) + 1; end);
		local failed = false;
		local function ask(i)
			if not pieces[i] then
				if failed then with.after(5, function () if rounds[method] == round then again(); end end); end
				return;
			end
			with.request(method, { [field] = with.array(pieces[i]) }, options, function (result, failure)
				if rounds[method] ~= round then return; end
				-- Without a connection there is nothing to do: its next one brings the next round.
				if not result and (failure.reason == "away" or failure.reason == "lost") then return; end
				if result then
					heard(result);
				elseif failure.reason ~= "too-long" then
					failed = true;
				end
				ask(i + 1);
			end);
		end
		ask(1);
	end

	-- Tells the daemon of all live sessions, as questions: the keys in the answers were revoked meanwhile.
	function sessions.report_all()
		local entries = {};
		each_tagged(function (session) entries[#entries + 1] = entry_of(session); end);
		ask_about("session.opened", "sessions", entries, { timeout = 10 }, function (result)
			sessions.close_each(result.close);
		end, sessions.report_all);
	end

	-- Asks about the accounts of all live sessions on hosts whose accounts live in the daemon; what was changed meanwhile is handed
	-- to changed(account, change).
	function sessions.check_accounts(in_daemon, changed)
		local entries = {};
		each_session(function (session)
			if not in_daemon(session.host) then return; end
			local account = session.saslcert_account or session.saslcert and session.saslcert.account;
			-- However it has logged in.
			if not account and session.type ~= "c2s_unauthed" and session.username then account = session.username .. "@" .. session.host; end
			if not account then return; end
			local login = session.saslcert_login or session.saslcert or {};
			entries[#entries + 1] = {
				account = account;
				incarnation = login.incarnation or with.null;
				password_changed = login.password_changed or with.null;
			};
		end);
		ask_about("account.check", "accounts", entries, { timeout = 10, again = true }, function (result)
			for _, one in ipairs(type(result.changes) == "table" and result.changes or {}) do
				changed(one.account, one.change);
			end
		end, function () sessions.check_accounts(in_daemon, changed); end);
	end

	-- The account got another password, which those of its sessions that live on have seen.
	function sessions.password_is_of(account, password_changed)
		each_session(function (session)
			local login = session.saslcert_login or session.saslcert;
			if login and is_of(session, account) then login.password_changed = password_changed; end
		end);
	end

	local function opened(session)
		with.notify("session.opened", { sessions = with.array({ entry_of(session) }) });
	end

	local function closed(account, resource)
		with.notify("session.closed", { sessions = with.array({ { account = account, resource = resource } }) });
	end

	-- The tag follows the login: a session that is resumed gets that of the stream it is resumed by, or loses its own.
	local function resumed(session, by)
		local before, now = session.saslcert, by.saslcert;
		session.saslcert = now;
		session.saslcert_mechanism = by.saslcert_mechanism;
		session.saslcert_account, session.saslcert_login = by.saslcert_account, by.saslcert_login;
		if not session.resource then return; end
		if now then
			opened(session);
		elseif before then
			closed(before.account, session.resource);
		end
	end

	-- Would this stream resume a session of another resource than its certificate names?
	local function resumes_another(session, token)
		local want = session.saslcert and session.saslcert.resource;
		if not want or not session.username then return false; end
		local old = with.resumption_tokens[with.join_jid(session.username, session.host, token)];
		return old and old.resource ~= want;
	end

	local function failed_resumption(xmlns)
		return st.stanza("failed", { xmlns = xmlns }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up();
	end

	function sessions.add_host(module)
		-- mod_saslauth fires it when a login fails after all; the tag must not outlive that.
		module:hook("authentication-failure", function (event)
			-- Only of streams that are not logged in: a session must not shed its tag by failing once more.
			if event.session and event.session.type == "c2s_unauthed" then
				event.session.saslcert, event.session.saslcert_account = nil, nil;
			end
		end, 100);

		module:hook("authentication-success", function (event)
			event.session.saslcert_offer = nil;
		end);

		-- mod_saslauth and mod_sasl2 fire them before they drop the handler.
		local function note_mechanism(event)
			local handler = event.session.sasl_handler;
			event.session.saslcert_mechanism = handler and handler.selected;
		end
		module:hook("authentication-success", note_mechanism, 100);
		module:hook("sasl2/c2s/success", note_mechanism, 900);

		-- A certificate with a full address binds its resource, whatever the client asks for.
		module:hook("pre-resource-bind", function (event)
			local session = event.session;
			local want = session.saslcert and session.saslcert.resource;
			if not want then return; end
			local user = with.prosody_hosts[module.host].sessions[session.username];
			local old = user and user.sessions[want];
			-- conflict_resolve, which comes after this, might give the new session another resource.
			if old and old ~= session then
				old:close({ condition = "conflict", text = "Replaced by new connection" });
			end
			event.resource = want;
		end, 10);

		module:hook("resource-bind", function (event)
			local session = event.session;
			local tag = session.saslcert;
			session.saslcert_offer = nil;
			if not tag then return; end
			if tag.resource and session.resource ~= tag.resource then
				session.log("warn", "Bound to %q, but the certificate names %q: closing", session.resource, tag.resource);
				session:close({ condition = "policy-violation", text = "The certificate names another resource" });
				return;
			end
			opened(session);
		end);

		module:hook("resource-unbind", function (event)
			local session = event.session;
			if session.saslcert then closed(session.saslcert.account, session.resource); end
		end);

		if with.update_session then
			module:hook_global("c2s-session-updated", function (event)
				if event.session.host ~= module.host then return; end
				resumed(event.session, event.from_session);
				-- COMPAT 13.0: it is resumed while mod_c2s has the connection paused, because the login (in SASL2) or the resumption
				-- itself waited for the daemon. It wakes the connection of the new session, which by then belongs to the old one.
				local by, conn = event.from_session, event.session.conn;
				if (by.saslcert or by.saslcert_account) and conn and conn.resume then conn:resume(); end
			end);
		else -- COMPAT 0.12
			module:hook("smacks-hibernation-end", function (event)
				resumed(event.resumed, event.origin);
			end);
		end

		for _, xmlns in ipairs(xmlns_sm) do
			module:hook_tag(xmlns, "resume", function (session, stanza)
				if not resumes_another(session, stanza.attr.previd) then return; end
				session.log("info", "Not resuming: the certificate names another resource");
				session.send(failed_resumption(xmlns));
				return true;
			end, 10);
		end

		-- Before mod_sasl2_sm (110) and mod_sasl2_bind2 (100).
		module:hook("sasl2/c2s/success", function (event)
			local session = event.session;
			local request = session.sasl2_sm_request;
			if not request or request.name ~= "resume" or not resumes_another(session, request.attr.previd) then return; end
			session.log("info", "Not resuming: the certificate names another resource");
			session.sasl2_sm_request = nil;
			if event.success then event.success:add_child(failed_resumption(request.attr.xmlns)); end
		end, 120);

		-- A token would outlive the certificate (before mod_sasl2_fast, 75).
		module:hook("sasl2/c2s/success", function (event)
			if event.session.saslcert then event.session.fast_token_request = nil; end
		end, 80);

		-- XEP-0257: who stole a device must not take the account.
		local function deny(event)
			local origin, stanza = event.origin, event.stanza;
			if stanza.attr.type ~= "set" or not origin.saslcert then return; end
			origin.send(st.error_reply(stanza, "auth", "not-authorized", "Log in with your password to do this"));
			return true;
		end
		module:hook("iq/self/jabber:iq:register:query", deny, 100);
		module:hook("iq/host/jabber:iq:register:query", deny, 100);
	end

	return sessions;
end

return { new = new, same_key = same_key };
