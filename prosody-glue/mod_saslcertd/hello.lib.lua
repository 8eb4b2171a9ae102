-- Makes this server's hello: options of prosody.cfg.lua, as JSON can carry them. Also one question over a connection of its own, behind a
-- hello; and the options of the module itself.
--
-- It must not know what a host's option means, nor say what is wrong with one: the daemon does.

local array = require "util.array";
local valid_text = require "util.encodings".utf8.valid;
local configmanager = require "core.configmanager";

local wire = module:require "wire";

local protocol_version = 2;
local module_version = "0.1.0";
-- Which copy of this module runs: several may lie on the machine.
local path = module:get_directory() or "";
local own_copy = { version = module_version, path = valid_text(path) and path or "" };

local max_depth = 8;
-- The daemon has the same.
local default_socket = "/run/saslcertd/saslcertd.sock";
local default_timeout = 2;
local default_manage_tls = true;
-- A change waits for the disk of the daemon's machine.
local least_change_timeout = 10;

local function section_of(name) return rawget(configmanager.getconfig(), name) or {}; end

-- util.json writes inf and nan as they are, and stops at what isn't JSON: the daemon would only see an unreadable line. As a string it can
-- name the option. Text that is not UTF-8 becomes a table, which no option of ours takes: it is refused by name.
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
	local count, list, object = 0, array(), {};
	for _ in pairs(value) do count = count + 1; end
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
local function settings()
	local section = section_of("*");
	local socket, timeout, manage_tls = section.saslcertd_socket, section.saslcertd_timeout, section.saslcertd_manage_tls;
	local seconds = tonumber(timeout) or type(timeout) == "string" and tonumber(timeout:match("^%s*(%d+%.?%d*)%s*s%a*%s*$"));
	seconds = seconds and seconds >= 0.1 and seconds <= 60 and seconds or default_timeout;
	-- The kernel's limit for the path of a Unix socket.
	local has_socket = type(socket) == "string" and socket:sub(1, 1) == "/" and #socket < 108;
	return {
		socket = has_socket and socket or default_socket;
		timeout = seconds, change_timeout = math.max(seconds, least_change_timeout);
		manage_tls = type(manage_tls) ~= "boolean" and default_manage_tls or manage_tls == true;
	};
end

-- Declares a host. page: its page for devices, as mod_saslcertd_devices says it, if it has one.
local function host(name, is_in_daemon, page)
	local address, web = page and page.address, page and page.web;
	return { host = name, accounts = is_in_daemon and "daemon" or "prosody", options = of_section(section_of(name)), page = address, web = web };
end

-- The params of session.hello. A server of many hosts says it in several lines.
local function pieces_of(hosts, keeps_sessions)
	local pieces = wire.pieces_of(hosts);
	pieces[1] = pieces[1] or array();
	for i, piece in ipairs(pieces) do
		pieces[i] = {
			protocol = protocol_version, software = "Prosody " .. tostring(prosody.version), module = own_copy;
			hosts = piece, global = of_section(section_of("*")), folder = prosody.paths.config or ".", continued = i > 1, sessions = keeps_sessions;
			waits_ms = keeps_sessions and math.ceil(settings().timeout * 1000) or nil;
		};
	end
	return pieces;
end

-- Asks while everything stands still, for at most so many seconds. hosts: of a hello that comes first, if one is needed. Returns the
-- result, or nil and the failure; and the log lines that hello was answered with.
local function ask_alone(socket, seconds, hosts, method, params)
	local questions = {};
	for i, piece in ipairs(hosts and pieces_of(hosts, false) or {}) do questions[i] = { "session.hello", piece }; end
	questions[#questions + 1] = { method, params };
	local results, failure = wire.ask(socket, questions, seconds);
	return results[#questions], failure, questions[2] and results[1] and results[1].log or {};
end

return {
	protocol_version = protocol_version, own_copy = own_copy, plain = plain, of_section = of_section, settings = settings, host = host;
	pieces_of = pieces_of, ask_alone = ask_alone;
};
