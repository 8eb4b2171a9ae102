-- Logging in with a password: the SASL handlers for PLAIN and SCRAM. Prosody's util.sasl speaks the mechanisms, the daemon says
-- who may enter, and this shadows the handlers so that the daemon's word is the last one.
--
-- It must not decide, and sends a password nowhere but to the daemon.

local async = require "util.async";
local encodings = require "util.encodings";
local null = require "util.json".null;
local new_sasl = require "util.sasl".new;
local add_task = require "util.timer".add_task;

local base64, valid_text = encodings.base64, encodings.utf8.valid;

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

-- SHA-1 and SHA-256, by the length of their digests.
local hash_bytes = { ["SHA-1"] = 20, ["SHA-256"] = 32 };
local all_hashes = { "SHA-1", "SHA-256" };
local max_password_bytes = 1024;
-- Whatever the daemon says, nobody waits longer.
local max_delay = 60;
-- How soon a wait finds out that its session is gone.
local longest_nap = 1;

local could_not_ask = "The password can't be checked at the moment";
-- What util.sasl says: a refusal must look the same wherever it comes from.
local wrong_proof = "The response provided by the client doesn't match the one we calculated.";

-- "yes", "no", or "unasked", and the delay.
local function verdict_of(result, failure)
	if result then return "yes", result.delay; end
	if failure.code == -32000 then return "no", failure.delay; end
	-- A name that no account can have.
	if failure.code == -32602 then return "no", 0; end
	return "unasked", 0;
end

local function contains(list, wanted)
	for _, value in ipairs(list) do
		if value == wanted then return true; end
	end
	return false;
end

local function seconds_of(delay)
	if type(delay) ~= "number" or delay ~= delay or delay <= 0 then return 0; end
	return math.min(delay, max_delay);
end

-- The proof at the end of a client-final-message.
local function proof_in(message)
	return type(message) == "string" and message:match("c=[^,]*,r=[^,]*,?.-,p=(.*)$") or nil;
end

local function ask(method, username, session, params, options)
	params.account = username .. "@" .. host;
	if session then params.address = session.ip or null; end
	return api.ask(method, params, options);
end

-- The delay. It is never asked again: that would count twice. What can't be counted is a failure all the same.
local function count_failure(session, username)
	local result = ask("account.failed", username, session, {}, { timeout = api.timeout() });
	return result and result.delay or 0;
end

-- The tag comes first, then what waits: the daemon's next line may say that the account is gone.
local function take(session, outcome, username, result, failure)
	outcome.verdict, outcome.delay = verdict_of(result, failure);
	outcome.failure = failure;
	if not result or session.destroyed then return; end
	session.saslcert_account = username .. "@" .. host;
	-- By these the daemon knows whether the login still holds.
	session.saslcert_login = { incarnation = result.incarnation, password_changed = result.password_changed };
end

local function plain_test(session, handler, username, password)
	local outcome = handler.saslcertd_outcome;
	if #password > max_password_bytes or not valid_text(password) then
		outcome.verdict, outcome.delay = "no", count_failure(session, username);
		return false;
	end
	take(session, outcome, username, ask("account.verify", username, session, { password = password }));
	return outcome.verdict == "yes";
end

-- Stored key, server key, iterations, salt and true, or nothing.
local function scram_keys(hash, handler, username)
	local outcome = handler.saslcertd_outcome;
	local function unasked(message)
		outcome.verdict, outcome.failure = "unasked", { message = message };
		return nil;
	end
	-- Offered once, but by now there is an account that lacks it: this one, perhaps.
	if not contains(api.scram(host) or all_hashes, hash) then return unasked(hash .. " is not offered any more"); end
	local result, failure = ask("account.scram", username, nil, { hash = hash });
	if not result then
		outcome.verdict, outcome.failure = verdict_of(nil, failure), failure;
		return nil;
	end
	local function bytes(field) return type(result[field]) == "string" and base64.decode(result[field]) or ""; end
	local salt, stored_key, server_key = bytes("salt"), bytes("stored_key"), bytes("server_key");
	local iterations = tonumber(result.iterations);
	iterations = iterations and math.floor(iterations);
	if salt == "" or #stored_key ~= hash_bytes[hash] or #server_key ~= hash_bytes[hash] or not iterations or iterations < 1 then
		return unasked("the answer is incomplete");
	end
	return stored_key, server_key, iterations, salt, true;
end

-- The proof was right: is it still?
local function confirm(session, handler, hash, stored_key)
	local params = { hash = hash, stored_key = base64.encode(stored_key) };
	take(session, handler.saslcertd_outcome, handler.username, ask("account.succeeded", handler.username, session, params));
end

-- Waits, but not for a session that is gone.
local function sleep(session, seconds)
	local wait, done = async.waiter(1, true);
	local nap = math.min(seconds, longest_nap);
	add_task(nap, function ()
		seconds = seconds - nap;
		if session.destroyed or seconds <= 0 then
			done();
			return;
		end
		nap = math.min(seconds, longest_nap);
		return nap;
	end);
	api.waiting[session] = session;
	wait();
	api.waiting[session] = nil;
end

local function fail(session, handler, condition, text)
	api.outlive(session, handler);
	if not session.destroyed then session.saslcert_account = nil; end
	return "failure", condition, text;
end

-- What a login comes to, once the daemon's word is there and its delay has passed.
--
-- reply: status, and condition and text, or data: of util.sasl.
local function concluded(session, handler, reply)
	local status, condition_or_data, text = reply[1], reply[2], reply[3];
	local outcome = handler.saslcertd_outcome;
	if outcome.verdict == "unasked" then
		if not session.destroyed then
			session.log("info", "The password of %s could not be checked: %s", tostring(handler.username),
				tostring(outcome.failure and (outcome.failure.message or outcome.failure.reason)));
		end
		return fail(session, handler, "temporary-auth-failure", could_not_ask);
	end
	local delay = seconds_of(outcome.delay);
	if delay > 0 and not session.destroyed then sleep(session, delay); end
	if status == "failure" then
		if not session.destroyed then session.log("info", "Login by password refused: %s", tostring(condition_or_data)); end
		return fail(session, handler, condition_or_data, text);
	end
	-- Gone, or its account was changed while it waited: whoever did that has taken the tag off.
	if status == "success" and (session.destroyed or session.saslcert_account ~= handler.username .. "@" .. host) then
		return fail(session, handler, "temporary-auth-failure", could_not_ask);
	end
	return status, condition_or_data, text;
end

local function process(session, handler, inner, message)
	handler.saslcertd_outcome = {};
	handler.saslcert_sasl2 = session.saslcert_sasl2;
	local hash = handler.selected and handler.selected:match("^SCRAM%-(SHA%-%d+)");
	local stored_key = hash and handler.state and handler.state.stored_key;
	local proof = stored_key and proof_in(message);
	-- util.sasl raises an error.
	if proof and not base64.decode(proof) then return fail(session, handler, "malformed-request", "The proof is not base64."); end

	local status, condition_or_data, text = inner(handler, message);
	if stored_key and status == "success" then
		confirm(session, handler, hash, stored_key);
		if handler.saslcertd_outcome.verdict ~= "yes" then status, condition_or_data, text = "failure", "not-authorized", wrong_proof; end
	elseif stored_key and status == "failure" and condition_or_data == "not-authorized" then
		handler.saslcertd_outcome.delay = count_failure(session, handler.username);
	end
	return concluded(session, handler, { status, condition_or_data, text });
end

local function shadow(handler, session)
	local inner, clean_clone = handler.process, handler.clean_clone;

	function handler:process(message)
		return process(session, self, inner, message);
	end

	function handler:clean_clone()
		local clone = clean_clone(self);
		-- COMPAT 0.12: util.sasl forgets the channel binding.
		clone.userdata = clone.userdata or self.userdata;
		return shadow(clone, session);
	end

	return handler;
end

-- Those that the host may offer. Before the daemon has said so it is asked: a hash that an account lacks keeps its user out.
local function hashes()
	local known = api.scram(host);
	if known then return known; end
	local result = api.ask("host.scram", { host = host }, { timeout = api.timeout() / 4, again = true });
	return result and type(result.scram) == "table" and result.scram or all_hashes;
end

-- For usermanager. Without a session nobody's address is known, and nobody is tagged in the end.
local function get_sasl_handler(session)
	session = session or { log = function () end };
	local profile = {
		plain_test = function (handler, username, password)
			return plain_test(session, handler, username, password), true;
		end;
	};
	for _, hash in ipairs(hashes()) do
		if hash_bytes[hash] then
			profile["scram_" .. hash:lower():gsub("-", "_")] = function (handler, username)
				return scram_keys(hash, handler, username);
			end;
		end
	end
	return shadow(new_sasl(host, profile), session);
end

return { get_sasl_handler = get_sasl_handler };
