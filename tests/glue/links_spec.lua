local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local page = "https://shakespeare.lit:5281/devices";

-- is_13: Prosody has roles.
-- marks: those of the accounts that links have made before.
local function new_world(is_13, marks)
	local world = { users = {}, stores = { saslcertd_links = marks or {}, saslcertd = {} }, roles = {}, logged = {}, fired = {}, asked = {} };
	local function store(name)
		local data = world.stores[name];
		return {
			get = function (_, username)
				if world.broken == name then return nil, "disk on fire"; end
				return data[username];
			end;
			set = function (_, username, value)
				if world.full == name or username == world.kept then return nil, "disk full"; end
				data[username] = value;
				return true;
			end;
			users = function () return next, data; end;
		};
	end
	local usermanager = {
		user_exists = function (username) return world.users[username] ~= nil; end;
		create_user = function (username, password)
			if world.refuses then return nil, "method not implemented"; end
			world.users[username] = password;
			if world.ends then return nil, world.ends; end
			return true;
		end;
		test_password = function (username, _, password)
			return world.users[username] ~= nil and world.users[username] == password or nil;
		end;
		set_user_role = is_13 and function (username, _, role)
			if world.no_roles == "raised" then error("no such role"); end
			if world.no_roles == "unanswered" then return; end
			if world.no_roles then return nil, "no such role"; end
			world.roles[username] = role;
			return true;
		end or nil;
	};
	local ids = 0;
	world.links = load_library("links", "mod_saslcertd_devices", {
		["core.usermanager"] = usermanager;
		["util.id"] = { long = function () ids = ids + 1; return "random" .. ids; end };
		["util.jid"] = { split = function (jid) return jid:match("^(.-)@(.*)$"); end };
		["util.json"] = {
			null = "null", encode = function (value) return value; end;
			decode = function (text)
				if text == "{\"__array\":5}" then error("util.json does so"); end
				return text ~= "" and text ~= "broken" and text or nil;
			end;
		};
	}, {
		module = {
			host = "shakespeare.lit", name = "saslcertd_devices";
			shared = function ()
				local function change(method, params)
					world.asked[#world.asked + 1] = { method, params };
					return world.result, world.failure;
				end
				return { change = change, failures = load_library("failures") };
			end;
			open_store = function (_, name) return store(name); end;
			get_option_string = function (_, name, default) return name == "authentication" and world.authentication or default; end;
			hook = function (_, name, handler) world[name] = handler; end;
			log = function (_, level, text, ...) world.logged[#world.logged + 1] = level .. " " .. text:format(...); end;
			fire_event = function (_, name, event)
				if world.bad_listener then error("oops"); end
				world.fired[#world.fired + 1] = { name, event.username, event.ip, event.session.ip };
			end;
		};
	});
	-- Status and body. The body of the request is a table already.
	function world.post(body, headers)
		headers = headers or {};
		headers.content_type = headers.content_type or "application/json";
		headers.host = headers.host or "shakespeare.lit:5281";
		local response = { headers = {} };
		local answer = world.links.redeem({ request = { body = body, headers = headers, ip = "192.0.2.7" }, response = response }, page);
		assert.equal("application/json", response.headers.content_type);
		return response.status_code, answer;
	end
	return world;
end

-- A body as long as it says.
local function body(fields)
	return setmetatable(fields, { __len = function () return fields.bytes or 100; end });
end

describe("what the page posts", function ()
	it("becomes a question, and the answer is the daemon's", function ()
		local world = new_world();
		world.result = { account = "hamlet@shakespeare.lit", kind = "add", expires = 7 };
		assert.same({ 200, { account = "hamlet@shakespeare.lit", kind = "add", expires = 7, name = "null" } }, { world.post(body({ token = "t" })) });
		world.result = { account = "hamlet@shakespeare.lit", kind = "add", name = "phone 2" };
		assert.same({ 200, world.result }, { world.post(body({ token = "t", name = "phone", certificate = "AA==", address = "me" })) });
		assert.same({
			{ "link.look", { host = "shakespeare.lit", token = "t", address = "192.0.2.7" } };
			{ "link.redeem", { host = "shakespeare.lit", token = "t", address = "192.0.2.7", name = "phone", certificate = "AA==" } };
		}, world.asked);
		assert.same({ {}, {} }, { world.fired, world.logged });
	end);

	it("is not asked about when it comes from elsewhere, is of another type, or too long", function ()
		local world = new_world();
		world.result = { account = "hamlet@shakespeare.lit", kind = "add" };
		for _, case in ipairs({
			{ 403, {}, { origin = "https://elsewhere.lit" } };
			{ 403, {}, { origin = "null" } };
			{ 403, {}, { origin = "https://shakespeare.lit" } };
			{ 403, {}, { origin = page } };
			{ 415, {}, { content_type = "text/plain" } };
			{ 415, {}, { content_type = "application/jsonx" } };
			{ 415, {}, { content_type = "" } };
			{ 413, { bytes = 16 * 1024 + 1 }, {} };
		}) do
			local status, answer = world.post(body(case[2]), case[3]);
			assert.equal(case[1], status);
			assert.is_string(answer.text);
		end
		for _, text in ipairs({ "", "broken", "text", '{"__array":5}' }) do assert.equal(400, (world.post(text))); end
		-- Nothing but texts and nulls: a line that the daemon can't read would never be answered.
		for _, fields in ipairs({
			{}, { token = 1 / 0 }, { token = { "t" } }, { token = ("t"):rep(65) }, { token = "t", certificate = 1 / 0 };
			{ token = "t", certificate = true }, { token = "t", certificate = "AA==", name = {} }, { token = "t", certificate = "AA==", name = -1 / 0 };
		}) do
			local status, answer = world.post(body(fields));
			assert.same({ 400, "bad-request" }, { status, answer.error });
		end
		assert.same({}, world.asked);
		for _, headers in ipairs({
			{ origin = "https://shakespeare.lit:5281" }, { origin = "https://www.shakespeare.lit", host = "www.shakespeare.lit" };
			{ content_type = "Application/JSON; charset=utf-8" };
		}) do
			assert.equal(200, (world.post(body({ token = "t", bytes = 16 * 1024 }), headers)));
		end
	end);

	it("is refused in the daemon's words, with HTTP's number for the condition", function ()
		local world = new_world();
		local function refused(failure)
			world.failure = failure;
			local status, answer = world.post(body({ token = "t" }));
			return { status, answer.error, answer.text };
		end
		local function no(condition) return { code = -32000, denial = "d", message = "No", stanza = { type = "cancel", condition = condition } }; end
		for condition, status in pairs({
			["item-not-found"] = 404, conflict = 409, ["resource-constraint"] = 409, forbidden = 403, ["not-allowed"] = 403;
			["bad-request"] = 400, ["not-acceptable"] = 400, ["policy-violation"] = 429;
		}) do
			assert.same({ status, "d", "No" }, refused(no(condition)));
		end
		local wrong = { code = -32602, fault = "wrong-fields", message = "token: a string is wanted", stanza = { condition = "bad-request" } };
		for _, failure in ipairs({ wrong, { reason = "too-long" }, { reason = "not-text" } }) do
			assert.same({ 400, "bad-request" }, { refused(failure)[1], refused(failure)[2] });
		end
		assert.same({}, world.logged);
		for _, failure in ipairs({
			{ reason = "away" }, { reason = "lost" }, { code = -32001, message = "disk", stanza = { condition = "conflict" } }, no("made-up");
		}) do
			assert.same({ 503, "unavailable" }, { refused(failure)[1], refused(failure)[2] });
		end
		assert.is_truthy(refused({ reason = "timeout" })[3]:find("used or not", 1, true));
		for _, line in ipairs(world.logged) do assert.is_truthy(line:find("^warn ")); end
		-- A line for each reason, and one more when the daemon has answered in between.
		local count = #world.logged;
		for _ = 1, 3 do refused({ reason = "away" }); end
		assert.equal(count + 1, #world.logged);
		world.result = { account = "hamlet@shakespeare.lit", kind = "add" };
		world.post(body({ token = "t" }));
		world.result = nil;
		refused({ reason = "away" });
		assert.equal(count + 2, #world.logged);
	end);

	it("is told to other modules when it has made an account, and what they do with it changes nothing", function ()
		local world = new_world(true);
		world.result, world.authentication = { account = "yorick@shakespeare.lit", kind = "new", name = "phone" }, "saslcertd";
		local question = { token = "t", certificate = "AA==" };
		assert.equal(200, (world.post(body(question))));
		assert.same({ { "user-registered", "yorick", "192.0.2.7", "192.0.2.7" } }, world.fired);
		assert.same({ yorick = "prosody:member" }, world.roles);
		world.bad_listener = true;
		assert.equal(200, (world.post(body(question))));
		assert.is_truthy(world.logged[3]:find("^error The registration of yorick@shakespeare.lit could not be told"));
		-- To look at it makes none.
		world.bad_listener = false;
		world.post(body({ token = "t" }));
		assert.equal(1, #world.fired);
	end);
end);

-- What is left of a mark until others have heard of the registration.
local told_by_login = { yorick = { untold = true } };

describe("an account that a link makes", function ()
	it("is told as a registration once, by the answer or by the first login", function ()
		local function bind(world) world["resource-bind"]({ session = { username = "yorick", ip = "192.0.2.9" } }); end
		local function redeem(world) world.post(body({ token = "t", certificate = "AA==" })); end
		local function registered()
			local world = new_world(true);
			world.links.register("yorick", "one");
			world.result, world.failure = { account = "yorick@shakespeare.lit", kind = "new" }, { reason = "timeout" };
			return world;
		end
		local world = registered();
		redeem(world); bind(world); redeem(world);
		assert.same({ { "user-registered", "yorick", "192.0.2.7", "192.0.2.7" } }, world.fired);
		assert.same({}, world.stores.saslcertd_links);
		world = registered();
		world.result = nil;
		redeem(world);
		assert.same({}, world.fired);
		bind(world); bind(world);
		assert.same({ { "user-registered", "yorick", "192.0.2.9", "192.0.2.9" } }, world.fired);
		-- Everything has ended in between.
		world = new_world(true, { yorick = { untold = true }, cordelia = { making = "two", password = "x" } });
		world["resource-bind"]({ session = { username = "cordelia" } });
		bind(world); bind(world);
		assert.equal(1, #world.fired);
		assert.same({ cordelia = { making = "two", password = "x" } }, world.stores.saslcertd_links);
		-- It was deleted, and the name is another's.
		world = registered();
		world.stores.saslcertd_links.yorick = nil;
		bind(world);
		assert.same({}, world.fired);
	end);

	for _, is_13 in ipairs({ false, true }) do
		it("has a password that nobody knows, and the incarnation; version 13: " .. tostring(is_13), function ()
			local world = new_world(is_13);
			assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
			assert.equal("random1random2", world.users.yorick);
			assert.same({ saslcertd_links = told_by_login, saslcertd = { yorick = { incarnation = "one" } } }, world.stores);
			assert.equal(is_13 and "prosody:member" or nil, world.roles.yorick);
			-- Once more, and for another link.
			assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
			assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "two"));
			assert.equal("random1random2", world.users.yorick);
		end);
	end

	it("is whole without its role, and told as a registration", function ()
		for _, case in ipairs({ "raised", "refused", "unanswered" }) do
			local world = new_world(true);
			world.no_roles = case;
			assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
			assert.same(told_by_login, world.stores.saslcertd_links);
			world.result = { account = "yorick@shakespeare.lit", kind = "new", name = "phone" };
			assert.equal(200, (world.post(body({ token = "t", certificate = "AA==" }))));
			assert.equal(1, #world.fired);
			world.authentication = "saslcertd";
			assert.equal(200, (world.post(body({ token = "t", certificate = "AA==" }))));
			assert.equal(2, #world.fired);
			local errors = select(2, table.concat(world.logged, "\n"):gsub("error [^\n]*default_provisioned_role[^\n]*no such role", ""));
			assert.equal(case == "unanswered" and 0 or 2, errors);
		end
	end);

	it("stays as it is when it was there before", function ()
		local world = new_world(true);
		world.users.hamlet = "to be";
		assert.same({ exists = true, incarnation = "null" }, world.links.register("hamlet", "one"));
		world.stores.saslcertd.hamlet = { incarnation = "zero" };
		assert.same({ exists = true, incarnation = "zero" }, world.links.register("hamlet", "one"));
		assert.same({ { hamlet = "to be" }, {}, {} }, { world.users, world.roles, world.stores.saslcertd_links });
	end);

	it("is finished by the link that has begun it, and by no other", function ()
		local world = new_world(true);
		world.ends = "power cut";
		assert.equal(-32001, (select(2, world.links.register("yorick", "one"))).code);
		assert.same({ exists = true, incarnation = "null" }, world.links.register("yorick", "two"));
		assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
		assert.same({ told_by_login, { yorick = { incarnation = "one" } } }, { world.stores.saslcertd_links, world.stores.saslcertd });
		-- It has ended just before the mark was gone.
		world.stores.saslcertd_links.yorick = { making = "one", password = "x" };
		assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
		assert.same(told_by_login, world.stores.saslcertd_links);
	end);

	it("is whole when its mark can't be removed, which the log tells", function ()
		local world = new_world();
		local mark = { making = "one", password = "x" };
		world.users.yorick, world.stores.saslcertd.yorick, world.stores.saslcertd_links.yorick = "x", { incarnation = "one" }, mark;
		world.kept = "yorick";
		assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
		assert.is_truthy(world.logged[1]:find("^error .*yorick@shakespeare.lit is still in saslcertd_links: disk full"));
		world.kept = nil;
		assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
		assert.same(told_by_login, world.stores.saslcertd_links);
	end);

	it("is not finished when somebody else has got the name since", function ()
		local world = new_world(true);
		-- It could be marked, and not made.
		world.refuses = true;
		assert.equal(-32001, (select(2, world.links.register("yorick", "one"))).code);
		world.users.yorick = "alas";
		assert.same({ exists = true, incarnation = "null" }, world.links.register("yorick", "one"));
		assert.same({}, world.stores.saslcertd);
	end);

	it("is a fault when it can't be made, or is not complete", function ()
		for _, case in ipairs({
			{ broken = "saslcertd_links" }, { broken = "saslcertd" }, { full = "saslcertd_links" }, { full = "saslcertd" };
			{ refuses = true };
		}) do
			local world = new_world(true);
			for key, value in pairs(case) do world[key] = value; end
			local result, err = world.links.register("yorick", "one");
			assert.same({ nil, -32001 }, { result, err.code });
			assert.is_truthy(world.logged[1]:find("^error No account was made"));
			for key in pairs(case) do world[key] = nil; end
			assert.same({ exists = true, incarnation = "one" }, world.links.register("yorick", "one"));
		end
	end);
end);
