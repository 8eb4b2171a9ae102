local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_world()
	local world = { time = 1000 };
	world.known = load_library("known", "mod_auth_saslcertd", {
		["util.time"] = { now = function () return world.time; end };
	}).new();
	function world.remember(username, exists)
		world.known.remember(username, { exists = exists }, world.known.mark());
	end
	return world;
end

describe("what is known of an account", function ()
	it("is sure for five minutes when it exists, for five seconds when it does not", function ()
		local world = new_world();
		world.remember("hamlet", true);
		world.remember("yorick", false);
		world.time = world.time + 4;
		assert.is_true(world.known.fresh("hamlet").exists);
		assert.is_false(world.known.fresh("yorick").exists);
		world.time = world.time + 2;
		assert.is_table(world.known.fresh("hamlet"));
		assert.is_nil(world.known.fresh("yorick"));
		world.time = world.time + 300;
		assert.is_nil(world.known.fresh("hamlet"));
		assert.is_nil(world.known.fresh("nobody"));
	end);

	it("is not sure when the clock was set back", function ()
		local world = new_world();
		world.remember("hamlet", true);
		world.time = world.time - 3600;
		assert.is_nil(world.known.fresh("hamlet"));
	end);

	it("is remembered for as long as nobody says otherwise", function ()
		local world = new_world();
		world.remember("hamlet", true);
		world.remember("yorick", false);
		world.time = world.time + 1e6;
		assert.is_true(world.known.existed("hamlet"));
		assert.is_false(world.known.existed("yorick"));
		assert.is_false(world.known.existed("nobody"));
		world.known.forget("hamlet");
		assert.is_false(world.known.existed("hamlet"));
	end);

	it("is not sure any more after an outage, but still remembered", function ()
		local world = new_world();
		world.remember("hamlet", true);
		world.known.expire();
		assert.is_nil(world.known.fresh("hamlet"));
		assert.is_true(world.known.existed("hamlet"));
		world.remember("hamlet", true);
		assert.is_table(world.known.fresh("hamlet"));
	end);

	it("is not what was asked before something changed", function ()
		for _, change in ipairs({ "forget", "expire" }) do
			local world = new_world();
			local mark = world.known.mark();
			world.known[change]("hamlet");
			world.known.remember("hamlet", { exists = true }, mark);
			assert.is_nil(world.known.fresh("hamlet"));
		end
	end);

	it("takes bounded memory, and what was heard last stays", function ()
		local world = new_world();
		for i = 1, 250000 do world.remember("user" .. i, true); end
		local count = 0;
		for i = 1, 250000 do if world.known.existed("user" .. i) then count = count + 1; end end
		assert.is_true(count == 100000);
		assert.is_true(world.known.existed("user250000"));
		assert.is_false(world.known.existed("user1"));
	end);
end);
