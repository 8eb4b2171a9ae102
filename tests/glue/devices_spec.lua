local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local day = 24 * 60 * 60;

local function new_world()
	local world = { at = 1000 * day, devices = {}, tokens = {}, written = 0, logged = {} };
	local function store(data)
		return {
			get = function (_, username) return data[username], world.read_error; end;
			set = function (_, username, value)
				if world.write_error then return nil, world.write_error; end
				world.written = world.written + 1;
				data[username] = value;
				return true;
			end;
		};
	end
	local handlers = {};
	local stores = { saslcertd_devices = store(world.devices), fast_tokens = store(world.tokens) };
	load_library("devices", nil, {
		["util.hashes"] = { sha256 = function (text, is_hex) return is_hex and "<" .. text .. ">"; end };
		["util.time"] = { now = function () return world.at; end };
	}).watch({
		open_store = function (_, name) return stores[name]; end;
		hook = function (_, _, handler, priority) handlers[#handlers + 1] = { run = handler, priority = priority }; end;
		log = function (_, level) world.logged[#world.logged + 1] = level; end;
	});
	function world.session(session, resumed)
		session.username, session.log = "hamlet", function () end;
		session.sasl_handler = session.sasl_handler or {};
		table.sort(handlers, function (a, b) return a.priority > b.priority; end);
		for i, handler in ipairs(handlers) do
			-- A session that is resumed lives on in the place of the new one.
			handler.run({ session = i > 1 and resumed or session });
		end
		return session;
	end
	return world;
end

describe("a login with a certificate", function ()
	it("revokes the tokens of its device, and no other's", function ()
		local world = new_world();
		world.tokens.hamlet = { ["<phone>-new"] = {}, ["<phone>-cur"] = {}, ["<phone>--cur"] = {}, ["<desk>-cur"] = {} };
		world.session({ saslcert = {}, client_id = "phone" });
		assert.same({ ["<desk>-cur"] = {} }, world.tokens.hamlet);
		world.session({ saslcert = {}, client_id = "desk" });
		assert.is_nil(world.tokens.hamlet);
	end);

	it("is remembered, and not written each time", function ()
		local world = new_world();
		for _ = 1, 3 do world.session({ saslcert = {}, client_id = "phone" }); end
		assert.equal(1, world.written);
		world.at = world.at + day;
		world.session({ saslcert = {}, client_id = "phone" });
		assert.same({ ["<phone>"] = world.at }, world.devices.hamlet);
	end);

	it("of a client that does not say which it is changes nothing, and gets no token", function ()
		local world = new_world();
		world.tokens.hamlet = { ["<phone>-cur"] = {} };
		assert.is_nil(world.session({ saslcert = {}, fast_token_request = {} }).fast_token_request);
		assert.same({ 0, { ["<phone>-cur"] = {} } }, { world.written, world.tokens.hamlet });
	end);

	it("that takes over another session gets no token for that either", function ()
		local resumed = { saslcert = {}, fast_token_request = {} };
		new_world().session({ saslcert = {}, client_id = "phone" }, resumed);
		assert.is_nil(resumed.fast_token_request);
	end);

	it("says when the tokens could not be revoked", function ()
		local world = new_world();
		world.devices.hamlet, world.tokens.hamlet = { ["<phone>"] = world.at }, { ["<phone>-cur"] = {} };
		world.write_error = "full";
		world.session({ saslcert = {}, client_id = "phone" });
		assert.same({ "error" }, world.logged);
	end);
end);

describe("a device that is known for its certificate", function ()
	it("gets no token by a password, and none in the place of an old one", function ()
		local world = new_world();
		world.devices.hamlet = { ["<phone>"] = 1 };
		local phone = world.session({ client_id = "phone", fast_token_request = {}, sasl_handler = { rotation_needed = true } });
		assert.same({}, { phone.fast_token_request, phone.sasl_handler.rotation_needed });
		local desk = world.session({ client_id = "desk", fast_token_request = {} });
		assert.same({}, desk.fast_token_request);
		assert.equal(0, world.written);
	end);

	it("is forgotten after a long time, and when there are too many, the oldest first", function ()
		local world = new_world();
		world.devices.hamlet = { old = world.at - 400 * day, broken = "x" };
		for i = 1, 40 do world.devices.hamlet["device" .. i] = world.at - i; end
		world.session({ saslcert = {}, client_id = "phone" });
		local known, count = world.devices.hamlet, 0;
		for _ in pairs(known) do count = count + 1; end
		assert.equal(32, count);
		assert.is_nil(known.old);
		assert.is_nil(known.broken);
		assert.is_nil(known.device32);
		assert.is_number(known.device31);
	end);
end);
