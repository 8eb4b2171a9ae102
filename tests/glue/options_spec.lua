local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local options = load_library("options");

local function as_array(list) return setmetatable(list, { is = "array" }); end
local function absolute(path) return path:sub(1, 1) == "/" and path or "/etc/prosody/" .. path; end

describe("a host's options", function ()
	it("are the global ones, and its own over them", function ()
		local merged = options.of_host(
			{ saslcertd_max_certs = 5, saslcertd_trust = "enrolled", saslcertd_socket = "/x", modules_enabled = { "tls" } },
			{ saslcertd_max_certs = 7 }, as_array, absolute);
		assert.same({ saslcertd_max_certs = 7, saslcertd_trust = "enrolled" }, merged);
	end);

	it("include unknown ones: the daemon names them", function ()
		assert.same({ saslcertd_colour = "red" }, (options.of_host({}, { saslcertd_colour = "red" }, as_array, absolute)));
	end);

	it("don't include those of the whole server, which are named", function ()
		local merged, misplaced = options.of_host({ saslcertd_timeout = 2 }, { saslcertd_timeout = 3, saslcertd_socket = "/x" }, as_array, absolute);
		assert.same({}, merged);
		assert.same({ "saslcertd_socket", "saslcertd_timeout" }, misplaced);
	end);

	it("have paths made absolute", function ()
		local merged = options.of_host({ saslcertd_ca_file = "ca.pem" }, { saslcertd_crl_file = "/a.crl" }, as_array, absolute);
		assert.same({ saslcertd_ca_file = "/etc/prosody/ca.pem", saslcertd_crl_file = "/a.crl" }, merged);
	end);

	it("are plain JSON", function ()
		assert.equal("array", getmetatable(options.plain({}, as_array)).is);
		assert.equal("array", getmetatable(options.plain({ 30, 7 }, as_array)).is);
		assert.same({ a = 1 }, options.plain({ a = 1.0 }, as_array));
		assert.equal("inf", options.plain(math.huge, as_array));
		assert.equal("5", tostring(options.plain(5.0, as_array)));
		assert.equal("function", options.plain(print, as_array));
		local loop = {};
		loop[1] = loop;
		assert.is_table(options.plain(loop, as_array));
	end);
end);

describe("the module's own options", function ()
	it("have defaults", function ()
		assert.equal(2, options.timeout(nil, 2));
		assert.equal("/s", options.socket(nil, "/s"));
		assert.is_true(options.manage_tls(nil, true));
	end);

	it("are taken", function ()
		assert.equal(3, options.timeout(3, 2));
		assert.equal(3, options.timeout("3 seconds", 2));
		assert.equal("/t", options.socket("/t", "/s"));
		assert.is_false(options.manage_tls(false, true));
	end);

	for _, case in ipairs({
		{ "timeout", 0 }, { "timeout", "soon" }, { "timeout", {} }, { "timeout", 1e9 }, { "timeout", 0/0 }, { "timeout", true },
		{ "socket", "s" }, { "socket", 5 }, { "socket", "/" .. ("x"):rep(108) },
		{ "manage_tls", "yes" }, { "manage_tls", 1 },
	}) do
		it(("are refused by name: %s = %s"):format(case[1], tostring(case[2])), function ()
			local value, problem = options[case[1]](case[2], "default");
			assert.equal("default", value);
			assert.truthy(problem:find("saslcertd_" .. case[1], 1, true));
		end);
	end
end);

describe("text that is not UTF-8", function ()
	it("becomes what the daemon refuses by the option's name", function ()
		local function valid(text) return not text:find("\228", 1, true); end
		local library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua")("options");
		local merged = library.of_host({ saslcertd_trust = "\228" }, { saslcertd_max_certs = { "\228", ["\228"] = 1 } },
			function (list) return list; end, nil, valid);
		assert.is_table(merged.saslcertd_trust);
		assert.is_table(merged.saslcertd_max_certs);
		for _, value in pairs(merged.saslcertd_max_certs) do assert.is_not.equal("\228", value); end
		for name in pairs(merged.saslcertd_max_certs) do assert.is_not.equal("\228", name); end
	end);
end);
