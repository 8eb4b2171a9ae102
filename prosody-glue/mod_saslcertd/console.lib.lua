-- How an administrator gets at what shell.lib.lua knows: as commands of Prosody's admin shell, of either version, and with
-- prosodyctl.

local commands = {
	{ name = "list", words = { "jid" }, description = "List the certificates of an account" };
	{ name = "revoke", words = { "jid", "name" }, description = "Revoke a certificate and its key, and close the sessions that use it" };
	{ name = "status", words = {}, description = "Show whether saslcertd can be asked, and which hosts it is ready for" };
};

local function show(print, ok, text, lines)
	for _, line in ipairs(lines or {}) do print(line); end
	return ok or nil, text;
end

-- Adds saslcert:list() and so on to the shell. Returns what takes them away, if the module's end doesn't do that by itself.
local function add_to_shell(module, shell)
	local section = {};
	for _, command in ipairs(commands) do
		section[command.name] = function (self, ...)
			return show(self.session.print, shell[command.name](...));
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

-- Runs a command with these words, of which it is itself the first. Returns the exit status; nil if there are too few words or
-- too many.
local function run(shell, command, arg)
	if #arg - 1 ~= #command.words then return nil; end
	local ok, text = show(print, shell[command.name](arg[2], arg[3]));
	(ok and io.stdout or io.stderr):write(text, "\n");
	return ok and 0 or 1;
end

return { commands = commands, add_to_shell = add_to_shell, run = run };
