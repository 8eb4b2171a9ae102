-- Devices that log in with a certificate, by the id of their SASL2 user agent (XEP-0388): one that was cut off must not come back by
-- a token (mod_sasl2_fast, XEP-0484). So none of them holds one: with a login by certificate those that the device got before are
-- revoked, and it gets no other when it logs in by password in between.
--
-- It must not know the daemon: the tokens are Prosody's, and go whether it can be asked or not.

local sha256 = require "util.hashes".sha256;
local now = require "util.time".now;

local max_devices = 32; -- of one account; the ones that have been away longest are forgotten first
local remembered_seconds = 400 * 24 * 60 * 60; -- longer than any token lives that is not used
local granularity_seconds = 24 * 60 * 60; -- the time is not written with each login

local function forget_some(known, time)
	local hashes = {};
	for hash, at in pairs(known) do
		if type(at) == "number" and time - at < remembered_seconds then hashes[#hashes + 1] = hash; else known[hash] = nil; end
	end
	table.sort(hashes, function (a, b) return known[a] > known[b]; end);
	for i = max_devices + 1, #hashes do known[hashes[i]] = nil; end
end

-- module: of the host.
local function watch(module)
	-- username → { hash = last login }
	local device_store = module:open_store("saslcertd_devices", "keyval");
	-- Of mod_sasl2_fast: username → { hash .. suffix = token }
	local token_store = module:open_store("fast_tokens", "keyval");

	local function read(username)
		local known, err = device_store:get(username);
		if err then module:log("error", "The devices of %s can't be read: %s", username, err); end
		return type(known) == "table" and known or {};
	end

	local function write(store, username, data, what)
		local ok, err = store:set(username, data);
		if not ok then module:log("error", "The %s of %s can't be written: %s", what, username, err); end
		return ok;
	end

	local function note(username, hash)
		local time, known = now(), read(username);
		local at = known[hash];
		if type(at) == "number" and math.abs(time - at) < granularity_seconds then return; end
		known[hash] = time;
		forget_some(known, time);
		write(device_store, username, known, "devices");
	end

	local function revoke_tokens(username, hash)
		local tokens, found = token_store:get(username), false;
		for key in pairs(type(tokens) == "table" and tokens or {}) do
			-- Versions of mod_sasl2_fast differ in what stands behind the hash.
			if type(key) == "string" and key:sub(1, #hash) == hash then tokens[key], found = nil, true; end
		end
		if found and write(token_store, username, next(tokens) ~= nil and tokens or nil, "tokens") then
			module:log("info", "Revoked the tokens of a device of %s, which logs in with a certificate", username);
		end
	end

	-- In SASL2, before a session is resumed (110), and a token given out (75).
	module:hook("sasl2/c2s/success", function (event)
		local session = event.session;
		if type(session.client_id) ~= "string" or not session.username then return; end
		local hash, handler = sha256(session.client_id, true), session.sasl_handler;
		if session.saslcert then
			note(session.username, hash);
			revoke_tokens(session.username, hash);
		elseif (session.fast_token_request or handler and handler.rotation_needed) and read(session.username)[hash] ~= nil then
			session.log("info", "No token for a device that logs in with a certificate");
			session.fast_token_request = nil;
			if handler then handler.rotation_needed = nil; end
		end
	end, 800);

	-- A token would outlive the certificate. Just before it is given out, since by then the session may be one that was resumed.
	module:hook("sasl2/c2s/success", function (event)
		if event.session.saslcert then event.session.fast_token_request = nil; end
	end, 80);
end

return { watch = watch };
