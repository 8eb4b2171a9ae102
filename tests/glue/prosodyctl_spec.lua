local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local sections = {
	["*"] = {}, ["a.lit"] = {}, ["rome.lit"] = { authentication = "saslcertd" }, ["off.lit"] = { enabled = false };
	["rooms.lit"] = { component_module = "muc" }, ["guests.lit"] = { authentication = "anonymous" }, ["none.lit"] = {};
};

-- What is loaded in prosodyctl's process. reply: what each question is answered with.
local function new_world(reply)
	local world = { asked = {}, logged = {}, printed = {}, api = {} };
	local module = {
		name = "saslcertd";
		shared = function () return world.api; end;
		log = function (_, level, _, text) world.logged[#world.logged + 1] = level .. " " .. text; end;
	};
	local libraries = {
		["core.configmanager"] = { getconfig = function () return sections; end, get = function (name, option) return sections[name][option]; end };
		["core.modulemanager"] = { get_modules_for_host = function (name)
			return { contains = function (_, of) return of == "saslcertd" and name ~= "none.lit"; end };
		end };
		["util.jid"] = { host = function (jid) return jid:match("@(.*)"); end };
		["util.json"] = { null = "null", encode = function (value) return value; end };
	};
	local globals = {
		module = module;
		print = function (line) world.printed[#world.printed + 1] = line; end;
		io = { stdout = { write = function (_, text) world.out = text; end }, stderr = { write = function (_, text) world.err = text; end } };
	};
	local own = {
		facts = function () return "facts"; end;
		hello = {
			settings = function () return { socket = "/s", timeout = 2, change_timeout = 10 }; end;
			host = function (name, is_in_daemon) return { host = name, options = sections[name], accounts = is_in_daemon and "daemon" }; end;
			ask_alone = function (...)
				world.asked[#world.asked + 1] = { ... };
				return reply.result, reply.failure, reply.log or {};
			end;
		};
	};
	module.require = function (_, name) return own[name] or load_library(name, nil, libraries, globals); end
	load_library("prosodyctl", nil, libraries, globals);
	world.command = module.command;
	module.add_host();
	return world;
end

describe("a command of prosodyctl", function ()
	it("is the daemon's to run, with all hosts that the configuration gives to the module, but none of their options", function ()
		local world = new_world({ result = { ok = true, text = "done", lines = { "one" } } });
		assert.equal(0, world.command({ "list", "a@a.lit" }));
		assert.same({ { "one" }, "done" }, { world.printed, world.out });
		local socket, seconds, hosts, method, params = (table.unpack or unpack)(world.asked[1]); -- luacheck: ignore 113
		table.sort(hosts, function (a, b) return a.host < b.host; end);
		assert.same({ "/s", { { host = "a.lit" }, { host = "rome.lit" } }, "console.run", 2 }, { socket, hosts, method, seconds });
		assert.same({ words = { "list", "a@a.lit" }, socket = "/s", sessions = "null" }, params);
	end);

	it("has more time when it changes something", function ()
		local world = new_world({ result = { ok = false, text = "no such name" } });
		assert.equal(1, world.command({ "revoke", "a@a.lit", "phone" }));
		assert.same({ "no such name", 10 }, { world.err, world.asked[1][2] });
	end);

	it("says in one line why the daemon can't be asked, and logs nothing", function ()
		local world = new_world({ failure = { reason = "away", message = "no such file" } });
		assert.equal(1, world.command({ "list", "a@a.lit" }));
		assert.same({ "saslcertd can't be asked: no such file", {} }, { world.err, world.logged });
	end);

	it("takes just as many words as it has", function ()
		local world = new_world({ result = { ok = true, text = "done" } });
		for name, wanted in pairs({ list = 1, revoke = 2, status = 0, facts = 0 }) do
			local arg = { name };
			for i = 0, 4 do
				assert.equal(i == wanted and 0 or 1, world.command(arg), name);
				if i ~= wanted then assert.matches("prosodyctl mod_saslcertd list JID", world.err); end
				arg[#arg + 1] = "x";
			end
		end
		assert.equal("facts", world.printed[#world.printed]);
	end);
end);

describe("an account that prosodyctl changes", function ()
	it("is asked about behind its host's options, on a connection that is there for it", function ()
		local world = new_world({ result = { exists = true } });
		local host = { host = "rome.lit", options = sections["rome.lit"], accounts = "daemon" };
		assert.is_true(world.api.can_wait());
		assert.same({ exists = true }, world.api.ask("account.exists", { account = "cato@rome.lit" }, { timeout = 1 }));
		world.api.ask("account.list", { host = "rome.lit" });
		world.api.change("account.create", { account = "cato@rome.lit" });
		assert.same({
			{ "/s", 1, { host }, "account.exists", { account = "cato@rome.lit" } };
			{ "/s", 2, { host }, "account.list", { host = "rome.lit" } };
			{ "/s", 10, { host }, "account.create", { account = "cato@rome.lit" } };
		}, world.asked);
		world.api.check();
		world.api.password_is_of("cato@rome.lit", 1);
	end);

	it("is not changed without the admin's hearing, once, of what is wrong", function ()
		local world = new_world({ failure = { reason = "away", message = "no such file" }, log = { { level = "warn", text = "odd" } } });
		for _ = 1, 2 do
			local result, failure = world.api.change("account.create", { account = "cato@rome.lit" });
			assert.same({ nil, "away" }, { result, failure.reason });
		end
		assert.same({ "warn odd", "error saslcertd at /s can't be asked: no such file" }, world.logged);
	end);
end);
