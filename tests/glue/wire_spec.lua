local load_library, _, list = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local json = require "dkjson";

local function load_wire(libraries)
	libraries["util.json"] = { encode = json.encode, decode = json.decode, null = json.null };
	libraries["util.time"] = libraries["util.time"] or { monotonic = function () return 0; end };
	libraries["socket.unix"] = libraries["socket.unix"] or {};
	return load_library("wire", nil, libraries);
end

local function new_world(lines)
	local world = { time = 0, timeouts = {} };
	world.socket = {
		settimeout = function (_, seconds, mode) world.timeouts[#world.timeouts + 1] = seconds; world.mode = mode; end;
		send = function (_, line) world.sent = (world.sent or "") .. line; return #line; end;
		receive = function ()
			world.time = world.time + 0.1;
			local line = table.remove(lines, 1);
			if line then return line; end
			return nil, "timeout";
		end;
		close = function () world.closed = true; end;
	};
	function world.socket.connect(_, path)
		world.path = path;
		if world.refused then return nil, "connection refused"; end
		return true;
	end
	local wire = load_wire({
		["util.time"] = { monotonic = function () return world.time; end };
		["socket.unix"] = { stream = function () return world.socket; end };
	});
	-- The answer and the failure; and what came before the answer.
	function world.ask(hello)
		local questions = { hello and { "session.hello", hello } or nil };
		questions[#questions + 1] = { "account.exists", { account = "a@b" } };
		local results, failure = wire.ask("/run/s", questions, 0.3);
		return results[#questions], failure, hello and results[1];
	end
	return world;
end

describe("a question over a connection of its own", function ()
	it("gets its answer, whatever comes before", function ()
		local world = new_world({ '{"method":"host.scram","params":{}}', '{"id":1,"result":{"exists":true}}' });
		assert.same({ exists = true }, world.ask());
		assert.equal("/run/s", world.path);
		assert.equal("account.exists", json.decode(world.sent).method);
		assert.is_true(world.closed);
	end);

	it("has no answer without its id, but an error", function ()
		local world = new_world({ '{"result":{"exists":true}}', '{"id":1,"result":{"exists":false}}' });
		assert.same({ exists = false }, world.ask());
		world = new_world({ '{"id":null,"error":{"code":-32700,"message":"too long"}}' });
		local result, failure = world.ask();
		assert.same({ nil, -32700 }, { result, failure.code });
	end);

	it("comes behind a hello, if it needs one", function ()
		local world = new_world({ '{"id":1,"result":{"hosts":[]}}', '{"id":2,"result":{"exists":true}}' });
		assert.same({ { exists = true }, nil, { hosts = {} } }, { world.ask({ protocol = 1 }) });
		local first, second = world.sent:match("^([^\n]+)\n([^\n]+)\n$");
		assert.equal("session.hello", json.decode(first).method);
		assert.equal("account.exists", json.decode(second).method);
	end);

	it("is not asked where the daemon refuses the hello, or to answer at all", function ()
		local refusal = '"error":{"code":-32003,"message":"Wrong version"}';
		for _, id in ipairs({ "1", "null" }) do
			local world = new_world({ ('{"id":%s,%s}'):format(id, refusal), '{"id":2,"result":{}}' });
			assert.same({ nil, { reason = "away", message = "Wrong version" } }, { world.ask({ protocol = 1 }) });
			assert.is_nil(world.sent:find("account.exists", 1, true));
			-- It reads why though it could not write.
			world = new_world({ ('{"id":%s,%s}'):format(id, refusal) });
			world.socket.send = function () return nil, "closed"; end;
			assert.same({ nil, { reason = "away", message = "Wrong version" } }, { world.ask({ protocol = 1 }) });
		end
	end);

	it("was not asked if it could not be sent", function ()
		local world = new_world({});
		world.socket.send = function () return nil, "closed"; end;
		assert.same({ reason = "away" }, (select(2, world.ask())));
	end);

	it("gets the daemon's refusal", function ()
		assert.same({ code = -32602 }, (select(2, new_world({ '{"id":1,"error":{"code":-32602}}' }).ask())));
	end);

	it("that the daemon can't read is not waited for", function ()
		local world = new_world({ '{"id":null,"error":{"code":-32700}}' });
		assert.same({ code = -32700 }, (select(2, world.ask())));
		assert.is_true(world.time < 0.2);
	end);

	it("has so much time, all in all", function ()
		local other = '{"id":2,"result":{}}';
		local world = new_world({ other, other });
		assert.same({ reason = "timeout" }, (select(2, world.ask())));
		assert.equal("t", world.mode);
		for i, seconds in ipairs({ 0.3, 0.3, 0.3, 0.2, 0.1 }) do assert.is_true(math.abs(seconds - world.timeouts[i]) < 1e-9); end
		assert.is_true(world.closed);
	end);

	it("gives up on noise, and without a connection", function ()
		local noise = {};
		for i = 1, 100 do noise[i] = '{"id":2,"result":{}}'; end
		assert.same({ reason = "away" }, (select(2, new_world(noise).ask())));
		assert.same({ reason = "away" }, (select(2, new_world({ "what?" }).ask())));
		local world = new_world({});
		world.refused = true;
		assert.same({ reason = "away", message = "connection refused" }, (select(2, world.ask())));
		assert.is_true(world.closed);
	end);
end);

describe("a line", function ()
	local wire = load_wire({});

	it("is not written if the daemon could not read it", function ()
		assert.same({ id = 1, jsonrpc = "2.0" }, json.decode((wire.line_of({ id = 1 }))));
		assert.same({ nil, "too-long" }, { wire.line_of({ id = ("x"):rep(128 * 1024) }) });
		assert.same({ nil, "not-text" }, { wire.line_of({ id = "\255" }) });
		for _, number in ipairs({ math.huge, -math.huge, 0/0 }) do
			assert.same({ nil, "not-text" }, { wire.line_of({ id = 1, params = { list = list({ { number } }) } }) });
		end
		local world = new_world({});
		assert.same({ nil, { reason = "not-text" } }, { world.ask("\255") });
		assert.is_nil(world.sent);
	end);

	it("says what it is to say, as JSON", function ()
		local message = {
			id = 7, text = 'a "b" \\ c\n\tü \127', empty = "", yes = true, no = false, half = 0.5;
			object = {}, list = list({}), of = list({ "x", { y = list({ 1, 2 }) } }), ["a\"name"] = "z", nothing = json.null;
		};
		local read = json.decode((wire.line_of(message)));
		message.nothing = nil;
		assert.same(message, read);
		local line = wire.line_of({ object = {}, list = list({}) });
		assert.truthy(line:find('"object":{}', 1, true) and line:find('"list":[]', 1, true));
		assert.equal("\n", line:match("%c.*"));
	end);

	it("has no nulls, and nothing that XML can't carry", function ()
		assert.same({ a = { "x?y" }, c = "\t\n" }, wire.decode('{"a":["x\\u0001y"],"b":null,"c":"\\t\\n"}'));
	end);

	it("is a table, or not ours", function ()
		for _, line in ipairs({ "5", '"x"', "null", "{" }) do assert.is_nil(wire.decode(line)); end
	end);

	it("that answers has a result, or becomes a failure, whatever it says", function ()
		assert.same({ n = 1 }, (wire.outcome_of({ result = { n = 1 } })));
		local function failure_of(answer) return (select(2, wire.outcome_of(answer))); end
		assert.same({ code = -32000, message = "No", denial = "d", delay = 1 },
			failure_of({ error = { code = -32000, message = "No", data = { denial = "d", delay = 1, stanza = "s" } } }));
		for _, answer in ipairs({ {}, { error = 5 }, { error = { code = "x", message = 5, data = 5 } }, { error = {}, result = {} } }) do
			assert.same({ code = -32001 }, failure_of(answer));
		end
	end);
end);

describe("a list", function ()
	it("is cut where a question would grow too long, and never into nothing", function ()
		local wire, kib = load_wire({}), 1024;
		-- With its quotes and what separates it, an element is as long as it says.
		local function element(size) return ("x"):rep(size - 3); end
		local function lengths(sizes)
			local elements, pieces = {}, {};
			for i, size in ipairs(sizes) do elements[i] = element(size); end
			for i, piece in ipairs(wire.pieces_of(elements)) do
				pieces[i] = {};
				for j, one in ipairs(piece) do pieces[i][j] = #one + 3; end
			end
			return pieces;
		end
		assert.same({}, lengths({}));
		assert.same({ { 40 * kib, 56 * kib }, { 200 * kib }, { 30 * kib, 66 * kib }, { 3 } },
			lengths({ 40 * kib, 56 * kib, 200 * kib, 30 * kib, 66 * kib, 3 }));
	end);
end);

describe("the time that is looked at when an answer comes", function ()
	local function uptime_of(open)
		local environment = { io = { open = open } };
		return load_library("wire", nil, {
			["util.json"] = {}, ["socket.unix"] = {}, ["util.time"] = { monotonic = function () return 7; end };
		}, environment).uptime;
	end

	it("is the kernel's, and goes on", function ()
		local uptime = uptime_of(io.open);
		local file = io.open("/proc/uptime");
		local told = tonumber(file:read("*l"):match("^%S+"));
		file:close();
		assert.is_true(uptime() >= told);
		local first = uptime();
		while uptime() == first do end
		assert.is_true(uptime() > first);
	end);

	it("is the monotonic one where there is no other", function ()
		assert.equal(7, uptime_of(function () return nil; end)());
	end);

	it("is over when it can't be told any more", function ()
		local text = "12.34 56.78";
		local uptime = uptime_of(function (path)
			assert.equal("/proc/uptime", path);
			return { setvbuf = function () end, seek = function () return 0; end, read = function () return text; end };
		end);
		assert.equal(12.34, uptime());
		text = nil;
		assert.equal(math.huge, uptime());
	end);
end);
