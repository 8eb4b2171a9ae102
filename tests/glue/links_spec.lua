local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local page = "https://shakespeare.lit:5281/devices";

-- is_13: Prosody has roles, and disabled accounts. before: the world that has ended in between, or the marks that there are.
-- is_plain: the provider of accounts knows none that are disabled.
local function new_world(is_13, before, is_plain)
	before = before or {};
	local world = {
		users = before.users or {}, time = before.time or 0, cannot_iterate = before.cannot_iterate, roles = {}, logged = {}, fired = {}, asked = {};
		stores = before.stores or { saslcertd_links = before, saslcertd = {} };
	};
	-- Everything ends before the change with this number.
	local changes = 0;
	local function change()
		changes = changes + 1;
		world.is_over = changes >= (world.ends_at or math.huge);
		if world.is_over then error("power cut"); end
	end
	local function copy(value)
		if type(value) ~= "table" then return value; end
		local copied = {};
		for key, one in pairs(value) do copied[key] = one; end
		return copied;
	end
	local function store(name)
		local data = world.stores[name] or world.users;
		return {
			get = function (_, username)
				if world.broken == name then return nil, "disk on fire"; end
				return copy(data[username]);
			end;
			set = function (_, username, value)
				change();
				if world.full == name or username == world.kept then return nil, "disk full"; end
				data[username] = copy(value);
				return true;
			end;
			users = function ()
				if world.cannot_iterate then error("no connection"); end
				return next, data;
			end;
		};
	end
	local function updated(username, fields)
		change();
		local account = world.users[username];
		for key, value in pairs(fields) do account[key] = value; end
		account.updated = world.time;
		return true;
	end
	local provider = { enable = is_13 and not is_plain and print or nil };
	local usermanager = {
		get_provider = function () return setmetatable(provider, { __index = function () return error; end }); end;
		-- What can't be read does not exist, as Prosody's providers say it.
		user_exists = function (username) return world.broken ~= "accounts" and world.users[username] ~= nil; end;
		create_user = function (username, password)
			change();
			if world.refuses then return nil, "method not implemented"; end
			-- Prosody 0.12's storage takes an account with nothing in it for none.
			if password or is_13 then
				world.users[username] = { password = password, disabled = password == nil, created = world.time, updated = world.time };
			end
			return true;
		end;
		test_password = function (username, _, password)
			local account = world.users[username];
			return account and not account.disabled and account.password == password or nil;
		end;
		set_password = function (username, password)
			updated(username, { password = password });
			world["user-password-changed"]({ username = username, host = "shakespeare.lit" });
			return true;
		end;
		enable_user = function (username) return updated(username, { disabled = false }); end;
		get_account_info = is_13 and function (username)
			local account = world.users[username];
			if not account then return nil, "Account not available"; end
			local enabled = nil;
			if not is_plain then enabled = not account.disabled; end
			return { created = account.created, password_updated = account.updated, enabled = enabled };
		end or nil;
		get_user_role = is_13 and function (username)
			if world.unreadable_roles then return nil, "unknown-role"; end
			return not world.has_no_default and { name = world.roles[username] or "prosody:registered" } or nil;
		end or nil;
		get_user_secondary_roles = is_13 and function (username)
			return world.secondary and world.secondary[username] or {};
		end or nil;
		remove_user_secondary_role = is_13 and function (username, _, role)
			world.secondary[username][role] = nil;
			return true;
		end or nil;
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
		os = { time = function () return world.time; end };
		module = {
			host = "shakespeare.lit", name = "saslcertd_devices";
			shared = function ()
				local function change(method, params)
					world.asked[#world.asked + 1] = { method, params };
					if method == "link.look" and world.seen then return copy(world.seen); end
					if world.redeeming then world.redeeming(); end
					return world.result, world.failure;
				end
				return { change = change, failures = load_library("failures"), in_daemon = function () return world.in_daemon; end };
			end;
			open_store = function (_, name) return store(name); end;
			get_option_string = function (_, _, default) return default; end;
			hook = function (_, name, handler) world[name] = handler; end;
			hook_global = function (_, name, handler) world[name] = handler; end;
			log = function (_, level, text, ...) world.logged[#world.logged + 1] = level .. " " .. text:format(...); end;
			fire_event = function (_, name, event)
				if world.bad_listener then error("oops"); end
				world.fired[#world.fired + 1] = { name, event.username, event.ip, event.session.ip };
			end;
		};
	});
	local accounts = { enabled = function (username) return is_plain or not world.users[username].disabled; end };
	function world.register(username, incarnation) return world.links.register(username, incarnation, accounts); end
	-- Status and body. The body of the request is a table already.
	function world.post(body, headers)
		headers = headers or {};
		headers.content_type = headers.content_type or "application/json";
		headers.host = headers.host or "shakespeare.lit:5281";
		local response = { headers = {} };
		local answer = world.links.redeem({ request = { body = body, headers = headers, ip = "192.0.2.7" }, response = response }, page, true);
		assert.equal("application/json", response.headers.content_type);
		return response.status_code, answer;
	end
	return world;
end

-- A body as long as it says, with as many brackets.
local function body(fields)
	return setmetatable(fields, {
		__len = function () return fields.bytes or 100; end;
		__index = { gsub = function () return "", rawget(fields, "brackets") or 1; end };
	});
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
			{ "link.redeem", { host = "shakespeare.lit", token = "t", address = "192.0.2.7", name = "phone", certificate = "AA==", secure = true } };
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
			{ 400, { token = "t", brackets = 301 }, {} };
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
		world.result, world.in_daemon = { account = "yorick@shakespeare.lit", kind = "new", name = "phone" }, true;
		world.seen = { account = "yorick@shakespeare.lit", kind = "new", incarnation = "one" };
		local question = { token = "t", certificate = "AA==" };
		assert.equal(200, (world.post(body(question))));
		assert.same({ { "user-registered", "yorick", "192.0.2.7", "192.0.2.7" } }, world.fired);
		assert.same({ yorick = "prosody:member" }, world.roles);
		assert.same({}, world.stores.saslcertd_links);
		world.bad_listener, world.seen.incarnation = true, "two";
		assert.equal(200, (world.post(body(question))));
		assert.is_truthy(world.logged[3]:find("^error The registration of yorick@shakespeare.lit could not be told"));
		-- To look at it makes none, and whoever looks does not hear which account it will be.
		world.bad_listener = false;
		local _, shown = world.post(body({ token = "t" }));
		assert.is_nil(shown.incarnation);
		assert.equal(1, #world.fired);
	end);
end);

describe("an account that a link makes in the daemon", function ()
	local session = { username = "yorick", ip = "192.0.2.9", saslcert = { incarnation = "one" } };
	local function login(world, other)
		for _, name in ipairs({ "authentication-success", "resource-bind" }) do world[name]({ session = other or session }); end
	end
	local function redeemed(failure)
		local world = new_world(true);
		world.in_daemon, world.failure = true, failure;
		world.seen = { account = "yorick@shakespeare.lit", kind = "new", incarnation = "one" };
		world.post(body({ token = "t", certificate = "AA==" }));
		return world;
	end

	it("is told by the first login when the answer is lost, even after an end in between", function ()
		for _, restarts in ipairs({ false, true }) do
			local world = redeemed({ reason = "timeout" });
			assert.same({}, world.fired);
			if restarts then
				world = new_world(true, world);
				world.in_daemon = true;
			end
			-- One of another account of the name says nothing, nor one that nobody knows of which it is.
			login(world, { username = "yorick", saslcert = { incarnation = "two" } });
			login(world, { username = "yorick", saslcert_login = { incarnation = "two" } });
			login(world, { username = "yorick" });
			assert.same({ {}, {} }, { world.fired, world.roles });
			login(world); login(world);
			assert.same({ { "user-registered", "yorick", "192.0.2.9", "192.0.2.9" } }, world.fired);
			assert.same({ { yorick = "prosody:member" }, {} }, { world.roles, world.stores.saslcertd_links });
		end
	end);

	it("is not told when it was refused, and what another link has made is told still", function ()
		local no = { code = -32000, denial = "account-exists", stanza = { type = "cancel", condition = "conflict" } };
		local world = redeemed(no);
		assert.same({}, world.fired);
		-- The name is somebody else's.
		login(world, { username = "yorick", saslcert_login = { incarnation = "zero" } });
		assert.same({}, world.fired);
		world = redeemed({ reason = "timeout" });
		world.seen.incarnation, world.failure = "two", no;
		world.redeeming = function () assert.equal("two", world.stores.saslcertd_links.yorick.incarnation); end;
		world.post(body({ token = "t", certificate = "AA==" }));
		login(world);
		assert.equal(1, #world.fired);
		-- What is no link changes nothing.
		world = new_world(true);
		world.in_daemon, world.failure = true, no;
		assert.equal(409, (world.post(body({ token = "t", certificate = "AA==" }))));
		assert.same({ {}, 1 }, { world.stores.saslcertd_links, #world.asked });
	end);

	it("is told once when two use its link at once, in whichever order they are answered", function ()
		local no = { code = -32000, denial = "link-unknown", stanza = { type = "cancel", condition = "item-not-found" } };
		local yes = { account = "yorick@shakespeare.lit", kind = "new", name = "phone" };
		-- The second one comes while the first one waits for its answer; or it has looked before, and asks when that has come.
		for _, first in ipairs({ yes, no }) do
			for _, is_nested in ipairs({ true, false }) do
				local world = new_world(true);
				local function use() world.post(body({ token = "t", certificate = "AA==" })); end
				local function answer(what)
					world.result, world.failure = what == yes and { account = yes.account, kind = "new" } or nil, what == no and no or nil;
				end
				world.in_daemon, world.seen = true, { account = yes.account, kind = "new", incarnation = "one" };
				local second = first == yes and no or yes;
				if is_nested then
					world.redeeming = function ()
						world.redeeming = nil;
						answer(second); use(); answer(first);
					end;
					use();
				else
					answer(first); use(); answer(second); use();
				end
				assert.equal(1, #world.fired);
				login(world);
				assert.equal(1, #world.fired);
			end
		end
	end);

	it("keeps the role that somebody has given it before its first login", function ()
		for _, case in ipairs({
			{ {}, "prosody:member" }, { { has_no_default = true }, "prosody:member" };
			{ { roles = { yorick = "prosody:admin" } }, "prosody:admin" }, { { unreadable_roles = true }, nil };
		}) do
			local world = redeemed({ reason = "timeout" });
			for key, value in pairs(case[1]) do world[key] = value; end
			login(world);
			assert.same({ case[2], 1 }, { world.roles.yorick, #world.fired });
			assert.equal(case[1].unreadable_roles and 1 or 0, select(2, table.concat(world.logged, "\n"):gsub("warn [^\n]*unknown%-role", "")));
		end
	end);

	it("is told by a login with a password, too", function ()
		local world = redeemed({ reason = "timeout" });
		login(world, { username = "yorick", ip = "192.0.2.9", saslcert_login = { incarnation = "one" } });
		assert.equal(1, #world.fired);
	end);

	it("is made even where nothing can be noted, which the log tells", function ()
		local world = new_world(true);
		world.in_daemon, world.kept, world.result = true, "yorick", { account = "yorick@shakespeare.lit", kind = "new" };
		world.seen = { account = "yorick@shakespeare.lit", kind = "new", incarnation = "one" };
		assert.equal(200, (world.post(body({ token = "t", certificate = "AA==" }))));
		assert.is_truthy(world.logged[1]:find("^error That yorick@shakespeare.lit may be registered can't be written"));
	end);
end);

-- The three ways in which Prosody keeps accounts.
local kinds = { ["0.12"] = { false }, ["13"] = { true }, ["13, and none are disabled"] = { true, nil, true } };
local whole = { exists = true, enabled = true, incarnation = "one" };

describe("an account that a link makes", function ()
	it("is told as a registration once, by the answer or by the first login", function ()
		local function bind(world) world["resource-bind"]({ session = { username = "yorick", ip = "192.0.2.9" } }); end
		local function redeem(world) world.post(body({ token = "t", certificate = "AA==" })); end
		local function registered()
			local world = new_world(true);
			world.register("yorick", "one");
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
		world = new_world(true, { yorick = { incarnation = "one", is_whole = true }, cordelia = { incarnation = "two", password = "x" } });
		world.stores.saslcertd.yorick, world.stores.saslcertd.cordelia = { incarnation = "one" }, { incarnation = "two" };
		bind(world); bind(world);
		assert.equal(1, #world.fired);
		-- It ended so early that the mark does not say that nothing is missing; but somebody is in.
		world["resource-bind"]({ session = { username = "cordelia" } });
		assert.same({ 2, {} }, { #world.fired, world.stores.saslcertd_links });
		-- Somebody else has made this one.
		for _, found in ipairs({ false, { incarnation = "zero" } }) do
			world = new_world(true, { yorick = { incarnation = "one" } });
			world.stores.saslcertd.yorick = found or nil;
			bind(world);
			assert.same({}, world.fired);
		end
		-- Some storages raise an error.
		world = new_world(true, { cannot_iterate = true });
		assert.is_truthy(world.logged[1]:find("^warn Whom links have registered can't be read"));
		-- It was deleted, and the name is another's.
		world = registered();
		world.stores.saslcertd_links.yorick = nil;
		bind(world);
		assert.same({}, world.fired);
	end);

	for kind, options in pairs(kinds) do
		it("has a password that nobody knows, and the incarnation; version " .. kind, function ()
			local world = new_world(table.unpack(options, 1, 3));
			assert.same(whole, world.register("yorick", "one"));
			local account, mark = world.users.yorick, world.stores.saslcertd_links.yorick;
			assert.equal("random1random2", account.password);
			assert.is_false(account.disabled);
			-- Where it could begin without one, it stands nowhere.
			assert.equal(kind ~= "13" and account.password or nil, mark.password);
			assert.same({ "one", true, { yorick = { incarnation = "one" } } }, { mark.incarnation, mark.is_whole, world.stores.saslcertd });
			assert.equal(options[1] and "prosody:member" or nil, world.roles.yorick);
			-- Once more, and for another link.
			assert.same(whole, world.register("yorick", "one"));
			assert.same(whole, world.register("yorick", "two"));
			assert.equal("random1random2", account.password);
		end);

		it("is finished by the same link wherever its making ends; version " .. kind, function ()
			local at, is_cut = 0, true;
			while is_cut do
				at = at + 1;
				local world = new_world(table.unpack(options, 1, 3));
				world.ends_at = at;
				pcall(world.register, "yorick", "one");
				is_cut = world.is_over;
				world = new_world(options[1], world, options[3]);
				-- For another link it is another's.
				if world.users.yorick then
					assert.is_not.equal("two", world.register("yorick", "two").incarnation);
				end
				assert.same(whole, world.register("yorick", "one"));
				assert.is_true(world.stores.saslcertd_links.yorick.is_whole);
				assert.is_string(world.users.yorick.password);
			end
			assert.is_true(at > 4);
		end);

		it("is not finished when somebody has given it a password; version " .. kind, function ()
			local at, is_cut = 0, true;
			while is_cut do
				at = at + 1;
				local world = new_world(table.unpack(options, 1, 3));
				world.ends_at = at;
				pcall(world.register, "yorick", "one");
				is_cut = world.is_over;
				local account = world.users.yorick;
				if account then
					world.time = world.time + 60;
					account.password, account.updated = "alas", world.time;
					world = new_world(options[1], world, options[3]);
					local found = world.register("yorick", "one");
					assert.equal("alas", world.users.yorick.password);
					-- What was not whole stays disabled, or is no account of the link's.
					local is_the_links = found.incarnation == "one" and found.enabled;
					assert.equal(is_the_links, world.stores.saslcertd.yorick ~= nil and not account.disabled);
				end
			end
		end);
	end

	it("is not finished when it is none, but one that a script has made meanwhile in the same way", function ()
		for later, is_taken in pairs({ [-1] = false, [0] = true, [2] = true, [3] = false, [60] = false }) do
			local world = new_world(true);
			world.time, world.ends_at = 1000, 2;
			pcall(world.register, "yorick", "one");
			assert.same({ true, {} }, { world.is_over, world.users });
			local time = 1000 + later;
			world.users.yorick = { disabled = true, created = time, updated = time };
			world = new_world(true, world);
			assert.equal(is_taken, world.register("yorick", "one").incarnation == "one");
			assert.equal(is_taken, not world.users.yorick.disabled);
		end
	end);

	it("is not finished when it got another password in the second of its making", function ()
		for _, whose in ipairs({ { "yorick", "shakespeare.lit", true }, { "yorick", "rome.lit" }, { "hamlet", "shakespeare.lit" } }) do
			local world = new_world(true);
			-- Behind the incarnation, before the password.
			world.ends_at = 4;
			pcall(world.register, "yorick", "one");
			assert.is_true(world.is_over);
			world = new_world(true, world);
			world["user-password-changed"]({ username = whose[1], host = whose[2] });
			assert.equal(not whose[3], world.register("yorick", "one").enabled);
		end
	end);

	it("is not made where the name's account can't be read, whatever the provider says", function ()
		local world = new_world(true);
		world.users.yorick = { password = "alas" };
		world.broken = "accounts";
		local result, err = world.register("yorick", "one");
		assert.same({ nil, -32001 }, { result, err.code });
		assert.same({ yorick = { password = "alas" } }, world.users);
	end);

	it("keeps the role that somebody has given it before it is whole", function ()
		local world = new_world(true);
		world.ends_at = 3;
		pcall(world.register, "yorick", "one");
		assert.is_true(world.is_over and world.users.yorick ~= nil);
		world = new_world(true, world);
		world.roles.yorick = "prosody:admin";
		assert.same({ whole, "prosody:admin" }, { world.register("yorick", "one"), world.roles.yorick });
		-- What an account of the name had that was deleted is not its.
		world = new_world(true);
		world.roles.yorick = "prosody:admin";
		assert.same({ whole, "prosody:member" }, { world.register("yorick", "one"), world.roles.yorick });
	end);

	it("is whole without its role, and told as a registration", function ()
		for _, case in ipairs({ "raised", "refused", "unanswered" }) do
			local world = new_world(true);
			world.no_roles = case;
			assert.same(whole, world.register("yorick", "one"));
			assert.is_true(world.stores.saslcertd_links.yorick.is_whole);
			world.result = { account = "yorick@shakespeare.lit", kind = "new", name = "phone" };
			assert.equal(200, (world.post(body({ token = "t", certificate = "AA==" }))));
			assert.equal(1, #world.fired);
			world.in_daemon, world.seen = true, { account = "yorick@shakespeare.lit", kind = "new", incarnation = "two" };
			assert.equal(200, (world.post(body({ token = "t", certificate = "AA==" }))));
			assert.equal(2, #world.fired);
			local errors = select(2, table.concat(world.logged, "\n"):gsub("error [^\n]*default_provisioned_role[^\n]*no such role", ""));
			assert.equal(case == "unanswered" and 0 or 2, errors);
		end
	end);

	it("stays as it is when it was there before", function ()
		local world = new_world(true);
		world.users.hamlet = { password = "to be" };
		assert.same({ exists = true, enabled = true, incarnation = "null" }, world.register("hamlet", "one"));
		world.stores.saslcertd.hamlet = { incarnation = "zero" };
		assert.same({ exists = true, enabled = true, incarnation = "zero" }, world.register("hamlet", "one"));
		assert.same({ { hamlet = { password = "to be" } }, {}, {} }, { world.users, world.roles, world.stores.saslcertd_links });
	end);

	it("is whole when that can't be written, which the log tells", function ()
		local world = new_world();
		world.users.yorick, world.stores.saslcertd.yorick = { password = "x" }, { incarnation = "one" };
		world.stores.saslcertd_links.yorick = { incarnation = "one", password = "y" };
		world.kept = "yorick";
		assert.same(whole, world.register("yorick", "one"));
		assert.is_truthy(world.logged[1]:find("^error That yorick@shakespeare.lit is whole can't be written into saslcertd_links: disk full"));
		world.kept = nil;
		assert.same(whole, world.register("yorick", "one"));
		assert.is_true(world.stores.saslcertd_links.yorick.is_whole);
	end);

	it("is a fault when it can't be made, or is not complete", function ()
		for _, case in ipairs({
			{ broken = "saslcertd_links" }, { broken = "saslcertd" }, { full = "saslcertd_links" }, { full = "saslcertd" };
			{ refuses = true };
		}) do
			local world = new_world(true);
			for key, value in pairs(case) do world[key] = value; end
			local result, err = world.register("yorick", "one");
			assert.same({ nil, -32001 }, { result, err.code });
			assert.is_truthy(world.logged[1]:find("^error The account of a link, yorick@shakespeare.lit, could not be"));
			for key in pairs(case) do world[key] = nil; end
			assert.same(whole, world.register("yorick", "one"));
		end
	end);
end);
