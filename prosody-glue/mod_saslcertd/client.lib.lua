-- The one connection to the daemon: questions and their answers, ids, deadlines, reconnecting, and the
-- questions that the daemon asks. docs/protocol.md is its reference.
--
-- It must not know what is asked.

local server = require "net.server";
local valid_text = require "util.encodings".utf8.valid;
local new_queue = require "util.queue".new;
local now = require "util.time".now;
local timer = require "util.timer";

local wire = module:require "wire";

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

local function in_order(questions)
	local list = {};
	for _, question in pairs(questions) do list[#list + 1] = question; end
	table.sort(list, function (a, b) return a.id < b.id; end);
	return list;
end

local function stop_timer(running)
	if running then timer.stop(running); end
end

local Client = {};
Client.__index = Client;

-- What goes with a connection.
function Client:forget_connection()
	self.conn, self.greeted = nil, false;
	self.outbox = nil;            -- lines for a connection that doesn't take any yet; net.server_event wants that
	self.rejection = nil;         -- what it heard instead of an answer to hello
	self.chunks, self.chunk_bytes = {}, 0;
	self.owed, self.owed_count = {}, 0; -- id → when it was written, for each question that isn't answered yet
	self.unwritten, self.missed = 0, 0;
	self.notification_dropped = false;
	self.late = { count = 0 };    -- answers that its questions still wait for
end

function Client:empty_queue()
	self.queue = new_queue(max_queued + max_in_flight);
end

-- is_given: they are the daemon's words, which replace a guess.
function Client:report_away(why, is_given)
	if self.closed or self.away and (not is_given or why == self.given) then return; end
	self.away = true;
	if is_given then self.given = why; end
	self.with.away(why);
end

function Client:report_back()
	if self.away == false then return; end
	self.away, self.given = false, nil;
	self.with.back();
end

-- From here on the question waits for nothing: it is written, settled, or asked again later.
function Client:unqueue(question)
	if not question.queued then return; end
	question.queued = false;
	self.queued_bytes = self.queued_bytes - #question.line;
end

function Client:settle(question, result, failure)
	if question.settled then return; end
	question.settled = true;
	self.waiting[question.id] = nil;
	self:unqueue(question);
	stop_timer(question.timer);
	question.timer, question.line = nil, nil;
	question.callback(result, failure);
end

function Client:fail_all(questions, reason)
	for _, question in ipairs(in_order(questions)) do
		self:settle(question, nil, { reason = question.written and reason or "away" });
	end
end

function Client:write_line(line)
	self.unwritten = self.unwritten + #line;
	if self.outbox then
		self.outbox[#self.outbox + 1] = line;
		return;
	end
	local c = self.conn;
	if not c:write(line) and c == self.conn then self:hang_up(c, "write failed"); end
end

function Client:write(question)
	question.written = true;
	self.owed[question.id] = now();
	self.owed_count = self.owed_count + 1;
	self:write_line(question.line);
end

function Client:enqueue(question)
	question.queued = true;
	self.queue:push(question);
	self.queued_bytes = self.queued_bytes + #question.line;
end

function Client:no_longer_owed(id)
	self.owed[id] = nil;
	self.owed_count = self.owed_count - 1;
end

function Client:may_write()
	if self.unwritten >= max_unwritten_bytes then return false; end
	if self.owed_count < max_in_flight then return true; end
	local oldest = now() - owed_timeout;
	for id, written_at in pairs(self.owed) do
		if written_at < oldest then self:no_longer_owed(id); end
	end
	return self.owed_count < max_in_flight;
end

function Client:pump()
	while self.conn and self.queue:count() > 0 and self:may_write() do
		local question = self.queue:pop();
		-- It may have been given up.
		if question.queued then
			self:unqueue(question);
			self:write(question);
		end
	end
end

function Client:try_later()
	if self.closed or self.retry then return; end
	self.retry = timer.add_task(self.pause, function ()
		self.retry = nil;
		self:connect();
	end);
	self.pause = math.min(self.pause * 2, longest_pause);
end

function Client:disconnected(why)
	local is_given = self.rejection ~= nil;
	why = self.rejection or why;
	self:forget_connection();
	local unanswered = self.waiting;
	self.waiting = {};
	self:empty_queue();
	-- Asked once more, in the same order, behind the hello of the new connection. What changes something
	-- isn't repeated: nobody knows whether it was done.
	local again, lost = {}, {};
	for _, question in ipairs(in_order(unanswered)) do
		self:unqueue(question);
		if not self.stalled and (not question.written or question.again) and not question.repeated then
			question.repeated = true;
			again[#again + 1] = question;
		else
			lost[#lost + 1] = question;
		end
	end
	if again[1] and self:connect() then
		for _, question in ipairs(again) do
			self.waiting[question.id] = question;
			self:enqueue(question);
		end
		self:pump();
	else
		self:fail_all(again, "away");
		self:report_away(why, is_given);
		self:try_later();
	end
	self:fail_all(lost, "lost");
end

function Client:hang_up(c, why)
	if c ~= self.conn then return; end
	-- Our own disconnect handler must find another connection than this one.
	self.conn = nil;
	c:close();
	self:disconnected(why);
end

function Client:stall()
	if self.stalled then return; end
	self.stalled = true;
	self:report_away("it does not answer");
	local queue = self.queue;
	self:empty_queue();
	while queue:count() > 0 do
		local question = queue:pop();
		if question.queued then self:settle(question, nil, { reason = "away" }); end
	end
	-- A daemon that lives answers this at once. One that doesn't gets a new connection after the deadline: perhaps
	-- only the old one hangs.
	self:hello();
end

function Client:deadline_missed(question)
	question.timer = nil;
	local written = question.written;
	self:settle(question, nil, { reason = "timeout" });
	if not written or question.hello or not self.conn then return; end
	self.missed = self.missed + 1;
	if self.missed >= max_missed then self:stall(); end
end

function Client:sweep()
	local time = now();
	if time < self.swept_at + sweep_interval then return; end
	self.swept_at = time;
	local overdue = {};
	for id, question in pairs(self.waiting) do
		if question.deadline < time then overdue[id] = question; end
	end
	for _, question in ipairs(in_order(overdue)) do
		if not question.settled then
			stop_timer(question.timer);
			self:deadline_missed(question);
		end
	end
end

function Client:hello()
	local c, pieces = self.conn, self.with.hello();
	local answered, hosts, log = 0, {}, {};
	local function heard(result, failure)
		if self.closed or c ~= self.conn then return; end
		if not result then
			if failure.reason ~= "timeout" then self.with.refused(failure); end
			self:hang_up(c, failure.message or "it does not answer session.hello");
			return;
		end
		answered = answered + 1;
		for _, host in ipairs(result.hosts or {}) do hosts[#hosts + 1] = host; end
		for _, line in ipairs(result.log or {}) do log[#log + 1] = line; end
		if answered < #pieces then return; end
		result.hosts, result.log = hosts, log;
		self.greeted, self.stalled, self.pause = true, false, first_pause;
		self:report_back();
		self.with.greeted(result);
	end
	for _, params in ipairs(pieces) do
		if not self.conn or c ~= self.conn then return; end
		self.public.request("session.hello", params, { timeout = hello_timeout, hello = true }, heard);
	end
end

function Client:connect()
	if self.conn then return true; end
	if self.closed then return nil, "closed"; end
	stop_timer(self.retry);
	self.retry = nil;
	local socket, err = wire.open(self.with.socket(), 0);
	local conn;
	if socket then conn, err = server.wrapclient(socket, nil, nil, self.listener, "*a"); end
	if not conn then
		-- The server may have no room for one more connection, and say so in no words.
		if type(err) ~= "string" then err = "Prosody takes no more connections"; end
		self:report_away(err);
		self:try_later();
		return nil, err;
	end
	self.conn, self.outbox = conn, {};
	self:hello();
	return self.conn ~= nil;
end

function Client:request(method, params, options, callback)
	local id = self.last_id + 1;
	self.last_id = id;
	local line = wire.line_of({ id = id, method = method, params = params });
	if #line > max_question_bytes then return callback(nil, { reason = "too-long" }); end
	if not valid_text(line) then return callback(nil, { reason = "not-text" }); end
	if not options.hello then
		self:sweep();
		if not self:connect() or self.stalled then return callback(nil, { reason = "away" }); end
		if self.queue:count() >= max_queued or self.queued_bytes >= max_queued_bytes then return callback(nil, { reason = "busy" }); end
	end
	local question = { id = id, line = line, again = options.again, hello = options.hello, callback = callback };
	self.waiting[id] = question;
	question.deadline = now() + options.timeout;
	question.timer = timer.add_task(options.timeout, function () self:deadline_missed(question); end);
	if options.hello then
		self:write(question);
	else
		self:enqueue(question);
		self:pump();
	end
end

function Client:notify(method, params)
	if not self.conn or self.stalled then return; end
	local line = wire.line_of({ method = method, params = params });
	if #line > max_question_bytes or not valid_text(line) then return; end
	if self.unwritten >= max_unwritten_bytes then
		self.notification_dropped = true;
		return;
	end
	self:write_line(line);
end

function Client:asked(c, message)
	local answered, is_late = false, false;
	local owing = self.late;
	local function reply(result, err)
		if answered then return; end
		answered = true;
		if is_late then owing.count = owing.count - 1; end
		if message.id == nil or c ~= self.conn then return; end
		self:write_line(wire.line_of({ id = message.id, result = result, error = not result and err or nil }));
	end
	if owing.count >= max_late_answers then
		return reply(nil, { code = -32001, message = "Too many questions wait for an answer" });
	end
	local ok, result, err = pcall(self.with.answer, message.method, message.params, reply);
	if not ok then
		module:log("error", "Answering %s failed: %s", message.method, result);
		result, err = nil, { code = -32001, message = "The question could not be answered" };
	end
	if result or err then return reply(result, err); end
	if not answered then
		is_late = true;
		owing.count = owing.count + 1;
	end
end

function Client:answered(c, message)
	local id = message.id;
	if id == nil then
		local text = tostring(type(message.error) == "table" and message.error.message or nil);
		-- To whom it answers nothing, it says why, and closes the connection.
		if not self.greeted then self.rejection = text; return; end
		module:log("error", "The daemon could not read a question: %s", text);
		return;
	end
	if self.owed[id] then
		self:no_longer_owed(id);
		if self.owed_count == 0 then self.unwritten = 0; end
	end
	-- Whoever waited goes on inside of settle(), and may ask again or even close the connection.
	local question = self.waiting[id]; -- nil: the answer is late
	if question then self:settle(question, wire.outcome_of(message)); end
	if c == self.conn then self:pump(); end
end

function Client:handle_line(c, line)
	local message = wire.decode(line);
	if not message then
		module:log("error", "The daemon sent a line that isn't JSON; bytes: %d", #line);
		self:hang_up(c, "it sent a line that isn't JSON");
		return;
	end
	self.missed = 0;
	if self.stalled and self.greeted then
		self.stalled = false;
		self:report_back();
		self.with.missed();
	end
	if type(message.method) == "string" then
		self:asked(c, message);
	else
		self:answered(c, message);
	end
end

function Client:incoming(c, data)
	local from = 1;
	while c == self.conn do
		local newline = data:find("\n", from, true);
		local piece_end = newline and newline - 1 or #data;
		local bytes = self.chunk_bytes + piece_end - from + 1;
		if bytes > max_answer_bytes then
			module:log("error", "The daemon sent a line of more than %d bytes", max_answer_bytes);
			self:hang_up(c, "it sent a line that is too long");
			return;
		end
		self.chunks[#self.chunks + 1] = data:sub(from, piece_end);
		self.chunk_bytes = bytes;
		if not newline then return; end
		local line = table.concat(self.chunks);
		self.chunks, self.chunk_bytes, from = {}, 0, newline + 1;
		self:handle_line(c, line);
	end
end

-- What net.server calls of the connection.
function Client:listener_of()
	local listener = {};

	function listener.onconnect(c)
		if c ~= self.conn or not self.outbox then return; end
		local lines = table.concat(self.outbox);
		self.outbox = nil;
		if lines ~= "" and not c:write(lines) and c == self.conn then self:hang_up(c, "write failed"); end
	end

	-- Without this an idle connection is closed after some minutes.
	function listener.onreadtimeout() return true; end

	function listener.onincoming(c, data) self:incoming(c, data); end

	function listener.ondrain(c)
		if c ~= self.conn then return; end
		self.unwritten = 0;
		self:pump();
		if self.notification_dropped and c == self.conn then
			self.notification_dropped = false;
			self.with.missed();
		end
	end

	function listener.ondisconnect(c, err)
		if c ~= self.conn then return; end
		-- The process at the other end is gone: the next one deserves its chance.
		self.stalled = false;
		local why = err and err ~= "closed" and tostring(err) or "it closed the connection";
		if not self.greeted and not self.rejection then
			why = why .. " before it answered session.hello (if that stays so, its --server-user doesn't name Prosody's user)";
		end
		self:disconnected(why);
	end

	return listener;
end

function Client:close()
	if self.closed then return; end
	self.closed = true;
	stop_timer(self.retry);
	self.retry = nil;
	local c, unanswered = self.conn, self.waiting;
	self:forget_connection();
	self.waiting = {};
	self:empty_queue();
	self:fail_all(unanswered, "lost");
	if c then c:close(); end
end

-- with:
--   socket()                  the path of the daemon's socket
--   hello()                   params of session.hello, in as many pieces as need a line of their own
--   greeted(result)           hello was answered
--   refused(failure)          hello was refused
--   answer(method, params, reply)  what the daemon asks: a result, or nil and an error; or nothing, and reply(result, err) later
--   away(why), back()         the daemon stopped answering, or answers again: each called once in a row; away() once more when
--                             the daemon gives a reason that it has not given yet
--   missed()                  notifications were dropped
local function new(with)
	local self = setmetatable({
		with = with, closed = false, stalled = false, pause = first_pause, swept_at = 0, last_id = 0;
		waiting = {};         -- id → question that somebody waits for
		queued_bytes = 0;
	}, Client);
	self:forget_connection();
	self:empty_queue();
	self.listener = self:listener_of();

	local client = {};
	self.public = client;

	-- Asks a question; callback(result) or callback(nil, failure), at once or later, exactly once.
	--
	-- options: timeout in seconds; again: may be asked once more when the connection is lost.
	-- A failure has either the daemon's code, message, denial, sasl and stanza, or a reason: "away" (not asked),
	-- "lost" and "timeout" (asked, outcome unknown), "busy", "too-long", "not-text" (not asked).
	function client.request(...) return self:request(...); end

	-- Tells the daemon something. What is told while it is away is dropped: after each hello it hears it all.
	function client.notify(...) self:notify(...); end

	-- Says hello again on the open connection, or connects.
	function client.declare()
		if self.closed then return; end
		if self.conn then self:hello(); else self:connect(); end
	end

	-- Drops the connection for a new one, to another socket say.
	function client.reconnect()
		if self.conn then self:hang_up(self.conn, "the configuration has changed"); end
	end

	function client.close() self:close(); end

	function client.connected()
		return self.conn ~= nil and self.greeted and not self.stalled;
	end

	return client;
end

return { new = new };
