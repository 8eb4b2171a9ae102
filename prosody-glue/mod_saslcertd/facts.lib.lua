-- What only Prosody knows about its configuration, for `saslcertd doctor`, which gets it as one line of JSON from
-- `prosodyctl mod_saslcertd facts`.
--
-- It runs within prosodyctl, and reads what is configured, not what runs: it must not connect anywhere, open ports, or
-- judge what it finds.

local c2s_services = {
	{ service = "c2s", prefix = "c2s_", tls = "starttls", default_ports = { 5222 } };
	{ service = "c2s_direct_tls", prefix = "c2s_direct_tls_", tls = "direct" };
	{ service = "legacy_ssl", prefix = "legacy_ssl_", tls = "direct" };
};
-- With mod_net_multiplex clients connect here, too.
local multiplex_services = {
	{ service = "multiplex", prefix = "", tls = "starttls" };
	{ service = "multiplex_ssl", prefix = "ssl_", tls = "direct" };
};

-- The values of a list, or a single value.
local function each(value)
	if type(value) ~= "table" then return { value }; end
	local list = {};
	for i, item in ipairs(value) do list[i] = item; end
	return list;
end

-- Whether a context with this `verify` asks clients for a certificate.
local function asks(verify)
	for _, flag in ipairs(each(verify)) do
		if flag == "peer" then return true; end
	end
	return false;
end

local function lists(modules, name)
	for _, module in ipairs(each(modules)) do
		if module == name then return true; end
	end
	return false;
end

-- Whether the table of TLS options says anything about `verify`.
local function sets_verify(ssl)
	return type(ssl) == "table" and ssl.verify ~= nil;
end

-- The ports for clients, as core.portmanager would open them.
--
-- get: an option of the global section. default_interfaces: where Prosody listens unless told otherwise.
local function ports(get, has_multiplex, default_interfaces, as_array)
	local list = as_array({});
	local function add(service_info)
		local interfaces = get(service_info.prefix .. "interfaces") or get(service_info.prefix .. "interface")
			or get("interfaces") or get("interface") or default_interfaces;
		local numbers = get(service_info.prefix .. "ports") or service_info.default_ports or {};
		local ssl = get(service_info.prefix .. "ssl");
		for _, number in ipairs(each(numbers)) do
			if tonumber(number) then
				list[#list + 1] = {
					service = service_info.service;
					tls = service_info.tls;
					port = tonumber(number);
					interfaces = as_array(each(interfaces));
					-- Those of STARTTLS are the host's.
					ssl_option = service_info.tls == "direct" and service_info.prefix .. "ssl" or nil;
					ssl_set = service_info.tls == "direct" and ssl ~= nil;
					sets_verify = service_info.tls == "direct" and (sets_verify(ssl) or sets_verify(get("ssl")));
				};
			end
		end
	end
	for _, service_info in ipairs(c2s_services) do add(service_info); end
	if has_multiplex then
		for _, service_info in ipairs(multiplex_services) do add(service_info); end
	end
	return list;
end

-- The names of our options that a section sets.
local function own_options(section, as_array)
	local names = as_array({});
	for name in pairs(section or {}) do
		if type(name) == "string" and name:sub(1, 10) == "saslcertd_" then names[#names + 1] = name; end
	end
	table.sort(names);
	return names;
end

-- What a host's STARTTLS does without our help: the same order of settings as in mod_tls. Also where a line about it
-- has to stand: in which section, and within which option, if that is there already.
local function starttls(name, rawget_option, create_context)
	local parent = name:match("%.(.*)$");
	local function option(key)
		local own = rawget_option(name, key);
		if own ~= nil then return own, name; end
		own = parent and rawget_option(parent, key);
		return own, own and parent;
	end
	local own_c2s, section_of_c2s = option("c2s_ssl");
	local own_ssl, section_of_ssl = option("ssl");
	local global_c2s = rawget_option("*", "c2s_ssl");
	local context, err, config = create_context(name, "server", own_c2s or {}, own_ssl or {}, global_c2s or {});
	local section, within = nil, global_c2s and "c2s_ssl";
	if own_c2s then
		section, within = section_of_c2s, "c2s_ssl";
	elseif sets_verify(own_ssl) then
		section, within = section_of_ssl, "ssl";
	end
	return {
		asks = context and config and asks(config.verify) or false;
		certificate = config and type(config.certificate) == "string" and config.certificate or nil;
		error = not context and tostring(err) or nil;
		section = section;
		within = within or nil;
		sets_verify = sets_verify(own_c2s) or sets_verify(own_ssl) or sets_verify(global_c2s) or sets_verify(rawget_option("*", "ssl"));
	};
end

-- In which of these files the sections of hosts begin, by host. Who writes it in another way than everybody is not found.
--
-- lines: of a file, an iterator; nil if it can't be read.
local function files_of_hosts(files, lines, nameprep)
	local found = {};
	for _, file in ipairs(files) do
		for line in lines(file) or function () end do
			local name = line:match("^%s*VirtualHost%s*%(?%s*[\"']([^\"']+)[\"']");
			name = name and nameprep(name);
			if name and not found[name] then found[name] = file; end
		end
	end
	return found;
end

-- The facts as a table for JSON.
--
-- with: get and rawget_option (host, name), section (host), host_names (), files (by host, those that are known), modules_of (host: a
-- util.set), has_module (by name), module (this copy), create_context, declared (host: its options as the daemon hears them, and the
-- misplaced ones), settings, setting_problems, as_array, default_interfaces, backend, version, config_file, data_path, plugin_paths, pid.
local function collect(with)
	local function get(name) return with.get("*", name); end
	local array = with.as_array;
	local hosts = array({});
	local has_multiplex, has_proxy = with.modules_of("*"):contains("net_multiplex"), with.modules_of("*"):contains("net_proxy");
	for _, name in ipairs(with.host_names()) do
		local section = with.section(name) or {};
		-- Raw: a section looks into the global one.
		if not rawget(section, "component_module") and with.get(name, "enabled") ~= false then
			local modules = with.modules_of(name);
			local authentication = tostring(with.get(name, "authentication") or "internal_hashed");
			local options, misplaced = with.declared(name);
			hosts[#hosts + 1] = {
				host = name;
				file = with.files[name];
				authentication = authentication;
				authentication_here = rawget(section, "authentication") ~= nil;
				-- The provider of passwords brings the other module along.
				saslcertd = modules:contains("saslcertd") or authentication == "saslcertd";
				client_certs = modules:contains("client_certs") or false;
				client_certs_here = lists(rawget(section, "modules_enabled"), "client_certs");
				modules_here = rawget(section, "modules_enabled") ~= nil;
				modules_disabled_here = array(each(rawget(section, "modules_disabled")));
				mod_tls = modules:contains("tls") or false;
				mod_c2s = modules:contains("c2s") or false;
				-- Either asks for a login.
				mod_saslauth = modules:contains("saslauth") or modules:contains("sasl2") or false;
				authentication_found = with.has_module("auth_" .. authentication);
				options = options;
				misplaced = array(misplaced);
				own_options = own_options(section, array);
				external_disabled = lists(with.get(name, "disable_sasl_mechanisms"), "EXTERNAL");
				external_disabled_here = lists(rawget(section, "disable_sasl_mechanisms"), "EXTERNAL");
				starttls = starttls(name, with.rawget_option, with.create_context);
			};
			has_multiplex = has_multiplex or modules:contains("net_multiplex");
			has_proxy = has_proxy or modules:contains("net_proxy");
		end
	end
	local network = get("network_settings");
	return {
		version = with.version;
		module = with.module;
		config_file = with.config_file;
		data_path = with.data_path;
		plugin_paths = array(with.plugin_paths);
		pidfile = type(get("pidfile")) == "string" and get("pidfile") or nil;
		-- nil: it doesn't run, or keeps no pidfile.
		pid = with.pid;
		-- nil: whoever starts it.
		user = get("run_as_root") ~= true and (get("prosody_user") or "prosody") or nil;
		socket = with.settings.socket;
		manage_tls = with.settings.manage_tls;
		setting_problems = array(with.setting_problems);
		modules_disabled = array(each(get("modules_disabled")));
		global_options = own_options(with.section("*"), array);
		backend = with.backend;
		nagle = not (type(network) == "table" and network.nagle == false);
		network_settings = network ~= nil;
		net_proxy = has_proxy or false;
		ports = ports(get, has_multiplex, with.default_interfaces, array);
		hosts = hosts;
	};
end

-- The facts of the Prosody in whose process this runs.
--
-- settings: what the module made of its own options; options: options.lib.lua; own: this copy of the module.
local function of_prosody(settings, options, as_array, own)
	local certmanager = require "core.certmanager";
	local configmanager = require "core.configmanager";
	local modulemanager = require "core.modulemanager";
	local pluginloader = require "util.pluginloader";
	local encodings = require "util.encodings";
	local valid_text = encodings.utf8.valid;
	local socket = require "socket";

	local config = configmanager.getconfig();
	local function section(name) return rawget(config, name) or {}; end
	local function get(name) return configmanager.get("*", name); end

	local host_names = {};
	for name in pairs(config) do
		if name ~= "*" then host_names[#host_names + 1] = name; end
	end
	table.sort(host_names);

	local problems = {};
	for _, name in ipairs({ "socket", "timeout", "manage_tls" }) do
		local _, problem = options[name](get("saslcertd_" .. name), settings[name]);
		if problem then problems[#problems + 1] = { option = "saslcertd_" .. name, message = problem }; end
	end

	local default_interfaces = {};
	if get("use_ipv4") ~= false then default_interfaces[1] = "*"; end
	if socket.tcp6 and get("use_ipv6") ~= false then default_interfaces[#default_interfaces + 1] = "::"; end

	local function lines(file)
		local opened = io.open(file);
		return opened and opened:lines();
	end

	local plugin_paths = {};
	for path in (prosody.paths.plugins or ""):gmatch("[^;]+") do plugin_paths[#plugin_paths + 1] = path; end

	local is_known, pid = require "util.prosodyctl".getpid();

	return collect({
		get = configmanager.get;
		rawget_option = configmanager.rawget;
		section = section;
		host_names = function () return host_names; end;
		files = files_of_hosts(configmanager.files(), lines, encodings.stringprep.nameprep);
		modules_of = function (name) return (modulemanager.get_modules_for_host(name)); end;
		has_module = function (name) return pluginloader.load_resource(name) ~= nil; end;
		module = own;
		create_context = certmanager.create_context;
		declared = function (name)
			return options.of_host(section("*"), section(name), as_array, function (path)
				return configmanager.resolve_relative_path(prosody.paths.config or ".", path);
			end, valid_text);
		end;
		settings = settings;
		setting_problems = problems;
		as_array = as_array;
		default_interfaces = default_interfaces;
		backend = get("use_libevent") and "event" or get("network_backend") or "epoll";
		version = prosody.version;
		config_file = prosody.config_file;
		data_path = prosody.paths.data;
		plugin_paths = plugin_paths;
		pid = is_known and pid or nil;
	});
end

return { of_prosody = of_prosody, collect = collect, ports = ports, starttls = starttls, files_of_hosts = files_of_hosts };
