local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function as_array(list) return setmetatable(list or {}, { is = "array" }); end
-- As Prosody's, as far as it goes here.
local function is_text(text) return not text:find("\228", 1, true); end
local options = load_library("options", nil, { ["util.array"] = as_array, ["util.encodings"] = { utf8 = { valid = is_text } } });

describe("the options of a section", function ()
	it("are ours, known or not: the daemon names what is wrong", function ()
		assert.same({ saslcertd_colour = "red", saslcertd_socket = 1 },
			options.of_section({ saslcertd_colour = "red", saslcertd_socket = 1, modules_enabled = { "tls" }, "x" }));
		assert.same({}, options.of_section(nil));
	end);

	it("may be others, too", function ()
		assert.same({ saslcertd_trust = "ca", ports = { 5222 } }, options.of_section({ saslcertd_trust = "ca", ports = { 5222 }, ssl = {} },
			function (name) return name == "ports"; end));
	end);

	it("are plain JSON", function ()
		assert.equal("array", getmetatable(options.plain({})).is);
		assert.equal("array", getmetatable(options.plain({ 30, 7 })).is);
		assert.same({ a = 1 }, options.plain({ a = 1.0 }));
		assert.equal("inf", options.plain(math.huge));
		assert.equal("5", tostring(options.plain(5.0)));
		assert.equal("function", options.plain(print));
		local loop = {};
		loop[1] = loop;
		assert.is_table(options.plain(loop));
	end);

	it("that are not UTF-8 become what the daemon refuses by the option's name", function ()
		local found = options.of_section({ saslcertd_trust = "\228", saslcertd_max_certs = { "\228", ["\228"] = 1 } });
		assert.is_table(found.saslcertd_trust);
		assert.is_table(found.saslcertd_max_certs);
		for name, value in pairs(found.saslcertd_max_certs) do
			assert.is_not.equal("\228", value);
			assert.is_not.equal("\228", name);
		end
	end);
end);

describe("the module's own options", function ()
	local usual = { socket = "/run/saslcertd/saslcertd.sock", timeout = 2, manage_tls = true };

	it("have defaults", function ()
		assert.same(usual, options.settings({}));
	end);

	it("are taken", function ()
		assert.same({ socket = "/t", timeout = 3, manage_tls = false },
			options.settings({ saslcertd_socket = "/t", saslcertd_timeout = "3 seconds", saslcertd_manage_tls = false }));
		assert.equal(0.5, options.settings({ saslcertd_timeout = 0.5 }).timeout);
	end);

	it("that can't be are the defaults", function ()
		for _, timeout in ipairs({ 0, "soon", {}, 1e9, 0/0, true }) do
			assert.same(usual, options.settings({ saslcertd_timeout = timeout }));
		end
		for _, socket in ipairs({ "s", 5, "/" .. ("x"):rep(108) }) do assert.same(usual, options.settings({ saslcertd_socket = socket })); end
		for _, manage in ipairs({ "yes", 1 }) do assert.same(usual, options.settings({ saslcertd_manage_tls = manage })); end
	end);
end);
