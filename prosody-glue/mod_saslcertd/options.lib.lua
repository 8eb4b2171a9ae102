-- The saslcertd_* options of prosody.cfg.lua: which of them are the module's own, and what the daemon hears
-- about a host.
--
-- It must not know what an option means: the daemon checks them and names what is wrong.

local prefix = "saslcertd_";
local global_only = { saslcertd_socket = true, saslcertd_timeout = true, saslcertd_manage_tls = true };
-- Opened by the daemon, which doesn't know where Prosody's configuration is.
local paths = { saslcertd_ca_file = true, saslcertd_crl_file = true };
local max_depth = 8;

-- util.json writes inf and nan as they are, and stops at what isn't JSON: the daemon would only see an unreadable
-- line. As a string it can name the option.
local function plain(value, as_array, depth, valid_text)
	local kind = type(value);
	if kind == "boolean" then return value; end
	-- The whole line would be unreadable. Tables, since no option of ours takes one of this kind, are refused by name.
	if kind == "string" then return (not valid_text or valid_text(value)) and value or { ["not"] = "text in UTF-8" }; end
	if kind == "number" then
		if value ~= value or value >= math.huge or value <= -math.huge then return tostring(value); end
		return math.tointeger and math.tointeger(value) or value;
	end
	if kind ~= "table" or (depth or 0) >= max_depth then return kind; end
	local function part(v) return plain(v, as_array, (depth or 0) + 1, valid_text); end
	local copy, count = {}, 0;
	for k, v in pairs(value) do
		count = count + 1;
		copy[k] = v;
	end
	if count == #value then
		for i = 1, count do copy[i] = part(copy[i]); end
		return as_array(copy);
	end
	local object = {};
	for k, v in pairs(copy) do object[type(part(tostring(k))) == "string" and tostring(k) or "?"] = part(v); end
	return object;
end

-- What hello says about a host.
--
-- everywhere, here: the options of the global section and those of the host, by name. as_array marks a table as
-- an array, however empty. resolve makes a path absolute. valid_text tells UTF-8 from other bytes.
-- Returns the options, and the names of those that are set here but belong into the global section.
local function of_host(everywhere, here, as_array, resolve, valid_text)
	local merged, misplaced = {}, {};
	for _, section in ipairs({ everywhere, here }) do
		for name, value in pairs(section) do
			if type(name) == "string" and name:sub(1, #prefix) == prefix then
				if not global_only[name] then
					if paths[name] and type(value) == "string" then value = resolve(value); end
					merged[name] = plain(value, as_array, 0, valid_text);
				elseif section == here then
					misplaced[#misplaced + 1] = name;
				end
			end
		end
	end
	table.sort(misplaced);
	return merged, misplaced;
end

-- Each returns the value, and what is wrong with the one given.

local function timeout(value, default)
	if value == nil then return default; end
	local seconds = tonumber(value);
	if not seconds and type(value) == "string" then
		seconds = tonumber(value:match("^%s*(%d+%.?%d*)%s*s%a*%s*$"));
	end
	if seconds and seconds >= 0.1 and seconds <= 60 then return seconds; end
	return default, ("saslcertd_timeout = %s: must be a number of seconds from 0.1 to 60"):format(tostring(value));
end

local function socket(value, default)
	if value == nil then return default; end
	-- The kernel's limit for the path of a Unix socket.
	if type(value) == "string" and value:sub(1, 1) == "/" and #value < 108 then return value; end
	return default, ("saslcertd_socket = %s: must be an absolute path of less than 108 bytes"):format(tostring(value));
end

local function manage_tls(value, default)
	if value == nil then return default; end
	if type(value) == "boolean" then return value; end
	return default, ("saslcertd_manage_tls = %s: must be true or false"):format(tostring(value));
end

return { of_host = of_host, plain = plain, timeout = timeout, socket = socket, manage_tls = manage_tls };
