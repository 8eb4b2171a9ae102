local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local function load_sasl(api, now)
	return load_library("sasl", nil, {
		["util.encodings"] = { base64 = { encode = function (bytes) return "b64:" .. bytes; end } };
		["util.time"] = { monotonic = now };
	}, { module = { shared = function () return api; end } });
end

local sasl_library = load_sasl({});

local function pem_of(base64)
	return "-----BEGIN CERTIFICATE-----\n" .. base64:gsub(("."):rep(64), "%0\n") .. "\n-----END CERTIFICATE-----\n";
end

local function x509s_of(pems)
	local certificates = {};
	for i, pem in ipairs(pems) do
		certificates[i] = {
			pem = function () return pem; end;
			digest = function (_, hash) return hash .. " of " .. pem:match("\n(%a+)"); end;
		};
	end
	return certificates;
end

local function new_session(pems)
	local certificates = x509s_of(pems);
	local socket = {
		getpeercertificate = function () return certificates[1]; end;
		getpeerchain = function () return certificates; end;
	};
	return { secure = true, ip = "192.0.2.7", conn = { socket = function () return socket; end }, log = function () end };
end

-- A provider as util.sasl makes its handlers, with PLAIN only.
local function new_provider()
	local mechanisms = { PLAIN = true };
	local function new_handler()
		return {
			mechanisms = function () return mechanisms; end;
			select = function (self, name)
				if not self.selected and mechanisms[name] then self.selected = name; return true; end
			end;
			process = function () return "failure", "not-authorized"; end;
			clean_clone = function () return new_handler(); end;
		};
	end
	return { name = "internal_hashed", get_sasl_handler = new_handler, all = mechanisms };
end

local function new_world()
	local world = { time = 0, asked = {}, hosts = {}, replies = {}, users = { hamlet = true }, incarnation = "a", looked_at = 0 };
	local function fact(username)
		local enabled = world.users[username];
		world.looked_at = world.looked_at + 1;
		return { username = username, exists = enabled ~= nil, enabled = enabled or false, incarnation = world.incarnation };
	end
	world.hosts["shakespeare.lit"] = {
		name = "shakespeare.lit";
		withdrawn = function () return world.withdrawn or false; end;
		in_daemon = function () return world.in_daemon or false; end;
		accounts = {
			usable = function (username) return type(username) == "string" and username ~= ""; end;
			facts = function (candidates)
				local facts = {};
				for i, candidate in ipairs(candidates) do facts[i] = fact(candidate.username); end
				if world.is_unreadable then return nil, "disk on fire"; end
				return facts;
			end;
			is_still = function (facts, username)
				local told, one = facts[1], fact(username);
				return one.exists and one.enabled and told.enabled and told.username == username and told.incarnation == one.incarnation;
			end;
		};
	};
	world.api = {
		ask = function (method, params, options)
			if method == "external.offer" and params.accounts then
				-- With what is known of the candidates.
				local first = params.accounts[1];
				world.told, world.told_within, world.told_of = params.accounts, options.timeout, params.chain;
				world.time = world.time + (world.telling_takes or 0);
				if world.wants_others then return { offer = true, candidates = world.wants_others }; end
				return { offer = first ~= nil and first.exists };
			end
			local sent = {};
			for name, value in pairs(params) do sent[name] = value; end
			world.asked[#world.asked + 1] = { method = method, params = sent, options = options };
			local reply = world.replies[method];
			if type(reply) == "function" then return reply(params); end
			if not reply then return nil, { reason = "away" }; end
			return reply;
		end;
		timeout = function () return 2; end;
	};
	local library = load_sasl(world.api, function () return world.time; end);
	for name, function_of_ours in pairs(library.new(world.hosts)) do world.api[name] = function_of_ours; end
	world.replies["external.offer"] = { offer = true, candidates = { { username = "hamlet", incarnation = "a" } } };
	world.replies["external.login"] = {
		username = "hamlet", name = "phone", fingerprint = "f", key_id = "k", incarnation = "one", resource = "orchard",
	};
	world.provider = new_provider();
	world.unwrap = library.wrap_provider(world.provider, "shakespeare.lit", function () return world.withdrawn or false; end);
	function world.handler(session) return world.provider.get_sasl_handler(session); end
	return world;
end

describe("a chain", function ()
	it("is the base64 of the PEM, without line breaks", function ()
		assert.same({ ("A"):rep(200) }, sasl_library.chain_of_peer(new_session({ pem_of(("A"):rep(200)) })));
	end);

	-- The sizes that are left of a chain of such sizes.
	local function kept(...)
		local pems = {};
		for i, size in ipairs({ ... }) do pems[i] = size > 0 and pem_of(("A"):rep(size)) or "no pem"; end
		local sizes = {};
		for i, der in ipairs(sasl_library.chain_of_peer(new_session(pems))) do sizes[i] = #der; end
		return sizes;
	end

	it("has the client's own certificate, and of the others those that the daemon reads", function ()
		assert.same({ 1, 2, 3, 4, 5, 6 }, kept(1, 2, 3, 4, 5, 6));
		assert.same({ 1, 2, 3, 4, 5, 6 }, kept(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
		assert.same({ 24576, 1 }, kept(24576, 1));
		assert.same({ 1, 2 }, kept(1, 24577, 2));
		assert.same({ 16384, 16384, 16384, 16384 }, kept(16384, 16384, 16384, 16384, 1));
		assert.same({ 16384, 16384, 16384, 1 }, kept(16384, 16384, 16384, 16385, 1));
		assert.same({ 1, 2 }, kept(1, 0, 2));
	end);

	it("is empty without the client's own", function ()
		assert.same({}, kept(24577, 1));
		assert.same({}, kept(0, 1));
		assert.same({}, kept());
	end);
end);

describe("the offer", function ()
	it("is asked once per connection", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		assert.is_true(world.handler(session):mechanisms().EXTERNAL);
		assert.is_true(world.handler(session):mechanisms().EXTERNAL);
		assert.equal(1, #world.asked);
		assert.equal(0.5, world.asked[1].options.timeout);
		session.conn = new_session({ pem_of("AAAA") }).conn;
		world.handler(session):mechanisms();
		assert.equal(2, #world.asked);
	end);

	it("has one deadline for both questions, of which the second gets what the first has left, or a moment", function ()
		for taken, left in pairs({ [0.125] = 0.375, [0.5] = 0.1, [7] = 0.1 }) do
			local world = new_world();
			local reply = world.replies["external.offer"];
			world.replies["external.offer"] = function () world.time = world.time + taken; return reply; end;
			assert.is_true(world.handler(new_session({ pem_of("AAAA") })):mechanisms().EXTERNAL);
			assert.same({ 0.5, left }, { world.asked[1].options.timeout, world.told_within });
		end
	end);

	it("that a stream was told stays, whatever has become of it, and selecting is decided anew", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local handler = world.handler(session);
		assert.is_true(handler:mechanisms().EXTERNAL);
		world.withdrawn = true;
		assert.is_true(handler:mechanisms().EXTERNAL);
		assert.is_true(handler:clean_clone():mechanisms().EXTERNAL);
		assert.is_nil(handler:select("EXTERNAL"));
		local features;
		world.api.add_host({
			hook = function (_, name, f) if name == "stream-features" then features = f; end end;
			hook_tag = function () end;
		});
		session.type = "c2s_unauthed";
		features({ origin = session });
		assert.is_nil(handler:mechanisms().EXTERNAL);
	end);

	it("leaves the provider's own table alone", function ()
		local world = new_world();
		assert.same({ EXTERNAL = true, PLAIN = true }, world.handler(new_session({ pem_of("AAAA") })):mechanisms());
		assert.same({ PLAIN = true }, world.provider.all);
	end);

	it("isn't made, nor asked for, without a certificate, without TLS, over BOSH and websockets", function ()
		local world = new_world();
		for _, change in ipairs({ "none", "plain", "bosh", "websocket" }) do
			local session = new_session(change == "none" and {} or { pem_of("AAAA") });
			if change == "plain" then session.secure = nil; end
			if change == "bosh" then session.bosh_version = "1.6"; end
			if change == "websocket" then session.websocket_request = {}; end
			local handler = world.handler(session);
			assert.same({ PLAIN = true }, handler:mechanisms());
			assert.is_nil(handler:select("EXTERNAL"));
		end
		assert.equal(0, #world.asked);
	end);

	it("isn't made for anonymous accounts, and not while another module does it", function ()
		local world = new_world();
		assert.is_nil(sasl_library.wrap_provider({ name = "anonymous", get_sasl_handler = print }, "x", print));
		world.withdrawn = true;
		assert.same({ PLAIN = true }, world.handler(new_session({ pem_of("AAAA") })):mechanisms());
		assert.equal(0, #world.asked);
	end);

	it("that is no makes EXTERNAL unknown", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		world.replies["external.offer"] = { offer = false };
		local handler = world.handler(session);
		assert.same({ PLAIN = true }, handler:mechanisms());
		assert.is_nil(handler:select("EXTERNAL"));
	end);

	it("is no for a certificate of nobody who exists here", function ()
		local world = new_world();
		world.users = {};
		assert.is_nil(world.handler(new_session({ pem_of("AAAA") })):select("EXTERNAL"));
	end);

	it("is asked with the whole chain until the daemon has said that it needs none", function ()
		local world = new_world();
		local pems = { pem_of("AAAA"), pem_of("BBBB") };
		assert.is_true(world.handler(new_session(pems)):select("EXTERNAL"));
		assert.same({ "AAAA", "BBBB" }, world.asked[1].params.chain);
		world.hosts["shakespeare.lit"].leaf_only = true;
		local handler = world.handler(new_session(pems));
		assert.is_true(handler:select("EXTERNAL"));
		handler:process("");
		assert.equal("sha256 of AAAA", world.asked[2].params.chain);
		assert.same({ "external.login", "sha256 of AAAA" }, { world.asked[3].method, world.asked[3].params.chain });
	end);

	it("is asked by the certificate's name where that is enough, and by itself when the daemon doesn't know it", function ()
		local world = new_world();
		world.in_daemon, world.hosts["shakespeare.lit"].leaf_only = true, true;
		world.replies["external.offer"] = function (params)
			if type(params.chain) == "string" then return nil, { code = -32001, fault = "chain-forgotten" }; end
			return { offer = true, chain = "n4me" };
		end;
		local handler = world.handler(new_session({ pem_of("AAAA"), pem_of("BBBB") }));
		assert.is_true(handler:select("EXTERNAL"));
		assert.equal("success", (handler:process("")));
		assert.same({ "sha256 of AAAA", { "AAAA" }, "n4me" }, { world.asked[1].params.chain, world.asked[2].params.chain, world.asked[3].params.chain });
	end);

	it("of a certificate whose candidates were named before is asked once, with what Prosody knows of them", function ()
		local world = new_world();
		world.hosts["shakespeare.lit"].leaf_only = true;
		assert.is_true(world.handler(new_session({ pem_of("AAAA") })):mechanisms().EXTERNAL);
		assert.equal(1, #world.asked);
		world.told = nil;
		assert.is_true(world.handler(new_session({ pem_of("AAAA") })):mechanisms().EXTERNAL);
		assert.equal(1, #world.asked);
		assert.same({ { username = "hamlet", exists = true, enabled = true, incarnation = "a" } }, world.told);
		assert.equal("sha256 of AAAA", world.told_of);
		-- Another certificate is nobody's yet.
		assert.is_true(world.handler(new_session({ pem_of("BBBB") })):mechanisms().EXTERNAL);
		assert.equal(2, #world.asked);
		-- Nor does it help that somebody was, once that has gone.
		world.users = {};
		assert.is_nil(world.handler(new_session({ pem_of("AAAA") })):mechanisms().EXTERNAL);
		assert.equal(2, #world.asked);
	end);

	it("is not made while the daemon wants to hear of others, nor when the accounts can't be read", function ()
		local world = new_world();
		world.wants_others = { { username = "horatio" } };
		local handler = world.handler(new_session({ pem_of("AAAA") }));
		assert.is_nil(handler:select("EXTERNAL"));
		assert.equal(1, #world.asked);
		world = new_world();
		world.is_unreadable = true;
		handler = world.handler(new_session({ pem_of("AAAA") }));
		assert.same({ PLAIN = true }, handler:mechanisms());
		-- It is no "no".
		assert.is_true(handler:select("EXTERNAL"));
		assert.equal("temporary-auth-failure", (select(2, handler:process(""))));
	end);

	it("gets the chain a name, which is sent in its place, and the chain once more when it was forgotten", function ()
		local world = new_world();
		world.in_daemon, world.replies["external.offer"] = true, { offer = true, chain = "n4me" };
		local handler = world.handler(new_session({ pem_of("AAAA") }));
		assert.is_true(handler:select("EXTERNAL"));
		local yes = world.replies["external.login"];
		world.replies["external.login"] = function (params)
			if params.chain == "n4me" then return nil, { code = -32001, fault = "chain-forgotten" }; end
			return yes;
		end;
		assert.equal("success", (handler:process("")));
		assert.same({ { "AAAA" }, "n4me", { "AAAA" } }, { world.asked[1].params.chain, world.asked[2].params.chain, world.asked[3].params.chain });
		assert.equal(3, #world.asked);
		-- It is sent itself once: whoever forgets that, too, decides nothing.
		world.replies["external.login"] = function () return nil, { code = -32001, fault = "chain-forgotten" }; end;
		handler = world.handler(new_session({ pem_of("AAAA") }));
		assert.is_true(handler:select("EXTERNAL"));
		local status, condition = handler:process("");
		assert.same({ "failure", "temporary-auth-failure" }, { status, condition });
		assert.equal(6, #world.asked);
	end);

	it("is asked without a chain for a certificate that is too long", function ()
		local world = new_world();
		world.replies["external.offer"] = { offer = false };
		assert.is_nil(world.handler(new_session({ pem_of(("A"):rep(25 * 1024)), pem_of("BBBB") })):select("EXTERNAL"));
		assert.same({}, world.asked[1].params.chain);
	end);
end);

describe("a login", function ()
	local function begin(world, session)
		local handler = world.handler(session or new_session({ pem_of("AAAA") }));
		handler:mechanisms();
		assert.is_true(handler:select("EXTERNAL"));
		return handler;
	end

	it("tags the session and names the user and the resource", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local handler = begin(world, session);
		assert.equal("success", (handler:process("")));
		assert.equal("hamlet", handler.username);
		assert.equal("orchard", handler.resource);
		assert.same({
			account = "hamlet@shakespeare.lit", username = "hamlet", fingerprint = "f", key_id = "k";
			incarnation = "one", name = "phone", resource = "orchard";
		}, session.saslcert);
		assert.equal(session.ip, world.asked[1].params.address);
		local params = world.asked[2].params;
		assert.is_nil(params.authzid);
		assert.same({ { username = "hamlet", exists = true, enabled = true, incarnation = "a" } }, params.accounts);
		-- Prosody's facts were read for the offer, and once more after the yes.
		assert.equal(2, world.looked_at);
	end);

	it("without an initial response begins with an empty challenge, once; an empty answer to it may come as nil", function ()
		local handler = begin(new_world());
		assert.same({ "challenge", "" }, { handler:process(nil) });
		assert.equal("success", (handler:process(nil)));
	end);

	it("passes the authzid on as base64, whatever bytes it has", function ()
		local world = new_world();
		begin(world):process("\0\255");
		assert.equal("b64:\0\255", world.asked[2].params.authzid);
	end);

	it("passes on no more of an authzid than shows that it is too long", function ()
		local world = new_world();
		begin(world):process(("x"):rep(150000));
		assert.equal("b64:" .. ("x"):rep(4096), world.asked[2].params.authzid);
	end);

	it("that the daemon refuses fails in its words, and leaves no tag", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		world.replies["external.login"] = function () return nil, { code = -32000, sasl = "credentials-expired", message = "Expired" }; end;
		assert.same({ "failure", "credentials-expired", "Expired" }, { begin(world, session):process("") });
		assert.is_nil(session.saslcert);
	end);

	it("that fails without words, or in none that can be an element, is a temporary failure", function ()
		for _, failure in ipairs({ { reason = "timeout" }, { sasl = "<x>" }, { sasl = "" }, { sasl = 5 }, { sasl = "Not-Authorized" } }) do
			local world = new_world();
			world.replies["external.login"] = function () return nil, failure; end;
			assert.equal("temporary-auth-failure", (select(2, begin(world):process(""))));
		end
	end);

	it("that fails leaves the handler to another mechanism", function ()
		local world = new_world();
		world.replies["external.login"] = nil;
		local handler = begin(world);
		assert.equal("failure", (handler:process("")));
		assert.is_true(handler:select("PLAIN"));
	end);

	it("in SASL2, and only there, tells the daemon whom the stream comes from", function ()
		local world = new_world();
		local features, sasl2, sasl1;
		world.api.add_host({
			hook = function (_, name, handler) if name == "stream-features" then features = handler; else sasl1 = handler; end end;
			hook_tag = function (_, _, _, handler) sasl2 = handler; end;
		});
		local session = new_session({ pem_of("AAAA") });
		session.type = "c2s_unauthed";
		features({ origin = session, stream = { from = "hamlet@shakespeare.lit" } });
		assert.is_nil(sasl2(session));
		begin(world, session):process("");
		assert.equal("hamlet@shakespeare.lit", world.asked[#world.asked].params.stream_from);
		sasl1({ origin = session });
		begin(world, session):process("");
		assert.is_nil(world.asked[#world.asked].params.stream_from);
		-- Nor may a session that is logged in begin once more.
		session.type = "c2s";
		session.close = function (_, reason) session.closed = reason.condition; end;
		assert.is_true(sasl2(session));
		assert.equal("policy-violation", session.closed);
	end);

	it("while the daemon is away is a temporary failure, though EXTERNAL wasn't listed", function ()
		local world = new_world();
		world.replies = {};
		local handler = world.handler(new_session({ pem_of("AAAA") }));
		assert.same({ PLAIN = true }, handler:mechanisms());
		assert.is_true(handler:select("EXTERNAL"));
		assert.equal("temporary-auth-failure", (select(2, handler:process(""))));
	end);

	it("asks for the offer again when that could not be asked", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local offer = world.replies["external.offer"];
		world.replies["external.offer"] = nil;
		local handler = begin(world, session);
		world.replies["external.offer"] = offer;
		assert.equal("success", (handler:process("")));
	end);

	it("has one deadline for all its questions when the offer has to be asked for again", function ()
		local world = new_world();
		local offer = world.replies["external.offer"];
		world.replies["external.offer"] = nil;
		local handler = begin(world);
		world.replies["external.offer"] = function () world.time = world.time + 1.25; return offer; end;
		world.telling_takes = 0.5;
		assert.equal("success", (handler:process("")));
		assert.same({ 0.5, 2, 0.75, 0.25 }, {
			world.asked[1].options.timeout, world.asked[2].options.timeout, world.told_within, world.asked[3].options.timeout,
		});
	end);

	it("of an account that was disabled or has gone meanwhile fails, and leaves no tag", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local handler = begin(world, session);
		world.users.hamlet = false;
		assert.same({ "failure", "temporary-auth-failure" }, { (function (a, b) return a, b; end)(handler:process("")) });
		assert.is_nil(session.saslcert);
		-- The daemon was asked again, with what is so now.
		assert.same({ true, false }, { world.asked[2].params.accounts[1].enabled, world.asked[3].params.accounts[1].enabled });
		handler = begin(world, session);
		world.users.hamlet = nil;
		assert.same({ "failure", "temporary-auth-failure" }, { (function (a, b) return a, b; end)(handler:process("")) });
		assert.is_nil(session.saslcert);
	end);

	it("that is tried again on the same stream is decided by what is so by then", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local yes = world.replies["external.login"];
		world.replies["external.login"] = function (params)
			if params.accounts[1].enabled then return yes; end
			return nil, { code = -32000, sasl = "account-disabled" };
		end;
		local handler = begin(world, session);
		for _, enabled in ipairs({ false, true, false }) do
			world.users.hamlet = enabled;
			local status, condition = begin(world, session):process("");
			assert.same(enabled and { "success" } or { "failure", "account-disabled" }, { status, condition });
		end
		world.is_unreadable = true;
		assert.same({ "failure", "temporary-auth-failure" }, { (function (a, b) return a, b; end)(handler:process("")) });
	end);

	it("of an account that another one of its name has replaced meanwhile is asked about again", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local handler, yes = begin(world, session), world.replies["external.login"];
		world.incarnation = "b";
		world.replies["external.login"] = function (params)
			if params.accounts[1].incarnation == "a" then return yes; end
			assert.is_nil(session.saslcert);
			return nil, { code = -32000, sasl = "not-authorized" };
		end;
		assert.same({ "failure", "not-authorized" }, { (function (a, b) return a, b; end)(handler:process("")) });
		assert.is_nil(session.saslcert);
	end);

	it("of an account that lives in the daemon is the daemon's word alone", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		world.in_daemon, world.users = true, {};
		world.replies["external.offer"] = { offer = true };
		local handler = begin(world, session);
		assert.equal("success", (handler:process("")));
		assert.is_nil(world.asked[2].params.accounts);
		assert.equal("hamlet@shakespeare.lit", session.saslcert.account);
		-- Whatever the daemon takes for true, Prosody says nothing of such accounts: it would be the daemon's own word, or a guess.
		world.replies["external.offer"] = { offer = true, candidates = { { username = "hamlet" } } };
		assert.is_nil(world.handler(new_session({ pem_of("AAAA") })):select("EXTERNAL"));
		assert.same({ nil, 0 }, { world.told, world.looked_at });
	end);

	it("by an offer that an older module has made is asked about anew", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		session.saslcert_offer = { conn = session.conn, verdict = "yes", candidates = {} };
		begin(world, session):process("");
		assert.same({ "external.login", "hamlet" }, { world.asked[2].method, world.asked[2].params.accounts[1].username });
	end);

	it("of a session that is gone meanwhile fails", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		local reply = world.replies["external.login"];
		world.replies["external.login"] = function () session.destroyed = true; return reply; end;
		assert.equal("failure", (begin(world, session):process("")));
		assert.is_nil(session.saslcert);
		assert.equal("c2s", session.base_type);
		assert.is_nil(session.sasl_handler);
	end);

	it("of a session that is gone meanwhile leaves mod_sasl2 a handler that it can clone", function ()
		local world, session = new_world(), new_session({ pem_of("AAAA") });
		session.saslcert_sasl2 = true;
		world.replies["external.login"] = function () session.destroyed, session.saslcert_sasl2 = true, nil; return nil, { reason = "lost" }; end;
		local handler = begin(world, session);
		assert.equal("failure", (handler:process("")));
		assert.equal(handler, session.sasl_handler);
	end);

	it("with an incomplete answer fails", function ()
		for _, field in ipairs({ "username", "fingerprint", "key_id" }) do
			local world = new_world();
			world.replies["external.login"][field] = nil;
			assert.same("temporary-auth-failure", (select(2, begin(world):process(""))));
		end
	end);

	it("may be tried again after a failure, and by password; channel binding survives", function ()
		local world = new_world();
		local handler = begin(world);
		handler.userdata = { "tls-unique" };
		local clone = handler:clean_clone();
		assert.is_nil(clone.selected);
		assert.equal(handler.userdata, clone.userdata);
		assert.is_true(clone:select("EXTERNAL"));
		clone = clone:clean_clone();
		assert.is_true(clone:select("PLAIN"));
		assert.same({ "failure", "not-authorized" }, { clone:process("x") });
	end);
end);

describe("a wrapped provider", function ()
	it("is as before when unwrapped", function ()
		local world = new_world();
		world.unwrap();
		assert.same({ PLAIN = true }, world.handler(new_session({ pem_of("AAAA") })):mechanisms());
	end);

	it("whose method came from its metatable gets it from there again", function ()
		local provider = setmetatable({ name = "x" }, { __index = new_provider() });
		local unwrap = sasl_library.wrap_provider(provider, "shakespeare.lit", function () return false; end);
		assert.is_function(rawget(provider, "get_sasl_handler"));
		unwrap();
		assert.is_nil(rawget(provider, "get_sasl_handler"));
	end);

	it("that somebody else has wrapped too is left to them, and ours does nothing any more", function ()
		local world = new_world();
		local ours = world.provider.get_sasl_handler;
		local function theirs(session) return ours(session); end
		world.provider.get_sasl_handler = theirs;
		world.unwrap();
		assert.equal(theirs, world.provider.get_sasl_handler);
		assert.same({ PLAIN = true }, world.handler(new_session({ pem_of("AAAA") })):mechanisms());
	end);
end);
