-- What only Prosody knows of an account: whether it exists, whether it is enabled, and which account of its name
-- it is (its incarnation, see docs/protocol.md).
--
-- It must not know certificates: the daemon draws the conclusions.

-- with: usermanager; is_active(host) (does Prosody serve it still? Who has waited may find it gone); nodeprep; new_id();
--   store (of the host, get and set); null; log(level, format, …)
local function new(host, with)
	local accounts = {};
	local usermanager = with.usermanager;

	local function usable(username)
		return type(username) == "string" and username ~= "" and with.nodeprep(username) == username;
	end
	accounts.usable = usable;

	function accounts.exists(username)
		return usable(username) and with.is_active(host) and usermanager.user_exists(username, host) and true or false;
	end

	function accounts.enabled(username)
		if not with.is_active(host) then return false; end
		if not usermanager.user_is_enabled then return true; end -- COMPAT 0.12
		local enabled, err = usermanager.user_is_enabled(username, host);
		-- Providers without the notion have only enabled accounts.
		if enabled == nil and (err == "method not implemented" or err == "method not supported") then return true; end
		return enabled and true or false;
	end

	-- Returns the id; nil if the account has none yet; nil and why if the store can't say.
	function accounts.incarnation(username)
		local data, err = with.store:get(username);
		if data == nil then
			if err then
				with.log("error", "The store of %s@%s can't be read: %s", username, host, err);
			end
			return nil, err;
		end
		local id = type(data) == "table" and data.incarnation;
		if type(id) ~= "string" or #id > 64 or not id:find("^[A-Za-z0-9-]+$") then
			with.log("error", "The store of %s@%s holds no valid incarnation", username, host);
			return nil, "invalid";
		end
		return id;
	end

	-- The same, but an account that has none gets one.
	function accounts.make_incarnation(username)
		local id, err = accounts.incarnation(username);
		if id or err then return id, err; end
		id = with.new_id();
		local ok;
		ok, err = with.store:set(username, { incarnation = id });
		-- A store that forgets would make each certificate useless as soon as it is added.
		if ok and accounts.incarnation(username) == id then return id; end
		with.log("error", "The store of %s@%s keeps nothing: %s", username, host, err or "no error");
		return nil, err or "not kept";
	end

	-- What external.offer and external.login hear about the candidates; nil and why if a store can't say.
	function accounts.facts(candidates)
		local facts = {};
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
					incarnation = id or with.null;
				};
			end
		end
		return facts;
	end

	return accounts;
end

return { new = new };
