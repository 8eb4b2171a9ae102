-- In prosodyctl's process: `prosodyctl mod_saslcertd …`, and the questions by which mod_auth_saslcertd changes accounts there. Nothing else
-- runs in it, so each question waits for its answer, over a connection of its own.
--
-- It must not decide, nor open ports.

local configmanager = require "core.configmanager";
local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local array = require "util.array";
local host_of = require "util.jid".host;
local json = require "util.json";

local console = module:require "console";
local hello = module:require "hello";
local settings = hello.settings();

local usage = [[
Client certificates of users, and saslcertd:

  prosodyctl mod_saslcertd list JID
  prosodyctl mod_saslcertd revoke JID NAME
  prosodyctl mod_saslcertd link JID [add|new|replace] [NAME] [TIME] [USES]
  prosodyctl mod_saslcertd links [JID|HOST]
  prosodyctl mod_saslcertd unlink ID
  prosodyctl mod_saslcertd status
  prosodyctl mod_saslcertd facts     (for saslcertd doctor)
]];

-- The hosts that the configuration gives to this module. They come without options: earlier declarations stay.
local function configured_hosts()
	local hosts = array();
	for name, options in pairs(configmanager.getconfig()) do
		local authentication = configmanager.get(name, "authentication");
		local is_ours = name ~= "*" and not rawget(options, "component_module") and rawget(options, "enabled") ~= false
			and authentication ~= "anonymous"
			and (authentication == "saslcertd" or get_modules_for_host(name):contains(module.name));
		if is_ours then hosts[#hosts + 1] = { host = name }; end
	end
	return hosts;
end

local function ask_for_command(seconds) return function (...) return hello.ask_alone(settings.socket, seconds, configured_hosts(), ...); end; end
local run_command = console.new({
	ask = ask_for_command(settings.timeout), change = ask_for_command(settings.change_timeout);
	state = function () return { socket = settings.socket, connected = false, withdrawn = {} }; end;
});

function module.command(arg)
	if arg[1] == "facts" and not arg[2] then
		print(json.encode((module:require "facts")()));
		return 0;
	end
	for _, command in ipairs(console.commands) do
		if command.name == arg[1] and #command.words >= #arg - 1 and (command.least or #command.words) <= #arg - 1 then
			local ok, text = console.show(print, run_command(command, (table.unpack or unpack)(arg, 2))); -- luacheck: ignore 113
			(ok and io.stdout or io.stderr):write(text, "\n");
			return ok and 0 or 1;
		end
	end
	io.stderr:write(usage);
	return 1;
end

-- Prosody's log goes to the screen. After a command of ours the admin reads the same in the answer instead.
local said = {};
local function say(level, text)
	if not said[text] then module:log(level, "%s", text); end
	said[text] = true;
end

-- About an account, or the accounts of a host.
local function ask(method, params, seconds)
	local host = hello.host(params.host or host_of(params.account), true);
	local result, failure, log = hello.ask_alone(settings.socket, seconds, array({ host }), method, params);
	for _, line in ipairs(log) do say(line.level, line.text); end
	if failure and failure.reason == "away" then
		say("error", ("saslcertd at %s can't be asked: %s"):format(settings.socket, failure.message or "no reason given"));
	end
	return result, failure;
end

local api = module:shared("/*/saslcertd/api");
api.accounts, api.failures = api.accounts or {}, module:require "failures";
function api.timeout() return settings.timeout; end
function api.can_wait() return true; end
function api.ask(method, params, ask_options) return ask(method, params, ask_options and ask_options.timeout or settings.timeout); end
function api.change(method, params) return ask(method, params, settings.change_timeout); end
-- There are no sessions here.
function api.check() end
function api.password_is_of() end

-- mod_auth_saslcertd depends on this module.
function module.add_host() end
