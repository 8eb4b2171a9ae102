local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_stanza(name, attr)
	local stanza = { name = name, attr = attr, tags = {} };
	function stanza:tag(tag, tag_attr) self.tags[#self.tags + 1] = { name = tag, attr = tag_attr }; return self; end
	function stanza:up() return self; end
	return stanza;
end

local function load_admission(module, api)
	module.host = "rome.lit";
	function module.shared() return api; end
	local prosodys = {
		["util.encodings"] = { stringprep = { nodeprep = function (username) return username ~= "@" and username:lower() or nil; end } };
		["util.json"] = { null = "null" };
		["util.stanza"] = { stanza = new_stanza };
	};
	function module.require(_, name) return load_library(name, "mod_auth_saslcertd", prosodys, { module = module }); end
	return module:require("admission");
end

local refused = {
	code = -32000, denial = "session-refused", sasl = "not-authorized", message = "No",
	stanza = { type = "auth", condition = "not-authorized" },
};

local function new_world()
	local world = { asked = {}, hooks = {}, fired = {} };
	world.reply = { incarnation = "one", password_changed = 1 };
	local api = {
		failures = load_library("failures");
		ask = function (_, params)
			world.asked[#world.asked + 1] = params;
			if world.while_asked then world.while_asked(); end
			if world.reply.code or world.reply.reason then return nil, world.reply; end
			return world.reply;
		end;
		timeout = function () return 2; end;
	};
	load_admission({
		hook = function (_, name, handler, priority)
			-- The other one only drops what asks for a token.
			if priority > 80 then world.hooks[name] = handler; else world.drop_tokens = handler; end
		end;
		hook_tag = function (_, xmlns, name, handler) world.hooks[xmlns .. " " .. name] = handler; end;
		fire_event = function (_, name, event) world.fired[#world.fired + 1] = { name, event.message }; end;
	}, api).add_hooks();
	world.session = {
		type = "c2s_unbound", username = "brutus", host = "rome.lit", ip = "192.0.2.7", saslcert_mechanism = "OAUTHBEARER",
		log = function () end, sasl_handler = { username = "Brutus", selected = "HT-SHA-256-NONE" },
	};
	function world.session.send(stanza) world.sent = stanza; end
	function world.bind()
		local event = { session = world.session };
		return world.hooks["pre-resource-bind"](event), event.error and event.error.condition;
	end
	function world.resume() return world.hooks["urn:xmpp:sm:3 resume"](world.session, {}), world.sent and world.sent.tags[1].name; end
	function world.success() return world.hooks["sasl2/c2s/success"]({ session = world.session }), world.fired[1] and world.fired[1][2]; end
	return world;
end

describe("a session that something else has logged in", function ()
	it("begins with the daemon's yes, which is asked for once and tags it", function ()
		local world = new_world();
		assert.is_nil((world.success()));
		assert.same({ account = "brutus@rome.lit", mechanism = "HT-SHA-256-NONE", address = "192.0.2.7" }, world.asked[1]);
		assert.equal("brutus@rome.lit", world.session.saslcert_account);
		assert.same({ incarnation = "one", password_changed = 1 }, world.session.saslcert_login);
		assert.is_nil((world.bind()));
		assert.is_nil((world.resume()));
		assert.equal(1, #world.asked);
	end);

	it("gets no token of Prosody's, nor a new one for an old one", function ()
		local world = new_world();
		world.session.fast_token_request, world.session.sasl_handler.rotation_needed = {}, true;
		world.drop_tokens({ session = world.session });
		assert.is_nil(world.session.fast_token_request);
		assert.is_nil(world.session.sasl_handler.rotation_needed);
	end);

	it("is refused in the daemon's words, and untagged", function ()
		local world = new_world();
		world.reply = refused;
		assert.same({ true, "not-authorized" }, { world.success() });
		assert.same({ false, "not-authorized" }, { world.bind() });
		assert.same({ true, "not-authorized" }, { world.resume() });
		assert.is_nil(world.session.saslcert_account);
	end);

	it("is told that it could not be asked, whatever the reason", function ()
		for _, failure in ipairs({ { reason = "away" }, { reason = "timeout" }, { reason = "busy" } }) do
			local world = new_world();
			world.reply = failure;
			assert.same({ true, "temporary-auth-failure" }, { world.success() });
			assert.same({ false, "remote-server-timeout" }, { world.bind() });
			assert.same({ true, "remote-server-timeout" }, { world.resume() });
		end
	end);

	it("does not begin when it is gone by the time of the answer", function ()
		local world = new_world();
		world.while_asked = function () world.session.destroyed = true; end;
		assert.is_true((world.success()));
		assert.same({}, world.fired);
		assert.is_false((world.bind()));
		assert.is_nil(world.session.saslcert_account);
	end);

	it("is asked about although another account's login has tagged it", function ()
		local world = new_world();
		world.session.saslcert_account = "cato@rome.lit";
		world.session.saslcert = { account = "cato@rome.lit" };
		world.bind();
		assert.equal(1, #world.asked);
	end);

	it("is left to others before it has logged in, and under a name that nobody can have", function ()
		local world = new_world();
		world.session.type, world.session.username = "c2s_unauthed", nil;
		assert.is_nil((world.resume()));
		world.session.sasl_handler.username = "@";
		assert.is_nil((world.success()));
		assert.same({}, world.asked);
	end);
end);

describe("one whose password or certificate the daemon has admitted", function ()
	it("is not asked about again", function ()
		for _, tag in ipairs({ "saslcert_account", "saslcert" }) do
			local world = new_world();
			world.session[tag] = tag == "saslcert" and { account = "brutus@rome.lit" } or "brutus@rome.lit";
			assert.is_nil((world.success()));
			assert.is_nil((world.bind()));
			assert.is_nil((world.resume()));
			assert.same({}, world.asked);
		end
	end);
end);

describe("tokens of before", function ()
	local function world_of(count)
		local world = { tokens = {}, steps = 0, logged = {} };
		for i = 1, count do world.tokens["user" .. i] = {}; end
		world.store = {
			users = function () return pairs(world.tokens); end;
			set = function (_, username) world.tokens[username] = nil; return true; end;
		};
		world.revoke = load_admission({
			open_store = function (_, name) return name == "fast_tokens" and world.store; end;
			add_timer = function (_, _, work)
				repeat world.steps = world.steps + 1; until work() == nil
			end;
			log = function (_, level, ...) world.logged[#world.logged + 1] = level .. " " .. select("#", ...); end;
		}).revoke_tokens;
		return world;
	end

	it("are removed, not too many at once", function ()
		local world = world_of(250);
		world.revoke();
		assert.is_nil(next(world.tokens));
		assert.equal(3, world.steps);
		assert.same({ "info 2" }, world.logged);
	end);

	it("that are none cost nothing", function ()
		local world = world_of(0);
		world.revoke();
		assert.same({ 0, {} }, { world.steps, world.logged });
	end);

	it("in a storage that can't list them are left", function ()
		local world = world_of(1);
		world.store.users = function () error("not supported"); end;
		world.revoke();
		assert.same({ "debug 2" }, world.logged);
	end);
end);
