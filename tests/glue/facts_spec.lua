local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local facts = load_library("facts");

local function as_array(list) return list; end
local asking = { verify = { "peer", "client_once" } };

-- What create_context does with `verify`: the first that says something counts.
local function create_context(_, _, ...)
	for _, ssl in ipairs({ ... }) do
		if ssl.verify then return {}, nil, { verify = ssl.verify }; end
	end
	return {}, nil, { verify = "none" };
end

-- A configuration as core.configmanager keeps it: a host's section looks into the global one.
local function collected(config, more)
	config["*"] = config["*"] or {};
	for name, section in pairs(config) do
		if name ~= "*" then setmetatable(section, { __index = config["*"] }); end
	end
	local with = {
		get = function (host, name) return (config[host] or config["*"])[name]; end;
		rawget_option = function (host, name) return config[host] and rawget(config[host], name); end;
		section = function (host) return config[host]; end;
		host_names = function ()
			local names = {};
			for name in pairs(config) do if name ~= "*" then names[#names + 1] = name; end end
			table.sort(names);
			return names;
		end;
		modules_of = function (host)
			return { contains = function (_, module)
				for _, section in ipairs({ config["*"], config[host] }) do
					for _, name in ipairs(rawget(section, "modules_enabled") or {}) do
						if name == module then return true; end
					end
				end
			end };
		end;
		has_module = function (name) return name ~= "auth_nowhere"; end;
		module = { version = "0", path = "/modules/mod_saslcertd", protocol = 1 };
		create_context = create_context;
		declared = function () return {}, {}; end;
		files = {};
		settings = { socket = "/s", manage_tls = true };
		setting_problems = {};
		as_array = as_array;
		default_interfaces = { "*", "::" };
		backend = "epoll";
		version = "13.0.1";
		config_file = "/etc/prosody/prosody.cfg.lua";
		data_path = "/var/lib/prosody";
		plugin_paths = { "/modules" };
	};
	for name, value in pairs(more or {}) do with[name] = value; end
	return facts.collect(with);
end

describe("the facts", function ()
	it("are those of VirtualHosts that are in use, by name", function ()
		local found = collected({
			["b.lit"] = {}, ["a.lit"] = {}, ["off.lit"] = { enabled = false }, ["muc.a.lit"] = { component_module = "muc" },
		});
		assert.equal(2, #found.hosts);
		assert.equal("a.lit", found.hosts[1].host);
		assert.equal("b.lit", found.hosts[2].host);
	end);

	it("tell where our module is enabled, and the older one", function ()
		local hosts = collected({
			["*"] = { modules_enabled = { "tls" } };
			["a.lit"] = { modules_enabled = { "saslcertd", "client_certs" } };
			["b.lit"] = { authentication = "saslcertd" };
			["c.lit"] = {};
		}).hosts;
		local function seen(host) return { host.saslcertd, host.client_certs, host.client_certs_here, host.modules_here }; end
		assert.same({ true, true, true, true }, seen(hosts[1]));
		assert.same({ true, false, false, false }, seen(hosts[2]));
		assert.same({ false, false, false, false }, seen(hosts[3]));
		assert.equal("internal_hashed", hosts[3].authentication);
	end);

	it("tell whether anybody can log in at all", function ()
		local hosts = collected({
			["*"] = { modules_enabled = { "c2s", "saslauth" } };
			["a.lit"] = {};
			["b.lit"] = { authentication = "nowhere" };
		}).hosts;
		local function seen(host) return { host.mod_c2s, host.mod_saslauth, host.authentication_found }; end
		assert.same({ true, true, true }, seen(hosts[1]));
		assert.same({ true, true, false }, seen(hosts[2]));
		local host = collected({ ["*"] = { modules_enabled = { "sasl2" } }, ["a.lit"] = {} }).hosts[1];
		assert.same({ false, true, true }, seen(host));
	end);

	it("tell in which file a host's section begins", function ()
		local texts = {
			main = { "plugin_paths = {}", "VirtualHost \"a.lit\"", "-- VirtualHost \"c.lit\"", "Include \"more\"" };
			more = { "  VirtualHost('B.lit')", "VirtualHost \"a.lit\"" };
		};
		local function lines(file)
			local i = 0;
			return texts[file] and function ()
				i = i + 1;
				return texts[file][i];
			end;
		end
		assert.same({ ["a.lit"] = "main", ["b.lit"] = "more" }, facts.files_of_hosts({ "main", "unreadable", "more" }, lines, string.lower));
		assert.equal("/more", collected({ ["b.lit"] = {} }, { files = { ["b.lit"] = "/more" } }).hosts[1].file);
	end);

	it("tell which modules are disabled, and whether there is TLS", function ()
		local found = collected({
			["*"] = { modules_enabled = { "tls" }, modules_disabled = { "saslcertd" } };
			["a.lit"] = { modules_disabled = "s2s" };
		});
		assert.same({ { "saslcertd" }, { "s2s" }, true },
			{ found.modules_disabled, found.hosts[1].modules_disabled_here, found.hosts[1].mod_tls });
		local host = collected({ ["a.lit"] = {} }).hosts[1];
		assert.same({ {}, false }, { host.modules_disabled_here, host.mod_tls });
	end);

	it("tell where EXTERNAL is forbidden", function ()
		local hosts = collected({
			["*"] = { disable_sasl_mechanisms = { "EXTERNAL" } };
			["a.lit"] = {};
			["b.lit"] = { disable_sasl_mechanisms = { "PLAIN" } };
		}).hosts;
		assert.same({ true, false }, { hosts[1].external_disabled, hosts[1].external_disabled_here });
		assert.is_false(hosts[2].external_disabled);
	end);

	it("name the section in which an option of ours is set", function ()
		local found = collected({ ["*"] = { saslcertd_trust = "enrolled" }, ["a.lit"] = { saslcertd_max_certs = 3, c2s_ssl = {} } });
		assert.same({ "saslcertd_trust" }, found.global_options);
		assert.same({ "saslcertd_max_certs" }, found.hosts[1].own_options);
	end);

	it("tell as whom Prosody runs", function ()
		assert.equal("prosody", collected({}).user);
		assert.equal("xmpp", collected({ ["*"] = { prosody_user = "xmpp" } }).user);
		assert.is_nil(collected({ ["*"] = { run_as_root = true, prosody_user = "xmpp" } }).user);
	end);

	it("tell whether small packets wait", function ()
		assert.is_true(collected({}).nagle);
		assert.is_true(collected({ ["*"] = { network_settings = { nagle = true } } }).nagle);
		local mended = collected({ ["*"] = { network_settings = { nagle = false } } });
		assert.is_false(mended.nagle);
		assert.is_true(mended.network_settings);
	end);

	it("tell of a proxy's module", function ()
		assert.is_false(collected({ ["a.lit"] = {} }).net_proxy);
		assert.is_true(collected({ ["*"] = { modules_enabled = { "net_proxy" } }, ["a.lit"] = {} }).net_proxy);
	end);
end);

describe("the ports for clients", function ()
	local function ports(global, has_multiplex)
		return facts.ports(function (name) return global[name]; end, has_multiplex, { "*", "::" }, as_array);
	end

	it("are 5222 unless something is configured", function ()
		local list = ports({});
		assert.equal(1, #list);
		assert.same({ "c2s", "starttls", 5222, { "*", "::" } }, { list[1].service, list[1].tls, list[1].port, list[1].interfaces });
	end);

	it("may be several, and words, and none", function ()
		assert.equal(0, #ports({ c2s_ports = {} }));
		local list = ports({ c2s_ports = { "5222", 5322 }, c2s_direct_tls_ports = 5223, legacy_ssl_ports = { 5224 } });
		local numbers = {};
		for i, port in ipairs(list) do numbers[i] = port.port; end
		assert.same({ 5222, 5322, 5223, 5224 }, numbers);
		assert.equal("c2s_direct_tls_ssl", list[3].ssl_option);
		assert.equal("legacy_ssl_ssl", list[4].ssl_option);
	end);

	it("include those of mod_net_multiplex only if it is there", function ()
		local global = { ports = { 443 }, ssl_ports = { 5443 }, c2s_ports = {} };
		assert.equal(0, #ports(global));
		local list = ports(global, true);
		assert.same({ 443, "starttls", 5443, "direct", "ssl_ssl" },
			{ list[1].port, list[1].tls, list[2].port, list[2].tls, list[2].ssl_option });
	end);

	it("listen on the interfaces of their service, or of all", function ()
		assert.same({ "127.0.0.1" }, ports({ interfaces = "127.0.0.1" })[1].interfaces);
		assert.same({ "10.0.0.1" }, ports({ interfaces = { "::1" }, c2s_interface = "10.0.0.1" })[1].interfaces);
	end);
end);

describe("a host's STARTTLS", function ()
	local function starttls(config, create)
		return facts.starttls("a.lit", function (host, name) return config[host] and config[host][name]; end, create or create_context);
	end

	it("asks if some section says so, the host's first", function ()
		for _, case in ipairs({
			{ {}, false },
			{ { ["*"] = { c2s_ssl = asking } }, true, nil, "c2s_ssl" },
			{ { ["a.lit"] = { c2s_ssl = asking } }, true, "a.lit", "c2s_ssl" },
			{ { ["lit"] = { c2s_ssl = asking } }, true, "lit", "c2s_ssl" },
			{ { ["a.lit"] = { ssl = { verify = "none" } }, ["*"] = { c2s_ssl = asking } }, false, "a.lit", "ssl" },
			{ { ["a.lit"] = { ssl = { key = "k" } }, ["*"] = { c2s_ssl = asking } }, true, nil, "c2s_ssl" },
			{ { ["*"] = { c2s_ssl = { verify = "peer" } } }, true, nil, "c2s_ssl" },
		}) do
			local found = starttls(case[1]);
			assert.same({ case[2], case[3], case[4] }, { found.asks, found.section, found.within });
		end
	end);

	it("may be impossible, and why", function ()
		local found = starttls({}, function () return nil, "no key"; end);
		assert.same({ false, "no key" }, { found.asks, found.error });
	end);
end);
