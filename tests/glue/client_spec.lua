local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local json = require "dkjson";
local wire_library = load_library("wire", nil, { ["util.json"] = json, ["util.time"] = {}, ["socket.unix"] = {} });

-- libraries: what differs from Prosody's. log: of the module.
local function load_client(libraries, open, log)
	local wire = setmetatable({ open = open, uptime = libraries.uptime }, { __index = wire_library });
	return load_library("client", nil, libraries, { module = { log = log, require = function () return wire; end } });
end

-- A daemon, a clock and an event loop in one table.
local function new_world()
	local world = { time = 0, stopped = 0, timers = {}, links = {}, reachable = true, events = {}, reports = 0, ended = {}, logged = {}, answers = {}, replies = {} };

	local function wrapclient(_, _, _, listener)
		if world.is_full then return nil; end
		-- room: bytes that the kernel takes at once. held: what net.server holds. written: whole lines, in the order of their ends.
		local link = { written = {}, open = true, room = math.huge, held = "", rest = "" };
		local function take(data)
			link.rest = link.rest .. data;
			link.rest = link.rest:gsub("[^\n]*\n", function (line) link.written[#link.written + 1] = line; return ""; end);
			return #data;
		end
		function link.write(_, data)
			if not link.open then return nil, "closed"; end
			link.held = link.held .. data;
			return take(data);
		end
		function link.socket()
			return {
				send = function (_, data)
					if not link.open then return nil, "closed", 0; end
					assert.equal("", link.held);
					local last = math.min(#data, link.room);
					link.room = link.room - last;
					take(data:sub(1, last));
					if last == #data then return last; end
					return nil, "timeout", last;
				end;
			};
		end
		function link.close() link.open = false; end
		function link.receive(data) listener.onincoming(link, data); end
		function link.answer(id, result) link.receive(json.encode({ jsonrpc = "2.0", id = id, result = result }) .. "\n"); end
		function link.fail(id, err) link.receive(json.encode({ jsonrpc = "2.0", id = id, error = err }) .. "\n"); end
		function link.lose() link.open = false; listener.ondisconnect(link, "closed"); end
		function link.drain()
			link.held, link.room = "", math.huge;
			listener.ondrain(link);
		end
		-- The event loop finds the connection writable.
		function link.connect() listener.onconnect(link); end
		-- What was asked: { method, … }, without notifications' ids.
		function link.asked()
			link.connect();
			local list = {};
			for _, line in ipairs(link.written) do list[#list + 1] = json.decode(line); end
			return list;
		end
		function link.last() return json.decode(link.written[#link.written]); end
		function link.greet()
			for _, message in ipairs(link.asked()) do
				if message.method == "session.hello" then link.answer(message.id, { protocol = 1, software = "x" }); end
			end
		end
		world.links[#world.links + 1] = link;
		return link;
	end

	function world.link()
		local link = world.links[#world.links];
		link.connect();
		return link;
	end

	function world.pass(seconds)
		local until_time = world.time + seconds;
		while true do
			local next_timer;
			for timer in pairs(world.timers) do
				if timer.at <= until_time and (not next_timer or timer.at < next_timer.at) then next_timer = timer; end
			end
			if not next_timer then break; end
			world.timers[next_timer] = nil;
			world.time = next_timer.at;
			local again = next_timer.f();
			if again then
				next_timer.at = world.time + again;
				world.timers[next_timer] = true;
			end
		end
		world.time = until_time;
	end

	local function open(path, seconds)
		assert.same({ "/run/s", 0 }, { path, seconds });
		if not world.reachable then return nil, "connection refused"; end
		return {};
	end

	world.client = load_client({
		-- It goes on while Prosody is stopped and its machine sleeps.
		uptime = function () return world.time + world.stopped; end;
		["net.server"] = { wrapclient = wrapclient };
		["util.time"] = { monotonic = function () return world.time; end };
		["util.timer"] = {
			add_task = function (seconds, f)
				local timer = { at = world.time + seconds, f = f };
				world.timers[timer] = true;
				return timer;
			end;
			stop = function (timer) world.timers[timer] = nil; end;
		};
	}, open, function (_, level, ...) world.logged[#world.logged + 1] = level .. " " .. string.format(...); end).new({
		socket = function () return "/run/s"; end;
		hello = function () return world.hello or { { protocol = 1 } }; end;
		greeted = function () world.reports = world.reports + 1; end;
		answer = function (method, params, reply)
			if method == "raise" then error("oops"); end
			if method == "later" then
				world.replies[#world.replies + 1] = reply;
				return;
			end
			world.answers[#world.answers + 1] = { method = method, params = params };
			return { closed = 1 };
		end;
		away = function (why, is_refusal)
			world.events[#world.events + 1] = "away: " .. why;
			if is_refusal then world.refused = why; end
		end;
		back = function () world.events[#world.events + 1] = "back"; end;
		missed = function () world.reports = world.reports + 1; end;
		tell = function () if world.tell then world.tell(); end end;
		ended = function (method, seconds, result, failure)
			world.ended[#world.ended + 1] = { method, seconds, result and "result" or failure.reason or failure.code };
		end;
	});

	-- Asks, and remembers what comes back.
	function world.ask(method, options)
		local asked = { count = 0 };
		options = options or {};
		local sent = { timeout = options.timeout or 2, again = options.again, overtakes = options.overtakes };
		world.client.request(method, options.params or {}, sent, function (result, failure)
			asked.count = asked.count + 1;
			asked.result, asked.failure = result, failure;
		end);
		return asked;
	end

	return world;
end

describe("the connection", function ()
	it("says hello before anything else", function ()
		local world = new_world();
		world.ask("external.offer");
		local asked = world.link().asked();
		assert.same({ "session.hello", "external.offer" }, { asked[1].method, asked[2].method });
	end);

	it("is tried again when Prosody has no room for one more", function ()
		local world = new_world();
		world.is_full = true;
		local asked = world.ask("external.offer");
		assert.same({ "away" }, { asked.failure.reason });
		assert.same({ "away: Prosody takes no more connections" }, world.events);
		world.is_full = false;
		world.pass(60);
		world.link().greet();
		assert.equal("back", world.events[#world.events]);
	end);

	it("says a long hello in pieces, and is back when all are answered", function ()
		local world = new_world();
		world.hello = { { hosts = { 1 } }, { hosts = { 2 }, continued = true } };
		world.ask("external.offer");
		local asked = world.link().asked();
		assert.same({ "session.hello", "session.hello", "external.offer" }, { asked[1].method, asked[2].method, asked[3].method });
		world.link().answer(asked[1].id, { hosts = { 1 } });
		assert.equal(0, world.reports);
		world.link().answer(asked[2].id, { hosts = { 2 } });
		assert.equal(1, world.reports);
	end);

	it("gives each answer to its own question, whatever the order", function ()
		local world = new_world();
		local a, b = world.ask("a"), world.ask("b");
		local asked = world.link().asked();
		world.link().answer(asked[3].id, { is = "b" });
		world.link().answer(asked[2].id, { is = "a" });
		assert.equal("a", a.result.is);
		assert.equal("b", b.result.is);
	end);

	it("drops an answer that it reads too late, whatever its timers say", function ()
		local world = new_world();
		local early, late, other = world.ask("early"), world.ask("late"), world.ask("other", { timeout = 30 });
		local asked = world.link().asked();
		world.link().greet();
		world.stopped = 1.99;
		world.link().answer(asked[2].id, { is = "early" });
		assert.equal("early", early.result.is);
		-- Stopped, or asleep, with the answer in the socket.
		world.stopped = 2;
		world.link().answer(asked[3].id, { is = "late" });
		assert.same({ nil, "timeout", 1 }, { late.result, late.failure.reason, late.count });
		world.link().answer(asked[4].id, { is = "other" });
		assert.same({ "other", 1 }, { other.result.is, other.count });
		-- The daemon has missed nothing.
		assert.same({ "back" }, world.events);
	end);

	it("reads lines however they are cut", function ()
		local world = new_world();
		local a, b = world.ask("a"), world.ask("b");
		local asked = world.link().asked();
		local text = json.encode({ id = asked[2].id, result = { is = "a" } }) .. "\n"
			.. json.encode({ id = asked[3].id, result = { is = "b" } }) .. "\n";
		for i = 1, #text do world.link().receive(text:sub(i, i)); end
		assert.equal("a", a.result.is);
		assert.equal("b", b.result.is);
	end);

	it("passes on the daemon's words of a refusal", function ()
		local world = new_world();
		local a = world.ask("a");
		world.link().fail(world.link().last().id, {
			code = -32000, message = "No",
			data = { denial = "d", sasl = "not-authorized", stanza = { type = "auth", condition = "forbidden" }, delay = 0.5 },
		});
		assert.same({
			code = -32000, message = "No", denial = "d", sasl = "not-authorized", stanza = { type = "auth", condition = "forbidden" },
			delay = 0.5,
		}, a.failure);
	end);

	it("fails a question at its deadline, and drops the late answer", function ()
		local world = new_world();
		local a = world.ask("a");
		local id = world.link().last().id;
		world.link().greet();
		world.pass(2);
		assert.equal("timeout", a.failure.reason);
		world.link().answer(id, { late = true });
		assert.equal(1, a.count);
		assert.is_nil(a.result);
	end);

	it("fails overdue questions when the next one comes, though timers are late", function ()
		local world = new_world();
		world.client.declare();
		world.link().greet();
		local a = world.ask("a", { timeout = 2 });
		world.time = world.time + 3;
		local b = world.ask("b", { timeout = 2 });
		assert.equal("timeout", a.failure.reason);
		assert.is_nil(b.failure);
		world.pass(3);
		assert.equal(1, a.count);
		assert.equal(1, b.count);
	end);

	it("fails at once when the daemon is away, and tries to connect for each question", function ()
		local world = new_world();
		world.reachable = false;
		assert.equal("away", world.ask("a").failure.reason);
		world.reachable = true;
		assert.is_nil(world.ask("b").failure);
	end);

	it("reconnects by itself within two seconds, and says once that it was away and is back", function ()
		local world = new_world();
		world.client.declare();
		world.link().greet();
		world.reachable = false;
		world.link().lose();
		world.pass(60);
		world.reachable = true;
		world.pass(2);
		world.link().greet();
		assert.same({ "back", "away: it closed the connection", "back" }, world.events);
		assert.equal(2, world.reports);
	end);

	it("asks what may be repeated once more over an immediate reconnect, hello first", function ()
		local world = new_world();
		local a = world.ask("external.login", { again = true });
		world.link().greet();
		world.link().lose();
		local asked = world.link().asked();
		assert.same({ "session.hello", "external.login" }, { asked[1].method, asked[2].method });
		world.link().answer(asked[2].id, { yes = true });
		assert.is_true(a.result.yes);
	end);

	it("repeats only once, within the same deadline", function ()
		local world = new_world();
		local a = world.ask("a", { again = true });
		world.link().lose();
		world.link().lose();
		assert.equal("lost", a.failure.reason);
		local b = world.ask("b", { again = true });
		world.pass(1.5);
		world.link().lose();
		world.pass(0.4);
		assert.is_nil(b.failure);
		world.pass(0.2);
		assert.equal("timeout", b.failure.reason);
	end);

	it("never repeats a change", function ()
		local world = new_world();
		local a = world.ask("certificate.append");
		world.link().greet();
		world.link().lose();
		assert.equal("lost", a.failure.reason);
		for i = 2, #world.links do
			for _, message in ipairs(world.links[i].asked()) do assert.equal("session.hello", message.method); end
		end
	end);

	it("fails a repeated question at once when the connect is refused", function ()
		local world = new_world();
		local a = world.ask("a", { again = true });
		world.reachable = false;
		world.link().lose();
		assert.equal("away", a.failure.reason);
	end);

	it("doesn't write a question that is too long, or isn't text", function ()
		local world = new_world();
		assert.equal("too-long", world.ask("a", { params = { x = ("x"):rep(128 * 1024) } }).failure.reason);
		assert.equal("not-text", world.ask("a", { params = { x = "\255" } }).failure.reason);
		assert.equal(0, #world.links);
	end);

	it("writes no more questions than the daemon takes, and the rest when it has answered", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.greet();
		for _ = 1, 300 do world.ask("a", { timeout = 30 }); end
		assert.equal(1 + 128, #link.written);
		for i = 2, 101 do link.answer(json.decode(link.written[i]).id, {}); end
		assert.equal(1 + 228, #link.written);
	end);

	it("refuses what would wait too long to be written", function ()
		local world = new_world();
		world.client.declare();
		world.link().greet();
		for _ = 1, 128 + 1024 do assert.is_nil(world.ask("a").failure); end
		assert.equal("busy", world.ask("a").failure.reason);
	end);

	it("keeps no more than a few MiB for a daemon that doesn't read", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.room = 0;
		local params = { x = ("x"):rep(100 * 1024) };
		for _ = 1, 200 do world.ask("a", { params = params, timeout = 30 }); end
		local bytes = 0;
		for _, line in ipairs(link.written) do bytes = bytes + #line; end
		assert.is_true(bytes < 1.2 * 1024 * 1024);
		link.drain();
		assert.is_true(#link.written > 15);
	end);

	it("keeps lines whole and in order when the kernel takes only part of one", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.greet();
		link.room = 10;
		for _, method in ipairs({ "a", "b" }) do world.ask(method); end
		world.client.notify("c", {});
		assert.is_true(#link.held > 100);
		link.drain();
		world.ask("d");
		assert.equal("", link.held);
		local methods = {};
		for i = 2, 5 do methods[#methods + 1] = json.decode(link.written[i]).method; end
		assert.same({ "a", "b", "c", "d" }, methods);
	end);

	it("tells what is to be told before each line that may depend on it", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.greet();
		local untold = 0;
		function world.tell()
			if untold > 0 then world.client.notify("told", { count = untold }); end
			untold = 0;
		end
		local function methods_since(first)
			local methods = {};
			for i = first + 1, #link.written do methods[#methods + 1] = json.decode(link.written[i]).method or "an answer"; end
			return methods;
		end
		local first = #link.written;
		untold = 1;
		world.ask("external.login", { overtakes = true });
		world.client.declare();
		world.ask("certificate.list");
		world.ask("certificate.list");
		assert.same({ "external.login", "session.hello", "told", "certificate.list", "certificate.list" }, methods_since(first));
		first, untold = #link.written, 1;
		link.receive('{"id":"d1","method":"sessions.close","params":{}}\n{"id":"d2","method":"later"}\n');
		untold = 2;
		world.replies[1]({});
		assert.same({ "told", "an answer", "told", "an answer" }, methods_since(first));
		assert.equal(2, json.decode(link.written[#link.written - 1]).params.count);
	end);

	it("answers nothing when it is lost while it tells", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.greet();
		function world.tell() link.lose(); end
		link.receive('{"id":"d1","method":"sessions.close","params":{}}\n');
		world.tell = nil;
		assert.is_false(link.open);
		assert.same({}, world.logged);
	end);

	it("goes by the last hello, whichever is answered first", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		world.client.declare();
		link.answer(2, { protocol = 1, software = "x" });
		assert.equal(1, world.reports);
		link.answer(1, { protocol = 1, software = "x" });
		assert.equal(1, world.reports);
	end);

	it("lets questions wait only while they have room", function ()
		local world = new_world();
		world.client.declare();
		world.link().greet();
		world.link().room = 0;
		local params = { x = ("x"):rep(100 * 1024) };
		for _ = 1, 300 do world.ask("a", { params = params }); end
		assert.equal("busy", world.ask("a").failure.reason);
		-- What was given up makes room, and is never written.
		world.pass(1.5);
		local answered = #world.ended;
		world.pass(0.5);
		assert.is_true(#world.ended > answered + 200);
		local written = #world.link().written;
		world.link().answer(world.link().last().id, {});
		assert.is_nil(world.ask("a", { params = params }).failure);
		world.link().drain();
		assert.equal(written + 1, #world.link().written);
	end);

	it("doesn't ask a daemon that misses three deadlines in a row, until it says something", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.greet();
		for _ = 1, 3 do
			assert.is_nil(world.ask("a").failure);
			world.pass(2);
		end
		assert.equal("away", world.ask("a").failure.reason);
		assert.same({ "back", "away: it does not answer" }, world.events);
		link.answer(json.decode(link.written[2]).id, {});
		assert.is_nil(world.ask("a").failure);
		assert.same({ "back", "away: it does not answer", "back" }, world.events);
		assert.equal(2, world.reports);
		assert.equal(1, #world.links);
	end);

	it("finds out whether a daemon that missed deadlines lives", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.greet();
		for _ = 1, 3 do world.ask("a"); end
		world.pass(2);
		assert.equal("session.hello", link.last().method);
		link.answer(link.last().id, { protocol = 1 });
		assert.is_nil(world.ask("a").failure);
		assert.equal(1, #world.links);
	end);

	it("gives a silent daemon a new connection, and stays quiet until that is greeted", function ()
		local world = new_world();
		world.client.declare();
		world.link().greet();
		for _ = 1, 3 do world.ask("a"); end
		world.pass(2 + 5 + 2);
		assert.equal(2, #world.links);
		assert.is_false(world.links[1].open);
		assert.equal("away", world.ask("a").failure.reason);
		world.pass(100);
		local open = 0;
		for _, link in ipairs(world.links) do if link.open then open = open + 1; end end
		assert.is_true(open <= 1);
		while not world.link().open do world.pass(0.5); end
		world.link().greet();
		assert.is_nil(world.ask("a").failure);
	end);

	it("drops a connection with a line that is too long", function ()
		local world = new_world();
		local a = world.ask("a");
		local link = world.link();
		for _ = 1, 70 do link.receive(("x"):rep(64 * 1024)); end
		assert.is_false(link.open);
		assert.equal("lost", a.failure.reason);
	end);

	it("drops a connection with a line that isn't JSON", function ()
		local world = new_world();
		local a = world.ask("a");
		world.link().receive("what?\n");
		assert.is_false(world.links[1].open);
		assert.equal("lost", a.failure.reason);
	end);

	it("answers the daemon's questions, with its ids", function ()
		local world = new_world();
		world.client.declare();
		world.link().receive('{"jsonrpc":"2.0","id":"d1","method":"sessions.close","params":{"account":"a"}}\n');
		assert.same({ { method = "sessions.close", params = { account = "a" } } }, world.answers);
		assert.same({ jsonrpc = "2.0", id = "d1", result = { closed = 1 } }, world.link().last());
	end);

	it("answers a question of the daemon later, once, and only on the connection that asked", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		link.receive('{"id":"d1","method":"later"}\n{"id":"d2","method":"later"}\n');
		local written = #link.written;
		world.replies[2]({ second = true });
		world.replies[2]({ second = true });
		assert.equal(written + 1, #link.written);
		assert.same({ jsonrpc = "2.0", id = "d2", result = { second = true } }, link.last());
		link.lose();
		world.pass(5);
		world.replies[1]({ first = true });
		assert.equal(2, #world.links);
		for _, message in ipairs(world.link().asked()) do assert.equal("session.hello", message.method); end
	end);

	it("lets no more than so many questions of the daemon wait", function ()
		local world = new_world();
		world.client.declare();
		local link = world.link();
		for i = 1, 256 do link.receive(('{"id":"d%d","method":"later"}\n'):format(i)); end
		assert.equal(256, #world.replies);
		link.receive('{"id":"e1","method":"later"}\n');
		assert.equal(-32001, link.last().error.code);
		world.replies[1]({});
		link.receive('{"id":"e2","method":"later"}\n');
		assert.equal(257, #world.replies);
	end);

	it("survives a question of the daemon that raises an error", function ()
		local world = new_world();
		world.client.declare();
		world.link().receive('{"id":"d1","method":"raise"}\n');
		assert.equal(-32001, world.link().last().error.code);
	end);

	it("lets who waited go on before the next line is read", function ()
		local world = new_world();
		local order = {};
		world.client.request("certificate.revoke", {}, { timeout = 2 }, function () order[#order + 1] = #world.answers; end);
		local id = world.link().last().id;
		world.link().receive(json.encode({ id = id, result = {} }) .. '\n{"id":"d1","method":"sessions.close","params":{}}\n');
		assert.same({ 0 }, order);
		assert.equal(1, #world.answers);
	end);

	it("tells a refusal of hello", function ()
		local world = new_world();
		world.client.declare();
		world.link().fail(world.link().last().id, { code = -32003, message = "Wrong version" });
		assert.equal("Wrong version", world.refused);
		assert.is_false(world.links[1].open);
	end);

	it("says once, in the daemon's words, why it may not ask", function ()
		local world = new_world();
		local function reject(text)
			world.link().receive(json.encode({ jsonrpc = "2.0", error = { code = -32003, message = text } }) .. "\n");
			world.link().lose();
		end
		world.client.declare();
		-- Known to be away for another reason, before it runs with the wrong flag.
		world.link().lose();
		assert.equal(1, #world.events);
		for _ = 1, 4 do
			world.pass(2);
			reject("user 7 may not ask");
		end
		assert.same("away: user 7 may not ask", world.events[2]);
		assert.equal(2, #world.events);
		world.pass(2);
		reject("user 8 may not ask");
		assert.same("away: user 8 may not ask", world.events[3]);
		world.pass(2);
		world.link().greet();
		assert.same({ "back" }, { world.events[4], world.events[5] });
		-- Behind a hello it is about a line of ours.
		world.link().receive('{"jsonrpc":"2.0","error":{"code":-32700,"message":"no JSON"}}\n');
		assert.same({ "error The daemon could not read a question: no JSON" }, world.logged);
		world.link().lose();
		assert.is_nil((world.events[5] or ""):match("may not ask"));
	end);

	it("writes a question though another was asked while it looked at the deadlines", function ()
		local world = new_world();
		world.ask("warm");
		world.link().greet();
		world.client.request("first", {}, { timeout = 2 }, function () world.ask("second"); end);
		-- The server is busy, and no timer comes.
		world.time = world.time + 2.25;
		world.ask("third");
		local methods = {};
		for _, message in ipairs(world.link().asked()) do methods[message.method] = (methods[message.method] or 0) + 1; end
		assert.same({ 1, 1 }, { methods.second, methods.third });
	end);

	it("goes on when an answer can't be used, and says so", function ()
		local world = new_world();
		world.ask("warm");
		world.link().greet();
		world.client.request("broken", {}, { timeout = 1 }, function () error("oops"); end);
		local other = world.ask("other");
		world.pass(3);
		assert.equal("timeout", other.failure.reason);
		assert.truthy(world.logged[1]:find("The answer to broken could not be used", 1, true));
	end);

	for _, line in ipairs({ '{"error":5}', '{"id":null,"error":true}', '{"id":[1],"result":true}', '{"method":5}', '{"id":{},"method":"x"}' }) do
		it("bears nonsense: " .. line, function ()
			local world = new_world();
			world.ask("a");
			world.link().receive(line .. "\n");
			world.link().greet();
			assert.equal("back", world.events[#world.events]);
		end);
	end

	it("answers a question of the daemon's with an error where the answer would be too long", function ()
		local world = new_world();
		world.ask("warm");
		world.link().greet();
		world.link().receive('{"id":"d1","method":"later","params":{}}\n');
		world.replies[1]({ text = ("x"):rep(200 * 1024) });
		local last = world.link().last();
		assert.same({ "d1", -32001 }, { last.id, last.error.code });
	end);

	it("fails all that wait when it is closed, and connects no more", function ()
		local world = new_world();
		local a = world.ask("a", { again = true });
		world.link();
		world.client.close();
		assert.equal("lost", a.failure.reason);
		assert.equal("away", world.ask("b").failure.reason);
		world.pass(60);
		assert.equal(1, #world.links);
		assert.is_nil(next(world.timers));
	end);
end);
