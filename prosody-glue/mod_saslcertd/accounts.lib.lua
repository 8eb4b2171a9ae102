-- What only Prosody knows of an account: whether it exists, whether it is enabled, and which account of its name
-- it is (its incarnation, see docs/protocol.md).
--
-- It must not know certificates: the daemon draws the conclusions.

local array = require "util.array";
local usermanager = require "core.usermanager";
local nodeprep = require "util.encodings".stringprep.nodeprep;
local null = require "util.json".null;
local new_id = require "util.uuid".generate;

local function usable(username)
	return type(username) == "string" and username ~= "" and nodeprep(username) == username;
end

-- module: of the host.
local function new(module)
	local accounts = { usable = usable };
	local host, store = module.host, module:open_store("saslcertd", "keyval");

	-- Whoever has waited may find the host gone; usermanager raises an error then.
	local function is_active() return prosody.hosts[host] ~= nil; end

	function accounts.exists(username)
		return usable(username) and is_active() and usermanager.user_exists(username, host) and true or false;
	end

	function accounts.enabled(username)
		if not is_active() then return false; end
		if not usermanager.user_is_enabled then return true; end -- COMPAT 0.12
		local enabled, err = usermanager.user_is_enabled(username, host);
		-- Providers without the notion have only enabled accounts.
		if enabled == nil and (err == "method not implemented" or err == "method not supported") then return true; end
		return enabled and true or false;
	end

	-- Returns the id; nil if the account has none yet; nil and why if the store can't say.
	function accounts.incarnation(username)
		local data, err = store:get(username);
		if data == nil then
			if err then
				module:log("error", "The store of %s@%s can't be read: %s", username, host, err);
			end
			return nil, err;
		end
		local id = type(data) == "table" and data.incarnation;
		if type(id) ~= "string" or #id > 64 or not id:find("^[A-Za-z0-9-]+$") then
			module:log("error", "The store of %s@%s holds no valid incarnation", username, host);
			return nil, "invalid";
		end
		return id;
	end

	-- The same, but an account that has none gets one.
	function accounts.make_incarnation(username)
		local id, err = accounts.incarnation(username);
		if id or err then return id, err; end
		id = new_id();
		local ok;
		ok, err = store:set(username, { incarnation = id });
		-- A store that forgets would make each certificate useless as soon as it is added.
		if ok and accounts.incarnation(username) == id then return id; end
		module:log("error", "The store of %s@%s keeps nothing: %s", username, host, err or "no error");
		return nil, err or "not kept";
	end

	-- What external.offer and external.login hear about the candidates; nil and why if a store can't say.
	function accounts.facts(candidates)
		local facts = array();
		for _, candidate in ipairs(candidates) do
			local username = candidate.username;
			if usable(username) then
				local exists = accounts.exists(username);
				local id, err;
				if exists then
					id, err = accounts.incarnation(username);
					if err then return nil, err; end
				end
				facts[#facts + 1] = {
					username = username;
					exists = exists;
					enabled = exists and accounts.enabled(username);
					incarnation = id or null;
				};
			end
		end
		return facts;
	end

	return accounts;
end

return { new = new };
