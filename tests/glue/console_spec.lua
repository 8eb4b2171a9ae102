local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local console = load_library("console", nil, { ["util.json"] = { null = "null" } });

local answers = {
	list = { true, "1 of a@b", { "first" } };
	revoke = { false, "no x of a@b" };
	status = { true, "well" };
};
local function run(command, ...)
	assert.equal(#command.words, select("#", ...));
	return (table.unpack or unpack)(answers[command.name]); -- luacheck: ignore 113
end

local function session()
	local printed = {};
	return { session = { print = function (line) printed[#printed + 1] = line; end } }, printed;
end

local function check(section)
	local self, printed = session();
	assert.same({ true, "1 of a@b" }, { section.list(self, "a@b") });
	assert.same({ "first" }, printed);
	assert.same({ nil, "no x of a@b" }, { section.revoke(self, "a@b", "x") });
	assert.same({ true, "well" }, { section.status(self) });
end

describe("the admin shell", function ()
	it("of 13 gets items", function ()
		local section = {};
		local words = {};
		assert.is_nil(console.add_to_shell({
			get_option_period = function () end;
			add_item = function (_, kind, item)
				assert.equal("shell-command", kind);
				assert.equal("saslcert", item.section);
				section[item.name] = item.handler;
				words[item.name] = #item.args;
			end;
		}, run));
		check(section);
		assert.same({ link = 5, links = 1, list = 1, revoke = 2, status = 0, unlink = 1 }, words);
	end);

	it("of 0.12 gets a table, until the module's end", function ()
		local env = {};
		local module = { shared = function (_, path) return path == "/*/admin_shell/env" and env; end };
		local remove = console.add_to_shell(module, run);
		check(env.saslcert);
		local later = console.add_to_shell(module, run);
		remove();
		assert.is_table(env.saslcert);
		later();
		assert.is_nil(env.saslcert);
	end);
end);

describe("a command", function ()
	local state, reply, asked;
	local function ask(name, ...)
		local command;
		local with = { state = function () return state; end };
		for _, one in ipairs(console.commands) do
			if one.name == name then command = one; end
		end
		for _, how in ipairs({ "ask", "change" }) do
			with[how] = function (method, params)
				asked = { how = how, method = method, params = params };
				return reply.result, reply.failure;
			end;
		end
		return console.new(with)(command, ...);
	end
	before_each(function ()
		state = { socket = "/s", connected = true, since = 1767225600.5, sessions = 3, withdrawn = { "a.lit" } };
		reply = { result = { ok = true, text = "done", lines = { "one" } } };
	end);

	it("is the daemon's to run, with what only the server knows", function ()
		assert.same({ true, "done", { "one" } }, { ask("revoke", "a@b", "phone") });
		assert.same({
			how = "change";
			method = "console.run";
			params = { words = { "revoke", "a@b", "phone" }, socket = "/s", sessions = 3 };
		}, asked);
		state = { socket = "/s", connected = false, withdrawn = {} };
		ask("list", "a@b");
		assert.equal("null", asked.params.sessions);
		assert.equal("ask", asked.how);
	end);

	it("names the hosts that are withdrawn only where they are told of: there may be thousands", function ()
		for name, withdrawn in pairs({ list = false, revoke = false, status = { "a.lit" } }) do
			ask(name);
			assert.same(withdrawn, asked.params.withdrawn or false, name);
		end
	end);

	it("says why the daemon can't be asked", function ()
		for _, case in ipairs({
			{ "list", { code = -32002, message = "its own words" }, "its own words" };
			{ "list", { reason = "not-text" }, "That is too long, or not UTF-8 text" };
			{ "list", { reason = "timeout" }, "saslcertd did not answer" };
			{ "revoke", { reason = "lost" }, "saslcertd did not answer; it may have been done or not" };
			{ "list", { reason = "away" }, "saslcertd can't be asked: no such file" };
			{ "list", { reason = "away", message = "you may not ask" }, "saslcertd can't be asked: you may not ask" };
			{ "status", { reason = "timeout" }, "saslcertd can't be asked: it does not answer", "Connected since 2026-01-01 00:00:00 UTC to saslcertd at /s" };
		}) do
			reply = { failure = case[2] };
			state.why = "no such file";
			local ok, text, lines = ask(case[1]);
			assert.same({ false, case[3], case[4] and { case[4] } }, { ok, text, lines });
		end
		state = { socket = "/s", connected = false, withdrawn = {} };
		reply = { failure = { reason = "away" } };
		assert.same({ false, "saslcertd can't be asked", { "Not connected to saslcertd at /s" } }, { ask("status") });
	end);
end);
