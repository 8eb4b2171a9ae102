-- Accounts and passwords in saslcertd: PLAIN and SCRAM, registration, changes by users and admins. The daemon decides and
-- keeps them; this module carries questions and answers, over mod_saslcertd's connection.
--
-- This file wires. It must not decide, and never keeps a password.

local now = require "util.time".now;

module:depends("saslcertd");

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

-- A registration creates its account at once, or never.
local reset_seconds = 10;

-- Which coroutine is registering an account whose password an invitation allows to reset. mod_register_ibr creates
-- accounts for that, too.
local resets = setmetatable({}, { __mode = "k" });

local function caller(username)
	if prosody.process_type == "prosodyctl" then return "prosodyctl"; end
	local thread = coroutine.running();
	local reset = resets[thread];
	resets[thread] = nil;
	if reset and reset.username == username and math.abs(now() - reset.at) <= reset_seconds then return "reset"; end
	return "server";
end

local provider, accounts = module:require "accounts".new(caller);
provider.get_sasl_handler = module:require "logins".get_sasl_handler;

-- True when the registration may go on; or nil and the failure. Of two who ask for the same name, one hears of it here: Prosody
-- has no word for who comes too late after that.
local function prepare(event, thread)
	if event.allow_reset ~= event.username then
		local reserved, _, failure = accounts.reserve(event.username);
		return reserved, failure;
	end
	if not accounts.can_ask(event.username) then return nil, { reason = "away" }; end
	resets[thread] = { username = event.username, at = now() };
	return true;
end

-- After all who may allow a reset.
module:hook("user-registering", function (event)
	local thread = coroutine.running();
	resets[thread] = nil;
	if event.allowed == false then return; end
	local prepared, failure = prepare(event, thread);
	if prepared then return; end
	event.allowed = false;
	local stanza = failure.stanza;
	if stanza and (failure.code == -32000 or failure.code == -32602) then
		event.error_type, event.error_condition, event.reason = stanza.type, stanza.condition, failure.message;
	else
		event.error_type, event.error_condition = "wait", "internal-server-error";
		event.reason = "Accounts can't be created at the moment";
	end
end, -1000);

-- prosodyctl lets nobody in.
if prosody.process_type ~= "prosodyctl" then
	local admission = module:require "admission";
	admission.add_hooks();
	admission.revoke_tokens();
end

-- COMPAT 13.0: rostermanager goes on to serve its copy of the roster, and the next account of this name would get it. After all
-- who need it once more; what is stored is removed by others.
module:hook_global("user-deleted", function (event)
	if event.host ~= host then return; end
	local rosters = prosody.hosts[host].roster_cache;
	if rosters then rosters:set(event.username .. "@" .. host, nil); end
end, -1000);

local hears = { forget = accounts.known.forget, expire = accounts.known.expire };
api.accounts[host] = hears;

function module.unload()
	if api.accounts[host] == hears then api.accounts[host] = nil; end
end

module:provides("auth", provider);
