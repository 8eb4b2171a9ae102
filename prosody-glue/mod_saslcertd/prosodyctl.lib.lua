-- What there is to know in prosodyctl's process, which loads no hosts: which of them have saslcertd, and how they are.

local hello_timeout = 5;

-- with: ask(method, params, options); hello(hosts) (the params of a session.hello); module_name; configmanager; modulemanager;
--   user_exists(params) (of util.prosodyctl); make_host(name) (makes it known to that); messages_of(problems); socket(); why() (the
--   daemon is away)
local function new(with)
	local prosodyctl = {};

	local function has_module(name, options)
		local authentication = with.configmanager.get(name, "authentication");
		if rawget(options, "component_module") or rawget(options, "enabled") == false or authentication == "anonymous" then return false; end
		return authentication == "saslcertd" or with.modulemanager.get_modules_for_host(name):contains(with.module_name);
	end

	function prosodyctl.serves(name)
		local options = name ~= "*" and rawget(with.configmanager.getconfig(), name);
		return options and has_module(name, options) or false;
	end

	-- nil if that can't be said.
	function prosodyctl.exists(username, name)
		local ok, exists = pcall(function ()
			with.make_host(name);
			return with.user_exists({ user = username, host = name });
		end);
		if not ok then return nil; end
		return exists and true or false;
	end

	-- As shell.lib.lua wants it. Attaches to the hosts, which tells how they are and changes nothing.
	function prosodyctl.state()
		local wanted, list = {}, {};
		for name in pairs(with.configmanager.getconfig()) do
			if prosodyctl.serves(name) then wanted[#wanted + 1] = { host = name }; end
		end
		local result, failure = with.ask("session.hello", with.hello(wanted), { timeout = hello_timeout });
		for _, answer in ipairs(result and type(result.hosts) == "table" and result.hosts or {}) do
			list[#list + 1] = {
				name = tostring(answer.host);
				ready = answer.ready == true;
				errors = with.messages_of(answer.errors);
				in_daemon = answer.scram ~= nil;
				scram = answer.scram;
			};
		end
		return {
			socket = with.socket();
			connected = result ~= nil;
			why = not result and (failure.message or with.why()) or nil;
			software = result and result.software;
			hosts = list;
		};
	end

	return prosodyctl;
end

return { new = new };
