local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_world()
	local world = { time = 1000, asked = {}, blocked = {}, replies = {}, logged = {}, resets = {}, checks = 0, seen = {}, thread = {}, lines = {} };
	world.null, world.async, world.who = "null", true, "server";
	local prosodys = {
		["util.encodings"] = { utf8 = { valid = function (text) return not text:find("\255", 1, true); end } };
		["util.json"] = { null = world.null };
		["util.time"] = { now = function () return world.time; end };
	};
	local function reply_to(list, is_change)
		return function (method, params, options)
			local copy = {};
			for k, v in pairs(params) do copy[k] = v; end
			list[#list + 1] = { method = method, params = copy, options = options, is_change = is_change };
			local reply = world.replies[method];
			if type(reply) == "function" then return reply(params); end
			if not reply then return nil, { reason = "away" }; end
			if reply.code or reply.reason then return nil, reply; end
			return reply;
		end;
	end
	local api = {
		ask = reply_to(world.asked);
		change = reply_to(world.asked, true);
		ask_blocking = reply_to(world.blocked);
		can_wait = function () return world.async; end;
		timeout = function () return 3; end;
		check = function () world.checks = world.checks + 1; end;
		password_is_of = function (account, at) world.seen[#world.seen + 1] = account .. " " .. tostring(at); end;
	};
	local library = load_library("accounts", "mod_auth_saslcertd", prosodys, {
		module = {
			host = "rome.lit";
			log = function (_, level, ...)
				world.logged[#world.logged + 1] = level;
				world.lines[#world.lines + 1] = string.format(...);
			end;
			require = function (_, name) return load_library(name, "mod_auth_saslcertd", prosodys); end;
			shared = function () return api; end;
		};
		coroutine = { running = function () return world.thread; end };
		prosody = { events = {
			fire_event = function (name, event)
				world.resets[#world.resets + 1] = name == "user-password-changed" and event.host == "rome.lit" and event.username or name;
			end;
		} };
	});
	world.text_of = library.text_of;
	world.accounts, world.inner = library.new(function () return world.who; end);
	world.known = world.inner.known;
	world.replies["account.exists"] = { exists = true, enabled = true, created = 5, password_changed = 7 };
	return world;
end

local missing = { exists = false, enabled = false };

describe("whether a user exists", function ()
	it("is asked, with little time, and remembered", function ()
		local world = new_world();
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.equal(1, #world.asked);
		assert.same({ account = "brutus@rome.lit" }, world.asked[1].params);
		assert.equal(2, world.asked[1].options.timeout);
		world.replies["account.exists"] = missing;
		assert.is_nil((world.accounts.user_exists("portia")));
	end);

	it("is no for a name that no account can have, and for no name", function ()
		local world = new_world();
		world.replies["account.exists"] = { code = -32602 };
		assert.is_nil((world.accounts.user_exists(("x"):rep(2000))));
		assert.is_nil((world.accounts.user_exists("")));
		assert.is_nil((world.accounts.user_exists(nil)));
	end);

	it("is yes while the daemon can't be asked, and said once in the log", function ()
		local world = new_world();
		world.replies["account.exists"] = nil;
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.is_true(world.accounts.user_exists("portia"));
		assert.same({ "warn" }, world.logged);
		world.replies["account.exists"] = missing;
		assert.is_nil((world.accounts.user_exists("portia")));
		world.replies["account.exists"] = nil;
		world.time = world.time + 10;
		assert.is_true(world.accounts.user_exists("portia"));
		assert.same({ "warn", "warn" }, world.logged);
	end);

	it("is not worth a line in the log when it was known before", function ()
		local world = new_world();
		world.accounts.user_exists("brutus");
		world.known.expire();
		world.replies["account.exists"] = nil;
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.same({}, world.logged);
	end);

	it("is asked while everything stands still only where nobody can wait, and nothing is remembered", function ()
		local world = new_world();
		world.async = false;
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.equal(1, #world.blocked);
		assert.is_true(world.blocked[1].options <= 0.5);
		world.known.expire();
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.equal(1, #world.blocked);
		assert.equal(0, #world.asked);
		world.replies["account.exists"] = missing;
		assert.is_nil((world.accounts.user_exists("portia")));
	end);

	it("isn't asked that way again soon when there was no answer", function ()
		local world = new_world();
		world.async = false;
		world.replies["account.exists"] = { reason = "timeout" };
		for i = 1, 10 do assert.is_true(world.accounts.user_exists("user" .. i)); end
		assert.equal(1, #world.blocked);
		world.time = world.time + 6;
		world.accounts.user_exists("portia");
		assert.equal(2, #world.blocked);
		-- The clock was set back.
		world.time = world.time - 3600;
		world.accounts.user_exists("portia");
		assert.equal(3, #world.blocked);
	end);

	it("is asked again after a change", function ()
		for method, change in pairs({
			["account.create"] = function (accounts) accounts.create_user("brutus", "x"); end;
			["account.delete"] = function (accounts) accounts.delete_user("brutus"); end;
			["account.set_password"] = function (accounts) accounts.set_password("brutus", "x"); end;
			["account.enable"] = function (accounts) accounts.enable("brutus"); end;
			["account.disable"] = function (accounts) accounts.disable("brutus"); end;
		}) do
			for _, outcome in ipairs({ {}, { reason = "timeout" } }) do
				local world = new_world();
				world.accounts.user_exists("brutus");
				world.replies[method] = outcome;
				change(world.accounts);
				world.replies["account.exists"] = missing;
				assert.is_nil((world.accounts.user_exists("brutus")));
			end
		end
	end);
end);

describe("an account's state", function ()
	it("is the daemon's", function ()
		local world = new_world();
		assert.same({ created = 5, password_updated = 7, enabled = true }, world.accounts.get_account_info("brutus"));
		assert.is_true(world.accounts.is_enabled("brutus"));
		world.known.forget("brutus");
		world.replies["account.exists"] = { exists = true, enabled = false };
		assert.is_false(world.accounts.is_enabled("brutus"));
	end);

	it("is unknown when the daemon can't be asked, though it was known before", function ()
		local world = new_world();
		world.accounts.is_enabled("brutus");
		world.known.expire();
		world.replies["account.exists"] = nil;
		assert.is_nil((world.accounts.is_enabled("brutus")));
		assert.is_nil((world.accounts.get_account_info("brutus")));
	end);

	it("is nil for nobody", function ()
		local world = new_world();
		world.replies["account.exists"] = missing;
		assert.same({ nil, "No such account" }, { world.accounts.get_account_info("yorick") });
	end);
end);

describe("a new account", function ()
	it("is created with its password as it is, and whoever asks for it is named", function ()
		local world = new_world();
		world.replies["account.create"] = { created = true };
		for _, who in ipairs({ "server", "prosodyctl", "reset" }) do
			world.who = who;
			assert.is_true(world.accounts.create_user("portia", " swallowed\tfire "));
			assert.same({ account = "portia@rome.lit", password = " swallowed\tfire ", caller = who }, world.asked[#world.asked].params);
			assert.is_true(world.asked[#world.asked].is_change);
		end
		assert.same({}, world.resets);
	end);

	local function reserving()
		local world = new_world();
		world.replies["account.create"] = { created = true, reservation = "token" };
		world.accounts.create_user("portia", nil);
		assert.same({ account = "portia@rome.lit", password = world.null, caller = "server" }, world.asked[1].params);
		return world;
	end

	local whole = { account = "portia@rome.lit", password = "x", reservation = "token", caller = "server" };

	it("without a password is a reservation, which whoever made it uses once", function ()
		for _, step in ipairs({ "create_user", "set_password" }) do
			local world = reserving();
			assert.is_true(world.accounts[step]("portia", "x"));
			assert.same(whole, world.asked[2].params);
			world.replies["account.set_password"] = {};
			world.accounts.set_password("portia", "y");
			assert.equal("account.set_password", world.asked[3].method);
			assert.is_nil(world.asked[3].params.reservation);
		end
	end);

	it("is reserved once, however often", function ()
		local world = reserving();
		assert.is_true(world.accounts.create_user("portia", nil));
		assert.equal(1, #world.asked);
	end);

	it("isn't made by others than those who have reserved it", function ()
		for _, other in ipairs({ { "brutus", "same" }, { "portia" } }) do
			local world = reserving();
			world.replies["account.set_password"] = {};
			if not other[2] then world.thread = {}; end
			world.accounts.set_password(other[1], "x");
			assert.equal("account.set_password", world.asked[2].method);
			world.accounts.create_user(other[1], "x");
			assert.is_nil(world.asked[3].params.reservation);
		end
	end);

	it("that was only reserved is given back, and nobody deleted", function ()
		local world = reserving();
		world.replies["account.delete"] = {};
		assert.is_true(world.accounts.delete_user("portia"));
		assert.same({ account = "portia@rome.lit", reservation = "token" }, world.asked[2].params);
		world.accounts.delete_user("portia");
		assert.same({ account = "portia@rome.lit" }, world.asked[3].params);
	end);

	it("that somebody else has reserved is refused, with what is wrong", function ()
		local world = new_world();
		world.replies["account.create"] = { code = -32000, denial = "account-exists", message = "There is such an account" };
		local ok, text, failure = world.inner.reserve("brutus");
		assert.is_nil(ok);
		assert.equal("There is such an account", text);
		assert.equal("account-exists", failure.denial);
	end);

	it("that is a reset is told to those who must know", function ()
		local world = new_world();
		world.who = "reset";
		world.replies["account.create"] = { created = false };
		assert.is_true(world.accounts.create_user("brutus", "x"));
		assert.same({ "brutus" }, world.resets);
	end);

	it("is created though nobody can wait", function ()
		local world = new_world();
		world.async = false;
		world.replies["account.create"] = { created = true };
		assert.is_true(world.accounts.create_user("portia", "x"));
		assert.equal("account.create", world.blocked[1].method);
		assert.is_true(world.blocked[1].options <= 2);
		assert.equal(0, #world.asked);
	end);

	it("is refused in the daemon's words", function ()
		local world = new_world();
		world.replies["account.create"] = { code = -32000, denial = "account-exists", message = "There is such an account" };
		assert.same({ nil, "There is such an account" }, { world.accounts.create_user("brutus", "x") });
	end);
end);

describe("a password", function ()
	it("that is no text, or too long, goes nowhere", function ()
		for _, password in ipairs({ "\255", ("x"):rep(32 * 1024 + 1), 5, false }) do
			local world = new_world();
			for _, method in ipairs({ "create_user", "set_password", "test_password" }) do
				local ok, err = world.accounts[method]("brutus", password);
				assert.is_nil(ok);
				assert.is_string(err);
			end
			assert.equal(0, #world.asked);
		end
		assert.is_nil((new_world().accounts.set_password("brutus", nil)));
	end);

	it("is tested without an address", function ()
		local world = new_world();
		world.replies["account.verify"] = { delay = 0 };
		assert.is_true(world.accounts.test_password("brutus", "et tu?"));
		assert.same({ account = "brutus@rome.lit", password = "et tu?", address = world.null }, world.asked[1].params);
		world.replies["account.verify"] = { code = -32000, message = "Wrong" };
		assert.same({ nil, "Wrong" }, { world.accounts.test_password("brutus", "no") });
	end);

	it("is never in the log", function ()
		local world = new_world();
		world.accounts.create_user("brutus", "dagger");
		world.accounts.set_password("brutus", "dagger");
		world.accounts.test_password("brutus", "dagger");
		assert.equal(2, #world.lines);
		for _, line in ipairs(world.lines) do assert.is_nil(line:find("dagger", 1, true)); end
	end);
end);

describe("the list of users", function ()
	it("is collected over all pages before the first one is given", function ()
		local world = new_world();
		world.replies["account.list"] = function (params)
			if params.after == world.null then return { accounts = { { username = "a" }, { username = "b" } }, next = "b" }; end
			assert.equal("b", params.after);
			return { accounts = { { username = "c" } } };
		end;
		local names = {};
		for name in world.accounts.users() do names[#names + 1] = name; end
		assert.same({ "a", "b", "c" }, names);
	end);

	it("is an error when it is not complete", function ()
		local world = new_world();
		world.replies["account.list"] = function (params)
			if params.after == world.null then return { accounts = { { username = "a" } }, next = "a" }; end
			return nil, { reason = "lost" };
		end;
		assert.has_error(function () world.accounts.users(); end);
	end);
end);

describe("what an admin is told of a failure", function ()
	it("says whether it may have been done", function ()
		local text_of = new_world().text_of;
		assert.matches("or not", text_of({ reason = "timeout" }));
		assert.matches("or not", text_of({ reason = "lost" }));
		assert.matches("can't be asked", text_of({ reason = "away" }));
		assert.matches("can't be asked", text_of({ code = -32001 }));
		assert.matches("options", text_of({ code = -32002 }));
	end);
end);
