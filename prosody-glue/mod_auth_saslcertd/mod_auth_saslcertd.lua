-- Accounts and passwords in saslcertd: PLAIN and SCRAM, registration, changes by users and admins. The daemon decides and
-- keeps them; this module carries questions and answers, over mod_saslcertd's connection.
--
-- This file wires. It must not decide, and never keeps a password.

local async = require "util.async";
local encodings = require "util.encodings";
local json = require "util.json";
local new_sasl = require "util.sasl".new;
local now = require "util.time".now;
local st = require "util.stanza";
local timer = require "util.timer";

module:depends("saslcertd");

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");
local known = module:require "known".new({ now = now });

-- How soon a wait finds out that its session is gone.
local longest_nap = 1;
-- A registration creates its account at once, or never.
local reset_seconds = 10;

local function ask(...)
	if not api.ask then return nil, { reason = "away" }; end
	return api.ask(...);
end

local function ask_blocking(...)
	if not api.ask_blocking then return nil, { reason = "away" }; end
	return api.ask_blocking(...);
end

local function timeout() return api.timeout(); end

local function sleep(session, seconds)
	local wait, done = async.waiter(1, true);
	local nap = math.min(seconds, longest_nap);
	timer.add_task(nap, function ()
		seconds = seconds - nap;
		if session.destroyed or seconds <= 0 then
			done();
			return;
		end
		nap = math.min(seconds, longest_nap);
		return nap;
	end);
	api.waiting[session] = session;
	wait();
	api.waiting[session] = nil;
end

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

local accounts = module:require "accounts".new(host, {
	ask = ask;
	ask_blocking = ask_blocking;
	can_wait = function () return api.can_wait(); end;
	timeout = timeout;
	now = now;
	null = json.null;
	valid_text = encodings.utf8.valid;
	known = known;
	thread = coroutine.running;
	caller = caller;
	check = function () api.check(); end;
	password_is_of = function (...) api.password_is_of(...); end;
	reset = function (username)
		prosody.events.fire_event("user-password-changed", { username = username, host = host });
	end;
	log = function (...) return module:log(...); end;
});

local logins = module:require "logins".new(host, {
	new_sasl = new_sasl;
	ask = ask;
	timeout = timeout;
	scram = function () return api.scram(host); end;
	outlive = function (...) api.outlive(...); end;
	sleep = sleep;
	encode_base64 = encodings.base64.encode;
	decode_base64 = encodings.base64.decode;
	valid_text = encodings.utf8.valid;
	null = json.null;
});

local admission = module:require "admission".new(host, {
	ask = ask;
	timeout = timeout;
	nodeprep = encodings.stringprep.nodeprep;
	st = st;
	null = json.null;
});

local can_ask, reserve = accounts.can_ask, accounts.reserve;
accounts.can_ask, accounts.reserve = nil, nil;
accounts.get_sasl_handler = logins.get_sasl_handler;

-- True when the registration may go on; or nil and the failure. Of two who ask for the same name, one hears of it here: Prosody
-- has no word for who comes too late after that.
local function prepare(event, thread)
	if event.allow_reset ~= event.username then
		local reserved, _, failure = reserve(event.username);
		return reserved, failure;
	end
	if not can_ask(event.username) then return nil, { reason = "away" }; end
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

-- A token would let somebody in whom the daemon has disabled meanwhile (before mod_sasl2_fast, 75).
module:hook("sasl2/c2s/success", function (event)
	local session = event.session;
	session.fast_token_request = nil;
	if session.sasl_handler then session.sasl_handler.rotation_needed = nil; end
end, 80);

-- prosodyctl lets nobody in.
if prosody.process_type ~= "prosodyctl" then
	admission.add_host(module);
	module:require "tokens".revoke_all({
		store = module:open_store("fast_tokens", "keyval");
		repeat_soon = function (work) module:add_timer(0, work); end;
		log = function (...) return module:log(...); end;
	});
end

-- COMPAT 13.0: rostermanager goes on to serve its copy of the roster, and the next account of this name would get it. After all
-- who need it once more; what is stored is removed by others.
module:hook_global("user-deleted", function (event)
	if event.host ~= host then return; end
	local rosters = prosody.hosts[host].roster_cache;
	if rosters then rosters:set(event.username .. "@" .. host, nil); end
end, -1000);

local hears = { forget = known.forget, expire = known.expire };
api.accounts[host] = hears;

function module.unload()
	if api.accounts[host] == hears then api.accounts[host] = nil; end
end

module:provides("auth", accounts);
