local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_world(with)
	with = with or {};
	local world = { data = {}, ids = 0, logged = {} };
	world.users = { hamlet = true, ophelia = false };
	world.served = { ["shakespeare.lit"] = {} };
	world.accounts = load_library("accounts", nil, {
		["core.usermanager"] = {
			user_exists = function (username) return world.users[username] ~= nil; end;
			user_is_enabled = with.user_is_enabled, get_account_info = with.get_account_info;
		};
		["util.encodings"] = { stringprep = { nodeprep = function (text) return text:lower(); end } };
		["util.uuid"] = { generate = function () world.ids = world.ids + 1; return "id-" .. world.ids; end };
	}, { prosody = { hosts = world.served } }).new({
		host = "shakespeare.lit";
		open_store = function (_, name)
			return name == "saslcertd" and (with.store or {
				get = function (_, username) return world.data[username]; end;
				set = function (_, username, data) world.data[username] = data; return true; end;
			});
		end;
		log = function (_, level) world.logged[#world.logged + 1] = level; end;
	});
	return world;
end

describe("an incarnation", function ()
	it("is made once, and kept", function ()
		local world = new_world();
		assert.is_nil(world.accounts.incarnation("hamlet"));
		assert.equal("id-1", world.accounts.incarnation("hamlet", true));
		assert.equal("id-1", world.accounts.incarnation("hamlet", true));
		assert.equal("id-1", world.accounts.incarnation("hamlet"));
		assert.equal(1, world.ids);
	end);

	it("is unknown, not absent, when the store fails", function ()
		local world = new_world({ store = { get = function () return nil, "disk on fire"; end } });
		assert.same({ nil, "disk on fire" }, { world.accounts.incarnation("hamlet") });
		assert.same({ nil, "disk on fire" }, { world.accounts.incarnation("hamlet", true) });
		assert.same({ nil, "disk on fire" }, { world.accounts.facts({ { username = "hamlet" } }) });
	end);

	it("isn't trusted to a store that forgets", function ()
		local world = new_world({ store = { get = function () end, set = function () return true; end } });
		assert.same({ nil, "not kept" }, { world.accounts.incarnation("hamlet", true) });
	end);

	it("is never what the protocol doesn't allow", function ()
		local world = new_world();
		for _, id in ipairs({ "", "a b", ("x"):rep(65), 7 }) do
			world.data.hamlet = { incarnation = id };
			assert.same({ nil, "invalid" }, { world.accounts.incarnation("hamlet") });
		end
	end);
end);

describe("the facts of a login", function ()
	it("say who exists, is enabled, and which account it is", function ()
		local world = new_world({ user_is_enabled = function (username) return username == "hamlet"; end });
		world.data.hamlet = { incarnation = "a" };
		assert.same({
			{ username = "hamlet", exists = true, enabled = true, incarnation = "a" },
			{ username = "ophelia", exists = true, enabled = false },
			{ username = "yorick", exists = false, enabled = false },
		}, world.accounts.facts({ { username = "hamlet" }, { username = "ophelia" }, { username = "yorick" } }));
	end);

	it("take all accounts for enabled where nobody can disable them", function ()
		assert.is_true(new_world().accounts.enabled("hamlet"));
		assert.is_true(new_world({ user_is_enabled = function () return nil, "method not implemented"; end }).accounts.enabled("hamlet"));
		assert.is_false(new_world({ user_is_enabled = function () return nil, "disk on fire"; end }).accounts.enabled("hamlet"));
	end);

	it("say that names which aren't prepared are nobody's", function ()
		for _, fact in ipairs(new_world().accounts.facts({ { username = "Hamlet" }, { username = "" }, { username = 5 }, {} })) do
			assert.same({ false, false }, { fact.exists, fact.enabled });
		end
	end);

	it("are read once where the provider says both, and otherwise one by one", function ()
		local infos, asked = { hamlet = { enabled = true }, ophelia = { enabled = false }, gertrude = {} }, {};
		local world = new_world({
			get_account_info = function (username) return infos[username], "Account not available"; end;
			user_is_enabled = function (username) asked[#asked + 1] = username; return username == "gertrude"; end;
		});
		world.users.gertrude = true;
		local facts = world.accounts.facts({ { username = "hamlet" }, { username = "ophelia" }, { username = "gertrude" }, { username = "yorick" } });
		local said = {};
		for i, fact in ipairs(facts) do said[i] = { fact.exists, fact.enabled }; end
		assert.same({ { true, true }, { true, false }, { true, true }, { false, false } }, said);
		assert.same({ "ophelia", "gertrude" }, asked);
		world.served["shakespeare.lit"] = nil;
		assert.is_false(world.accounts.facts({ { username = "hamlet" } })[1].exists);
	end);

	it("are still so while the account is the same, and somebody can log in as it", function ()
		local world = new_world({ user_is_enabled = function (username) return username == "hamlet"; end });
		world.data.hamlet = { incarnation = "a" };
		local told = world.accounts.facts({ { username = "ophelia" }, { username = "hamlet" } });
		local is_still = world.accounts.is_still;
		assert.same({ true, false, false, false }, {
			is_still(told, "hamlet"), is_still(told, "ophelia"), is_still(told, "yorick"), is_still(nil, "hamlet"),
		});
		world.data.hamlet = { incarnation = "b" };
		assert.is_false(is_still(told, "hamlet"));
		world.data.hamlet = { incarnation = "a b" };
		assert.is_false(is_still(told, "hamlet"));
		world.data.hamlet = nil;
		assert.is_false(is_still(told, "hamlet"));
		world.data.hamlet = { incarnation = "a" };
		assert.is_true(is_still(told, "hamlet"));
		world.users.hamlet = nil;
		assert.is_false(is_still(told, "hamlet"));
	end);
end);

describe("a host that is gone", function ()
	it("has no accounts, and nobody asks usermanager, which would fall", function ()
		local world = new_world({ user_is_enabled = function () return true; end });
		assert.is_true(world.accounts.exists("hamlet"));
		assert.is_true(world.accounts.enabled("hamlet"));
		world.served["shakespeare.lit"] = nil;
		world.users = nil;
		assert.is_false(world.accounts.exists("hamlet"));
		assert.is_false(world.accounts.enabled("hamlet"));
	end);
end);
