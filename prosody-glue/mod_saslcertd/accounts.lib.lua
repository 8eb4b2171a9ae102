-- The facts about an account that only Prosody knows: whether it exists, whether it is enabled, and which account of its name it is (its
-- incarnation, see docs/protocol.md).
--
-- It must not know certificates: the daemon draws the conclusions.

local array = require "util.array";
local usermanager = require "core.usermanager";
local nodeprep = require "util.encodings".stringprep.nodeprep;
local new_id = require "util.uuid".generate;

local function usable(username) return type(username) == "string" and username ~= "" and nodeprep(username) == username; end

-- module: of the host.
local function new(module)
	local accounts = { usable = usable };
	local host, store = module.host, module:open_store("saslcertd", "keyval");

	-- After a wait the host may be gone; usermanager raises an error then.
	local function is_active() return prosody.hosts[host] ~= nil; end

	function accounts.exists(username) return usable(username) and is_active() and usermanager.user_exists(username, host) and true or false; end

	function accounts.enabled(username)
		if not is_active() then return false; end
		if not usermanager.user_is_enabled then return true; end -- COMPAT 0.12
		local enabled, err = usermanager.user_is_enabled(username, host);
		-- Providers without the notion have only enabled accounts.
		if enabled == nil and (err == "method not implemented" or err == "method not supported") then return true; end
		return enabled and true or false;
	end

	local function read(username)
		local data, err = store:get(username);
		if data == nil and not err then return nil; end
		local id = type(data) == "table" and data.incarnation;
		if type(id) == "string" and #id <= 64 and id:find("^[A-Za-z0-9-]+$") then return id; end
		module:log("error", "The incarnation of %s@%s can't be read: %s", username, host, err or "invalid");
		return nil, err or "invalid";
	end

	-- Returns the id; nil if the account has none yet, unless it is to get one; nil and why if the store can't say.
	function accounts.incarnation(username, make)
		local id, err = read(username);
		if id or err or not make then return id, err; end
		id = new_id();
		local ok, why = store:set(username, { incarnation = id });
		-- A store that forgets would make each certificate useless as soon as it is added.
		if ok and read(username) == id then return id; end
		module:log("error", "The store of %s@%s keeps nothing: %s", username, host, why or "no error");
		return nil, why or "not kept";
	end

	local function fact(username)
		-- COMPAT 0.12: it has no such function. Of most providers this one reading says both.
		local info = usermanager.get_account_info and usable(username) and is_active() and usermanager.get_account_info(username, host);
		local enabled = type(info) == "table" and info.enabled == true;
		local exists, id, err = enabled or accounts.exists(username), nil, nil;
		if exists then id, err = accounts.incarnation(username); end
		if err then return nil, err; end
		return { username = username, exists = exists, enabled = enabled or exists and accounts.enabled(username), incarnation = id };
	end

	-- The facts about these candidates, for external.offer and external.login; nil and why if a store can't say.
	function accounts.facts(candidates)
		local facts = array();
		for i, candidate in ipairs(candidates) do
			local one, err = fact(candidate.username);
			if not one then return nil, err; end
			facts[i] = one;
		end
		return facts;
	end

	-- Is what such facts say of a user still so, and is there such an account?
	function accounts.is_still(facts, username)
		for _, told in ipairs(facts or {}) do
			if told.username == username then
				local one = fact(username);
				return one ~= nil and one.exists and one.enabled and told.exists and told.enabled and one.incarnation == told.incarnation;
			end
		end
		return false;
	end

	return accounts;
end

return { new = new };
