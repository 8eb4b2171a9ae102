local load_library, null = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local prosody, timers, clock = {}, {}, { time = 0 };
local json = { null = null, encode = require "dkjson".encode };
local wire = load_library("wire", nil, { ["util.json"] = json, ["util.time"] = {}, ["socket.unix"] = {} });

-- As much of util.async's runner as the report needs: one after the other, each to its end.
local function new_runner(work)
	local wanted, is_running = 0, false;
	local function loop()
		while wanted > 0 do
			wanted = wanted - 1;
			work();
		end
		is_running = false;
	end
	return { run = function ()
		wanted = wanted + 1;
		if is_running then return; end
		is_running = true;
		assert(coroutine.resume(coroutine.create(loop)));
	end };
end

local library = load_library("sessions", nil, {
	["util.async"] = { runner = new_runner };
	["util.json"] = fake_json;
	["util.jid"] = {};
	["util.time"] = { monotonic = function () return clock.time; end };
	["util.timer"] = { add_task = function (seconds, f)
		timers[#timers + 1] = f;
		clock.longest = math.max(clock.longest or 0, seconds);
	end };
	["core.sessionmanager"] = {};
}, { prosody = prosody, module = { require = function () return wire; end, log = function () end } });

local function new_world()
	local world = { notified = {}, requested = {}, timers = {}, closed = {}, changed = {} };
	world.hosts = {
		["shakespeare.lit"] = { type = "local", sessions = {} };
		["upload.shakespeare.lit"] = { type = "component", sessions = {} };
	};
	world.connections, world.waiting = {}, {};
	world.sessions = library.new({
		notify = function (method, params) world.notified[#world.notified + 1] = { method, params }; end;
		ask = function (method, params)
			local thread = coroutine.running();
			local function callback(...) assert(coroutine.resume(thread, ...)); end
			world.requested[#world.requested + 1] = { method = method, params = params, callback = callback };
			return coroutine.yield();
		end;
		connections = { world.connections, world.waiting };
		in_daemon = function (name) return world.lives_in_daemon and name == "shakespeare.lit"; end;
		changed = function (change) world.changed[#world.changed + 1] = change; end;
	});
	prosody.hosts, timers = world.hosts, world.timers;

	-- kind: bound, hibernating, unbound
	function world.add(user, resource, key_id, kind)
		local session = { log = function () end, type = kind == "unbound" and "c2s_unbound" or "c2s", username = user, host = "shakespeare.lit" };
		if key_id then
			session.saslcert = { account = user .. "@shakespeare.lit", key_id = key_id, fingerprint = "f" .. key_id, incarnation = "one" };
		end
		function session.close(self, reason)
			world.closed[#world.closed + 1] = self;
			session.reason = reason;
			self.destroyed = true;
			local bound = world.hosts["shakespeare.lit"].sessions[user];
			if bound then bound.sessions[resource] = nil; end
		end
		if kind ~= "hibernating" then world.connections[{}] = session; end
		if kind ~= "unbound" then
			session.resource = resource;
			local users = world.hosts["shakespeare.lit"].sessions;
			users[user] = users[user] or { sessions = {} };
			users[user].sessions[resource] = session;
		end
		return session;
	end
	return world;
end

describe("closing the sessions of a key", function ()
	it("closes bound, hibernating and unbound ones of that account, and no other", function ()
		local world = new_world();
		local doomed = {
			world.add("hamlet", "a", "k", "bound"), world.add("hamlet", "b", "k", "hibernating"), world.add("hamlet", nil, "k", "unbound"),
		};
		local spared = {
			world.add("hamlet", "c", nil, "bound"), world.add("hamlet", "d", "other", "bound"),
			world.add("ophelia", "a", "k", "bound"), world.add("hamlet", nil, nil, "unbound"),
		};
		assert.equal(3, world.sessions.close_each({ { account = "hamlet@shakespeare.lit", key_id = "k", condition = "not-authorized", text = "Revoked" } }));
		for _, session in ipairs(doomed) do assert.same({ condition = "not-authorized", text = "Revoked" }, session.reason); end
		for _, session in ipairs(spared) do assert.is_nil(session.destroyed); end
		assert.equal(0, world.sessions.close_each({ { account = "hamlet@shakespeare.lit", key_id = "k", condition = "not-authorized", text = "Revoked" } }));
	end);

	it("closes those of one certificate only, where another has the same key", function ()
		local world = new_world();
		local doomed, spared = world.add("hamlet", "a", "k", "bound"), world.add("hamlet", "b", "k", "bound");
		spared.saslcert.fingerprint = "newer";
		assert.equal(1, world.sessions.close_each({
			{ account = "hamlet@shakespeare.lit", key_id = "k", condition = "reset", text = "Expired", fingerprint = doomed.saslcert.fingerprint },
		}));
		assert.same({ condition = "reset", text = "Expired" }, doomed.reason);
		assert.is_nil(spared.destroyed);
	end);

	it("looks at all sessions once for a whole list, and not at all for an empty one", function ()
		local world = new_world();
		local collect, walks = world.sessions.collect, 0;
		function world.sessions.collect(of) walks = walks + 1; return collect(of); end
		local closings, doomed = {}, {};
		for i = 1, 1000 do closings[i] = { account = "hamlet@shakespeare.lit", key_id = "k" .. i, condition = "reset", text = "of " .. i }; end
		for _, i in ipairs({ 1, 500, 1000 }) do doomed[i] = world.add("hamlet", "r" .. i, "k" .. i, "bound"); end
		local spared = { world.add("hamlet", "a", "k1001", "bound"), world.add("hamlet", "b", nil, "bound"), world.add("ophelia", "a", "k1", "bound") };
		assert.equal(3, world.sessions.close_each(closings));
		assert.equal(1, walks);
		for i, session in pairs(doomed) do assert.same({ condition = "reset", text = "of " .. i }, session.reason); end
		for _, session in ipairs(spared) do assert.is_nil(session.destroyed); end
		for _, none in ipairs({ {}, "none" }) do assert.equal(0, world.sessions.close_each(none)); end
		assert.equal(0, world.sessions.close_each());
		assert.equal(1, walks);
	end);

	it("closes each in the words of the first of a list that means it", function ()
		local world = new_world();
		local expired, full, other = world.add("hamlet", "a", "k", "bound"), world.add("hamlet", "b", "k", "bound"), world.add("hamlet", "c", "m", "bound");
		expired.saslcert.fingerprint, full.saslcert.fingerprint = "old", "new";
		local account = "hamlet@shakespeare.lit";
		assert.equal(2, world.sessions.close_each({
			{ account = account, key_id = "k", fingerprint = "old", condition = "reset", text = "Expired" };
			{ account = account, key_id = "k", text = "Revoked" };
			{ account = account, key_id = "m", fingerprint = "another" };
		}));
		assert.same({ condition = "reset", text = "Expired" }, expired.reason);
		assert.same({ condition = "not-authorized", text = "Revoked" }, full.reason);
		assert.is_nil(other.destroyed);
		assert.equal(1, world.sessions.close_each({ { account = account, key_id = "m" } }));
		assert.same({ condition = "not-authorized" }, other.reason);
	end);

	it("closes none for an entry that lacks its account or its key", function ()
		local world = new_world();
		world.add("hamlet", "a", "k", "bound");
		world.add("hamlet", "b", nil, "bound");
		assert.equal(0, world.sessions.close_each({ { account = "hamlet@shakespeare.lit" }, { key_id = "k" }, {} }));
		assert.same({}, world.closed);
	end);

	it("of a host that goes closes those that have no resource, whom Prosody overlooks", function ()
		local world = new_world();
		local unbound, bound = world.add("hamlet", nil, nil, "unbound"), world.add("hamlet", "a", nil, "bound");
		assert.equal(0, world.sessions.close_of("denmark.lit", { condition = "host-gone" }, true));
		assert.equal(1, world.sessions.close_of("shakespeare.lit", { condition = "host-gone" }, true));
		assert.same({ condition = "host-gone" }, unbound.reason);
		assert.is_nil(bound.destroyed);
	end);

	it("goes on when one can't be closed", function ()
		local world = new_world();
		world.add("hamlet", "a", "k", "bound").close = function () error("no"); end;
		world.add("hamlet", "b", "k", "bound");
		world.sessions.close_each({ { account = "hamlet@shakespeare.lit", key_id = "k" } });
		assert.equal(1, #world.closed);
	end);
end);

describe("the number of live sessions", function ()
	it("is that of those with a certificate, in whatever state", function ()
		local world = new_world();
		assert.equal(0, world.sessions.count());
		for i, kind in ipairs({ "bound", "hibernating", "unbound" }) do world.add("hamlet", "r" .. i, "k", kind); end
		world.add("ophelia", "a", nil, "bound");
		assert.equal(3, world.sessions.count());
	end);
end);

describe("closing all sessions of an account", function ()
	local function close(world) return world.sessions.close_of("hamlet@shakespeare.lit", { condition = "reset", text = "Password changed" }); end

	it("closes those with a password and those with any key, bound, hibernating and unbound, and no other account's", function ()
		local world = new_world();
		local doomed = {
			world.add("hamlet", "a", "k", "bound"), world.add("hamlet", "b", nil, "hibernating"), world.add("hamlet", nil, "m", "unbound"),
			world.add("hamlet", nil, nil, "unbound"),
		};
		local spared = { world.add("ophelia", "a", "k", "bound"), world.add("ophelia", nil, nil, "unbound") };
		assert.equal(4, close(world));
		for _, session in ipairs(doomed) do assert.same({ condition = "reset", text = "Password changed" }, session.reason); end
		for _, session in ipairs(spared) do assert.is_nil(session.destroyed); end
	end);

	it("closes a login that waits for its delay, and takes its tag off; but not one that only claims the name", function ()
		local world = new_world();
		local waiting, claiming = world.add("hamlet", nil, nil, "unbound"), world.add("hamlet", nil, nil, "unbound");
		waiting.type, claiming.type = "c2s_unauthed", "c2s_unauthed";
		waiting.username = nil;
		waiting.saslcert_account = "hamlet@shakespeare.lit";
		assert.equal(1, close(world));
		assert.is_true(waiting.destroyed);
		assert.is_nil(waiting.saslcert_account);
		assert.is_nil(claiming.destroyed);
	end);

	it("finds a login that waits wherever its connection is kept", function ()
		local world = new_world();
		local session = { log = function () end, saslcert_account = "hamlet@shakespeare.lit", close = function () end };
		world.waiting[session] = session;
		assert.equal(1, close(world));
		assert.is_nil(session.saslcert_account);
	end);

	it("spares the bound ones where Prosody closes those", function ()
		local world = new_world();
		world.add("hamlet", "a", "k", "bound");
		local unbound = world.add("hamlet", nil, nil, "unbound");
		assert.equal(1, world.sessions.close_of("hamlet@shakespeare.lit", { condition = "reset" }, true));
		assert.same({ unbound }, world.closed);
	end);
end);

describe("what opens and closes", function ()
	-- By method, in the order of the lines, the resources that were told of.
	local function told(world)
		local all = {};
		for i, line in ipairs(world.notified) do
			local resources = {};
			for j, entry in ipairs(line[2].sessions) do resources[j] = entry.resource; end
			table.sort(resources);
			all[i] = line[1]:match("%a+$") .. " " .. table.concat(resources, " ");
		end
		world.notified = {};
		return all;
	end

	-- Something was told a moment ago.
	local function new_crowd()
		local world = new_world();
		world.sessions.opened(world.add("hamlet", "first", "k", "bound"));
		told(world);
		return world;
	end

	it("is told at once, and what follows together, within a tenth of a second", function ()
		local world = new_world();
		clock.longest = 0;
		world.sessions.opened(world.add("hamlet", "first", "k", "bound"));
		assert.same({ "opened first" }, told(world));
		for _, resource in ipairs({ "a", "b" }) do world.sessions.opened(world.add("hamlet", resource, "k", "bound")); end
		world.sessions.closed("hamlet@shakespeare.lit", "c");
		world.sessions.closed("ophelia@shakespeare.lit", "d");
		assert.same({}, told(world));
		assert.same({ 1, 0.1 }, { #world.timers, clock.longest });
		assert.equal(0.1, world.timers[1]());
		assert.same({ "opened a b", "closed c d" }, told(world));
		world.sessions.closed("hamlet@shakespeare.lit", "a");
		assert.same({}, told(world));
		assert.equal(0.1, world.timers[1]());
		assert.same({ "closed a" }, told(world));
		-- The next one is alone again.
		assert.is_nil(world.timers[1]());
		world.sessions.closed("hamlet@shakespeare.lit", "b");
		assert.same({ "closed b" }, told(world));
		assert.equal(2, #world.timers);
	end);

	it("is told when something may depend on it, and once", function ()
		local world = new_crowd();
		world.sessions.tell();
		world.sessions.opened(world.add("hamlet", "a", "k", "bound"));
		world.sessions.tell();
		assert.same({ "opened a" }, told(world));
		world.sessions.tell();
		world.timers[1]();
		assert.same({}, told(world));
	end);

	it("is told though the timers of a busy server are late", function ()
		local world = new_crowd();
		clock.time = 5;
		world.sessions.opened(world.add("hamlet", "a", "k", "bound"));
		clock.time = 5.05;
		world.sessions.opened(world.add("hamlet", "b", "k", "bound"));
		assert.same({}, told(world));
		clock.time = 5.1;
		world.sessions.closed("hamlet@shakespeare.lit", "a");
		assert.same({ "opened a b", "closed a" }, told(world));
		assert.equal(1, #world.timers);
		clock.time = 0;
	end);

	it("ends in the daemon as it has ended here", function ()
		local world = new_crowd();
		local session = world.add("hamlet", "a", "k", "bound");
		local function happen(...)
			for _, opens in ipairs({ ... }) do
				if opens then world.sessions.opened(session); else world.sessions.closed("hamlet@shakespeare.lit", "a"); end
			end
			world.sessions.tell();
			return told(world);
		end
		assert.same({ "opened a", "closed a" }, happen(true, false));
		assert.same({ "opened a" }, happen(false, true));
		-- A login of an authority's waits for its own opening.
		assert.same({ "opened a a" }, happen(true, false, true));
		assert.same({ "opened a", "closed a" }, happen(false, true, false));
	end);

	it("comes in lines that the daemon reads", function ()
		local world = new_crowd();
		for i = 1, 2000 do world.sessions.opened(world.add("hamlet", "r" .. i, "k", "bound")); end
		world.sessions.tell();
		local seen = 0;
		for _, line in ipairs(world.notified) do
			assert.is_true(#line[2].sessions < 1000);
			seen = seen + #line[2].sessions;
		end
		assert.equal(2000, seen);
	end);
end);

describe("the report of all live sessions", function ()
	it("goes to its end, whoever wants another one meanwhile; that one follows", function ()
		local world = new_world();
		local doomed = world.add("hamlet", "a", "k", "bound");
		world.add("hamlet", "b", "other", "bound");
		world.sessions.report_all();
		world.sessions.report_all();
		world.sessions.report_all();
		assert.equal(1, #world.requested);
		local revoked = { account = "hamlet@shakespeare.lit", key_id = "k", condition = "not-authorized", text = "Revoked" };
		world.requested[1].callback({ close = { revoked }, changed = {} });
		assert.is_true(doomed.destroyed);
		-- Whoever wanted another one gets one, and the same.
		assert.equal(2, #world.requested);
		world.requested[2].callback({ close = {}, changed = {} });
		assert.equal(2, #world.requested);
	end);

	it("is not the last one where its connection is lost", function ()
		local world = new_world();
		world.add("hamlet", "a", "k", "bound");
		world.sessions.report_all();
		world.sessions.report_all();
		world.requested[1].callback(nil, { reason = "lost" });
		assert.equal(2, #world.requested);
		world.requested[2].callback({ close = {}, changed = {} });
		world.sessions.report_all();
		assert.equal(3, #world.requested);
	end);

	it("names each once, unbound ones without a resource, and closes what is answered", function ()
		local world = new_world();
		world.add("hamlet", "a", "k", "bound");
		local unbound = world.add("ophelia", nil, "m", "unbound");
		world.add("yorick", "x", nil, "bound");
		world.sessions.report_all();
		local reported = world.requested[1].params.sessions;
		table.sort(reported, function (a, b) return a.account < b.account; end);
		assert.same({
			{ account = "hamlet@shakespeare.lit", fingerprint = "fk", key_id = "k", incarnation = "one", resource = "a" },
			{ account = "ophelia@shakespeare.lit", fingerprint = "fm", key_id = "m", incarnation = "one" },
		}, reported);
		world.requested[1].callback({ close = { { account = "ophelia@shakespeare.lit", key_id = "m" } }, changed = {} });
		assert.same({ unbound }, world.closed);
	end);

	it("names those that logged in otherwise where accounts live in the daemon, and hands on what has changed", function ()
		local world = new_world();
		world.lives_in_daemon = true;
		world.add("hamlet", "a", nil, "bound").saslcert_login = { incarnation = "two", password_changed = 5 };
		local claiming = world.add("ophelia", nil, nil, "unbound");
		claiming.type = "c2s_unauthed";
		world.sessions.report_all();
		assert.same({ { account = "hamlet@shakespeare.lit", incarnation = "two", password_changed = 5 } }, world.requested[1].params.sessions);
		world.requested[1].callback({ close = {}, changed = { "a change" } });
		assert.same({ "a change" }, world.changed);
	end);

	it("asks nothing when there is none", function ()
		local world = new_world();
		world.sessions.report_all();
		assert.equal(0, #world.requested);
	end);

	it("comes in pieces, one after the other", function ()
		local world = new_world();
		for i = 1, 2000 do world.add("hamlet", "r" .. i, "k", "bound"); end
		world.sessions.report_all();
		local seen = 0;
		while #world.requested > 0 do
			assert.equal(1, #world.requested);
			local request = table.remove(world.requested);
			assert.is_true(#request.params.sessions < 1000);
			seen = seen + #request.params.sessions;
			request.callback({ close = {}, changed = {} });
		end
		assert.equal(2000, seen);
	end);

	it("goes on behind a piece that can't be asked about, and comes back to one that was not answered", function ()
		for failure, timers in pairs({ ["too-long"] = 0, timeout = 1 }) do
			local world = new_world();
			for i = 1, 2000 do world.add("hamlet", "r" .. i, "k", "bound"); end
			world.sessions.report_all();
			table.remove(world.requested).callback(nil, { reason = failure });
			local seen = 0;
			while #world.requested > 0 do
				seen = seen + 1;
				table.remove(world.requested).callback({ close = {}, changed = {} });
			end
			assert.is_true(seen > 0);
			assert.equal(timers, #world.timers);
		end
	end);

	it("is made again when the daemon could not answer", function ()
		local world = new_world();
		world.add("hamlet", "a", "k", "bound");
		world.sessions.report_all();
		world.requested[1].callback(nil, { code = -32001 });
		assert.equal(1, #world.timers);
		world.timers[1]();
		assert.equal(2, #world.requested);
		world.requested[2].callback(nil, { reason = "lost" });
		assert.equal(1, #world.timers);
	end);
end);
