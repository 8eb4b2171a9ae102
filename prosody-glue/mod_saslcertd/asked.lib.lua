-- Answers the daemon's own questions: close sessions, tell users something, act on a change that somebody else made to an account, and
-- say which account of a name Prosody has.
--
-- It must not decide, nor wait: a job that may take a while is handed to a worker, and answered later.

local async = require "util.async";
local split_jid = require "util.jid".split;
local null = require "util.json".null;
local st = require "util.stanza";
local new_id = require "util.uuid".generate;
local purge = require "core.storagemanager".purge;

-- Prosody does this by itself when it makes such a change.
local changes = {
	created = {};
	enabled = { event = "user-enabled" };
	disabled = { event = "user-disabled", condition = "not-authorized" };
	password = { event = "user-password-changed", condition = "reset" };
	deleted = { event = "user-deleted", condition = "not-authorized" };
};

local function refused(message) return nil, { code = -32602, message = message }; end

local worker = async.runner();

-- For a job that may wait: the router, storage, an authentication provider. One after the other, in the order of the daemon's
-- questions; its outcome is the answer.
local function answer_later(host, reply, job)
	worker:run(function ()
		-- Others came first, and may have waited: the host may be gone.
		if not prosody.hosts[host.name] then return reply(refused("The host is not served any more")); end
		local ok, result, err = pcall(job);
		if not ok then
			module:log("error", "What the daemon asked for could not be done: %s", result);
			result, err = nil, nil;
		end
		reply(result, err or { code = -32001, message = "It could not be done" });
	end);
end

-- with: hosts, pages (see mod_saslcertd); sessions (see sessions.lib.lua); forget(host, username)
-- Returns a function that answers: a result, or nil and an error; or nothing, and it calls reply(result, err) later.
local function new(with)
	local asked = {};

	-- Of an account on a host that is served here: answer(params, username, host, reply).
	local function of_account(answer)
		return function (params, reply)
			local username, name, resource;
			if type(params.account) == "string" then username, name, resource = split_jid(params.account); end
			local host = name and with.hosts[name];
			if not username or resource or not host then return refused("account must be one of a host that is served here"); end
			return answer(params, username, host, reply);
		end;
	end

	asked["sessions.close"] = function (params)
		if type(params.close) ~= "table" then return refused("close must be a list"); end
		return { closed = with.sessions.close_each(params.close) };
	end;

	asked["account.notify"] = of_account(function (params, _, host)
		if type(params.text) ~= "string" then return refused("text is needed"); end
		answer_later(host, function () end, function ()
			host.module:send(st.message({ from = host.name, to = params.account, id = new_id() }, params.text));
		end);
		return {};
	end);

	-- Prosody hears of it as if it had done that itself, but is never asked to do it again.
	asked["account.changed"] = of_account(function (params, username, host, reply)
		if not host.in_daemon() then return refused("The accounts of this host live in Prosody"); end
		local change = changes[params.change];
		if not change then return refused("No such change"); end
		with.forget(host, username);
		if params.close then with.sessions.close_of(params.account, params.close); end
		answer_later(host, reply, function ()
			if change.event then prosody.events.fire_event(change.event, { username = username, host = host.name }); end
			if params.change == "deleted" then purge(username, host.name); end
			return {};
		end);
	end);

	asked["account.incarnation"] = of_account(function (params, username, host, reply)
		if host.in_daemon() then return refused("The accounts of this host live in the daemon"); end
		answer_later(host, reply, function ()
			if not host.accounts.exists(username) then return { exists = false, incarnation = null }; end
			local id, err = host.accounts.incarnation(username, params.make == true);
			if err then return nil, { code = -32001, message = ("The account's data can't be read or written: %s"):format(tostring(err)) }; end
			return { exists = true, enabled = host.accounts.enabled(username), incarnation = id or null };
		end);
	end);

	-- mod_saslcertd_devices makes it.
	asked["account.register"] = of_account(function (params, username, host, reply)
		local page = with.pages[host.name];
		if not page or host.in_daemon() or type(params.incarnation) ~= "string" then return refused("Nobody makes such an account here"); end
		answer_later(host, reply, function () return page.register(username, params.incarnation, host.accounts); end);
	end);

	asked["host.scram"] = function (params)
		local host = with.hosts[params.host];
		if host and type(params.scram) == "table" then host.scram = params.scram; end
		return {};
	end;

	return function (method, params, reply)
		local answer = asked[method];
		if not answer then return nil, { code = -32601, message = "No such method" }; end
		return answer(type(params) == "table" and params or {}, reply);
	end;
end

return { new = new, changes = changes };
