local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

-- Whatever is called of it or read from it, there is nothing more.
local function anything(own)
	return setmetatable(own or {}, { __index = function () return function () end; end });
end

-- The module in the server, and what its client is asked: { method, options }.
local function new_world()
	local world = { asked = {}, api = {} };
	local own = {
		hello = { settings = function () return { socket = "/s", timeout = 2, change_timeout = 10 }; end };
		client = { new = function ()
			return anything({ request = function (method, _, options, callback)
				world.asked[#world.asked + 1] = { method, options };
				callback({});
			end });
		end };
		asked = { new = function () end, changes = {} };
	};
	for _, name in ipairs({ "metrics", "sessions", "sasl", "tls" }) do own[name] = anything({ new = function () return anything(); end }); end
	local module = anything({
		require = function (_, name) return own[name] or anything(); end;
		shared = function (_, path) return path == "/*/saslcertd/api" and world.api or {}; end;
	});
	load_library("mod_saslcertd", nil, {
		["core.modulemanager"] = {}, ["util.time"] = {};
		["util.async"] = {
			ready = function () return true; end;
			waiter = function () return function () end, function () end; end;
		};
	}, { module = module, prosody = { hosts = {} }, coroutine = {} }, ".lua");
	return world;
end

describe("the module", function ()
	it("never repeats a change, and has the daemon asked once more about all else", function ()
		local world = new_world();
		world.api.change("certificate.append", {});
		world.api.ask("certificate.list", {});
		world.api.ask("account.failed", {}, { timeout = 3 });
		assert.same({
			{ "certificate.append", { timeout = 10 } };
			{ "certificate.list", { timeout = 2, again = true } };
			{ "account.failed", { timeout = 3 } };
		}, world.asked);
	end);
end);
