-- What only Prosody knows of its configuration, for `saslcertd doctor`, which gets it as one line of JSON from
-- `prosodyctl mod_saslcertd facts`.
--
-- It runs within prosodyctl, and reads what is configured, not what runs: it must not connect anywhere, open ports, or draw conclusions.

local configmanager = require "core.configmanager";
local modulemanager = require "core.modulemanager";
local array = require "util.array";
local pluginloader = require "util.pluginloader";
local getpid = require "util.prosodyctl".getpid;
local socket = require "socket";

local options = module:require "options";
local context_of = module:require "tls".context_of;

-- Those that doctor reads, and no others: there are passwords among them.
local read = {};
for name in ([[
	authentication component_module disable_sasl_mechanisms enabled modules_disabled modules_enabled network_backend network_settings pidfile
	prosody_user run_as_root use_ipv4 use_ipv6 use_libevent
]]):gmatch("%S+") do read[name] = true; end
-- Of each of these no more than what it says about `verify`: the password of a key may stand there, too.
local tls = {};
for _, prefix in ipairs({ "", "c2s_", "c2s_direct_tls_", "legacy_ssl_", "ssl_" }) do
	for _, name in ipairs({ "interface", "interfaces", "ports" }) do read[prefix .. name] = true; end
	tls[prefix .. "ssl"] = true;
end

local function of_section(section)
	local all = options.of_section(section, function (name) return read[name]; end);
	for name in pairs(tls) do
		local value = rawget(section, name);
		if value ~= nil then all[name] = type(value) == "table" and { verify = options.plain(value.verify) } or options.plain(value); end
	end
	return all;
end

-- What TLS is without our help.
local function tls_of(name)
	local context, err, config = context_of(name);
	if not context then return { error = tostring(err) }; end
	return { verify = options.plain(config.verify), certificate = type(config.certificate) == "string" and config.certificate or nil };
end

local function modules_of(name)
	local names = array();
	for module_name in modulemanager.get_modules_for_host(name):items() do names[#names + 1] = module_name; end
	return names;
end

-- The facts of the Prosody in whose process this runs. own: this copy of the module.
return function (own)
	local sections, hosts = {}, {};
	for name, section in pairs(configmanager.getconfig()) do
		sections[name] = of_section(section);
		if name ~= "*" and not rawget(section, "component_module") then
			local authentication = tostring(configmanager.get(name, "authentication") or "internal_hashed");
			hosts[name] = {
				modules = modules_of(name);
				authentication_found = pluginloader.load_resource("auth_" .. authentication) ~= nil;
				starttls = tls_of(name);
			};
		end
	end
	local plugin_paths = array();
	for path in (prosody.paths.plugins or ""):gmatch("[^;]+") do plugin_paths[#plugin_paths + 1] = path; end
	local is_known, pid = getpid();
	return {
		version = prosody.version;
		module = own;
		config_file = prosody.config_file;
		config_folder = prosody.paths.config or ".";
		files = array(configmanager.files());
		plugin_paths = plugin_paths;
		-- nil: it doesn't run, or keeps no pidfile.
		pid = is_known and pid or nil;
		ipv6 = socket.tcp6 ~= nil;
		sections = sections;
		hosts = hosts;
		modules = modules_of("*");
	};
end
