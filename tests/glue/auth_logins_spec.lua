local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local outlive = load_library("sasl", nil, { ["util.encodings"] = { base64 = {} }, ["util.time"] = {} }, {
	module = { shared = function () end };
}).outlive;

local wrong = { code = -32000, denial = "password-wrong", sasl = "not-authorized", delay = 0 };
local wrong_password = "Unable to authorize you with the authentication credentials you've sent.";
local wrong_proof = "The response provided by the client doesn't match the one we calculated.";

-- As much of util.sasl as matters: the messages are "user password" for PLAIN, "user" and then a proof for SCRAM.
local function new_sasl(realm, profile)
	local handler = { profile = profile, realm = realm };
	function handler:select(mechanism) self.selected = mechanism; return true; end
	function handler:process(message)
		if self.selected == "PLAIN" then
			local username, password = message:match("^(%S+) (.*)$");
			self.username = username;
			local correct, state = profile.plain_test(self, username, password, realm);
			if state == false then return "failure", "account-disabled"; end
			if not correct then return "failure", "not-authorized", wrong_password; end
			return "success";
		end
		if not self.state then
			self.username = message;
			local name = self.selected:match("SHA%-%d+"):lower():gsub("-", "_");
			local stored_key, _, iterations, salt, state = profile["scram_" .. name](self, message, realm);
			if state == nil then return "failure", "not-authorized"; end
			self.state = { stored_key = stored_key };
			return "challenge", ("%s %d"):format(salt, iterations);
		end
		local proof = message:match("p=(.*)$");
		if not proof then return "failure", "malformed-request"; end
		if proof == "ok" then return "success", "v=proof"; end
		return "failure", "not-authorized", wrong_proof;
	end
	function handler:clean_clone() return new_sasl(self.realm, self.profile); end
	return handler;
end

local function new_world()
	local world = { asked = {}, replies = {}, slept = {}, scram = { "SHA-1", "SHA-256" } };
	world.null = "null";
	-- Waiting is what a timer does until it is done.
	local function waiter()
		local is_done = false;
		return function ()
			local session, slept, nap = world.session, 0, world.nap;
			world.tag = session.saslcert_account;
			world.is_waiting = world.api.waiting[session] == session;
			if world.while_asleep then world.while_asleep(session); end
			while not is_done do
				slept = slept + nap;
				nap = world.wake();
			end
			world.slept[#world.slept + 1] = slept;
		end, function () is_done = true; end;
	end
	world.api = {
		failures = load_library("failures");
		waiting = {};
		ask = function (method, params, options)
			world.asked[#world.asked + 1] = { method = method, params = params, options = options };
			local reply = world.replies[method];
			if type(reply) == "function" then reply = reply(params); end
			if not reply then return nil, { reason = "away" }; end
			if reply.code or reply.reason then return nil, reply; end
			return reply;
		end;
		timeout = function () return 2; end;
		scram = function () return world.scram; end;
		outlive = outlive;
	};
	local prosodys = {
		["util.async"] = { waiter = waiter };
		["util.encodings"] = {
			stringprep = {};
			base64 = {
				encode = function (bytes) return "<" .. bytes .. ">"; end;
				decode = function (text) return text:match("^<(.*)>$") or (text ~= "!!" and text) or nil; end;
			};
		};
		["util.json"] = { null = world.null };
		["util.sasl"] = { new = new_sasl };
		["util.timer"] = { add_task = function (seconds, f) world.nap, world.wake = seconds, f; end };
	};
	local module = { host = "rome.lit", shared = function () return world.api; end };
	function module.require(_, name) return load_library(name, "mod_auth_saslcertd", prosodys, { module = module }); end
	world.logins = module:require("logins");
	world.session = { ip = "192.0.2.7", log = function () end, type = "c2s_unauthed" };
	world.replies["account.verify"] = { delay = 0 };
	world.replies["account.succeeded"] = { delay = 0 };
	world.replies["account.failed"] = { delay = 0 };
	world.replies["account.scram"] = function (params)
		local size = params.hash == "SHA-1" and 20 or 32;
		return { salt = "<salt>", iterations = 10000, stored_key = "<" .. ("s"):rep(size) .. ">", server_key = "<" .. ("k"):rep(size) .. ">" };
	end;
	function world.handler(mechanism)
		local handler = world.logins.get_sasl_handler(world.session);
		handler:select(mechanism);
		return handler;
	end
	function world.plain(message) return world.handler("PLAIN"):process(message or "brutus et tu?"); end
	function world.scram_login(proof, mechanism)
		local handler = world.handler(mechanism or "SCRAM-SHA-256");
		local status, condition, text = handler:process("brutus");
		if status ~= "challenge" then return status, condition, text; end
		return handler:process("c=biws,r=nonce,p=" .. (proof or "ok"));
	end
	function world.methods()
		local methods = {};
		for i, question in ipairs(world.asked) do methods[i] = question.method; end
		return methods;
	end
	return world;
end

describe("PLAIN", function ()
	it("is the daemon's word, and tags the session", function ()
		local world = new_world();
		assert.equal("success", (world.plain()));
		assert.equal("brutus@rome.lit", world.session.saslcert_account);
		assert.same({ account = "brutus@rome.lit", password = "et tu?", address = "192.0.2.7" }, world.asked[1].params);
		assert.same({}, world.slept);
	end);

	it("that is wrong is never account-disabled, and leaves no tag", function ()
		local world = new_world();
		world.replies["account.verify"] = wrong;
		assert.same({ "failure", "not-authorized", wrong_password }, { world.plain() });
		assert.is_nil(world.session.saslcert_account);
	end);

	it("that can't be asked is temporary, whatever the reason", function ()
		for _, failure in ipairs({ { reason = "away" }, { reason = "timeout" }, { reason = "busy" }, { reason = "not-text" },
			{ code = -32001 }, { code = -32002 }, { code = -32602 } }) do
			local world = new_world();
			world.replies["account.verify"] = failure;
			assert.equal("temporary-auth-failure", (select(2, world.plain())));
			assert.is_nil(world.session.saslcert_account);
		end
	end);

	it("works without a session", function ()
		local world = new_world();
		local handler = world.logins.get_sasl_handler();
		handler:select("PLAIN");
		assert.equal("success", (handler:process("brutus x")));
		assert.equal(world.null, world.asked[1].params.address);
	end);
end);

describe("SCRAM", function ()
	it("gets the keys, and the last word from the daemon", function ()
		for mechanism, hash in pairs({ ["SCRAM-SHA-1"] = "SHA-1", ["SCRAM-SHA-256"] = "SHA-256", ["SCRAM-SHA-256-PLUS"] = "SHA-256" }) do
			local world = new_world();
			assert.same({ "success", "v=proof" }, { world.scram_login("ok", mechanism) });
			assert.same({ "account.scram", "account.succeeded" }, world.methods());
			assert.same({ account = "brutus@rome.lit", hash = hash }, world.asked[1].params);
			assert.same({
				account = "brutus@rome.lit", hash = hash, stored_key = "<" .. ("s"):rep(hash == "SHA-1" and 20 or 32) .. ">", address = "192.0.2.7",
			}, world.asked[2].params);
			assert.equal("brutus@rome.lit", world.session.saslcert_account);
		end
	end);

	it("with a right proof that is right no more looks like a wrong one", function ()
		local world = new_world();
		world.replies["account.succeeded"] = wrong;
		assert.same({ "failure", "not-authorized", wrong_proof }, { world.scram_login() });
		assert.is_nil(world.session.saslcert_account);
	end);

	it("with a right proof that can't be confirmed is temporary", function ()
		local world = new_world();
		world.replies["account.succeeded"] = nil;
		assert.equal("temporary-auth-failure", (select(2, world.scram_login())));
		assert.is_nil(world.session.saslcert_account);
	end);

	it("with a wrong proof is counted, and a failure even when that can't be done", function ()
		for _, counted in ipairs({ true, false }) do
			local world = new_world();
			if not counted then world.replies["account.failed"] = nil; end
			assert.same({ "failure", "not-authorized", wrong_proof }, { world.scram_login("wrong") });
			assert.same({ "account.scram", "account.failed" }, world.methods());
			assert.same({ account = "brutus@rome.lit", address = "192.0.2.7" }, world.asked[2].params);
			-- It would count twice.
			assert.same({ timeout = 2 }, world.asked[2].options);
		end
	end);

	it("with a proof that isn't base64 is malformed, and raises no error", function ()
		local world = new_world();
		assert.equal("malformed-request", (select(2, world.scram_login("!!"))));
	end);

	it("that can't be asked is temporary", function ()
		local world = new_world();
		world.replies["account.scram"] = nil;
		assert.equal("temporary-auth-failure", (select(2, world.scram_login())));
		world = new_world();
		world.replies["account.scram"] = { code = -32001 };
		assert.equal("temporary-auth-failure", (select(2, world.scram_login())));
	end);

	it("by a hash that is not offered any more, or was offered too soon, can't be asked: the account may lack it", function ()
		local world = new_world();
		world.replies["account.scram"] = { code = -32001, fault = "hash-not-common", message = "not all have it" };
		assert.equal("temporary-auth-failure", (select(2, world.scram_login())));
	end);

	it("that was offered before the daemon had said which hashes there are goes on if the daemon has keys", function ()
		local world = new_world();
		world.scram = nil;
		assert.equal("success", (world.scram_login()));
	end);

	it("is offered with the hashes that every account has; with all, until the daemon has said which", function ()
		local world = new_world();
		local function offered()
			local profile = world.logins.get_sasl_handler(world.session).profile;
			return profile.scram_sha_1 ~= nil, profile.scram_sha_256 ~= nil;
		end
		assert.same({ true, true }, { offered() });
		world.scram = { "SHA-1" };
		assert.same({ true, false }, { offered() });
		world.scram = nil;
		assert.same({ true, true }, { offered() });
		assert.same({}, world.asked);
		world.scram = { "SHA-512" };
		assert.same({ false, false }, { offered() });
	end);
end);

describe("a delay", function ()
	local function delayed(delay)
		local world = new_world();
		world.replies["account.verify"] = { delay = delay };
		return world;
	end

	it("is waited for before an answer of any kind, with the tag on the session", function ()
		local world = delayed(4);
		assert.equal("success", (world.plain()));
		assert.equal("brutus@rome.lit", world.tag);
		world.replies["account.verify"] = { code = -32000, delay = 5 };
		assert.equal("failure", (world.plain()));
		world.replies["account.succeeded"] = { delay = 6 };
		assert.equal("success", (world.scram_login()));
		world.replies["account.succeeded"] = { code = -32000, delay = 7 };
		assert.equal("failure", (world.scram_login()));
		world.replies["account.failed"] = { delay = 8 };
		assert.equal("failure", (world.scram_login("wrong")));
		assert.same({ 4, 5, 6, 7, 8 }, world.slept);
		-- Whoever closes sessions finds it meanwhile.
		assert.is_true(world.is_waiting);
		assert.is_nil(next(world.api.waiting));
	end);

	it("is bounded", function ()
		for delay, expected in pairs({ [1e9] = 60, [math.huge] = 60, [-1] = false }) do
			local world = delayed(delay);
			world.plain();
			assert.equal(expected or nil, world.slept[1]);
		end
		local world = delayed(0 / 0);
		world.plain();
		assert.same({}, world.slept);
	end);

	it("lets nobody in whose session is gone, or whose account was changed, meanwhile", function ()
		local world = delayed(1);
		world.while_asleep = function (session) session.destroyed = true; end;
		assert.equal("failure", (world.plain()));
		assert.equal("c2s", world.session.base_type);
		assert.is_nil(world.session.sasl_handler);
		world = delayed(1);
		world.while_asleep = function (session) session.saslcert_account = nil; end;
		assert.equal("temporary-auth-failure", (select(2, world.plain())));
	end);

	it("of a session that is gone leaves mod_sasl2 a handler that it can clone", function ()
		local world = delayed(1);
		world.session.saslcert_sasl2 = true;
		world.while_asleep = function (session) session.destroyed, session.saslcert_sasl2 = true, nil; end;
		local handler = world.handler("PLAIN");
		assert.equal("failure", (handler:process("brutus et tu?")));
		assert.equal(handler, world.session.sasl_handler);
	end);

	it("is not waited for by a session that is gone", function ()
		local world = delayed(1);
		world.replies["account.verify"] = function () world.session.destroyed = true; return { delay = 5 }; end;
		assert.equal("failure", (world.plain()));
		assert.same({}, world.slept);
		assert.is_nil(world.session.saslcert_account);
	end);
end);

describe("another attempt", function ()
	it("is asked as the first one was, and keeps the channel binding", function ()
		local world = new_world();
		world.replies["account.verify"] = wrong;
		local handler = world.handler("PLAIN");
		handler.userdata = { "tls-unique" };
		handler:process("brutus wrong");
		local clone = handler:clean_clone();
		assert.equal(handler.userdata, clone.userdata);
		world.replies["account.verify"] = nil;
		clone:select("PLAIN");
		assert.equal("temporary-auth-failure", (select(2, clone:process("brutus right"))));
		clone = clone:clean_clone();
		world.replies["account.verify"] = { delay = 0 };
		clone:select("PLAIN");
		assert.equal("success", (clone:process("brutus right")));
	end);
end);
