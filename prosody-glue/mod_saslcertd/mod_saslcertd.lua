-- Certificates and saslcertd: SASL EXTERNAL (XEP-0178) on top of any authentication provider, and the users' own lists of certificates
-- (XEP-0257). The daemon decides; this module carries questions and answers, fetches facts that only Prosody has, and closes what is
-- revoked. Where accounts live in the daemon, mod_auth_saslcertd asks through the same connection.
--
-- This file wires: one connection for the whole server, and what each host needs. It must not know X.509, and compares names only
-- with those that the daemon or Prosody has given a session.

module:set_global();

-- It loads the module too, and must not say hello for the server's hosts.
if prosody.process_type == "prosodyctl" then
	module:require "prosodyctl";
	return;
end

local async = require "util.async";
local array = require "util.array";
local time = require "util.time";
local modulemanager = require "core.modulemanager";

local adhoc = module:require "adhoc";
local asked_lib = module:require "asked";
local certificates = module:require "certificates";
local console = module:require "console";
local devices = module:require "devices";
local hello = module:require "hello";
local new_host = module:require "host".new;
local sasl_lib = module:require "sasl";

local count_interval = 60 * 60; -- of certificates that are about to expire

-- Handlers of streams that are open across a reload live on in the old environment, and find the new one here. So do the libraries, and
-- mod_auth_saslcertd, which puts into accounts what is to hear of changes, by host, and into waiting the sessions that wait for a delay.
local api = module:shared("/*/saslcertd/api");
api.accounts, api.waiting, api.pages = api.accounts or {}, api.waiting or {}, api.pages or {}; -- those of mod_saslcertd_devices
local hosts, settings, closed = {}, hello.settings(), false;
local client, sessions, asked;
local metrics = module:require "metrics".new();
local connection = { connected = false }; -- as saslcert:status() tells it: see console.lib.lua

-- The names, in their order, of the hosts for which is_meant(host).
local function names_of(is_meant)
	local names = {};
	for name, host in pairs(hosts) do if is_meant(host) then names[#names + 1] = name; end end
	table.sort(names);
	return names;
end

-- Takes what the daemon says of the hosts and their options. Each line is logged when it is new, and not at each reconnect.
local printed = {};
local function report_options(result)
	for _, answer in ipairs(result.hosts) do
		local host = hosts[answer.host];
		if host then
			host.scram, host.leaf_only = answer.scram or host.scram, answer.chain == false;
			host.set_lists(answer.lists);
			host.module:set_status("core", "Loaded", true);
		end
	end
	local before = printed;
	printed = {};
	for _, line in ipairs(result.log) do
		local key, host = ("%s %s"):format(line.host or "*", line.text), hosts[line.host];
		local of = host and host.module or module;
		if host and line.level == "error" then of:set_status("error", line.text, true); end
		if (host or not line.host) and not before[key] then of:log(line.level, "%s", line.text); end
		printed[key] = true;
	end
end

local function forget(host, username)
	local accounts = api.accounts[host.name];
	if accounts then accounts.forget(username); end
end

-- Nobody tells what changes while there is no connection.
local function expire_accounts() for _, accounts in pairs(api.accounts) do accounts.expire(); end end

local function note_connection(is_connected, why)
	if connection.connected ~= is_connected then connection.since = time.now(); end
	connection.connected, connection.why = is_connected, not is_connected and why or nil;
	metrics.connected(is_connected);
	module:set_status(is_connected and "info" or "warn", (is_connected and "Connected to " or "saslcertd is away: ") .. tostring(why));
end

client = module:require "client".new({
	socket = function () return settings.socket; end; ended = metrics.ended;
	answer = function (...) return asked(...); end;
	hello = function ()
		local list = array();
		for name, host in pairs(hosts) do list:push(hello.host(name, host.in_daemon(), api.pages[name])); end
		module:log("debug", "Declaring to saslcertd; hosts: %d", #list);
		return hello.pieces_of(list, true);
	end;
	greeted = function (result)
		module:log("debug", "Declared to saslcertd");
		expire_accounts();
		sessions.registration = result.registration;
		sessions.report_all();
		report_options(result);
		metrics.count_expiring(client.request);
	end;
	away = function (why, is_refusal)
		if is_refusal then module:log("error", "The daemon refuses session.hello, version %d: %s", hello.protocol_version, why); end
		note_connection(false, why);
		expire_accounts();
		local without_password = names_of(function (host) return host.in_daemon(); end);
		module:log("warn", "saslcertd at %s is away: %s. Until it is back nobody can log in with a certificate%s", settings.socket, why,
			without_password[1] and ", nor in any way on " .. table.concat(without_password, ", ") or "");
	end;
	back = function (software)
		note_connection(true, software);
		module:log("info", "Connected to saslcertd at %s", settings.socket);
	end;
	missed = function () sessions.report_all(); end; tell = function () sessions.tell(); end;
});

module:add_timer(count_interval, function () metrics.count_expiring(client.request); return count_interval; end);

-- Inside of string.gsub and the like Lua can't wait, though there is a runner.
local function can_wait() return async.ready() and (not coroutine.isyieldable or coroutine.isyieldable()); end

-- Asks and waits. Returns the result, or nil and the failure. ask_options: see client.lib.lua; without them the question has as much
-- time as is configured, and may be asked again.
local function ask(method, params, ask_options)
	if closed or not can_wait() then return nil, { reason = "away" }; end
	local result, failure;
	local wait, done = async.waiter(1, true);
	local function heard(...) result, failure = ...; done(); end
	client.request(method, params, ask_options or { timeout = settings.timeout, again = true }, heard);
	wait();
	return result, failure;
end

local function change(method, params) return ask(method, params, { timeout = settings.change_timeout }); end

-- Asks while everything stands still, for at most so many seconds. attach: the host that the question is about, if it is one that
-- may not be asked by a stranger.
local function ask_blocking(method, params, seconds, attach)
	if closed then return nil, { reason = "away" }; end
	local asked_at = time.monotonic();
	local result, failure = hello.ask_alone(settings.socket, seconds, attach and array({ hello.host(attach, true) }), method, params);
	metrics.ended(method, time.monotonic() - asked_at, result, failure);
	return result, failure;
end

-- Do the accounts of this host live in the daemon?
local function in_daemon(name) return hosts[name] ~= nil and hosts[name].in_daemon(); end

sessions = module:require "sessions".new({
	notify = client.notify, ask = ask;
	in_daemon = in_daemon;
	-- An account has changed, and no event of Prosody's has said so.
	changed = function (params) asked("account.changed", params, function () end); end;
	connections = { module:shared("/*/c2s/sessions"), module:shared("/*/bosh/sessions"), api.waiting };
});
asked = asked_lib.new({ hosts = hosts, sessions = sessions, forget = forget, pages = api.pages });
local sasl = sasl_lib.new(hosts);
local ask_for_certificates = module:require "tls".new(function () return settings.manage_tls and not closed; end);

local remove_from_shell = console.add_to_shell(module, console.new({
	ask = ask, change = change;
	state = function ()
		connection.socket, connection.sessions = settings.socket, sessions.count();
		connection.withdrawn = names_of(function (host) return host.withdrawn(); end);
		return connection;
	end;
}));

-- Says hello when everything that happens now (all hosts at the start, a reload) has happened.
local declaring = false;
local function declare_soon()
	if declaring or closed then return; end
	declaring = true;
	module:add_timer(0, function () declaring = false; client.declare(); end);
end

api.ask, api.change, api.ask_blocking, api.can_wait, api.failures = ask, change, ask_blocking, can_wait, module:require "failures";
api.verdict, api.process, api.in_daemon = sasl.verdict, sasl.process, in_daemon;
api.outlive, api.close = sasl_lib.outlive, sessions.close_each;
-- The sessions of an account that has changed unnoticed end.
api.check, api.password_is_of, api.declare = sessions.report_all, sessions.password_is_of, declare_soon;
function api.timeout() return settings.timeout; end
-- The hashes that may be offered; nil if that isn't known yet.
function api.scram(name) return hosts[name] and hosts[name].scram; end

-- Prosody closes the bound sessions of such an account only.
for _, kind in pairs(asked_lib.changes) do
	if kind.event then
		module:hook(kind.event, function (event)
			local host = hosts[event.host];
			if not host or type(event.username) ~= "string" then return; end
			forget(host, event.username);
			if kind.condition then sessions.close_of(event.username .. "@" .. event.host, { condition = kind.condition }, true); end
		end);
	end
end

module:hook("config-reloaded", function ()
	local socket = settings.socket;
	settings = hello.settings();
	if settings.socket ~= socket then client.reconnect(); end
	declare_soon();
end);
module:hook("host-deactivating", function (event) sessions.close_of(event.host, { condition = "host-gone" }, true); end);
module:hook("host-deactivated", function (name) hosts[name] = nil; end);

-- Hosts where this module was loaded before a reload of the global part alone still run in the old environment.
module:add_timer(0, function ()
	for name in pairs(prosody.hosts) do
		if not hosts[name] and modulemanager.is_loaded(name, module.name) then modulemanager.reload(name, module.name); end
	end
end);

function module.unload()
	closed = true;
	client.close();
	metrics.connected(false);
	if remove_from_shell then remove_from_shell(); end
	-- Another function in its place says that it can't ask.
	if api.ask == ask then api.verdict, api.process = nil, nil; end
	for _, host in pairs(hosts) do host.unload(); end
end

function module.add_host(host_module)
	local name = host_module.host;
	if host_module:get_host_type() ~= "local" then return; end
	if host_module:get_option_string("authentication") == "anonymous" then
		host_module:log("debug", "No certificates for anonymous accounts");
		return;
	end

	-- Which kind of provider a host has is part of the hello.
	local host = new_host(host_module, { closed = function () return closed; end, provider_changed = declare_soon });
	hosts[name] = host;

	function host_module.unload()
		host.unload();
		if hosts[name] == host then hosts[name] = nil; end
		declare_soon();
	end

	ask_for_certificates(host_module);
	sessions.add_host(host_module);
	devices.watch(host_module);
	sasl.add_host(host_module);
	adhoc.add_host(host, host_module);

	local handlers = { items = certificates.list, append = certificates.change, disable = certificates.change, revoke = certificates.change };
	for element, handle in pairs(handlers) do
		host_module:hook(("iq-%s/self/%s:%s"):format(element == "items" and "get" or "set", certificates.xmlns, element), function (event)
			if not host.withdrawn() then return handle(host, event.origin, event.stanza); end
		end);
	end

	declare_soon();
end
