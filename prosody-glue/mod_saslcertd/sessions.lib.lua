-- Sessions that logged in with a certificate: their tag (session.saslcert), what the daemon hears of them, closing
-- those whose key is revoked, and what such a session may not do. And closing all sessions of an account.
--
-- It must not look at the connection's certificate: a password session may have presented one too, and a hibernating
-- session has no connection any more. Only the tag counts.
--
-- session.saslcert_account (mod_auth_saslcertd): whom a password that was right has logged in, or will when its delay is over, or
-- for whom the daemon has said yes to whatever else has logged in.
-- session.saslcert_mechanism: the SASL mechanism by which the session has logged in.

local array = require "util.array";
local jid = require "util.jid";
local null = require "util.json".null;
local st = require "util.stanza";
local add_task = require "util.timer".add_task;
local update_session = require "core.sessionmanager".update_session;

local pieces_of = module:require "wire".pieces_of;

local xmlns_sm = { "urn:xmpp:sm:2", "urn:xmpp:sm:3" };
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
		for _, host_session in pairs(prosody.hosts) do
			for _, user in pairs(host_session.type == "local" and host_session.sessions or {}) do
				for _, session in pairs(user.sessions) do look_at(session); end
			end
		end
		for _, connections in ipairs(with.connections) do
			for _, session in pairs(connections) do look_at(session); end
		end
	end

	-- How many logged in with a certificate.
	function sessions.count()
		local count = 0;
		sessions.each(function (session)
			if session.saslcert then count = count + 1; end
		end);
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
local function add_closing(sessions)
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
			if not ok then module:log("error", "A session could not be closed: %s", err); end
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

	-- Closes all sessions of the account, also those that have not bound a resource yet, or still wait for the delay of their password.
	function sessions.close_account(account, reason)
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
	-- Of a session that a certificate has logged in.
	local function entry_of(session)
		local tag = session.saslcert;
		return {
			account = tag.account;
			fingerprint = tag.fingerprint;
			key_id = tag.key_id;
			incarnation = tag.incarnation;
			path = tag.path or null;
			not_after = tag.not_after or null;
			resource = session.resource or null;
			password_changed = tag.password_changed or null;
		};
	end

	-- Of one that has logged in in whatever other way, nil if none has.
	local function entry_without_certificate(session)
		local account = session.saslcert_account;
		if not account and session.type ~= "c2s_unauthed" and session.username then account = session.username .. "@" .. session.host; end
		local login = session.saslcert_login or {};
		return account and { account = account, incarnation = login.incarnation or null, password_changed = login.password_changed or null };
	end

	-- One report is made at a time, to its end: who wants another meanwhile gets it behind this one.
	local is_reporting, is_wanted, reports = false, false, 0;

	-- Tells the daemon of all live sessions that logged in with a certificate, or whose accounts live there, in pieces, one after the
	-- other; what it says of them is done. When one piece could not be answered the others are asked about all the same, and all
	-- of it again a while later.
	function sessions.report_all()
		if is_reporting then
			is_wanted = true;
			return;
		end
		is_reporting, is_wanted, reports = true, false, reports + 1;
		local entries, failed, report = {}, false, reports;
		sessions.each(function (session)
			local entry = session.saslcert and entry_of(session) or with.in_daemon(session.host) and entry_without_certificate(session);
			if entry then entries[#entries + 1] = entry; end
		end);
		local pieces = pieces_of(entries);
		local function finish()
			is_reporting = false;
			if is_wanted then
				sessions.report_all();
			elseif failed then
				add_task(repeat_seconds, function () if report == reports then sessions.report_all(); end end);
			end
		end
		local function ask(i)
			if not pieces[i] then return finish(); end
			with.request("session.report", { sessions = pieces[i] }, { timeout = 10 }, function (result, failure)
				if result then
					sessions.close_each(result.close or {});
					for _, change in ipairs(result.changed or {}) do with.changed(change); end
				elseif failure.reason == "away" or failure.reason == "lost" then
					-- Without a connection there is nothing to do: its next one brings the next report.
					failed = false;
					return finish();
				elseif failure.reason ~= "too-long" then
					failed = true;
				end
				ask(i + 1);
			end);
		end
		ask(1);
	end

	function sessions.opened(session)
		with.notify("session.opened", { sessions = array({ entry_of(session) }) });
	end

	function sessions.closed(account, resource)
		with.notify("session.closed", { sessions = array({ { account = account, resource = resource } }) });
	end
end

-- The tag follows the login: it goes when that fails after all, and to the session that is resumed.
local function hook_login(sessions, host_module)
	-- mod_saslauth fires it when a login fails after all; the tag must not outlive that.
	host_module:hook("authentication-failure", function (event)
		-- Only of streams that are not logged in: a session must not shed its tag by failing once more.
		if event.session and event.session.type == "c2s_unauthed" then
			event.session.saslcert, event.session.saslcert_account = nil, nil;
		end
	end, 100);

	host_module:hook("authentication-success", function (event)
		event.session.saslcert_offer = nil;
	end);

	-- mod_saslauth and mod_sasl2 fire them before they drop the handler.
	local function note_mechanism(event)
		local handler = event.session.sasl_handler;
		event.session.saslcert_mechanism = handler and handler.selected;
	end
	host_module:hook("authentication-success", note_mechanism, 100);
	host_module:hook("sasl2/c2s/success", note_mechanism, 900);

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

	if not update_session then -- COMPAT 0.12
		host_module:hook("smacks-hibernation-end", function (event) resumed(event.resumed, event.origin); end);
		return;
	end
	host_module:hook_global("c2s-session-updated", function (event)
		if event.session.host ~= host_module.host then return; end
		resumed(event.session, event.from_session);
		-- COMPAT 13.0: it is resumed while mod_c2s has the connection paused, because the login (in SASL2) or the resumption
		-- itself waited for the daemon. It wakes the connection of the new session, which by then belongs to the old one.
		local by, conn = event.from_session, event.session.conn;
		if (by.saslcert or by.saslcert_account) and conn and conn.resume then conn:resume(); end
	end);
end

-- A certificate with a full address binds its resource, whatever the client asks for, and resumes no other.
local function hook_resources(sessions, host_module)
	local resumption_tokens = host_module:shared("/*/smacks/resumption-tokens");

	host_module:hook("pre-resource-bind", function (event)
		local session = event.session;
		local want = session.saslcert and session.saslcert.resource;
		if not want then return; end
		local user = prosody.hosts[host_module.host].sessions[session.username];
		local old = user and user.sessions[want];
		-- conflict_resolve, which comes after this, might give the new session another resource.
		if old and old ~= session then old:close({ condition = "conflict" }); end
		event.resource = want;
	end, 10);

	host_module:hook("resource-bind", function (event)
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

	host_module:hook("resource-unbind", function (event)
		local session = event.session;
		if session.saslcert then sessions.closed(session.saslcert.account, session.resource); end
	end);

	-- Would this stream resume a session of another resource than its certificate names?
	local function resumes_another(session, token)
		local want = session.saslcert and session.saslcert.resource;
		if not want or not session.username then return false; end
		local old = resumption_tokens[jid.join(session.username, session.host, token)];
		local is_another = old and old.resource ~= want;
		if is_another then session.log("info", "Not resuming: the certificate names another resource"); end
		return is_another;
	end

	local function failed_resumption(xmlns)
		return st.stanza("failed", { xmlns = xmlns }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up();
	end

	for _, xmlns in ipairs(xmlns_sm) do
		host_module:hook_tag(xmlns, "resume", function (session, stanza)
			if not resumes_another(session, stanza.attr.previd) then return; end
			session.send(failed_resumption(xmlns));
			return true;
		end, 10);
	end

	-- Before mod_sasl2_sm (110) and mod_sasl2_bind2 (100).
	host_module:hook("sasl2/c2s/success", function (event)
		local session = event.session;
		local request = session.sasl2_sm_request;
		if not request or request.name ~= "resume" or not resumes_another(session, request.attr.previd) then return; end
		session.sasl2_sm_request = nil;
		if event.success then event.success:add_child(failed_resumption(request.attr.xmlns)); end
	end, 120);
end

-- Whoever stole a device must not take the account (XEP-0257), nor keep it.
local function hook_restrictions(host_module)
	local function deny(event)
		local origin, stanza = event.origin, event.stanza;
		if stanza.attr.type ~= "set" or not origin.saslcert then return; end
		-- COMPAT a session that logged in by way of an older module lacks the words.
		local words = origin.saslcert.registration or { type = "auth", condition = "not-authorized" };
		origin.send(st.error_reply(stanza, words.type, words.condition, words.text));
		return true;
	end
	host_module:hook("iq/self/jabber:iq:register:query", deny, 100);
	host_module:hook("iq/host/jabber:iq:register:query", deny, 100);
end

-- with: notify(method, params), request(method, params, options, callback) (see client.lib.lua); connections (tables whose values are
--   sessions, those not yet bound too); in_daemon(host) (do its accounts live there?); changed(change) (see asked.lib.lua, account.changed)
local function new(with)
	local sessions = {};
	add_search(sessions, with);
	add_closing(sessions);
	add_reports(sessions, with);

	function sessions.add_host(host_module)
		hook_login(sessions, host_module);
		hook_resources(sessions, host_module);
		hook_restrictions(host_module);
	end

	return sessions;
end

return { new = new };
