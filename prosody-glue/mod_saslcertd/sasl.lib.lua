-- SASL EXTERNAL on top of whatever authentication provider a host has: wraps the handlers that the provider makes.
--
-- It must not decide: the daemon says whether EXTERNAL is offered, who logs in, and in which words it refuses.

local array = require "util.array";
local encode_base64 = require "util.encodings".base64.encode;
local null = require "util.json".null;
local now = require "util.time".now;

-- Outlives reloads of this module: handlers of open streams do, too.
local api = module:shared("/*/saslcertd/api");

-- The daemon's limits; beyond them its answer would be that it can't read the question.
local max_certificates = 6;
local max_chain_base64 = 64 * 1024;
local max_certificate_base64 = 24 * 1024;
-- No address has as many: of more the beginning is enough for the daemon to see that.
local max_authzid_bytes = 4096;

local could_not_ask = "The certificate can't be checked at the moment";

local function base64_of_pem(pem)
	local body = pem:match("%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-(.-)%-%-%-%-%-END CERTIFICATE%-%-%-%-%-");
	return body and (body:gsub("%s+", ""));
end

-- Makes the chain that the daemon hears: the client's own certificate, which comes first, and of the others those that fit.
-- nil if its own doesn't.
local function chain_of(x509s)
	local chain, total = {}, 0;
	for i, x509 in ipairs(x509s) do
		local der = base64_of_pem(x509:pem() or "");
		local fits = der and #der <= max_certificate_base64 and total + #der <= max_chain_base64;
		if i == 1 and not fits then return nil; end
		if fits then
			total = total + #der;
			chain[#chain + 1] = der;
		end
		if #chain == max_certificates then break; end
	end
	return chain[1] and chain;
end

local function has_certificate(session)
	local conn = session.conn;
	if not conn or not session.secure or session.bosh_version or session.websocket_request then return false; end
	local socket = conn.socket and conn:socket();
	if not socket or not socket.getpeercertificate then return false; end
	local certificate = socket:getpeercertificate();
	return certificate and true or false, socket, certificate;
end

-- leaf_only: without what the client presents behind its own certificate.
local function chain_of_peer(session, leaf_only)
	local present, socket, certificate = has_certificate(session);
	if not present then return nil; end
	local x509s = not leaf_only and socket.getpeerchain and socket:getpeerchain() or {};
	return chain_of(x509s[1] and x509s or { certificate });
end

-- The SASL condition and text of a failure, as the daemon made them.
local function words(failure)
	local condition = failure.sasl;
	-- It becomes the name of an element.
	if type(condition) ~= "string" or not condition:find("^%l[%l-]*$") then
		return "temporary-auth-failure", could_not_ask;
	end
	return condition, failure.message;
end

-- A login that fails may have outlived its session, from which others still read.
local function outlive(session, handler)
	if not session.destroyed then return; end
	-- COMPAT 13.0: mod_saslauth reads it of a session that has lost it.
	session.base_type = session.base_type or "c2s";
	-- COMPAT mod_sasl2 since 2025: it clones the handler of a session that has lost it.
	if handler.saslcert_sasl2 then session.sasl_handler = session.sasl_handler or handler; end
end

local function failure_of(handler, session, condition, text)
	outlive(session, handler);
	handler.saslcert_challenged = nil;
	-- COMPAT mod_sasl2 of before 2025 goes on with this very handler; mod_saslauth makes a new one.
	handler.selected = nil;
	return "failure", condition, text;
end

-- The seconds until then; a question gets a moment even if none are left.
local function left_until(deadline)
	return math.max(deadline - now(), 0.1);
end

-- Asks whether EXTERNAL is offered. facts: of the candidates, when it is asked again.
local function ask_offer(host, chain, session, timeout, facts)
	return api.ask("external.offer", {
		host = host.name;
		chain = array(chain);
		address = session.ip or null;
		accounts = facts and array(facts) or null;
	}, { timeout = timeout, again = true });
end

-- The verdict: "yes", "no", or "unasked" if the question could not be answered. timeout: of both questions, if it has to ask twice.
local function new_offer(host, chain, session, timeout)
	local deadline = now() + timeout;
	local unasked = { verdict = "unasked", candidates = {} };
	local result, failure = ask_offer(host, chain, session, timeout);
	local candidates = result and result.candidates or {};
	-- Which of these accounts there are, only Prosody knows.
	if result and result.offer == true and not host.in_daemon() then
		local facts = host.accounts.facts(candidates);
		if not facts then return unasked; end
		result, failure = ask_offer(host, chain, session, left_until(deadline), facts);
	end
	if not result and failure.code ~= -32000 then return unasked; end
	return { verdict = result and result.offer == true and "yes" or "no", candidates = candidates };
end

-- Once per connection.
local function offer_of(host, session, timeout)
	local offer = session.saslcert_offer;
	local conn = session.conn;
	if offer and offer.conn == conn then return offer; end
	local chain = chain_of_peer(session, host.leaf_only);
	if chain then
		offer = new_offer(host, chain, session, timeout);
	else
		session.log("info", "The client's certificate is too long, EXTERNAL is not offered");
		offer = { verdict = "no", candidates = {} };
	end
	if session.destroyed then return offer; end
	offer.conn = conn;
	session.saslcert_offer = offer;
	return offer;
end

-- The daemon's decision: its answer; or nil, condition and text.
local function decide(host, session, message)
	if host.withdrawn() then return nil, "temporary-auth-failure", could_not_ask; end
	local deadline = now() + api.timeout();
	local chain = chain_of_peer(session, host.leaf_only);
	if not chain then return nil, "not-authorized"; end

	local offer = offer_of(host, session, api.timeout() / 4);
	if session.destroyed then return nil, "temporary-auth-failure", could_not_ask; end
	if offer.verdict == "unasked" then
		session.saslcert_offer = nil;
		offer = offer_of(host, session, left_until(deadline));
		if session.destroyed or offer.verdict == "unasked" then return nil, "temporary-auth-failure", could_not_ask; end
	end
	local facts = {};
	if not host.in_daemon() then
		facts = host.accounts.facts(offer.candidates);
		if not facts then return nil, "temporary-auth-failure", could_not_ask; end
	end
	local result, failure = api.ask("external.login", {
		host = host.name;
		chain = array(chain);
		authzid = message ~= "" and encode_base64(message:sub(1, max_authzid_bytes)) or null;
		stream_from = session.saslcert_sasl2 and session.saslcert_from or null;
		address = session.ip or null;
		accounts = array(facts);
	}, { timeout = left_until(deadline), again = true });
	if session.destroyed then return nil, "temporary-auth-failure", could_not_ask; end
	if not result then
		session.log("info", "Login by certificate refused: %s", failure.denial or failure.message or failure.reason);
		return nil, words(failure);
	end
	if not host.accounts.usable(result.username) or type(result.fingerprint) ~= "string" or type(result.key_id) ~= "string" then
		session.log("error", "The daemon's answer to external.login is incomplete");
		return nil, "temporary-auth-failure", could_not_ask;
	end
	return result;
end

-- Makes the daemon's yes a login.
local function admit(host, session, handler, result)
	local username = result.username;
	handler.username = username;
	-- Before anything that may wait: the daemon's next line may be the revocation of this key.
	result.account = username .. "@" .. host.name;
	session.saslcert = result;
	-- Of an account that lives in the daemon, the daemon has just said so.
	if not host.in_daemon() then
		local enabled = host.accounts.exists(username) and host.accounts.enabled(username);
		if session.destroyed then return failure_of(handler, session, "temporary-auth-failure", could_not_ask); end
		-- It has changed since the daemon was told: the next try hears why.
		if not enabled then
			session.saslcert = nil;
			return failure_of(handler, session, "temporary-auth-failure", could_not_ask);
		end
	end
	handler.resource = result.resource;
	session.log("info", "Logged in as %s by the certificate %s (%s)", username,
		result.name and ("%q"):format(result.name) or "of an authority", result.fingerprint);
	return "success";
end

-- SASL2 wants to know what the stream's header said; SASL does not.
local function add_host(module)
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
	module:hook("stanza/urn:ietf:params:xml:ns:xmpp-sasl:auth", function (event)
		event.origin.saslcert_sasl2 = nil;
	end, 200);
end

-- hosts: see mod_saslcertd.
local function new(hosts)
	local sasl = { add_host = add_host };

	local function verdict_on(hostname, session)
		local host = hosts[hostname];
		return host and not host.withdrawn() and offer_of(host, session, api.timeout() / 4).verdict;
	end

	-- What the handlers call; through a table that outlives a reload, since handlers of open streams do too.
	function sasl.offered(hostname, session) return verdict_on(hostname, session) == "yes"; end

	-- A client may choose EXTERNAL unseen. While the daemon can't be asked it hears so, and not that there is no EXTERNAL.
	function sasl.selectable(hostname, session)
		local verdict = verdict_on(hostname, session);
		return verdict and verdict ~= "no";
	end

	function sasl.process(hostname, session, handler, message)
		handler.saslcert_sasl2 = session.saslcert_sasl2;
		local host = hosts[hostname];
		if not host then return failure_of(handler, session, "temporary-auth-failure", could_not_ask); end
		if message == nil and not handler.saslcert_challenged then
			handler.saslcert_challenged = true;
			return "challenge", "";
		end
		local result, condition, text = decide(host, session, message or "");
		if not result then return failure_of(handler, session, condition, text); end
		return admit(host, session, handler, result);
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
		-- What a stream was told stays its list: a client may compare it with what it hears in SCRAM (XEP-0474), and would take
		-- an outage or a revocation in between for an attack. Whether EXTERNAL logs in is decided anew.
		local told = session.saslcert_told;
		if not told or told.conn ~= session.conn then
			told = { conn = session.conn, external = api.offered ~= nil and api.offered(hostname, session) };
			session.saslcert_told = told;
		end
		all.EXTERNAL = told.external or nil;
		return all;
	end

	function handler:select(mechanism)
		if mechanism ~= "EXTERNAL" then return select_mechanism(self, mechanism); end
		if self.selected or (api.selectable and not api.selectable(hostname, session)) then return; end
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
		if not active or withdrawn() or not handler or not session or not has_certificate(session) then return handler; end
		return add_external(handler, session, hostname);
	end
	provider.get_sasl_handler = get_sasl_handler;

	return function ()
		active = false; -- somebody may have wrapped us
		if rawget(provider, "get_sasl_handler") == get_sasl_handler then provider.get_sasl_handler = own; end
	end;
end

return {
	new = new;
	wrap_provider = wrap_provider;
	add_external = add_external;
	chain_of = chain_of;
	chain_of_peer = chain_of_peer;
	words = words;
	outlive = outlive;
};
