-- One question over a connection of its own, for those who can't wait for an answer in the background: the whole server
-- stands still meanwhile, so it gets little time.
--
-- It must not know what is asked.

local max_lines = 16;

-- with: open() (a blocking socket, or nil and why not); encode; decode; failure_from (see client.lib.lua); now()
-- hello: the params of a session.hello, for questions that need one.
-- Returns the result, or nil and the failure, within so many seconds.
local function ask(with, method, params, seconds, hello)
	local socket = with.open();
	if not socket then return nil, { reason = "away" }; end
	local deadline = with.now() + seconds;
	local function limit()
		-- The clock may be set meanwhile.
		socket:settimeout(math.max(0, math.min(deadline - with.now(), seconds)), "t");
	end

	local function line_of(id, name, arguments)
		return with.encode({ jsonrpc = "2.0", id = id, method = name, params = arguments }) .. "\n";
	end

	local function converse()
		limit();
		local sent = socket:send((hello and line_of(0, "session.hello", hello) or "") .. line_of(1, method, params));
		if not sent then return nil, { reason = "away" }; end
		for _ = 1, max_lines do
			limit();
			local line = socket:receive("*l");
			if not line then return nil, { reason = "timeout" }; end
			local message = with.decode(line);
			if type(message) ~= "table" then return nil, { reason = "away" }; end
			if message.id == 1 and message.method == nil then
				if message.error ~= nil or message.result == nil then return nil, with.failure_from(message.error); end
				return message.result;
			end
		end
		return nil, { reason = "away" };
	end

	local result, failure = converse();
	socket:close();
	return result, failure;
end

return { ask = ask };
