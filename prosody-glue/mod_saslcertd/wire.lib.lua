-- The daemon's socket, and lines of JSON as both sides understand them. And questions over a connection of their own, while everything
-- stands still.
--
-- It must not know what is asked.

local array = require "util.array";
local valid_text = require "util.encodings".utf8.valid;
local json = require "util.json";
local now = require "util.time".monotonic;

local have_unix, unix = pcall(require, "socket.unix");
if have_unix and type(unix) == "function" then unix = { stream = unix }; end -- COMPAT old LuaSocket

-- The daemon answers a longer question with an error that names no id.
local max_line_bytes, max_piece_bytes = 128 * 1024, 96 * 1024; -- the latter well below that
local max_noise = 16; -- other lines that may come before an answer
local array_mt = getmetatable(array());

-- Seconds, in hundredths: they also go by while the machine sleeps. Once they can't be told any more, everything is late.
local clock = io.open("/proc/uptime");
if clock then clock:setvbuf("no"); end -- one read of the kernel's for each look
local function uptime()
	if not clock then return now(); end
	local text = clock:seek("set") and clock:read(32) or "";
	return tonumber(text:match("^%S+")) or math.huge;
end

-- A socket, or nil and why not.
local function open(path, seconds)
	if not have_unix then return nil, "this LuaSocket knows no Unix sockets"; end
	local socket = unix.stream();
	socket:settimeout(seconds);
	local ok, err = socket:connect(path);
	if ok then return socket; end
	socket:close();
	return nil, err;
end

-- JSON. util.json looks at each character by itself, which would cost most of what a question does.
local function encode(value)
	if type(value) == "string" then return value:find('[%c"\\]') and json.encode(value) or '"' .. value .. '"'; end
	-- JSON has no such number, and util.json writes it: line_of refuses what takes its place.
	if value ~= value or value == math.huge or value == -math.huge then return "\255"; end
	if type(value) ~= "table" or value == json.null then return json.encode(value); end
	local parts = {};
	for i, one in ipairs(value) do parts[i] = encode(one); end
	if parts[1] or getmetatable(value) == array_mt then return "[" .. table.concat(parts, ",") .. "]"; end
	for name, one in pairs(value) do parts[#parts + 1] = encode(tostring(name)) .. ":" .. encode(one); end
	return "{" .. table.concat(parts, ",") .. "}";
end

-- A line, or nil and why it must not be written.
local function line_of(message)
	message.jsonrpc = "2.0";
	local line = encode(message) .. "\n";
	if #line > max_line_bytes then return nil, "too-long"; end
	if not valid_text(line) then return nil, "not-text"; end
	return line;
end

-- Cuts a list into pieces that fit into one question each; none is empty.
local function pieces_of(list)
	local pieces, bytes = {}, 0;
	for _, element in ipairs(list) do
		local size = #encode(element) + 1;
		if not pieces[1] or bytes + size > max_piece_bytes then pieces[#pieces + 1], bytes = array(), 0; end
		table.insert(pieces[#pieces], element);
		bytes = bytes + size;
	end
	return pieces;
end

-- JSON's null means the same as an absent field; util.json makes it a value of its own. What XML can't carry would raise an error in
-- util.stanza.
local function plain(value)
	if value == json.null then return nil; end
	if type(value) == "string" then return (value:gsub("[%z\1-\8\11\12\14-\31]", "?")); end
	if type(value) == "table" then for k, v in pairs(value) do value[k] = plain(v); end end
	return value;
end

-- A table, or nil if the line is none.
local function decode(line)
	local message = json.decode(line);
	-- Without these there is nothing to be made plain.
	if line:find("[\\%c]") or line:find("null", 1, true) then message = plain(message); end
	return type(message) == "table" and message or nil;
end

-- Reads an answer: the result, or nil and a failure, which has the daemon's words, or none.
local function outcome_of(answer)
	if answer.error == nil and answer.result ~= nil then return answer.result; end
	local err = type(answer.error) == "table" and answer.error or {};
	local failure = type(err.data) == "table" and err.data or {};
	failure.code = type(err.code) == "number" and err.code or -32001;
	failure.message = type(err.message) == "string" and err.message or nil;
	if type(failure.stanza) ~= "table" then failure.stanza = nil; end
	return nil, failure;
end

-- Asks these questions, each { method, params }, one when the one before has its result, over a connection of their own, all within so many
-- seconds. Returns the results, by the question's number; and the failure, if the last one has none.
local function ask(path, questions, seconds)
	local results, deadline, failure = {}, now() + seconds, nil;
	local socket, err = open(path, seconds);
	if not socket then return results, { reason = "away", message = err }; end
	local function limit() socket:settimeout(math.max(0, deadline - now()), "t"); end

	local function answer_to(id, question)
		local text, problem = line_of({ id = id, method = question[1], params = question[2] });
		if not text then return nil, { reason = problem }; end
		limit();
		local sent = socket:send(text);
		for _ = 1, max_noise do
			limit();
			-- Whom the daemon doesn't let ask can't send, but may read why.
			local line = socket:receive("*l");
			local message = line and decode(line);
			if not message then return nil, { reason = sent and not line and "timeout" or "away" }; end
			-- An error without an id: it could not read the question, or answers no question of ours.
			local is_ours = message.id == id or message.id == nil and message.error ~= nil;
			if message.method == nil and is_ours then return outcome_of(message); end
		end
		return nil, { reason = "away" };
	end

	for id, question in ipairs(questions) do
		results[id], failure = answer_to(id, question);
		-- Nothing was asked.
		if failure and failure.code and (id < #questions or failure.code == -32003) then failure = { reason = "away", message = failure.message }; end
		if failure then break; end
	end
	socket:close();
	return results, failure;
end

return { open = open, uptime = uptime, line_of = line_of, pieces_of = pieces_of, decode = decode, outcome_of = outcome_of, ask = ask };
