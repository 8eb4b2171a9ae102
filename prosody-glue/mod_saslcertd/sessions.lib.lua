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
-- Until those are asked about again that could not be.
local repeat_seconds = 5;

local function is_of(session, account)
	if session.saslcert_account == account or session.saslcert and session.saslcert.account == account then return true; end
	-- Before the login is complete, username is what somebody claims.
	return session.type ~= "c2s_unauthed" and session.username ~= nil and session.username .. "@" .. tostring(session.host) == account;
end

-- Finding them, and how many there are.
local function add_search(sessions, with)
	-- Calls found(session) for each session: bound ones, hibernating or not, and those not yet bound. No closing inside of
	-- it, that changes the tables.
	function sessions.each(found)
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

	-- The same, of those that logged in with a certificate.
	function sessions.each_tagged(found)
		sessions.each(function (session)
			if session.saslcert then found(session); end
		end);
	end

	-- How many of these there are.
	function sessions.count()
		local count = 0;
		sessions.each_tagged(function () count = count + 1; end);
		return count;
	end

	-- The account got another password, which those of its sessions that live on have seen.
	function sessions.password_is_of(account, password_changed)
		sessions.each(function (session)
			local login = session.saslcert_login or session.saslcert;
			if login and is_of(session, account) then login.password_changed = password_changed; end
		end);
	end
end

-- By account, then by key id: the closings of these sessions, in their order.
local function index_of(closings)
	local index = {};
	for _, closing in ipairs(closings) do
		local account, key_id = closing.account, closing.key_id;
		if account ~= nil and key_id ~= nil then
			local keys = index[account] or {};
			local of_key = keys[key_id] or {};
			of_key[#of_key + 1] = closing;
			index[account], keys[key_id] = keys, of_key;
		end
	end
	return index;
end

-- The first closing of the index that means the session with this tag; nil if none does.
local function closing_of(index, tag)
	local keys = tag and index[tag.account];
	for _, closing in ipairs(keys and keys[tag.key_id] or {}) do
		if closing.fingerprint == nil or closing.fingerprint == tag.fingerprint then return closing; end
	end
end

-- Closing them.
local function add_closing(sessions, with)
	-- Closes each session for which reason_of(session) names a reason: condition, and maybe text. Returns how many.
	local function close_where(reason_of)
		local list = {};
		sessions.each(function (session)
			local reason = reason_of(session);
			if reason then list[#list + 1] = { session = session, condition = reason.condition, text = reason.text }; end
		end);
		for _, doomed in ipairs(list) do doomed.session.log("info", "Closing the session: %s", doomed.text or doomed.condition); end
		for _, doomed in ipairs(list) do
			local session = doomed.session;
			-- A login that still waits for its delay, over BOSH say, finds that it has come to nothing.
			session.saslcert_account = nil;
			local ok, err = pcall(session.close, session, { condition = doomed.condition, text = doomed.text });
			if not ok then with.log("error", "A session could not be closed: %s", err); end
		end
		return #list;
	end

	-- Closes the sessions that these closings mean, each by account, key_id, condition, text and maybe fingerprint: those of the
	-- account that logged in with this key, and with this certificate if there is a fingerprint. Returns how many.
	-- There may be a thousand closings: all sessions are looked at once for all of them, and not at all for none.
	function sessions.close_each(closings)
		local index = index_of(type(closings) == "table" and closings or {});
		if next(index) == nil then return 0; end
		return close_where(function (session)
			local closing = closing_of(index, session.saslcert);
			return closing and { condition = closing.condition or "not-authorized", text = closing.text };
		end);
	end

	-- The same, of one key; without a key all sessions of the account, also those that have not bound a resource yet, or still wait
	-- for the delay of their password.
	function sessions.close(account, key_id, condition, text, fingerprint)
		local reason = { account = account, key_id = key_id, condition = condition, text = text, fingerprint = fingerprint };
		if key_id ~= nil then return sessions.close_each({ reason }); end
		return close_where(function (session) return is_of(session, account) and reason; end);
	end

	-- Those of the account that have no resource: Prosody overlooks them.
	function sessions.close_unbound(account, condition)
		local reason = { condition = condition };
		return close_where(function (session) return not session.resource and is_of(session, account) and reason; end);
	end

	-- Those of a host that goes: Prosody overlooks them, and whatever they wait for would find the host gone.
	function sessions.close_unbound_of(host, condition)
		local reason = { condition = condition };
		return close_where(function (session) return not session.resource and session.host == host and reason; end);
	end
end

-- What the daemon hears of them.
local function add_reports(sessions, with)
	local function entry_of(session)
		local tag = session.saslcert;
		return {
			account = tag.account;
			fingerprint = tag.fingerprint;
			key_id = tag.key_id;
			incarnation = tag.incarnation;
			path = tag.path or with.null;
			not_after = tag.not_after or with.null;
			resource = session.resource or with.null;
			address = session.ip or with.null;
		};
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
				if failed then with.after(repeat_seconds, function () if rounds[method] == round then again(); end end); end
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
		sessions.each_tagged(function (session) entries[#entries + 1] = entry_of(session); end);
		ask_about("session.opened", "sessions", entries, { timeout = 10 }, function (result)
			sessions.close_each(result.close);
		end, sessions.report_all);
	end

	-- Asks about the accounts of all live sessions on hosts whose accounts live in the daemon; what was changed meanwhile is handed
	-- to changed(account, change).
	function sessions.check_accounts(in_daemon, changed)
		local entries = {};
		sessions.each(function (session)
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

	function sessions.opened(session)
		with.notify("session.opened", { sessions = with.array({ entry_of(session) }) });
	end

	function sessions.closed(account, resource)
		with.notify("session.closed", { sessions = with.array({ { account = account, resource = resource } }) });
	end
end

-- The tag follows the login: it goes when that fails after all, and to the session that is resumed.
local function hook_login(sessions, with, module)
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

	-- A session that is resumed gets the tag of the stream it is resumed by, or loses its own.
	local function resumed(session, by)
		local before, now = session.saslcert, by.saslcert;
		session.saslcert = now;
		session.saslcert_mechanism = by.saslcert_mechanism;
		session.saslcert_account, session.saslcert_login = by.saslcert_account, by.saslcert_login;
		if not session.resource then return; end
		if now then
			sessions.opened(session);
		elseif before then
			sessions.closed(before.account, session.resource);
		end
	end

	if not with.update_session then -- COMPAT 0.12
		module:hook("smacks-hibernation-end", function (event) resumed(event.resumed, event.origin); end);
		return;
	end
	module:hook_global("c2s-session-updated", function (event)
		if event.session.host ~= module.host then return; end
		resumed(event.session, event.from_session);
		-- COMPAT 13.0: it is resumed while mod_c2s has the connection paused, because the login (in SASL2) or the resumption
		-- itself waited for the daemon. It wakes the connection of the new session, which by then belongs to the old one.
		local by, conn = event.from_session, event.session.conn;
		if (by.saslcert or by.saslcert_account) and conn and conn.resume then conn:resume(); end
	end);
end

-- A certificate with a full address binds its resource, whatever the client asks for, and resumes no other.
local function hook_resources(sessions, with, module)
	module:hook("pre-resource-bind", function (event)
		local session = event.session;
		local want = session.saslcert and session.saslcert.resource;
		if not want then return; end
		local user = with.prosody_hosts[module.host].sessions[session.username];
		local old = user and user.sessions[want];
		-- conflict_resolve, which comes after this, might give the new session another resource.
		if old and old ~= session then old:close({ condition = "conflict" }); end
		event.resource = want;
	end, 10);

	module:hook("resource-bind", function (event)
		local session, tag = event.session, event.session.saslcert;
		session.saslcert_offer = nil;
		if not tag then return; end
		if tag.resource and session.resource ~= tag.resource then
			session.log("warn", "Bound to %q, but the certificate names %q: closing", session.resource, tag.resource);
			session:close({ condition = "policy-violation" });
			return;
		end
		sessions.opened(session);
	end);

	module:hook("resource-unbind", function (event)
		local session = event.session;
		if session.saslcert then sessions.closed(session.saslcert.account, session.resource); end
	end);

	-- Would this stream resume a session of another resource than its certificate names?
	local function resumes_another(session, token)
		local want = session.saslcert and session.saslcert.resource;
		if not want or not session.username then return false; end
		local old = with.resumption_tokens[with.join_jid(session.username, session.host, token)];
		local is_another = old and old.resource ~= want;
		if is_another then session.log("info", "Not resuming: the certificate names another resource"); end
		return is_another;
	end

	local function failed_resumption(xmlns)
		return with.st.stanza("failed", { xmlns = xmlns }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up();
	end

	for _, xmlns in ipairs(xmlns_sm) do
		module:hook_tag(xmlns, "resume", function (session, stanza)
			if not resumes_another(session, stanza.attr.previd) then return; end
			session.send(failed_resumption(xmlns));
			return true;
		end, 10);
	end

	-- Before mod_sasl2_sm (110) and mod_sasl2_bind2 (100).
	module:hook("sasl2/c2s/success", function (event)
		local session = event.session;
		local request = session.sasl2_sm_request;
		if not request or request.name ~= "resume" or not resumes_another(session, request.attr.previd) then return; end
		session.sasl2_sm_request = nil;
		if event.success then event.success:add_child(failed_resumption(request.attr.xmlns)); end
	end, 120);
end

-- Whoever stole a device must not take the account (XEP-0257), nor keep it.
local function hook_restrictions(with, module)
	-- A token would outlive the certificate (before mod_sasl2_fast, 75).
	module:hook("sasl2/c2s/success", function (event)
		if event.session.saslcert then event.session.fast_token_request = nil; end
	end, 80);

	local function deny(event)
		local origin, stanza = event.origin, event.stanza;
		if stanza.attr.type ~= "set" or not origin.saslcert then return; end
		-- COMPAT a session that logged in by way of an older module lacks the words.
		local words = origin.saslcert.registration or { type = "auth", condition = "not-authorized" };
		origin.send(with.st.error_reply(stanza, words.type, words.condition, words.text));
		return true;
	end
	module:hook("iq/self/jabber:iq:register:query", deny, 100);
	module:hook("iq/host/jabber:iq:register:query", deny, 100);
end

-- with: notify(method, params); request(method, params, options, callback); encode; array; null; st; join_jid; pieces_of (see client);
--   prosody_hosts; connections (tables whose values are sessions, those not yet bound too); resumption_tokens (of mod_smacks);
--   update_session (13); after(seconds, f); log(level, format, …)
local function new(with)
	local sessions = {};
	add_search(sessions, with);
	add_closing(sessions, with);
	add_reports(sessions, with);

	function sessions.add_host(module)
		hook_login(sessions, with, module);
		hook_resources(sessions, with, module);
		hook_restrictions(with, module);
	end

	return sessions;
end

return { new = new };
