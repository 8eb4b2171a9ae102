-- Certificates and saslcertd: SASL EXTERNAL (XEP-0178) on top of any authentication provider, and the users' own
-- lists of certificates (XEP-0257). The daemon decides; this module carries questions and answers, fetches facts that
-- only Prosody has, and closes what is revoked. Where accounts live in the daemon, mod_auth_saslcertd asks through the same
-- connection.
--
-- This file wires: one connection for the whole server, and what each host needs. It must not know X.509, and never
-- compares addresses.

module:set_global();

local async = require "util.async";
local array = require "util.array";
local json = require "util.json";
local now = require "util.time".now;
local valid_text = require "util.encodings".utf8.valid;
local configmanager = require "core.configmanager";
local modulemanager = require "core.modulemanager";

local options = module:require "options";
local new_client = module:require "client".new;
local asked_lib = module:require "asked";
local new_host = module:require "host".new;
local sasl_lib = module:require "sasl";
local certificates = module:require "certificates";
local adhoc = module:require "adhoc";
local new_sessions = module:require "sessions".new;
local devices = module:require "devices";
local new_tls = module:require "tls".new;
local console = module:require "console";
local wire = module:require "wire";
local new_metrics = module:require "metrics".new;

local protocol_version = 2;
local module_version = "0.1.0";
-- A change waits for the disk of the daemon's machine.
local change_timeout = 10;
-- How often certificates that are about to expire are counted.
local count_interval = 60 * 60;

-- prosodyctl loads the module too; it must not say hello for the server's hosts.
local in_server = prosody.process_type ~= "prosodyctl";

-- Handlers of streams that are open across a reload live on in the old environment, and find the new one here. So do the libraries, and
-- mod_auth_saslcertd, which puts into accounts what is to hear of changes, by host, and into waiting the sessions whose login waits for
-- its delay.
local api = module:shared("/*/saslcertd/api");
api.accounts = api.accounts or {};
api.waiting = api.waiting or {};
local hosts = {};
local settings = {};
local client, sessions, asked, metrics, declare_soon, remove_from_shell;
local closed = false;
-- Why the daemon refused the last hello; logged when it is new.
local last_refusal;
-- As saslcert:status() tells it.
local connection = { connected = false };
-- An admin who gave prosodyctl a command of ours reads what went wrong in its answer, and not in a log.
local commanded = false;

local function section_of(name) return rawget(configmanager.getconfig(), name) or {}; end

local function declared_hosts()
	local list = array();
	for name, host in pairs(hosts) do
		list:push({ host = name, accounts = host.in_daemon() and "daemon" or "prosody", options = options.of_section(section_of(name)) });
	end
	return list;
end

-- For a command of prosodyctl, whose process loads no hosts: what is said of them elsewhere stays.
local function attached_hosts()
	local list = array();
	for _, name in ipairs(console.configured_hosts()) do list:push({ host = name }); end
	return list;
end

-- Prints what the daemon says of the options, each line when it is new, and not at each reconnect.
local printed = {};
local function report_options(result)
	local before, problems = printed, {};
	printed = {};
	for _, line in ipairs(result.log) do
		local host = hosts[line.host];
		if host or not line.host then
			local key = ("%s %s"):format(line.host or "*", line.text);
			if not before[key] then (host and host.module or module):log(line.level, "%s", line.text); end
			printed[key] = true;
			if host and line.level == "error" then problems[line.host] = line.text; end
		end
	end
	for _, answer in ipairs(result.hosts) do
		local host, problem = hosts[answer.host], problems[answer.host];
		if host then
			host.scram = answer.scram or host.scram;
			host.leaf_only = answer.chain == false;
			host.set_lists(answer.lists);
			host.module:set_status(problem and "error" or "core", problem or "Loaded", true);
		end
	end
end

local function forget(host, username)
	local accounts = api.accounts[host.name];
	if accounts then accounts.forget(username); end
end

-- Inside of string.gsub and the like Lua can't wait, though there is a runner.
local function can_wait()
	return async.ready() and (not coroutine.isyieldable or coroutine.isyieldable());
end

-- Asks and waits. Returns the result, or nil and the failure. ask_options: see client.lib.lua; without them the question has as much
-- time as is configured, and may be asked again.
local function ask(method, params, ask_options)
	if closed or not can_wait() then return nil, { reason = "away" }; end
	local result, failure;
	local wait, done = async.waiter(1, true);
	client.request(method, params, ask_options or { timeout = settings.timeout, again = true }, function (...)
		result, failure = ...;
		done();
	end);
	wait();
	return result, failure;
end

-- The same, for what changes something.
local function change(method, params)
	return ask(method, params, { timeout = math.max(settings.timeout, change_timeout) });
end

local software = "Prosody " .. tostring(prosody.version);

-- Which copy of this module runs: several may lie on the machine.
local function this_copy()
	local path = module:get_directory() or "";
	return { version = module_version, path = valid_text(path) and path or "" };
end

-- Asks while everything stands still, for at most so many seconds. attach: the host that the question is about, if it is one that
-- may not be asked by a stranger.
local function ask_blocking(method, params, seconds, attach)
	if closed then return nil, { reason = "away" }; end
	local asked_at = now();
	local result, failure = wire.ask(settings.socket, method, params, seconds, attach and {
		protocol = protocol_version;
		software = software;
		-- Its options were declared on the other connection.
		hosts = array({ { host = attach, accounts = "daemon" } });
		sessions = false;
	});
	if metrics then metrics.ended(method, now() - asked_at, result, failure); end
	return result, failure;
end

local function each_account_host(call)
	for name, accounts in pairs(api.accounts) do
		if hosts[name] then call(accounts); end
	end
end

local function note_connection(is_connected, why)
	if connection.connected ~= is_connected then connection.since = now(); end
	connection.connected, connection.why = is_connected, why;
	if metrics then metrics.connected(is_connected); end
end

settings = options.settings(section_of("*"));

client = new_client({
	socket = function () return settings.socket; end;
	answer = function (...) return asked(...); end;
	hello = function ()
		local list = commanded and attached_hosts() or declared_hosts();
		-- A server of many hosts says it in several lines.
		local pieces = wire.pieces_of(list);
		if not pieces[1] then pieces[1] = array(); end
		module:log("debug", "Declaring to saslcertd; hosts: %d", #list);
		local own = this_copy();
		for i, piece in ipairs(pieces) do
			pieces[i] = {
				protocol = protocol_version;
				software = software;
				module = own;
				hosts = piece;
				global = not commanded and options.of_section(section_of("*")) or nil;
				folder = prosody.paths.config or ".";
				continued = i > 1;
			};
			if not in_server then pieces[i].sessions = false; end
		end
		return pieces;
	end;
	greeted = function (result)
		last_refusal = nil;
		connection.software = result.software;
		module:log("debug", "Declared to %s", tostring(result.software));
		module:set_status("info", ("Connected to %s"):format(tostring(result.software)));
		-- Nobody told what changed while there was no connection.
		each_account_host(function (accounts) accounts.expire(); end);
		sessions.report_all();
		report_options(result);
		if metrics then metrics.count_expiring(); end
	end;
	refused = function (failure)
		local refusal = failure.message or failure.reason;
		if refusal == last_refusal then return; end
		last_refusal = refusal;
		module:log("error", "The daemon refuses session.hello, version %d: %s", protocol_version, refusal);
	end;
	away = function (why)
		note_connection(false, why);
		each_account_host(function (accounts) accounts.expire(); end);
		if not in_server then
			module:log(commanded and "debug" or "error", "saslcertd at %s can't be asked: %s", settings.socket, why or "no reason given");
			return;
		end
		local without_password = {};
		for name, host in pairs(hosts) do
			if host.in_daemon() then without_password[#without_password + 1] = name; end
		end
		table.sort(without_password);
		module:log("warn", "saslcertd at %s is away: %s. Until it is back nobody can log in with a certificate%s",
			settings.socket, why or "no reason given",
			without_password[1] and ", nor in any way on " .. table.concat(without_password, ", ") or "");
		module:set_status("warn", ("saslcertd is away: %s"):format(why or "no reason given"));
	end;
	back = function ()
		note_connection(true);
		-- What prosodyctl logs stands on the screen.
		module:log(in_server and "info" or "debug", "Connected to saslcertd at %s", settings.socket);
		module:set_status("info", "Connected");
	end;
	missed = function () sessions.report_all(); end;
});

-- What prosodyctl counts, nobody sees.
if in_server then
	metrics = new_metrics(client.request);
	-- Under its name: the client's own questions go through it, too.
	client.request = metrics.request;
	module:add_timer(count_interval, function ()
		metrics.count_expiring();
		return count_interval;
	end);
end

sessions = new_sessions({
	notify = client.notify;
	ask = ask;
	in_daemon = function (name) return hosts[name] ~= nil and hosts[name].in_daemon(); end;
	-- What was changed without our hearing of it.
	changed = function (params) asked("account.changed", params, function () end); end;
	connections = { module:shared("/*/c2s/sessions"), module:shared("/*/bosh/sessions"), api.waiting };
});

-- As the console wants it.
local function state()
	local withdrawn = {};
	for name, host in pairs(in_server and hosts or {}) do
		if host.withdrawn() then withdrawn[#withdrawn + 1] = name; end
	end
	return {
		socket = settings.socket;
		connected = client.connected();
		since = in_server and connection.since or nil;
		why = connection.why;
		sessions = in_server and sessions.count() or nil;
		withdrawn = withdrawn;
	};
end

asked = asked_lib.new({ hosts = hosts, sessions = sessions, forget = forget });
local sasl = sasl_lib.new(hosts);
local tls = new_tls(function () return settings.manage_tls and not closed; end);
local run_command = console.new(state);

-- Says hello when everything that happens now (all hosts at the start, a reload) has happened.
local declaring = false;
function declare_soon()
	if declaring or closed or not in_server then return; end
	declaring = true;
	module:add_timer(0, function ()
		declaring = false;
		client.declare();
	end);
end

-- Hosts where this module was loaded before a reload of the global part alone still run in the old environment.
local function adopt_hosts()
	for name in pairs(prosody.hosts) do
		if not hosts[name] and modulemanager.is_loaded(name, module.name) then
			modulemanager.reload(name, module.name);
		end
	end
end

api.ask, api.change, api.ask_blocking, api.can_wait = ask, change, ask_blocking, can_wait;
api.outlive, api.close = sasl_lib.outlive, sessions.close_each;
function api.timeout() return settings.timeout; end
-- What was changed without our hearing of it ends the sessions of its account.
function api.check() sessions.report_all(); end
function api.password_is_of(account, password_changed) sessions.password_is_of(account, password_changed); end
-- The hashes that may be offered; nil if that isn't known yet.
function api.scram(name) return hosts[name] and hosts[name].scram; end

-- prosodyctl mod_saslcertd …: each gets all the words and returns prosodyctl's exit status, or nil if there are too few or many.
local commands = {};
for _, command in ipairs(console.commands) do
	commands[command.name] = function (arg)
		commanded = true;
		return console.run_once(run_command, command, arg);
	end;
end

-- For saslcertd doctor.
function commands.facts(arg)
	if arg[2] then return nil; end
	local own = this_copy();
	own.protocol = protocol_version;
	print(json.encode((module:require "facts")(own)));
	return 0;
end

local usage = [[
Client certificates of users, and saslcertd:

  prosodyctl mod_saslcertd list JID
  prosodyctl mod_saslcertd revoke JID NAME
  prosodyctl mod_saslcertd status
  prosodyctl mod_saslcertd facts     (for saslcertd doctor)
]];

function module.command(arg)
	local command = commands[arg[1]];
	local status = command and command(arg);
	if status then return status; end
	io.stderr:write(usage);
	return 1;
end

if in_server then
	remove_from_shell = console.add_to_shell(module, run_command);

	api.verdict, api.process = sasl.verdict, sasl.process;

	-- Prosody closes the bound sessions of such an account only.
	for _, kind in pairs(asked_lib.changes) do
		if kind.event then
			module:hook(kind.event, function (event)
				local host = hosts[event.host];
				if not host or type(event.username) ~= "string" then return; end
				forget(host, event.username);
				if not kind.condition then return; end
				sessions.close_of(event.username .. "@" .. event.host, { condition = kind.condition }, true);
			end);
		end
	end

	tls.load(module, prosody.start_time ~= nil);

	module:hook("config-reloaded", function ()
		local socket = settings.socket;
		settings = options.settings(section_of("*"));
		if settings.socket ~= socket then client.reconnect(); end
		declare_soon();
	end);

	module:hook("host-deactivating", function (event)
		sessions.close_of(event.host, { condition = "host-gone" }, true);
	end);

	module:hook("host-deactivated", function (name) hosts[name] = nil; end);

	module:add_timer(0, adopt_hosts);
end

function module.unload()
	closed = true;
	client.close();
	if metrics then metrics.connected(false); end
	if remove_from_shell then remove_from_shell(); end
	-- What else stands there says that it can't ask.
	if api.ask == ask then api.verdict, api.process = nil, nil; end
	for _, host in pairs(hosts) do host.unload(); end
end

function module.add_host(host_module)
	local name = host_module.host;
	if host_module:get_host_type() ~= "local" then return; end
	if not in_server then
		-- prosodyctl loads what it needs to change accounts, and nothing else.
		local in_daemon = host_module:get_option_string("authentication") == "saslcertd";
		hosts[name] = { name = name, module = host_module, in_daemon = function () return in_daemon; end,
			set_lists = function () end, unload = function () end };
		return;
	end
	if host_module:get_option_string("authentication") == "anonymous" then
		host_module:log("debug", "No certificates for anonymous accounts");
		return;
	end

	local host = new_host(host_module, {
		closed = function () return closed; end;
		-- Which kind of provider a host has is part of the hello.
		provider_changed = function () declare_soon(); end;
	});
	hosts[name] = host;

	function host_module.unload()
		host.unload();
		if hosts[name] == host then hosts[name] = nil; end
		declare_soon();
	end

	tls.add_host(host_module);
	sessions.add_host(host_module);
	devices.watch(host_module);
	sasl.add_host(host_module);
	adhoc.add_host(host, host_module);

	local function iq(kind, element, handle)
		host_module:hook(("iq-%s/self/%s:%s"):format(kind, certificates.xmlns, element), function (event)
			if host.withdrawn() then return; end
			return handle(host, event.origin, event.stanza);
		end);
	end
	iq("get", "items", certificates.list);
	for _, element in ipairs({ "append", "disable", "revoke" }) do iq("set", element, certificates.change); end

	declare_soon();
end
