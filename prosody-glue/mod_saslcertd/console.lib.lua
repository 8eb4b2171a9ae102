-- How an administrator asks the daemon: with commands of Prosody's admin shell, of either version, and with prosodyctl.
--
-- It must not decide, and words no answer: the daemon does. Its own sentences say that the daemon can't be asked.

local array = require "util.array";
local null = require "util.json".null;

local failures = module:require "failures";

local commands = {
	{ name = "list", words = { "jid" }, description = "List the certificates of an account" };
	{ name = "revoke", words = { "jid", "name" }, description = "Revoke a certificate and its key, and close the sessions that use it", changes = true };
	{ name = "link", words = { "jid", "kind", "name", "expires", "uses" }, least = 1, description = "Make a link that gives a key", changes = true };
	{ name = "links", words = { "of" }, least = 0, description = "List the links that can still be used" };
	{ name = "unlink", words = { "id" }, description = "Revoke a link", changes = true };
	{ name = "status", words = {}, description = "Show whether saslcertd can be asked, and which hosts it is ready for" };
};

local function show(print, ok, text, lines)
	for _, line in ipairs(lines or {}) do print(line); end
	return ok or nil, text;
end

-- with: ask(method, params), change(method, params); state(): socket, connected, since (that began, if known), why (it is away), sessions
--   (how many, where there can be some), withdrawn (names of hosts).
-- Returns a function that runs a command: whether it could be done, a closing text, and lines that come before that.
local function new(with)
	local function failed(command, state, failure)
		local kind, is_status = failures.kind_of(failure), command.name == "status";
		if failure.code or kind == "unsendable" or kind == "unanswered" and not is_status then
			-- There is no secret in the words of a command.
			return false, failure.code and failure.message or failures.text_of(failure, command.changes);
		end
		local why = kind == "unanswered" and "it does not answer" or failure.message or state.why;
		local since = state.since and os.date("! since %Y-%m-%d %H:%M:%S UTC", math.floor(state.since)) or "";
		local connected = ("%s%s to saslcertd at %s"):format(state.connected and "Connected" or "Not connected", since, state.socket);
		return false, "saslcertd can't be asked" .. (why and ": " .. why or ""), is_status and { connected } or nil;
	end

	return function (command, ...)
		local state = with.state();
		local result, failure = with[command.changes and "change" or "ask"]("console.run", {
			words = array({ command.name, ... }), socket = state.socket, sessions = state.sessions or null;
			withdrawn = command.name == "status" and array(state.withdrawn) or nil;
		});
		if not result then return failed(command, with.state(), failure); end
		return result.ok, result.text, result.lines;
	end;
end

-- Adds saslcert:list() and so on to the shell. Returns what takes them away, if the module's end doesn't do that by itself.
local function add_to_shell(module, run)
	local section = {};
	for _, command in ipairs(commands) do
		section[command.name] = function (self, ...) return show(self.session.print, run(command, ...)); end;
	end
	if not module.get_option_period then -- COMPAT 0.12
		local env = module:shared("/*/admin_shell/env");
		env.saslcert = section;
		return function () if env.saslcert == section then env.saslcert = nil; end end;
	end
	for _, command in ipairs(commands) do
		local arguments = {};
		for i, word in ipairs(command.words) do arguments[i] = { name = word, type = "string" }; end
		module:add_item("shell-command", {
			section = "saslcert", section_desc = "Client certificates of users (saslcertd)";
			name = command.name, desc = command.description, args = arguments, handler = section[command.name];
		});
	end
end

return { commands = commands, new = new, show = show, add_to_shell = add_to_shell };
