-- Sessions that logged in with a certificate: their tag (session.saslcert), what the daemon hears of them, closing
-- those whose key is revoked, and what such a session may not do. And closing all sessions of an account.
--
-- It must not look at the connection's certificate: a password session may have presented one too, and a hibernating
-- session has no connection any more. Only the tag counts.
--
-- session.saslcert_account (mod_auth_saslcertd): whom a password that was right has logged in, or will when its delay is over, or
-- for whom the daemon has said yes to whatever else has logged in.
-- session.saslcert_mechanism: the SASL mechanism by which the session has logged in.

local async = require "util.async";
local jid = require "util.jid";
local st = require "util.stanza";
local now = require "util.time".monotonic;
local add_task = require "util.timer".add_task;
local update_session = require "core.sessionmanager".update_session;

local pieces_of = module:require "wire".pieces_of;

local repeat_seconds = 5; -- until those are asked about again that could not be
local gather_seconds = 0.1; -- the longest that what has opened and closed waits for more

-- The account of the session by its username, which before the login is complete is somebody's claim.
local function account_of(session)
	return session.type ~= "c2s_unauthed" and session.username and session.username .. "@" .. tostring(session.host) or nil;
end

local function is_of(session, account)
	local tag = session.saslcert;
	return session.saslcert_account == account or tag ~= nil and tag.account == account or account_of(session) == account;
end

local function add_search(sessions, with)
	-- The results of of(session) for all sessions, but nil: bound ones, hibernating or not, and those not yet bound.
	function sessions.collect(of)
		local list, seen = {}, {};
		local function look_at(some)
			for _, session in pairs(some) do
				if not seen[session] and not session.destroyed then list[#list + 1] = of(session) or nil; end
				seen[session] = true;
			end
		end
		for _, host in pairs(prosody.hosts) do
			for _, user in pairs(host.type == "local" and host.sessions or {}) do look_at(user.sessions); end
		end
		for _, connections in ipairs(with.connections) do look_at(connections); end
		return list;
	end

	-- How many logged in with a certificate.
	function sessions.count() return #sessions.collect(function (session) return session.saslcert; end); end

	-- The account got another password, which those of its sessions that live on have seen.
	function sessions.password_is_of(account, password_changed)
		local logins = sessions.collect(function (session) return is_of(session, account) and (session.saslcert_login or session.saslcert); end);
		for _, login in ipairs(logins) do login.password_changed = password_changed; end
	end
end

local function add_closing(sessions)
	-- Closes each session for which reason_of(session) names a reason: condition and text, or none. Returns how many.
	local function close_where(reason_of)
		local doomed = sessions.collect(function (session)
			local reason = reason_of(session);
			return reason and { session = session, condition = reason.condition or "not-authorized", text = reason.text };
		end);
		for _, one in ipairs(doomed) do
			one.session.log("info", "Closing the session: %s", one.text or one.condition);
			-- A login that still waits for its delay, over BOSH say, finds that it has come to nothing.
			one.session.saslcert_account = nil;
			local ok, err = pcall(one.session.close, one.session, { condition = one.condition, text = one.text });
			if not ok then module:log("error", "A session could not be closed: %s", err); end
		end
		return #doomed;
	end

	-- Closes the sessions that these closings mean, each by account, key_id, condition, text and maybe fingerprint: those of the
	-- account that logged in with this key, and with this certificate if there is a fingerprint. Returns how many.
	-- There may be a thousand closings: all sessions are looked at once for all of them, and not at all for none.
	function sessions.close_each(closings)
		local by_account = {};
		for _, closing in ipairs(type(closings) == "table" and closings or {}) do
			local of_account = by_account[closing.account or ""] or {};
			of_account[#of_account + 1] = closing;
			by_account[closing.account or ""] = of_account;
		end
		if next(by_account) == nil then return 0; end
		return close_where(function (session)
			local tag = session.saslcert;
			for _, closing in ipairs(tag and by_account[tag.account] or {}) do
				local is_meant = closing.key_id == tag.key_id and (closing.fingerprint == nil or closing.fingerprint == tag.fingerprint);
				if is_meant then return closing; end
			end
		end);
	end

	-- Closes all sessions of an account or of a host, also those that have not bound a resource yet, or still wait for the delay of their
	-- password; unbound_only: only those, which Prosody overlooks.
	function sessions.close_of(owner, reason, unbound_only)
		return close_where(function (session)
			if unbound_only and session.resource then return nil; end
			return (session.host == owner or is_of(session, owner)) and reason;
		end);
	end
end

local function add_reports(sessions, with)
	-- nil of one that the daemon needn't know: no certificate has logged it in, and its account doesn't live there.
	local function entry_of(session)
		local tag = session.saslcert;
		local login = tag or with.in_daemon(session.host) and (session.saslcert_login or {});
		local account = tag and tag.account or session.saslcert_account or account_of(session);
		if not login or not account then return nil; end
		return {
			account = account, incarnation = login.incarnation, password_changed = login.password_changed;
			fingerprint = login.fingerprint, key_id = login.key_id, path = login.path, not_after = login.not_after;
			resource = tag and session.resource;
		};
	end

	local is_wanted, comes_again = false, false;

	local function report()
		is_wanted = false;
		local failed = false;
		for _, piece in ipairs(pieces_of(sessions.collect(entry_of))) do
			local result, failure = with.ask("session.report", { sessions = piece }, { timeout = 10 });
			if result then
				sessions.close_each(result.close);
				for _, change in ipairs(result.changed) do with.changed(change); end
			elseif failure.reason == "away" or failure.reason == "lost" then
				-- Without a connection there is nothing to do: its next one brings the next report.
				return;
			elseif failure.reason ~= "too-long" then
				failed = true;
			end
		end
		if not failed or comes_again then return; end
		comes_again = true;
		add_task(repeat_seconds, function () comes_again = false; sessions.report_all(); end);
	end

	-- One report is made at a time, to its end.
	local reporter = async.runner(report, {
		error = function (_, err) module:log("error", "The sessions could not be reported: %s", err); end;
	});

	-- Tells the daemon of all live sessions that it needs to know, in pieces, one after the other, and closes those that it names. When
	-- one piece could not be answered the others are asked about all the same, and all of it again a while later. A report that is
	-- wanted while one is made comes behind that.
	function sessions.report_all()
		if is_wanted then return; end
		is_wanted = true;
		reporter:run(true);
	end

	function sessions.opened(session) sessions.gather(entry_of(session), true); end
end

-- A session that opens or closes is told of at once, and those of a crowd together.
local function add_news(sessions, with)
	local opened, closed, since, is_due = {}, {}, nil, false;

	-- Tells what was gathered now.
	function sessions.tell()
		if not since then return; end
		local opening, closing = pieces_of(opened), {};
		for _, entry in pairs(closed) do closing[#closing + 1] = entry; end
		opened, closed, since = {}, {}, nil;
		for _, piece in ipairs(opening) do with.notify("session.opened", { sessions = piece }); end
		for _, piece in ipairs(pieces_of(closing)) do with.notify("session.closed", { sessions = piece }); end
	end

	-- The daemon hears the openings first: one that opens again has not closed.
	function sessions.gather(entry, is_open)
		closed[entry.account .. "/" .. entry.resource] = not is_open and entry or nil;
		if is_open then opened[#opened + 1] = entry; end
		since = since or now();
		-- A timer waits as long as there is something to read.
		if not is_due or now() >= since + gather_seconds then sessions.tell(); end
		if is_due then return; end
		is_due = true;
		add_task(gather_seconds, function ()
			is_due = since ~= nil;
			sessions.tell();
			return is_due and gather_seconds or nil;
		end);
	end

	function sessions.closed(account, resource) sessions.gather({ account = account, resource = resource }, false); end
end

-- The tag follows the login: it goes when that fails after all, and to the session that is resumed.
local function hook_login(sessions, host_module)
	-- mod_saslauth fires it when a login fails after all; the tag must not outlive that. Only of streams that are not logged in: a
	-- session must not shed its tag by failing once more.
	host_module:hook("authentication-failure", function (event)
		local session = event.session;
		if session and session.type == "c2s_unauthed" then session.saslcert, session.saslcert_account = nil, nil; end
	end, 100);

	-- mod_saslauth and mod_sasl2 fire them before they drop the handler.
	local function logged_in(event)
		local session = event.session;
		session.saslcert_mechanism = session.sasl_handler and session.sasl_handler.selected;
		session.saslcert_offer = nil;
	end
	host_module:hook("authentication-success", logged_in, 100);
	host_module:hook("sasl2/c2s/success", logged_in, 900);

	-- A session that is resumed gets the tag of the stream it is resumed by, or loses its own.
	local function resumed(session, by)
		local before = session.saslcert;
		session.saslcert, session.saslcert_mechanism = by.saslcert, by.saslcert_mechanism;
		session.saslcert_account, session.saslcert_login = by.saslcert_account, by.saslcert_login;
		if not session.resource then return; end
		if session.saslcert then sessions.opened(session); elseif before then sessions.closed(before.account, session.resource); end
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
		local old = want and session.username and resumption_tokens[jid.join(session.username, session.host, token)];
		if not old or old.resource == want then return false; end
		session.log("info", "Not resuming: the certificate names another resource");
		return true;
	end

	local function failed_resumption(xmlns)
		return st.stanza("failed", { xmlns = xmlns }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up();
	end

	for _, xmlns in ipairs({ "urn:xmpp:sm:2", "urn:xmpp:sm:3" }) do
		host_module:hook_tag(xmlns, "resume", function (session, stanza)
			if resumes_another(session, stanza.attr.previd) then return session.send(failed_resumption(xmlns)) or true; end
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

-- A thief of a device must not take the account (XEP-0257), nor keep it.
local function hook_restrictions(sessions, host_module)
	local function deny(event)
		local origin, stanza = event.origin, event.stanza;
		if stanza.attr.type ~= "set" or not origin.saslcert then return; end
		-- The daemon's words, which come with its answer to hello.
		origin.send(st.error_reply(stanza, sessions.registration or { type = "auth", condition = "not-authorized" }));
		return true;
	end
	host_module:hook("iq/self/jabber:iq:register:query", deny, 100);
	host_module:hook("iq/host/jabber:iq:register:query", deny, 100);
end

-- with: notify(method, params) (see client.lib.lua); ask(method, params, options), which waits; connections (tables whose values are
--   sessions, those not yet bound too); in_daemon(host) (do its accounts live there?); changed(change) (see asked.lib.lua, account.changed)
local function new(with)
	local sessions = {};
	add_search(sessions, with);
	add_closing(sessions);
	add_news(sessions, with);
	add_reports(sessions, with);

	function sessions.add_host(host_module)
		hook_login(sessions, host_module);
		hook_resources(sessions, host_module);
		hook_restrictions(sessions, host_module);
	end

	return sessions;
end

return { new = new };
