-- How an administrator asks the daemon: with commands of Prosody's admin shell, of either version, and with prosodyctl.
--
-- What a command says comes from the daemon; here stands only what is said while it can't be asked.

local configmanager = require "core.configmanager";
local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local array = require "util.array";
local null = require "util.json".null;

-- Outlives reloads of this module.
local api = module:shared("/*/saslcertd/api");

local commands = {
	{ name = "list", words = { "jid" }, description = "List the certificates of an account" };
	{
		name = "revoke", words = { "jid", "name" }, changes = true;
		description = "Revoke a certificate and its key, and close the sessions that use it";
	};
	{ name = "status", words = {}, description = "Show whether saslcertd can be asked, and which hosts it is ready for" };
};

local function show(print, ok, text, lines)
	for _, line in ipairs(lines or {}) do print(line); end
	return ok or nil, text;
end

-- state_now(): socket, connected, since (that began, if known), why (it is away), sessions (where there can be some), withdrawn (names of
-- hosts).
-- Returns a function that runs a command: whether it could be done, a closing text, and lines that come before that.
local function new(state_now)
	local function failed(command, failure)
		local state = state_now();
		local unanswered = failure.reason == "lost" or failure.reason == "timeout";
		if failure.code then return false, failure.message or "saslcertd could not decide it"; end
		if failure.reason == "too-long" or failure.reason == "not-text" then return false, "That is too long, or not UTF-8 text"; end
		if unanswered and command.name ~= "status" then
			return false, "saslcertd did not answer" .. (command.changes and "; it may have been done or not" or "");
		end
		local why = unanswered and "it does not answer" or state.why;
		local since = state.since and os.date("! since %Y-%m-%d %H:%M:%S UTC", math.floor(state.since)) or "";
		local lines = command.name == "status" and {
			("%s%s to saslcertd at %s"):format(state.connected and "Connected" or "Not connected", since, state.socket);
		} or nil;
		return false, "saslcertd can't be asked" .. (why and ": " .. tostring(why) or ""), lines;
	end

	return function (command, ...)
		local state = state_now();
		local ask = command.changes and api.change or api.ask;
		local result, failure = ask("console.run", {
			words = array({ command.name, ... });
			socket = state.socket;
			sessions = state.sessions or null;
			withdrawn = command.name == "status" and array(state.withdrawn) or nil;
		});
		if not result then return failed(command, failure); end
		return result.ok, result.text, result.lines;
	end;
end

-- Adds saslcert:list() and so on to the shell. Returns what takes them away, if the module's end doesn't do that by itself.
local function add_to_shell(module, run)
	local section = {};
	for _, command in ipairs(commands) do
		section[command.name] = function (self, ...)
			return show(self.session.print, run(command, ...));
		end;
	end
	if not module.get_option_period then -- COMPAT 0.12
		local env = module:shared("/*/admin_shell/env");
		env.saslcert = section;
		return function ()
			if env.saslcert == section then env.saslcert = nil; end
		end;
	end
	for _, command in ipairs(commands) do
		local arguments = {};
		for i, word in ipairs(command.words) do arguments[i] = { name = word, type = "string" }; end
		module:add_item("shell-command", {
			section = "saslcert";
			section_desc = "Client certificates of users (saslcertd)";
			name = command.name;
			desc = command.description;
			args = arguments;
			handler = section[command.name];
		});
	end
end

-- Runs a command of prosodyctl with these words, of which it is itself the first. Returns the exit status; nil if there are too few
-- words or too many.
local function run_once(run, command, arg)
	if #arg - 1 ~= #command.words then return nil; end
	local ok, text = show(print, run(command, arg[2], arg[3]));
	(ok and io.stdout or io.stderr):write(text, "\n");
	return ok and 0 or 1;
end

-- The hosts that the configuration gives to this module, in prosodyctl's process, which loads none of them.
local function configured_hosts()
	local names = {};
	for name, options in pairs(configmanager.getconfig()) do
		local authentication = configmanager.get(name, "authentication");
		local is_ours = name ~= "*" and not rawget(options, "component_module") and rawget(options, "enabled") ~= false
			and authentication ~= "anonymous"
			and (authentication == "saslcertd" or get_modules_for_host(name):contains(module.name));
		if is_ours then names[#names + 1] = name; end
	end
	return names;
end

return { commands = commands, new = new, add_to_shell = add_to_shell, run_once = run_once, configured_hosts = configured_hosts };
