-- The facts about its configuration that only Prosody knows, for `saslcertd doctor`, which gets them from `prosodyctl mod_saslcertd facts`.
--
-- It runs within prosodyctl, and reads what is configured, not what runs: it must not connect anywhere, open ports, or draw conclusions.

local configmanager = require "core.configmanager";
local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local array = require "util.array";
local load_resource = require "util.pluginloader".load_resource;
local getpid = require "util.prosodyctl".getpid;
local has_ipv6 = require "socket".tcp6 ~= nil;

local hello = module:require "hello";
local context_of = module:require "tls".context_of;

-- Those that doctor reads, and no others: there are passwords among them.
local read = {};
for name in ([[
	authentication component_module disable_sasl_mechanisms enabled http_external_url http_host http_legacy_x_forwarded https_ports
	modules_disabled modules_enabled network_backend network_settings pidfile prosody_user run_as_root use_ipv4 use_ipv6 use_libevent
]]):gmatch("%S+") do read[name] = true; end
-- Of each of these no more than what it says about `verify`: the password of a key may stand there, too.
local tls = {};
for _, prefix in ipairs({ "", "c2s_", "c2s_direct_tls_", "legacy_ssl_", "ssl_" }) do
	for _, name in ipairs({ "interface", "interfaces", "ports" }) do read[prefix .. name] = true; end
	tls[prefix .. "ssl"] = true;
end

local function of_section(section)
	local all = hello.of_section(section, function (name) return read[name]; end);
	for name in pairs(tls) do
		local value = rawget(section, name);
		if value ~= nil then all[name] = type(value) == "table" and { verify = hello.plain(value.verify) } or hello.plain(value); end
	end
	return all;
end

local function modules_of(name)
	local names = array();
	for module_name in get_modules_for_host(name):items() do names[#names + 1] = module_name; end
	return names;
end

local function of_host(name)
	local authentication = tostring(configmanager.get(name, "authentication") or "internal_hashed");
	-- TLS without our help.
	local context, err, tls_config = context_of(name);
	return {
		modules = modules_of(name);
		authentication_found = load_resource("auth_" .. authentication) ~= nil;
		starttls = context and {
			verify = hello.plain(tls_config.verify), certificate = type(tls_config.certificate) == "string" and tls_config.certificate or nil;
		} or { error = tostring(err) };
	};
end

-- The facts of the Prosody in whose process this runs.
return function ()
	local sections, hosts, plugin_paths = {}, {}, array();
	for name, section in pairs(configmanager.getconfig()) do
		sections[name] = of_section(section);
		if name ~= "*" and not rawget(section, "component_module") then hosts[name] = of_host(name); end
	end
	for path in (prosody.paths.plugins or ""):gmatch("[^;]+") do plugin_paths[#plugin_paths + 1] = path; end
	local is_known, pid = getpid();
	return {
		version = prosody.version;
		module = { version = hello.own_copy.version, path = hello.own_copy.path, protocol = hello.protocol_version };
		config_file = prosody.config_file, config_folder = prosody.paths.config or ".", files = array(configmanager.files());
		pid = is_known and pid or nil; -- nil: it doesn't run, or keeps no pidfile
		plugin_paths = plugin_paths, ipv6 = has_ipv6, sections = sections, hosts = hosts, modules = modules_of("*");
	};
end
