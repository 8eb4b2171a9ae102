local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function as_array(list) return setmetatable(list or {}, { is = "array" }); end
-- As Prosody's, as far as it goes here.
local function is_text(text) return not text:find("\228", 1, true); end
local config, asked = {}, nil;
local wire = {
	pieces_of = function (list)
		local pieces = {};
		for i, element in ipairs(list) do pieces[i] = { element }; end
		return pieces;
	end;
	ask = function (path, questions, seconds)
		asked = { path = path, questions = questions, seconds = seconds };
		return { { log = { "odd" } }, { exists = true } }, nil;
	end;
};
local hello = load_library("hello", nil, {
	["util.array"] = as_array, ["util.encodings"] = { utf8 = { valid = is_text } };
	["core.configmanager"] = { getconfig = function () return config; end };
}, {
	module = { require = function () return wire; end, get_directory = function () return "/modules/\228"; end };
	prosody = { version = "13.0.1", paths = { config = "/etc/prosody" } };
});

describe("the options of a section", function ()
	it("are ours, known or not: the daemon names what is wrong", function ()
		assert.same({ saslcertd_colour = "red", saslcertd_socket = 1 },
			hello.of_section({ saslcertd_colour = "red", saslcertd_socket = 1, modules_enabled = { "tls" }, "x" }));
		assert.same({}, hello.of_section(nil));
	end);

	it("may be others, too", function ()
		assert.same({ saslcertd_trust = "ca", ports = { 5222 } }, hello.of_section({ saslcertd_trust = "ca", ports = { 5222 }, ssl = {} },
			function (name) return name == "ports"; end));
	end);

	it("are plain JSON", function ()
		assert.equal("array", getmetatable(hello.plain({})).is);
		assert.equal("array", getmetatable(hello.plain({ 30, 7 })).is);
		assert.same({ a = 1 }, hello.plain({ a = 1.0 }));
		assert.equal("inf", hello.plain(math.huge));
		assert.equal("5", tostring(hello.plain(5.0)));
		assert.equal("function", hello.plain(print));
		local loop = {};
		loop[1] = loop;
		assert.is_table(hello.plain(loop));
	end);

	it("that are not UTF-8 become what the daemon refuses by the option's name", function ()
		local found = hello.of_section({ saslcertd_trust = "\228", saslcertd_max_certs = { "\228", ["\228"] = 1 } });
		assert.is_table(found.saslcertd_trust);
		assert.is_table(found.saslcertd_max_certs);
		for name, value in pairs(found.saslcertd_max_certs) do
			assert.is_not.equal("\228", value);
			assert.is_not.equal("\228", name);
		end
	end);
end);

describe("the module's own options", function ()
	local function settings_of(section)
		config = { ["*"] = section };
		return hello.settings();
	end
	local usual = { socket = "/run/saslcertd/saslcertd.sock", timeout = 2, change_timeout = 10, manage_tls = true };

	it("have defaults", function ()
		assert.same(usual, settings_of({}));
	end);

	it("are taken", function ()
		assert.same({ socket = "/t", timeout = 13, change_timeout = 13, manage_tls = false },
			settings_of({ saslcertd_socket = "/t", saslcertd_timeout = "13 seconds", saslcertd_manage_tls = false }));
		assert.equal(0.5, settings_of({ saslcertd_timeout = 0.5 }).timeout);
	end);

	it("that can't be are the defaults", function ()
		for _, timeout in ipairs({ 0, "soon", {}, 1e9, 0/0, true }) do
			assert.same(usual, settings_of({ saslcertd_timeout = timeout }));
		end
		for _, socket in ipairs({ "s", 5, "/" .. ("x"):rep(108) }) do assert.same(usual, settings_of({ saslcertd_socket = socket })); end
		for _, manage in ipairs({ "yes", 1 }) do assert.same(usual, settings_of({ saslcertd_manage_tls = manage })); end
	end);
end);

describe("the hello", function ()
	it("declares each host with its options, in as many pieces as it takes", function ()
		config = { ["*"] = { saslcertd_trust = "ca", ssl = {} }, ["a.lit"] = { saslcertd_trust = "enrolled" } };
		local a, b = hello.host("a.lit", true), hello.host("b.lit", false);
		assert.same({ host = "a.lit", accounts = "daemon", options = { saslcertd_trust = "enrolled" } }, a);
		assert.same({ host = "b.lit", accounts = "prosody", options = {} }, b);
		local served = hello.host("b.lit", false, { address = "https://b.lit/devices", web = { https = true }, register = print });
		assert.same({ host = "b.lit", accounts = "prosody", options = {}, page = "https://b.lit/devices", web = { https = true } }, served);
		local pieces = hello.pieces_of({ a, b }, true);
		local first = {
			protocol = hello.protocol_version, software = "Prosody 13.0.1", module = { version = hello.own_copy.version, path = "" };
			hosts = { a }, global = { saslcertd_trust = "ca" }, folder = "/etc/prosody", continued = false, sessions = true, waits_ms = 2000;
		};
		assert.same(first, pieces[1]);
		first.hosts, first.continued = { b }, true;
		assert.same({ first }, { pieces[2] });
		-- A server without hosts says so.
		local none = hello.pieces_of({}, false);
		assert.same({ 1, {}, false, false }, { #none, none[1].hosts, none[1].continued, none[1].sessions });
	end);

	it("comes before a question of its own connection, if that needs one", function ()
		config = { ["*"] = {} };
		local host = hello.host("a.lit", true);
		assert.same({ { exists = true }, nil, { "odd" } }, { hello.ask_alone("/s", 3, { host }, "account.create", { account = "a@a.lit" }) });
		assert.same({ "/s", 3, 2 }, { asked.path, asked.seconds, #asked.questions });
		assert.same({ { "session.hello", hello.pieces_of({ host }, false)[1] }, { "account.create", { account = "a@a.lit" } } }, asked.questions);
		hello.ask_alone("/s", 3, nil, "account.exists", { account = "a@a.lit" });
		assert.same({ { "account.exists", { account = "a@a.lit" } } }, asked.questions);
	end);
end);
