-- The one connection to the daemon: questions and their answers, ids, deadlines, reconnecting, and the
-- questions that the daemon asks. docs/protocol.md is its reference.
--
-- It must not know what is asked, nor anything of Prosody: sockets, timers and JSON are handed in.

-- The daemon answers a longer question with an error that names no id, so it is never written.
local max_question_bytes = 128 * 1024;
local max_answer_bytes = 4 * 1024 * 1024;
-- The daemon counts every question of a connection in flight, those that nobody waits for any more too.
local max_in_flight = 128;
local max_queued = 1024;
local max_queued_bytes = 8 * 1024 * 1024;
-- Written, but not yet taken by the kernel: what a frozen daemon may cost in memory.
local max_unwritten_bytes = 1024 * 1024;

local first_pause, longest_pause = 0.5, 2;
local hello_timeout = 5;
-- So many deadlines in a row, without a single line from the daemon, and it isn't asked any more.
local max_missed = 3;
-- Prosody's timers wait as long as there is something to read; on a busy server deadlines are looked at in between.
local sweep_interval = 0.25;
-- An answer that is still owed after this time won't come.
local owed_timeout = 60;
-- What the daemon may have asked and not been answered yet.
local max_late_answers = 256;

-- What a failed question comes back with: the daemon's words, or that there are none.
local function failure_from(err)
	if type(err) ~= "table" then err = {}; end
	local data = type(err.data) == "table" and err.data or {};
	return {
		code = type(err.code) == "number" and err.code or -32001;
		message = type(err.message) == "string" and err.message or nil;
		denial = data.denial;
		sasl = data.sasl;
		stanza = type(data.stanza) == "table" and data.stanza or nil;
		delay = data.delay;
	};
end

-- with:
--   dial(listener)            connects; a connection with write() and close(), or nil and why not
--   encode(table), decode(string), valid_text(string)
--   after(seconds, f), cancel(timer), now()
--   hello()                   params of session.hello, in as many pieces as need a line of their own
--   greeted(result)           hello was answered
--   refused(failure)          hello was refused
--   answer(method, params, reply)  what the daemon asks: a result, or nil and an error; or nothing, and reply(result, err) later
--   away(why), back()         the daemon stopped answering, or answers again: each called once in a row; away() once more when
--                             the daemon gives a reason that it has not given yet
--   missed()                  notifications were dropped
--   log(level, format, …)
local function new(with)
	local client = {};
	local conn, closed = nil, false;
	local outbox;               -- lines for a connection that doesn't take any yet; net.server_event wants that
	local chunks, chunk_bytes = {}, 0;
	local last_id = 0;
	local waiting = {};         -- id → question that somebody waits for
	local owed, owed_count = {}, 0; -- id → when it was written, for each question that isn't answered yet
	local queue, queue_head, queue_tail, queued, queued_bytes = {}, 1, 0, 0, 0;
	local unwritten = 0;
	local greeted, away, stalled = false, nil, false;
	local given;                -- the daemon's words for why it is away
	local rejection;            -- what this connection heard instead of an answer to hello
	local notification_dropped = false;
	local missed = 0;
	local late = { count = 0 }; -- answers that this connection's questions still wait for
	local pause, retry = first_pause, nil;
	local swept_at = 0;
	local listener = {};
	local connect, hello, hang_up, pump;

	-- is_given: they are the daemon's words, which replace a guess.
	local function report_away(why, is_given)
		if closed or away and (not is_given or why == given) then return; end
		away = true;
		if is_given then given = why; end
		with.away(why);
	end

	local function report_back()
		if away == false then return; end
		away, given = false, nil;
		with.back();
	end

	local function settle(question, result, failure)
		if question.settled then return; end
		question.settled = true;
		waiting[question.id] = nil;
		if question.queued then
			question.queued = false;
			queued, queued_bytes = queued - 1, queued_bytes - #question.line;
		end
		if question.timer then
			with.cancel(question.timer);
			question.timer = nil;
		end
		question.line = nil;
		question.callback(result, failure);
	end

	local function try_later()
		if closed or retry then return; end
		retry = with.after(pause, function ()
			retry = nil;
			connect();
		end);
		pause = math.min(pause * 2, longest_pause);
	end

	local function stop_timer(timer)
		if timer then with.cancel(timer); end
	end

	local function write_line(line)
		unwritten = unwritten + #line;
		if outbox then
			outbox[#outbox + 1] = line;
			return;
		end
		local c = conn;
		if not c:write(line) and c == conn then
			hang_up(c, "write failed");
		end
	end

	local function write(question)
		question.written = true;
		owed[question.id] = with.now();
		owed_count = owed_count + 1;
		write_line(question.line);
	end

	local function enqueue(question)
		question.queued = true;
		queue_tail = queue_tail + 1;
		queue[queue_tail] = question;
		queued, queued_bytes = queued + 1, queued_bytes + #question.line;
	end

	local function empty_queue()
		queue, queue_head, queue_tail = {}, 1, 0;
	end

	local function may_write()
		if unwritten >= max_unwritten_bytes then return false; end
		if owed_count < max_in_flight then return true; end
		local oldest = with.now() - owed_timeout;
		for id, written_at in pairs(owed) do
			if written_at < oldest then
				owed[id] = nil;
				owed_count = owed_count - 1;
			end
		end
		return owed_count < max_in_flight;
	end

	function pump()
		while conn and queue_head <= queue_tail and may_write() do
			local question = queue[queue_head];
			queue[queue_head] = nil;
			queue_head = queue_head + 1;
			if question.queued then
				question.queued = false;
				queued, queued_bytes = queued - 1, queued_bytes - #question.line;
				write(question);
			end
		end
		if queue_head > queue_tail then empty_queue(); end
	end

	local function in_order(questions)
		local list = {};
		for _, question in pairs(questions) do list[#list + 1] = question; end
		table.sort(list, function (a, b) return a.id < b.id; end);
		return list;
	end

	local function fail_all(questions, reason)
		for _, question in ipairs(in_order(questions)) do
			settle(question, nil, { reason = question.written and reason or "away" });
		end
	end

	local function forget_connection()
		conn, outbox, greeted, rejection = nil, nil, false, nil;
		chunks, chunk_bytes = {}, 0;
		owed, owed_count, unwritten = {}, 0, 0;
		missed, notification_dropped = 0, false;
		late = { count = 0 };
	end

	local function disconnected(why)
		local is_given = rejection ~= nil;
		why = rejection or why;
		forget_connection();
		local unanswered = waiting;
		waiting = {};
		empty_queue();
		-- Asked once more, in the same order, behind the hello of the new connection. What changes something
		-- isn't repeated: nobody knows whether it was done.
		local again, lost = {}, {};
		for _, question in ipairs(in_order(unanswered)) do
			local unsent = not question.written;
			if question.queued then
				question.queued = false;
				queued, queued_bytes = queued - 1, queued_bytes - #question.line;
			end
			if not stalled and (unsent or question.again) and not question.repeated then
				question.repeated = true;
				again[#again + 1] = question;
			else
				lost[#lost + 1] = question;
			end
		end
		if again[1] and connect() then
			for _, question in ipairs(again) do
				waiting[question.id] = question;
				enqueue(question);
			end
			pump();
		else
			fail_all(again, "away");
			report_away(why, is_given);
			try_later();
		end
		fail_all(lost, "lost");
	end

	function hang_up(c, why)
		if c ~= conn then return; end
		-- Our own disconnect handler must find another connection than this one.
		conn = nil;
		c:close();
		disconnected(why);
	end

	local function stall()
		if stalled then return; end
		stalled = true;
		report_away("it does not answer");
		for i = queue_head, queue_tail do
			local question = queue[i];
			if question and question.queued then
				settle(question, nil, { reason = "away" });
			end
		end
		empty_queue();
		-- A daemon that lives answers this at once. One that doesn't gets a new connection after the deadline: perhaps
		-- only the old one hangs.
		hello();
	end

	local function deadline_missed(question)
		question.timer = nil;
		local written = question.written;
		settle(question, nil, { reason = "timeout" });
		if not written or question.hello or not conn then return; end
		missed = missed + 1;
		if missed >= max_missed then stall(); end
	end

	local function sweep()
		local now = with.now();
		if now < swept_at + sweep_interval then return; end
		swept_at = now;
		local overdue = {};
		for id, question in pairs(waiting) do
			if question.deadline < now then overdue[id] = question; end
		end
		for _, question in ipairs(in_order(overdue)) do
			if not question.settled then
				stop_timer(question.timer);
				deadline_missed(question);
			end
		end
	end

	function hello()
		local c = conn;
		local pieces = with.hello();
		local answered, hosts = 0, {};
		for _, params in ipairs(pieces) do
			if not conn or c ~= conn then return; end
			client.request("session.hello", params, { timeout = hello_timeout, hello = true }, function (result, failure)
				if closed or c ~= conn then return; end
				if not result then
					if failure.reason ~= "timeout" then with.refused(failure); end
					hang_up(c, failure.message or "it does not answer session.hello");
					return;
				end
				answered = answered + 1;
				for _, host in ipairs(type(result.hosts) == "table" and result.hosts or {}) do hosts[#hosts + 1] = host; end
				if answered < #pieces then return; end
				result.hosts = hosts;
				greeted, stalled, pause = true, false, first_pause;
				report_back();
				with.greeted(result);
			end);
		end
	end

	-- Says hello again on the open connection, or connects.
	function client.declare()
		if closed then return; end
		if conn then hello(); else connect(); end
	end

	-- Drops the connection for a new one, to another socket say.
	function client.reconnect()
		if not conn then return; end
		hang_up(conn, "the configuration has changed");
	end

	function connect()
		if conn then return true; end
		if closed then return nil, "closed"; end
		stop_timer(retry);
		retry = nil;
		local c, err = with.dial(listener);
		if not c then
			report_away(err);
			try_later();
			return nil, err;
		end
		conn, outbox = c, {};
		hello();
		return conn ~= nil;
	end

	-- Asks a question; callback(result) or callback(nil, failure), at once or later, exactly once.
	--
	-- options: timeout in seconds; again: may be asked once more when the connection is lost.
	-- A failure has either the daemon's code, message, denial, sasl and stanza, or a reason: "away" (not asked),
	-- "lost" and "timeout" (asked, outcome unknown), "busy", "too-long", "not-text" (not asked).
	function client.request(method, params, options, callback)
		local id = last_id + 1;
		last_id = id;
		local line = with.encode({ jsonrpc = "2.0", id = id, method = method, params = params }) .. "\n";
		if #line > max_question_bytes then return callback(nil, { reason = "too-long" }); end
		if not with.valid_text(line) then return callback(nil, { reason = "not-text" }); end
		if not options.hello then
			sweep();
			if not connect() or stalled then return callback(nil, { reason = "away" }); end
			if queued >= max_queued or queued_bytes >= max_queued_bytes then return callback(nil, { reason = "busy" }); end
		end
		local question = { id = id, line = line, again = options.again, hello = options.hello, callback = callback };
		waiting[id] = question;
		question.deadline = with.now() + options.timeout;
		question.timer = with.after(options.timeout, function () deadline_missed(question); end);
		if options.hello then
			write(question);
		else
			enqueue(question);
			pump();
		end
	end

	-- Tells the daemon something. What is told while it is away is dropped: after each hello it hears it all.
	function client.notify(method, params)
		if not conn or stalled then return; end
		local line = with.encode({ jsonrpc = "2.0", method = method, params = params }) .. "\n";
		if #line > max_question_bytes or not with.valid_text(line) then return; end
		if unwritten >= max_unwritten_bytes then
			notification_dropped = true;
			return;
		end
		write_line(line);
	end

	local function asked(c, message)
		local answered, is_late = false, false;
		local owing = late;
		local function reply(result, err)
			if answered then return; end
			answered = true;
			if is_late then owing.count = owing.count - 1; end
			if message.id == nil or c ~= conn then return; end
			write_line(with.encode({ jsonrpc = "2.0", id = message.id, result = result, error = not result and err or nil }) .. "\n");
		end
		if owing.count >= max_late_answers then
			return reply(nil, { code = -32001, message = "Too many questions wait for an answer" });
		end
		local ok, result, err = pcall(with.answer, message.method, message.params, reply);
		if not ok then
			with.log("error", "Answering %s failed: %s", message.method, result);
			result, err = nil, { code = -32001, message = "The question could not be answered" };
		end
		if result or err then return reply(result, err); end
		if not answered then
			is_late = true;
			owing.count = owing.count + 1;
		end
	end

	local function handle_line(c, line)
		local message = with.decode(line);
		if type(message) ~= "table" then
			with.log("error", "The daemon sent a line that isn't JSON; bytes: %d", #line);
			hang_up(c, "it sent a line that isn't JSON");
			return;
		end
		missed = 0;
		if stalled and greeted then
			stalled = false;
			report_back();
			with.missed();
		end
		if type(message.method) == "string" then
			asked(c, message);
			return;
		end
		local id = message.id;
		if id == nil then
			local text = tostring(type(message.error) == "table" and message.error.message or nil);
			-- To whom it answers nothing, it says why, and closes the connection.
			if not greeted then rejection = text; return; end
			with.log("error", "The daemon could not read a question: %s", text);
			return;
		end
		if owed[id] then
			owed[id] = nil;
			owed_count = owed_count - 1;
			if owed_count == 0 then unwritten = 0; end
		end
		-- Whoever waited goes on inside of settle(), and may ask again or even close the connection.
		local question = waiting[id]; -- nil: the answer is late
		if question then
			local result = message.result;
			if message.error ~= nil or result == nil then
				settle(question, nil, failure_from(message.error));
			else
				settle(question, result);
			end
		end
		if c == conn then pump(); end
	end

	function listener.onconnect(c)
		if c ~= conn or not outbox then return; end
		local lines = table.concat(outbox);
		outbox = nil;
		if lines ~= "" and not c:write(lines) and c == conn then
			hang_up(c, "write failed");
		end
	end

	-- Without this an idle connection is closed after some minutes.
	function listener.onreadtimeout() return true; end

	function listener.onincoming(c, data)
		local from = 1;
		while c == conn do
			local newline = data:find("\n", from, true);
			local piece_end = newline and newline - 1 or #data;
			if chunk_bytes + piece_end - from + 1 > max_answer_bytes then
				with.log("error", "The daemon sent a line of more than %d bytes", max_answer_bytes);
				hang_up(c, "it sent a line that is too long");
				return;
			end
			if not newline then
				if piece_end >= from then
					chunks[#chunks + 1] = data:sub(from);
					chunk_bytes = chunk_bytes + piece_end - from + 1;
				end
				return;
			end
			chunks[#chunks + 1] = data:sub(from, piece_end);
			local line = table.concat(chunks);
			chunks, chunk_bytes, from = {}, 0, newline + 1;
			handle_line(c, line);
		end
	end

	function listener.ondrain(c)
		if c ~= conn then return; end
		unwritten = 0;
		pump();
		if notification_dropped and c == conn then
			notification_dropped = false;
			with.missed();
		end
	end

	function listener.ondisconnect(c, err)
		if c ~= conn then return; end
		-- The process at the other end is gone: the next one deserves its chance.
		stalled = false;
		local why = err and err ~= "closed" and tostring(err) or "it closed the connection";
		if not greeted and not rejection then
			why = why .. " before it answered session.hello (if that stays so, its --server-user doesn't name Prosody's user)";
		end
		disconnected(why);
	end

	function client.close()
		if closed then return; end
		closed = true;
		stop_timer(retry);
		retry = nil;
		local c, unanswered = conn, waiting;
		forget_connection();
		waiting = {};
		empty_queue();
		fail_all(unanswered, "lost");
		if c then c:close(); end
	end

	function client.connected()
		return conn ~= nil and greeted and not stalled;
	end

	return client;
end

-- Cuts a list into pieces of at most max_bytes, measured by size_of; each has at least one element.
local function pieces_of(list, max_bytes, size_of)
	local pieces, bytes = {}, 0;
	for _, element in ipairs(list) do
		local size = size_of(element);
		local piece = pieces[#pieces];
		if not piece or bytes + size > max_bytes then
			piece, bytes = {}, 0;
			pieces[#pieces + 1] = piece;
		end
		piece[#piece + 1] = element;
		bytes = bytes + size;
	end
	return pieces;
end

return { new = new, pieces_of = pieces_of, failure_from = failure_from };
