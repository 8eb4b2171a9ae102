-- The daemon's socket, and lines of JSON as both sides understand them. And one question over a connection of its own, for those who
-- can't wait for an answer in the background: the whole server stands still meanwhile, so it gets little time.
--
-- It must not know what is asked.

local array = require "util.array";
local json = require "util.json";
local now = require "util.time".now;

local have_unix, unix = pcall(require, "socket.unix");
if have_unix and type(unix) == "function" then unix = { stream = unix }; end -- COMPAT old LuaSocket

local max_lines = 16;
-- Well below the limit of a question.
local max_piece_bytes = 96 * 1024;

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

local function line_of(message)
	message.jsonrpc = "2.0";
	return json.encode(message) .. "\n";
end

-- Cuts a list into pieces that fit into one question each; none is empty.
local function pieces_of(list)
	local pieces, bytes = {}, 0;
	for _, element in ipairs(list) do
		local size = #json.encode(element) + 1;
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
	if type(value) == "table" then
		for k, v in pairs(value) do value[k] = plain(v); end
	end
	return value;
end

-- A table, or nil if the line is none.
local function decode(line)
	local message = plain(json.decode(line));
	return type(message) == "table" and message or nil;
end

-- What an answer says: the result, or nil and a failure, which has the daemon's words, or none.
local function outcome_of(answer)
	if answer.error == nil and answer.result ~= nil then return answer.result; end
	local err = type(answer.error) == "table" and answer.error or {};
	local data = type(err.data) == "table" and err.data or {};
	return nil, {
		code = type(err.code) == "number" and err.code or -32001;
		message = type(err.message) == "string" and err.message or nil;
		denial = data.denial;
		sasl = data.sasl;
		stanza = type(data.stanza) == "table" and data.stanza or nil;
		delay = data.delay;
	};
end

-- hello: the params of a session.hello, for questions that need one.
-- Returns the result, or nil and the failure, within so many seconds.
local function ask(path, method, params, seconds, hello)
	local socket = open(path, seconds);
	if not socket then return nil, { reason = "away" }; end
	local deadline = now() + seconds;
	local function limit()
		-- The clock may be set meanwhile.
		socket:settimeout(math.max(0, math.min(deadline - now(), seconds)), "t");
	end

	local function converse()
		limit();
		local greeting = hello and line_of({ id = 0, method = "session.hello", params = hello }) or "";
		local sent = socket:send(greeting .. line_of({ id = 1, method = method, params = params }));
		if not sent then return nil, { reason = "away" }; end
		for _ = 1, max_lines do
			limit();
			local line = socket:receive("*l");
			if not line then return nil, { reason = "timeout" }; end
			local message = decode(line);
			if not message then return nil, { reason = "away" }; end
			-- Without an id: it could not read the question.
			if message.method == nil and (message.id == 1 or message.id == nil) then return outcome_of(message); end
		end
		return nil, { reason = "away" };
	end

	local result, failure = converse();
	socket:close();
	return result, failure;
end

return { open = open, line_of = line_of, pieces_of = pieces_of, decode = decode, outcome_of = outcome_of, ask = ask };
