-- Options of prosody.cfg.lua, as JSON can carry them, and those of the module itself.
--
-- It must not know what a host's option means, nor say what is wrong with one: the daemon does.

local array = require "util.array";
local valid_text = require "util.encodings".utf8.valid;

local max_depth = 8;
-- The daemon has the same.
local default_socket = "/run/saslcertd/saslcertd.sock";
local default_timeout = 2;
local default_manage_tls = true;

-- util.json writes inf and nan as they are, and stops at what isn't JSON: the daemon would only see an unreadable
-- line. As a string it can name the option. Text that is not UTF-8 becomes a table, which no option of ours takes: it is refused by name.
local function plain(value, depth)
	local kind = type(value);
	if kind == "boolean" then return value; end
	if kind == "string" then return valid_text(value) and value or { ["not"] = "text in UTF-8" }; end
	if kind == "number" then
		if value ~= value or value >= math.huge or value <= -math.huge then return tostring(value); end
		return math.tointeger and math.tointeger(value) or value;
	end
	if kind ~= "table" or (depth or 0) >= max_depth then return kind; end
	local function part(v) return plain(v, (depth or 0) + 1); end
	local count = 0;
	for _ in pairs(value) do count = count + 1; end
	local list, object = array(), {};
	if count == #value then
		for i = 1, count do list[i] = part(value[i]); end
		return list;
	end
	for k, v in pairs(value) do object[valid_text(tostring(k)) and tostring(k) or "?"] = part(v); end
	return object;
end

-- Those of a section that are ours, or for whose names is_wanted(name).
local function of_section(section, is_wanted)
	local options = {};
	for name, value in pairs(section or {}) do
		if type(name) == "string" and (name:sub(1, 10) == "saslcertd_" or is_wanted and is_wanted(name)) then options[name] = plain(value); end
	end
	return options;
end

-- The module's own, out of the global section; where one can't be used, the default counts.
local function settings(section)
	local socket, timeout, manage_tls = section.saslcertd_socket, section.saslcertd_timeout, section.saslcertd_manage_tls;
	local seconds = tonumber(timeout) or type(timeout) == "string" and tonumber(timeout:match("^%s*(%d+%.?%d*)%s*s%a*%s*$"));
	-- The kernel's limit for the path of a Unix socket.
	local has_socket = type(socket) == "string" and socket:sub(1, 1) == "/" and #socket < 108;
	return {
		socket = has_socket and socket or default_socket;
		timeout = seconds and seconds >= 0.1 and seconds <= 60 and seconds or default_timeout;
		manage_tls = type(manage_tls) ~= "boolean" and default_manage_tls or manage_tls == true;
	};
end

return { plain = plain, of_section = of_section, settings = settings };
