local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_world()
	local world = { done = {}, jobs = {}, logged = {}, pages = {} };
	local function note(what) return function (...) world.done[#world.done + 1] = { what, ... }; return 1; end; end
	local function send(_, stanza) world.done[#world.done + 1] = { "send", stanza.attr.from, stanza.attr.to, stanza.text }; end
	world.rome = { name = "rome.lit", in_daemon = function () return true; end };
	world.home = {
		name = "shakespeare.lit";
		module = { send = send };
		in_daemon = function () return false; end;
		accounts = {
			exists = function (username) return username == "hamlet"; end;
			enabled = function () return world.is_enabled ~= false; end;
			incarnation = function (_, make) return make and world.incarnation or world.kept, world.store_error; end;
		};
	};
	world.hosts = { ["rome.lit"] = world.rome, ["shakespeare.lit"] = world.home };
	world.fire_event = note("fire");
	world.answer = load_library("asked", nil, {
		["util.async"] = { runner = function () return { run = function (_, job) world.jobs[#world.jobs + 1] = job; end }; end };
		["util.jid"] = {
			split = function (text) return text:match("^([^@/]+)@"), text:match("^[^@]*@?([^/]+)"), text:match("/(.+)$"); end;
		};
		["util.json"] = { null = "null" };
		["util.stanza"] = { message = function (attr, text) return { attr = attr, text = text }; end };
		["util.uuid"] = { generate = function () return "id"; end };
		["core.storagemanager"] = { purge = note("purge") };
	}, {
		module = { log = function (_, level) world.logged[#world.logged + 1] = level; end };
		prosody = {
			hosts = setmetatable({}, { __index = function (_, name) return name ~= world.gone and {} or nil; end });
			events = { fire_event = function (...) return world.fire_event(...); end };
		};
	}).new({
		hosts = world.hosts, pages = world.pages;
		sessions = { close_of = note("close"), close_each = note("close_each") };
		forget = function (host, username) world.done[#world.done + 1] = { "forget", host.name, username }; end;
	});
	-- The answer, when all that may wait is over.
	function world.ask(method, params)
		local result, err = world.answer(method, params, function (...) world.later = { ... }; end);
		if result or err then return result, err; end
		while world.jobs[1] do table.remove(world.jobs, 1)(); end
		return table.unpack(world.later or {}, 1, 2);
	end
	return world;
end

describe("a change that somebody else made to an account", function ()
	local brutus = { username = "brutus", host = "rome.lit" };

	it("closes all its sessions, at once, and Prosody hears of it as of its own", function ()
		for change, words in pairs({
			disabled = { "user-disabled", "not-authorized", "Account disabled" };
			password = { "user-password-changed", "reset", "Password changed" };
		}) do
			local world = new_world();
			local close = { condition = words[2], text = words[3] };
			assert.is_nil(world.answer("account.changed", { account = "brutus@rome.lit", change = change, close = close }, print));
			assert.same({ { "forget", "rome.lit", "brutus" }, { "close", "brutus@rome.lit", close } }, world.done);
			world.jobs[1] = nil;
			assert.same({}, (world.ask("account.changed", { account = "brutus@rome.lit", change = change })));
			assert.same({ "fire", words[1], brutus }, world.done[#world.done]);
		end
	end);

	it("that deletes it removes what Prosody has of it, last", function ()
		local world = new_world();
		local close = { condition = "not-authorized", text = "Account deleted" };
		assert.same({}, (world.ask("account.changed", { account = "brutus@rome.lit", change = "deleted", close = close })));
		assert.same({
			{ "forget", "rome.lit", "brutus" },
			{ "close", "brutus@rome.lit", close },
			{ "fire", "user-deleted", brutus },
			{ "purge", "brutus", "rome.lit" },
		}, world.done);
	end);

	it("that creates or enables it closes nothing", function ()
		local world = new_world();
		world.ask("account.changed", { account = "brutus@rome.lit", change = "created" });
		world.ask("account.changed", { account = "brutus@rome.lit", change = "enabled" });
		assert.same({
			{ "forget", "rome.lit", "brutus" }, { "forget", "rome.lit", "brutus" }, { "fire", "user-enabled", brutus },
		}, world.done);
	end);

	it("is not believed of accounts that live in Prosody, or of nobody here", function ()
		for _, account in ipairs({ "hamlet@shakespeare.lit", "brutus@elsewhere.lit", "brutus@rome.lit/garden", "rome.lit", 5 }) do
			local world = new_world();
			local result, err = world.ask("account.changed", { account = account, change = "deleted" });
			assert.is_nil(result);
			assert.equal(-32602, err.code);
			assert.same({}, world.done);
		end
		assert.equal(-32602, (select(2, new_world().ask("account.changed", { account = "brutus@rome.lit", change = "sold" }))).code);
	end);

	it("that can't be carried out is answered so", function ()
		local world = new_world();
		world.fire_event = function () error("oops"); end;
		assert.equal(-32001, (select(2, world.ask("account.changed", { account = "brutus@rome.lit", change = "disabled" }))).code);
		assert.same({ "error" }, world.logged);
	end);
end);

describe("the incarnation of an account in Prosody", function ()
	it("is answered, and made only when that is wanted", function ()
		local world = new_world();
		world.incarnation = "one";
		local function ask(make) return (world.ask("account.incarnation", { account = "hamlet@shakespeare.lit", make = make })); end
		assert.same({ exists = true, enabled = true, incarnation = "null" }, ask(false));
		assert.same({ exists = true, enabled = true, incarnation = "null" }, ask(nil));
		assert.same({ exists = true, enabled = true, incarnation = "one" }, ask(true));
		world.kept, world.is_enabled = "one", false;
		assert.same({ exists = true, enabled = false, incarnation = "one" }, ask(false));
		assert.same({ exists = false, incarnation = "null" }, (world.ask("account.incarnation", { account = "yorick@shakespeare.lit", make = true })));
	end);

	it("is a fault when the store fails, and no question for other hosts", function ()
		local world = new_world();
		world.store_error = "disk on fire";
		assert.equal(-32001, (select(2, world.ask("account.incarnation", { account = "hamlet@shakespeare.lit" }))).code);
		assert.equal(-32602, (select(2, world.ask("account.incarnation", { account = "brutus@rome.lit" }))).code);
	end);
end);

describe("an account that a link makes", function ()
	it("is made by the module of the page, in its turn, where accounts live in Prosody", function ()
		local world = new_world();
		local function ask(account, incarnation) return world.ask("account.register", { account = account, incarnation = incarnation }); end
		assert.equal(-32602, (select(2, ask("yorick@shakespeare.lit", "two"))).code);
		for _, name in ipairs({ "shakespeare.lit", "rome.lit" }) do
			world.pages[name] = { register = function (...) return { ... }; end };
		end
		local asked = ask("yorick@shakespeare.lit", "two");
		assert.same({ "yorick", "two", "function" }, { asked[1], asked[2], type(asked[3].enabled) });
		assert.equal(-32602, (select(2, ask("yorick@shakespeare.lit"))).code);
		assert.equal(-32602, (select(2, ask("brutus@rome.lit", "two"))).code);
		world.pages["shakespeare.lit"].register = function () return nil, { code = -32001, message = "disk full" }; end;
		assert.equal("disk full", (select(2, ask("yorick@shakespeare.lit", "two"))).message);
		world.pages["shakespeare.lit"].register = function () error("oops"); end;
		assert.equal(-32001, (select(2, ask("yorick@shakespeare.lit", "two"))).code);
	end);
end);

describe("other questions", function ()
	it("close all sessions that a list means", function ()
		local world = new_world();
		local list = { { account = "a@b", key_id = "k", condition = "reset", text = "x" } };
		assert.same({ closed = 1 }, (world.ask("sessions.close", { close = list })));
		assert.same({ { "close_each", list } }, world.done);
	end);

	it("send a message from the account's host", function ()
		local world = new_world();
		assert.same({}, (world.ask("account.notify", { account = "hamlet@shakespeare.lit", text = "Hi" })));
		world.jobs[1]();
		assert.same({ { "send", "shakespeare.lit", "hamlet@shakespeare.lit", "Hi" } }, world.done);
		for _, params in ipairs({ { account = "hamlet@shakespeare.lit" }, { account = "x@elsewhere.lit", text = "Hi" } }) do
			assert.equal(-32602, (select(2, world.ask("account.notify", params))).code);
		end
	end);

	it("say which hashes may be offered", function ()
		local world = new_world();
		world.ask("host.scram", { host = "rome.lit", scram = { "SHA-1" } });
		assert.same({ "SHA-1" }, world.rome.scram);
		world.ask("host.scram", { host = "elsewhere.lit", scram = { "SHA-1" } });
		world.ask("host.scram", { host = "rome.lit" });
		assert.same({ "SHA-1" }, world.rome.scram);
	end);

	it("that nobody knows are refused", function ()
		assert.equal(-32601, (select(2, new_world().ask("account.sell", {}))).code);
		assert.equal(-32602, (select(2, new_world().ask("account.notify", "x"))).code);
	end);
end);

describe("what waits its turn", function ()
	it("is not done on a host that is gone by then", function ()
		local world = new_world();
		world.gone = "shakespeare.lit";
		local _, err = world.ask("account.incarnation", { account = "hamlet@shakespeare.lit" });
		assert.equal(-32602, err.code);
		world.ask("account.notify", { account = "hamlet@shakespeare.lit", text = "Expires" });
		while world.jobs[1] do table.remove(world.jobs, 1)(); end
		assert.same({}, world.done);
	end);
end);
