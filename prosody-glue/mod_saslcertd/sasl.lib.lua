-- SASL EXTERNAL on top of whatever authentication provider a host has: wraps the handlers that the provider makes.
--
-- It must not decide: the daemon says whether EXTERNAL is offered, who logs in, and in which words it refuses.

local array = require "util.array";
local new_cache = require "util.cache".new;
local encode_base64 = require "util.encodings".base64.encode;
local now = require "util.time".monotonic;

local sasl_error = module:require "failures".sasl_error;

-- Outlives reloads of this module: handlers of open streams do, too.
local api = module:shared("/*/saslcertd/api");

-- The daemon's limits; beyond them its answer would be that it can't read the question.
local max_certificates, max_chain_base64, max_certificate_base64 = 6, 64 * 1024, 24 * 1024;
-- No address has as many: of more the beginning is enough for the daemon to see that.
local max_authzid_bytes = 4096;

-- Candidates as the last offer named them, by host and certificate: so the next one is asked once.
local seen = new_cache(10000);

local unasked = { reason = "it could not be checked" };

-- The client's own certificate, if it has presented one, and the socket.
local function certificate_of(session)
	local conn = session.conn;
	if not conn or not session.secure or session.bosh_version or session.websocket_request then return nil; end
	local socket = conn.socket and conn:socket();
	return socket and socket.getpeercertificate and socket:getpeercertificate(), socket;
end

-- The part of the client's chain that goes to the daemon: its own certificate, which comes first, and of the others those that fit;
-- nothing if its own doesn't. leaf_only: of the others none.
local function chain_of_peer(session, leaf_only)
	local certificate, socket = certificate_of(session);
	local x509s = certificate and not leaf_only and socket.getpeerchain and socket:getpeerchain() or {};
	local chain, total = array(), 0;
	for _, x509 in ipairs(x509s[1] and x509s or { certificate }) do
		local body = (x509:pem() or ""):match("%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-(.-)%-%-%-%-%-END CERTIFICATE%-%-%-%-%-");
		local der = body and body:gsub("%s+", "");
		if der and #der <= max_certificate_base64 and total + #der <= max_chain_base64 then
			total = total + #der;
			chain[#chain + 1] = der;
		end
		if not chain[1] or #chain == max_certificates then break; end
	end
	return chain;
end

-- A login that fails may have outlived its session, from which others still read.
local function outlive(session, handler)
	if not session.destroyed then return; end
	-- COMPAT 13.0: mod_saslauth reads it of a session that has lost it.
	session.base_type = session.base_type or "c2s";
	-- COMPAT mod_sasl2 since 2025: it clones the handler of a session that has lost it.
	if handler.saslcert_sasl2 then session.sasl_handler = session.sasl_handler or handler; end
end

local function fail(handler, session, failure)
	session.log("info", "Login by certificate refused: %s", failure.denial or failure.message or failure.reason);
	outlive(session, handler);
	handler.saslcert_challenged = nil;
	-- COMPAT mod_sasl2 of before 2025 goes on with this very handler; mod_saslauth makes a new one.
	handler.selected = nil;
	return "failure", sasl_error(failure, "certificate");
end

-- Asks about the certificate of an offer, with what Prosody knows of its candidates: nothing where accounts live in the daemon, or none is
-- known. Returns the answer, or nil and the failure.
local function ask(method, host, session, offer, params)
	if offer.accounts == false or session.destroyed then return nil, unasked; end
	params.host, params.chain, params.accounts, params.address = host.name, offer.named or offer.chain, offer.accounts, session.ip;
	-- It gets a moment even if none is left.
	local result, failure = api.ask(method, params, { timeout = math.max(offer.deadline - now(), 0.1), again = true, overtakes = true });
	if session.destroyed then return nil, unasked; end
	if failure and failure.fault == "chain-forgotten" and offer.named then
		offer.named, offer.chain = nil, offer.chain or chain_of_peer(session, host.leaf_only);
		return ask(method, host, session, offer, params);
	end
	return result, failure;
end

-- verdict: "yes", "no", or "unasked" if the daemon could not be asked.
local function new_offer(host, session, deadline)
	local offer = { conn = session.conn, deadline = deadline, verdict = "unasked" };
	session.saslcert_offer = offer;
	local certificate = host.leaf_only and certificate_of(session);
	-- A single certificate's name is its fingerprint.
	if certificate then offer.named = certificate:digest("sha256"); else offer.chain = chain_of_peer(session, host.leaf_only); end
	local key = host.name .. "/" .. (offer.named or "");
	local candidates, result = offer.named and seen:get(key), nil;
	for _ = 1, 2 do
		-- Which of these accounts there are, only Prosody knows.
		if candidates and not host.in_daemon() then offer.accounts = host.accounts.facts(candidates) or false; end
		result = ask("external.offer", host, session, offer, {});
		candidates = result and result.candidates;
		-- From here on the daemon knows it by that.
		offer.named = result and result.chain or offer.named;
		if not candidates then break; end
		seen:set(key, candidates);
	end
	if result then offer.verdict = result.offer and not candidates and "yes" or "no"; end
	return offer;
end

-- Once per connection.
local function offer_of(host, session)
	local offer = session.saslcert_offer;
	-- COMPAT one that an older module made has candidates, and other fields.
	if offer and offer.conn == session.conn and not offer.candidates then return offer; end
	return new_offer(host, session, now() + api.timeout() / 4);
end

-- The daemon's yes, with which the session is tagged; or nil and the failure.
local function decide(host, session, authzid)
	if not host or host.withdrawn() then return nil, unasked; end
	local deadline = now() + api.timeout();
	local offer = offer_of(host, session);
	if offer.verdict == "unasked" then offer = new_offer(host, session, deadline); end
	if offer.verdict == "unasked" then return nil, unasked; end
	-- The facts that went with the offer are good for one try.
	if offer.accounts and offer.is_used then offer.accounts = host.accounts.facts(offer.accounts) or false; end
	offer.deadline, offer.is_used = deadline, true;
	for _ = 1, 2 do
		local result, failure = ask("external.login", host, session, offer, {
			authzid = authzid ~= "" and encode_base64(authzid:sub(1, max_authzid_bytes)) or nil;
			stream_from = session.saslcert_sasl2 and session.saslcert_from or nil;
		});
		if not result then return nil, failure; end
		local username = result.username;
		-- Without these it could not be closed.
		if not host.accounts.usable(username) or not result.fingerprint or not result.key_id then
			return nil, { reason = "the daemon's answer is incomplete" };
		end
		-- Before anything that may wait: the daemon's next line may be the revocation of this key.
		result.account = username .. "@" .. host.name;
		session.saslcert = result;
		-- An account in Prosody may have changed since the daemon was told: the next try tells how.
		local is_told = host.in_daemon() or host.accounts.is_still(offer.accounts, username);
		if is_told and not session.destroyed then return result; end
		session.saslcert = nil;
		offer.accounts = host.accounts.facts(offer.accounts or {}) or false;
	end
	return nil, unasked;
end

local function add_host(module)
	-- SASL2 wants to know what the stream's header said; SASL does not.
	module:hook("stream-features", function (event)
		local session = event.origin;
		if session.type ~= "c2s_unauthed" then return; end
		session.saslcert_told = nil;
		session.saslcert_from = type(event.stream) == "table" and event.stream.from or nil;
	end, 10);
	module:hook_tag("urn:xmpp:sasl:2", "authenticate", function (session)
		if session.type ~= "c2s_unauthed" then
			-- COMPAT mod_sasl2 lets a session authenticate again. Its tag must stay that of its login.
			session:close({ condition = "policy-violation" });
			return true;
		end
		session.saslcert_sasl2 = true;
	end, 200);
	module:hook("stanza/urn:ietf:params:xml:ns:xmpp-sasl:auth", function (event) event.origin.saslcert_sasl2 = nil; end, 200);
end

-- hosts: see mod_saslcertd. Returns what the handlers call through a table that outlives a reload, since handlers of open streams do too.
local function new(hosts)
	local sasl = { add_host = add_host };

	function sasl.verdict(hostname, session)
		local host = hosts[hostname];
		return host and not host.withdrawn() and offer_of(host, session).verdict or "no";
	end

	function sasl.process(hostname, session, handler, message)
		handler.saslcert_sasl2 = session.saslcert_sasl2;
		if message == nil and not handler.saslcert_challenged then
			handler.saslcert_challenged = true;
			return "challenge", "";
		end
		local host = hosts[hostname];
		local result, failure = decide(host, session, message or "");
		if not result then return fail(handler, session, failure); end
		handler.username, handler.resource = result.username, result.resource;
		session.log("info", "Logged in as %s by the certificate %s (%s)", result.username,
			result.name and ("%q"):format(result.name) or "of an authority", result.fingerprint);
		return "success";
	end

	return sasl;
end

-- Shadows the methods of one handler.
local function add_external(handler, session, hostname)
	local mechanisms, select_mechanism, process, clean_clone = handler.mechanisms, handler.select, handler.process, handler.clean_clone;

	function handler:mechanisms()
		-- It may be the provider's own table, shared by all its handlers.
		local all = {};
		for name, value in pairs(mechanisms(self)) do all[name] = value; end
		-- The list that a stream was told stays as it is: a client may compare it with what it hears in SCRAM (XEP-0474), and would take
		-- an outage or a revocation in between for an attack. Whether EXTERNAL logs in is decided anew.
		local told = session.saslcert_told;
		if not told or told.conn ~= session.conn then
			told = { conn = session.conn, external = api.verdict ~= nil and api.verdict(hostname, session) == "yes" };
			session.saslcert_told = told;
		end
		all.EXTERNAL = told.external or nil;
		return all;
	end

	function handler:select(mechanism)
		if mechanism ~= "EXTERNAL" then return select_mechanism(self, mechanism); end
		-- It may be chosen unseen: while the daemon can't be asked the client hears so, and not that there is no EXTERNAL.
		if self.selected or api.verdict and api.verdict(hostname, session) == "no" then return; end
		self.selected = mechanism;
		return true;
	end

	function handler:process(message)
		if self.selected ~= "EXTERNAL" then return process(self, message); end
		if not api.process then return "failure", "temporary-auth-failure"; end
		return api.process(hostname, session, self, message);
	end

	function handler:clean_clone()
		local clone = clean_clone(self);
		-- COMPAT 0.12: util.sasl forgets the channel binding.
		clone.userdata = clone.userdata or self.userdata;
		return add_external(clone, session, hostname);
	end

	return handler;
end

-- Wraps the provider that a host has now. Returns what unwraps it, or nil if there is nothing to wrap.
-- withdrawn() tells whether handlers are to be left alone.
local function wrap_provider(provider, hostname, withdrawn)
	if not provider or provider.name == "anonymous" or not provider.get_sasl_handler then return nil; end
	local own, inner = rawget(provider, "get_sasl_handler"), provider.get_sasl_handler;
	local active = true;

	local function get_sasl_handler(session, ...)
		local handler = inner(session, ...);
		if not active or withdrawn() or not handler or not session or not certificate_of(session) then return handler; end
		return add_external(handler, session, hostname);
	end
	provider.get_sasl_handler = get_sasl_handler;

	return function ()
		active = false; -- somebody may have wrapped us
		if rawget(provider, "get_sasl_handler") == get_sasl_handler then provider.get_sasl_handler = own; end
	end;
end

return { new = new, wrap_provider = wrap_provider, outlive = outlive, chain_of_peer = chain_of_peer };
