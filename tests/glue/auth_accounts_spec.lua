local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_world()
	local world = { time = 1000, asked = {}, blocked = {}, replies = {}, logged = {}, resets = {}, checks = 0, seen = {}, thread = {}, lines = {} };
	world.null, world.async = "null", true;
	local prosodys = {
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
		failures = load_library("failures");
		ask = reply_to(world.asked);
		change = reply_to(world.asked, true);
		ask_blocking = reply_to(world.blocked);
		can_wait = function () return world.async; end;
		timeout = function () return 3; end;
		check = function () world.checks = world.checks + 1; end;
		password_is_of = function (account, at) world.seen[#world.seen + 1] = account .. " " .. tostring(at); end;
	};
	local module = {
		host = "rome.lit";
		log = function (_, level, ...)
			world.logged[#world.logged + 1] = level;
			world.lines[#world.lines + 1] = string.format(...);
		end;
		shared = function () return api; end;
	};
	function module.require(_, name) return load_library(name, "mod_auth_saslcertd", prosodys, { module = module }); end
	world.prosody = { events = {
		fire_event = function (name, event)
			world.resets[#world.resets + 1] = name == "user-password-changed" and event.host == "rome.lit" and event.username or name;
		end;
	} };
	world.inner = load_library("accounts", "mod_auth_saslcertd", prosodys, {
		module = module;
		coroutine = { running = function () return world.thread; end };
		prosody = world.prosody;
	});
	world.accounts = world.inner.provider;
	function world.register(username, event)
		event = event or {};
		event.username, event.allowed = username, event.allowed == nil or event.allowed;
		world.inner.registering(event);
		return event;
	end
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

	it("is no for no name, and asks nobody", function ()
		local world = new_world();
		assert.is_nil((world.accounts.user_exists("")));
		assert.is_nil((world.accounts.user_exists(nil)));
		assert.equal(0, #world.asked);
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
		world.inner.expire();
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
		world.inner.expire();
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

describe("what is known of an account", function ()
	-- Does the daemon have to be asked about this name?
	local function is_asked(world, username)
		local before = #world.asked;
		world.accounts.is_enabled(username);
		return #world.asked > before;
	end

	it("is sure for five minutes when it exists, for five seconds when it does not", function ()
		local world = new_world();
		world.accounts.user_exists("brutus");
		world.replies["account.exists"] = missing;
		world.accounts.user_exists("yorick");
		world.time = world.time + 4;
		assert.is_false(is_asked(world, "brutus") or is_asked(world, "yorick"));
		world.time = world.time + 2;
		assert.is_false(is_asked(world, "brutus"));
		assert.is_true(is_asked(world, "yorick"));
		world.time = world.time + 300;
		assert.is_true(is_asked(world, "brutus"));
	end);

	it("is not sure when the clock was set back", function ()
		local world = new_world();
		world.accounts.user_exists("brutus");
		world.time = world.time - 3600;
		assert.is_true(is_asked(world, "brutus"));
	end);

	it("is not sure any more after an outage, until it was heard again", function ()
		local world = new_world();
		world.accounts.user_exists("brutus");
		world.inner.expire();
		assert.is_true(is_asked(world, "brutus"));
		assert.is_false(is_asked(world, "brutus"));
	end);

	it("is remembered while the daemon can't be asked, for as long as nobody says otherwise", function ()
		local world = new_world();
		world.accounts.user_exists("brutus");
		world.replies["account.exists"] = nil;
		world.time = world.time + 1e6;
		assert.is_true(world.accounts.user_exists("brutus"));
		assert.same({}, world.logged);
		world.inner.forget("brutus");
		world.accounts.user_exists("brutus");
		assert.same({ "warn" }, world.logged);
	end);

	it("is not what was asked before something changed", function ()
		for _, change in ipairs({ "forget", "expire" }) do
			local world = new_world();
			world.replies["account.exists"] = function ()
				world.inner[change]("brutus");
				return { exists = true, enabled = true };
			end;
			assert.is_true(world.accounts.user_exists("brutus"));
			assert.is_true(is_asked(world, "brutus"));
		end
	end);

	it("takes bounded memory, and what was heard last stays", function ()
		local world = new_world();
		world.replies["account.exists"] = function () return { exists = true, enabled = true }; end;
		for i = 1, 100001 do
			world.accounts.user_exists("user" .. i);
			world.asked[1] = nil;
		end
		assert.is_false(is_asked(world, "user100001") or is_asked(world, "user2"));
		assert.is_true(is_asked(world, "user1"));
	end);
end);

describe("an account's state", function ()
	it("is the daemon's", function ()
		local world = new_world();
		assert.same({ created = 5, password_updated = 7, enabled = true }, world.accounts.get_account_info("brutus"));
		assert.is_true(world.accounts.is_enabled("brutus"));
		world.inner.forget("brutus");
		world.replies["account.exists"] = { exists = true, enabled = false };
		assert.is_false(world.accounts.is_enabled("brutus"));
	end);

	it("is unknown when the daemon can't be asked, though it was known before", function ()
		local world = new_world();
		world.accounts.is_enabled("brutus");
		world.inner.expire();
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
		for _, who in ipairs({ "server", "prosodyctl" }) do
			world.prosody.process_type = who == "prosodyctl" and who or "prosody";
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
		local ok, text = world.accounts.create_user("brutus", nil);
		assert.same({ nil, "There is such an account" }, { ok, text });
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

describe("a registration", function ()
	local taken = {
		code = -32000, denial = "account-exists", message = "There is such an account", stanza = { type = "cancel", condition = "conflict" },
	};

	it("reserves its name, and creates the account with it", function ()
		local world = new_world();
		world.replies["account.create"] = { created = true, reservation = "token" };
		assert.is_true(world.register("portia").allowed);
		assert.is_true(world.accounts.create_user("portia", "x"));
		assert.equal("token", world.asked[2].params.reservation);
	end);

	it("that somebody has forbidden asks nobody", function ()
		local world = new_world();
		world.register("portia", { allowed = false });
		assert.equal(0, #world.asked);
	end);

	it("of a name that is taken is refused in the daemon's words", function ()
		local world = new_world();
		world.replies["account.create"] = taken;
		local event = world.register("brutus");
		assert.same({ false, "cancel", "conflict", "There is such an account" },
			{ event.allowed, event.error_type, event.error_condition, event.reason });
	end);

	it("that can't be asked about is to be tried again, a reset, too", function ()
		for _, event in ipairs({ {}, { allow_reset = "brutus" } }) do
			local world = new_world();
			world.replies["account.create"] = nil;
			world.register("brutus", event);
			assert.same({ false, "wait" }, { event.allowed, event.error_type });
			assert.matches("at the moment", event.reason);
		end
	end);

	it("that an invitation allows to reset a password does so once, by its reservation, and those who must know are told", function ()
		local world = new_world();
		world.replies["account.create"] = { created = false, reservation = "r1" };
		assert.is_true(world.register("brutus", { allow_reset = "brutus" }).allowed);
		assert.same({ account = "brutus@rome.lit", password = world.null, caller = "reset" }, world.asked[#world.asked].params);
		local function create(username)
			assert.is_true(world.accounts.create_user(username, "x"));
			local params = world.asked[#world.asked].params;
			return { params.caller, params.reservation };
		end
		assert.same({ "server", "r1" }, create("brutus"));
		assert.same({ "brutus" }, world.resets);
		assert.same({ "server" }, create("brutus"));
		world.register("brutus", { allow_reset = "brutus" });
		assert.same({ "server" }, create("portia"));
		assert.same({ "brutus" }, world.resets);
		-- Of another account it allows nothing.
		world.register("portia", { allow_reset = "brutus" });
		assert.equal("server", world.asked[#world.asked].params.caller);
	end);
end);

describe("a password", function ()
	it("that is none reserves no name, and sets nothing", function ()
		for _, step in ipairs({ "account.create", "account.set_password" }) do
			local world = new_world();
			world.replies["account.create"] = { created = true, reservation = "token" };
			if step == "account.create" then world.accounts.create_user("brutus", nil); end
			world.replies[step] = { code = -32000, message = "A password has 1 to 1024 bytes" };
			assert.same({ nil, "A password has 1 to 1024 bytes" }, { world.accounts.set_password("brutus", nil) });
			assert.same({ step, "" }, { world.asked[#world.asked].method, world.asked[#world.asked].params.password });
		end
	end);

	it("that is no text, or too long for a question, is refused with what it must be", function ()
		for _, reason in ipairs({ "not-text", "too-long" }) do
			local world = new_world();
			for _, method in ipairs({ "account.create", "account.set_password", "account.verify" }) do world.replies[method] = { reason = reason }; end
			for _, method in ipairs({ "create_user", "set_password", "test_password" }) do
				local ok, err = world.accounts[method]("brutus", "x");
				assert.is_nil(ok);
				assert.matches("too long, or not UTF%-8 text", err);
			end
		end
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
		local world = new_world();
		for text, failures in pairs({
			["done or not"] = { { reason = "timeout" }, { reason = "lost" } };
			["can't be asked"] = { { reason = "away" }, { code = -32001 }, { code = -32602, message = "secret" } };
			["its own words"] = { { code = -32000, message = "its own words" }, { code = -32001, message = "its own words" }, { code = -32002, message = "its own words" } };
		}) do
			for _, failure in ipairs(failures) do
				world.replies["account.delete"] = failure;
				assert.matches(text, (select(2, world.accounts.delete_user("brutus"))));
			end
		end
	end);

	it("of a question that changes nothing is that nobody answered", function ()
		local world = new_world();
		world.replies["account.verify"] = { reason = "timeout" };
		assert.equal("saslcertd did not answer", (select(2, world.accounts.test_password("brutus", "x"))));
	end);
end);
