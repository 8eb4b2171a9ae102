-- Logging in with a password: the SASL handlers for PLAIN and SCRAM. Prosody's util.sasl speaks the mechanisms, the daemon says
-- who may enter, and this shadows the handlers so that the daemon's word is the last one.
--
-- It must not decide, and sends a password nowhere but to the daemon.

local async = require "util.async";
local base64 = require "util.encodings".base64;
local null = require "util.json".null;
local new_sasl = require "util.sasl".new;
local add_task = require "util.timer".add_task;

local admit = module:require "admission".admit;

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

-- Offered until the daemon has said which hashes all accounts of the host have: by then a client may have chosen one.
local all_hashes = { "SHA-1", "SHA-256" };
local max_delay = 60; -- nobody waits longer, even if the daemon says so
local longest_nap = 1; -- so soon a wait finds out that its session is gone

-- The words of util.sasl: a refusal must look the same wherever it comes from.
local wrong_proof = "The response provided by the client doesn't match the one we calculated.";

-- The proof at the end of a client-final-message.
local function proof_in(message) return type(message) == "string" and message:match("c=[^,]*,r=[^,]*,?.-,p=(.*)$") or nil; end

-- Keeps the daemon's word until process() goes on: a yes, a no, or a failure that is neither; each with its delay, if any.
local function ask(session, handler, method, username, params)
	local result, failure = admit(session, method, username, params);
	handler.saslcertd_failure, handler.saslcertd_delay = failure, (result or failure).delay;
	return result ~= nil;
end

-- The delay. It is never asked again: that would count twice. A guess that can't be counted is a failure all the same.
local function count_failure(session, username)
	local params = { account = username .. "@" .. host, address = session.ip or null };
	local result = api.ask("account.failed", params, { timeout = api.timeout() });
	return result and result.delay;
end

-- Stored key, server key, iterations, salt and true, or nothing.
local function scram_keys(handler, hash, username)
	local keys, failure = api.ask("account.scram", { account = username .. "@" .. host, hash = hash });
	if not keys then
		handler.saslcertd_failure = failure;
		return nil;
	end
	return base64.decode(keys.stored_key), base64.decode(keys.server_key), keys.iterations, base64.decode(keys.salt), true;
end

-- Waits, but not for a session that is gone.
local function sleep(session, seconds)
	local wait, done = async.waiter(1, true);
	add_task(math.min(seconds, longest_nap), function ()
		seconds = seconds - longest_nap;
		if not session.destroyed and seconds > 0 then return math.min(seconds, longest_nap); end
		done();
	end);
	api.waiting[session] = session;
	wait();
	api.waiting[session] = nil;
end

local function fail(session, handler, condition, text)
	api.outlive(session, handler);
	session.saslcert_account = nil;
	return "failure", condition, text;
end

local function fail_unasked(session, handler) return fail(session, handler, api.failures.sasl_error({}, "password")); end

-- The end of a login, once the daemon's word is there and its delay has passed. Status, and condition and text, or data: of util.sasl.
local function concluded(session, handler, status, condition_or_data, text)
	local failure = handler.saslcertd_failure;
	if failure and failure.code ~= -32000 then
		session.log("info", "The password of %s could not be checked: %s", handler.username, failure.message or failure.reason);
		return fail_unasked(session, handler);
	end
	local delay = math.min(handler.saslcertd_delay or 0, max_delay);
	if delay > 0 and not session.destroyed then sleep(session, delay); end
	if status == "failure" then
		session.log("info", "Login by password refused: %s", condition_or_data);
		return fail(session, handler, condition_or_data, text);
	end
	-- Gone, or its account was changed while it waited: that change has taken the tag off.
	if status == "success" and (session.destroyed or session.saslcert_account ~= handler.username .. "@" .. host) then
		return fail_unasked(session, handler);
	end
	return status, condition_or_data, text;
end

local function process(session, handler, inner, message)
	handler.saslcertd_failure, handler.saslcertd_delay = nil, nil;
	handler.saslcert_sasl2 = session.saslcert_sasl2;
	local hash = handler.selected and handler.selected:match("^SCRAM%-(SHA%-%d+)");
	local stored_key = hash and handler.state and handler.state.stored_key;
	local proof = stored_key and proof_in(message);
	-- util.sasl raises an error.
	if proof and not base64.decode(proof) then return fail(session, handler, "malformed-request"); end

	local status, condition_or_data, text = inner(handler, message);
	if stored_key and status == "success" then
		-- The proof was right: is it still?
		local params = { hash = hash, stored_key = base64.encode(stored_key) };
		if not ask(session, handler, "account.succeeded", handler.username, params) then
			status, condition_or_data, text = "failure", "not-authorized", wrong_proof;
		end
	elseif stored_key and status == "failure" and condition_or_data == "not-authorized" then
		handler.saslcertd_delay = count_failure(session, handler.username);
	end
	return concluded(session, handler, status, condition_or_data, text);
end

local function shadow(handler, session)
	local inner, clean_clone = handler.process, handler.clean_clone;

	function handler:process(message) return process(session, self, inner, message); end

	function handler:clean_clone()
		local clone = clean_clone(self);
		-- COMPAT 0.12: util.sasl forgets the channel binding.
		clone.userdata = clone.userdata or self.userdata;
		return shadow(clone, session);
	end

	return handler;
end

-- For usermanager. Without a session nobody's address is known, and nobody is tagged in the end.
local function get_sasl_handler(session)
	session = session or { log = function () end };
	local profile = {};
	function profile.plain_test(handler, username, password) return ask(session, handler, "account.verify", username, { password = password }), true; end
	for _, hash in ipairs(api.scram(host) or all_hashes) do
		profile["scram_" .. hash:lower():gsub("-", "_")] = function (handler, username) return scram_keys(handler, hash, username); end;
	end
	return shadow(new_sasl(host, profile), session);
end

return { get_sasl_handler = get_sasl_handler };
