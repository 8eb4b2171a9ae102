-- The one connection to the daemon: questions and their answers, ids, deadlines, reconnecting, and the questions that the daemon asks.
-- docs/protocol.md is its reference.
--
-- It must not know what is asked.

local server = require "net.server";
local now = require "util.time".monotonic;
local timer = require "util.timer";

local wire = module:require "wire";

local max_answer_bytes = 4 * 1024 * 1024;
-- The daemon counts every question of a connection in flight, those that nobody waits for any more too.
local max_in_flight = 128;
-- Questions that wait, written or not.
local max_waiting, max_waiting_bytes = 1024 + max_in_flight, 24 * 1024 * 1024;
-- Written, but not yet taken by the kernel: what a frozen daemon may cost in memory.
local max_unwritten_bytes = 1024 * 1024;

local first_pause, longest_pause, hello_timeout = 0.5, 2, 5;
-- So many deadlines without a single line from the daemon, and it isn't asked any more.
local max_missed = 3;
-- Deadlines are looked at so often while something waits. Prosody's timers wait as long as there is something to read: on a busy server
-- the questions look, too.
local look_interval = 0.125;
-- So many questions the daemon may have asked that are not answered yet.
local max_late_answers = 256;

local Client = {};
Client.__index = Client;

-- Forgets what goes with a connection. Returns the questions that wait, by id.
function Client:let_go()
	local questions = self.waiting;
	self.conn = nil;
	self.is_open = false;         -- does it take lines? net.server_event wants that to be waited for
	self.greeted = false;
	self.rejection = nil;         -- what it heard instead of an answer to hello
	self.chunks, self.chunk_bytes = {}, 0;
	self.waiting = {};            -- id → question that somebody waits for
	self.owed = 0;                -- questions that were written and not answered
	self.unwritten, self.notification_dropped = 0, false; -- bytes that net.server holds
	self.heard, self.missed = (self.heard or 0) + 1, 0; -- lines and connections so far; deadlines since the last of them
	self.late = 0;                -- answers that the daemon's questions still wait for
	return questions;
end

-- in_its_words: they are the daemon's, which replace a guess. is_refusal: of a hello.
function Client:report_away(why, in_its_words, is_refusal)
	if self.is_away and (not in_its_words or why == self.given) then return; end
	self.is_away, self.given = true, in_its_words and why or self.given;
	self.with.away(why, is_refusal);
end

function Client:report_back()
	if self.is_away == false then return; end
	self.is_away, self.given = false, nil;
	self.with.back(self.software);
end

function Client:settle(question, result, failure)
	local callback, line = question.callback, question.line or "";
	if not callback then return; end
	self.waiting[question.id], question.callback, question.line = nil, nil, nil;
	self.waiting_count, self.waiting_bytes = self.waiting_count - 1, self.waiting_bytes - #line;
	self.with.ended(question.method, now() - question.asked_at, result, failure);
	-- An error of the asker must not stop the clock of the others.
	local ok, err = pcall(callback, result, failure);
	if not ok then module:log("error", "The answer to %s could not be used: %s", question.method, err); end
end

function Client:fail(questions)
	for _, question in pairs(questions) do self:settle(question, nil, { reason = question.written and "lost" or "away" }); end
end

function Client:write(line)
	local c, rest = self.conn, line;
	local socket = self.unwritten == 0 and c:socket();
	if socket then
		-- net.server would want a timer and a turn of its loop for each line.
		local sent, _, last = socket:send(line);
		rest = line:sub((sent or last or 0) + 1);
	end
	self.unwritten = self.unwritten + #rest;
	if rest ~= "" and not c:write(rest) then self:hang_up(c, "write failed"); end
end

function Client:ask(question)
	self.owed, question.written = self.owed + 1, true;
	self:write(question.line);
end

function Client:pump()
	while self.is_open and self.next_id <= self.last_id and self.owed < max_in_flight and self.unwritten < max_unwritten_bytes do
		local question = self.waiting[self.next_id]; -- nil: it was given up
		self.next_id = self.next_id + 1;
		if question and not question.written then self:ask(question); end
	end
end

function Client:try_later()
	if self.retry then return; end
	self.retry = timer.add_task(self.pause, function () self.retry = nil; self:connect(); end);
	self.pause = math.min(self.pause * 2, longest_pause);
end

function Client:disconnected(why, is_refusal)
	local rejection, lost = self.rejection, {};
	for id, question in pairs(self:let_go()) do
		-- Asked once more, in the same order, behind the hello of the new connection. A change isn't repeated: nobody
		-- knows whether it was done.
		if (question.again or not question.written) and not question.repeated and not self.stalled then
			question.repeated, question.written = true, false;
			self.waiting[id], self.next_id = question, math.min(self.next_id, id);
		else
			lost[id] = question;
		end
	end
	if not next(self.waiting) or not self:connect() then
		self:report_away(rejection or why, rejection ~= nil or is_refusal, is_refusal);
		self:try_later();
		self:fail(self:let_go());
	end
	self:fail(lost);
end

function Client:hang_up(c, why, is_refusal)
	if not c or c ~= self.conn then return; end
	-- Our own disconnect handler must find another connection than this one.
	self.conn = nil;
	c:close();
	self:disconnected(why, is_refusal);
end

function Client:stall()
	self.stalled = true;
	self:report_away("it does not answer");
	local unwritten = {};
	for id, question in pairs(self.waiting) do unwritten[id] = not question.written and question or nil; end
	self:fail(unwritten);
	-- A daemon that lives answers at once. Else there is a new connection after the deadline: perhaps only the old one hangs.
	self:hello();
end

function Client:look_at_deadlines()
	local overdue, time = {}, wire.uptime();
	self.looked_at = now();
	for _, question in pairs(self.waiting) do
		if question.deadline <= time then overdue[#overdue + 1] = question; end
	end
	for _, question in ipairs(overdue) do
		-- Unless one before has settled it, or the daemon has said something since it was asked.
		if question.callback and question.heard == self.heard and not question.is_hello then self.missed = self.missed + 1; end
		self:settle(question, nil, { reason = "timeout" });
	end
	if self.missed >= max_missed and not self.stalled then self:stall(); end
end

function Client:hello()
	if not self.is_open then return; end
	local c, pieces, number, all = self.conn, self.with.hello(), (self.hellos or 0) + 1, { hosts = {}, log = {} };
	local unanswered = #pieces; self.hellos = number;
	local function heard(result, failure)
		-- Answers may overtake each other: the last hello counts.
		if c ~= self.conn or number ~= self.hellos then return; end
		if not result and failure.reason == "timeout" then return self:hang_up(c, "it does not answer session.hello"); end
		if not result then return self:hang_up(c, failure.message or failure.reason, true); end
		for name, list in pairs(all) do
			for _, value in ipairs(result[name] or {}) do list[#list + 1] = value; end
		end
		unanswered = unanswered - 1;
		if unanswered > 0 then return; end
		self.greeted, self.stalled, self.pause, self.software = true, false, first_pause, result.software;
		all.registration = result.registration;
		-- A question that nobody waits for any more may never be answered.
		self.owed = 0;
		for _, question in pairs(self.waiting) do if question.written then self.owed = self.owed + 1; end end
		self:report_back();
		self.with.greeted(all);
	end
	for _, params in ipairs(pieces) do
		if c == self.conn then self:request("session.hello", params, { timeout = hello_timeout, is_hello = true }, heard); end
	end
end

function Client:connect()
	if self.conn or self.closed then return not self.closed; end
	local socket, err = wire.open(self.with.socket(), 0);
	if socket then self.conn, err = server.wrapclient(socket, nil, nil, self.listener, "*a"); end
	if self.conn then return true; end
	-- The server may have no room for one more connection, and say so in no words.
	self:report_away(type(err) == "string" and err or "Prosody takes no more connections");
	self:try_later();
	return false;
end

function Client:request(method, params, options, callback)
	if not options.overtakes and not options.is_hello then self.with.tell(); end
	local id, asked_at = self.last_id + 1, now();
	self.last_id = id;
	local line, problem = wire.line_of({ id = id, method = method, params = params });
	if line and not options.is_hello then
		if asked_at >= self.looked_at + look_interval then self:look_at_deadlines(); end
		if self.waiting_count >= max_waiting or self.waiting_bytes >= max_waiting_bytes then problem = "busy"; end
		if not self:connect() or self.stalled then problem = "away"; end
	end
	local question = {
		id = id, method = method, line = line, callback = callback, again = options.again, is_hello = options.is_hello;
		asked_at = asked_at, deadline = wire.uptime() + options.timeout, heard = self.heard;
	};
	self.waiting_count, self.waiting_bytes = self.waiting_count + 1, self.waiting_bytes + #(line or "");
	if problem then return self:settle(question, nil, { reason = problem }); end
	-- Others may have asked since it got its id.
	self.waiting[id], self.next_id = question, math.min(self.next_id, id);
	self.tick = self.tick or timer.add_task(look_interval, function ()
		self:look_at_deadlines();
		if next(self.waiting) then return look_interval; end
		self.tick = nil;
	end);
	if options.is_hello then self:ask(question); else self:pump(); end
end

function Client:notify(method, params)
	local line = self.is_open and not self.stalled and wire.line_of({ method = method, params = params });
	if not line then return; end
	if self.unwritten < max_unwritten_bytes then return self:write(line); end
	self.notification_dropped = true;
end

-- The daemon asks.
function Client:asked(c, message)
	local answered = false;
	local function reply(result, err)
		self.with.tell();
		if answered or c ~= self.conn then return; end
		answered = true;
		self.late = self.late - 1;
		if message.id == nil then return; end
		local line = wire.line_of({ id = message.id, result = result, error = not result and err or nil });
		self:write(line or wire.line_of({ id = message.id, error = { code = -32001, message = "The answer is too long" } }));
	end
	self.late = self.late + 1;
	if self.late > max_late_answers then return reply(nil, { code = -32001, message = "Too many questions wait for an answer" }); end
	local ok, result, err = pcall(self.with.answer, message.method, message.params, reply);
	if not ok then
		module:log("error", "Answering %s failed: %s", message.method, result);
		result, err = nil, { code = -32001, message = "The question could not be answered" };
	end
	if result or err then reply(result, err); end
end

-- The daemon answers.
function Client:answered(c, message)
	self.owed = math.max(self.owed - 1, 0);
	if message.id == nil then
		local text = tostring(type(message.error) == "table" and message.error.message);
		-- To whom it answers nothing, it says why, and closes the connection.
		if not self.greeted then self.rejection = text; return; end
		module:log("error", "The daemon could not read a question: %s", text);
	end
	local question = self.waiting[message.id or 0]; -- nil: the answer is late
	-- Prosody may have been stopped, and its timers with it. What the daemon has said may be so no longer.
	if question and question.deadline <= wire.uptime() then self:look_at_deadlines(); end
	-- The asker goes on inside of it, and may ask again or even close the connection.
	if question then self:settle(question, wire.outcome_of(message)); end
	if c == self.conn then self:pump(); end
end

function Client:handle_line(c, line)
	local message = wire.decode(line);
	if not message then
		module:log("error", "The daemon sent a line that isn't JSON; bytes: %d", #line);
		return self:hang_up(c, "it sent a line that isn't JSON");
	end
	self.heard, self.missed = self.heard + 1, 0;
	if self.stalled and self.greeted then
		self.stalled = false;
		self:report_back();
		self.with.missed();
	end
	if c ~= self.conn then return; end
	if type(message.method) == "string" then self:asked(c, message); else self:answered(c, message); end
end

function Client:incoming(c, data)
	local from = 1;
	while c == self.conn do
		local newline = data:find("\n", from, true);
		local piece = data:sub(from, newline and newline - 1);
		self.chunks[#self.chunks + 1] = piece;
		self.chunk_bytes = self.chunk_bytes + #piece;
		if self.chunk_bytes > max_answer_bytes then
			module:log("error", "The daemon sent a line of more than %d bytes", max_answer_bytes);
			return self:hang_up(c, "it sent a line that is too long");
		end
		if not newline then return; end
		local line = table.concat(self.chunks);
		self.chunks, self.chunk_bytes, from = {}, 0, newline + 1;
		self:handle_line(c, line);
	end
end

-- The callbacks of the connection for net.server.
local function listener_of(self)
	return {
		onconnect = function (c)
			if c ~= self.conn or self.is_open then return; end
			self.is_open = true;
			self:hello();
			self:pump();
		end;
		-- Without this an idle connection is closed after some minutes.
		onreadtimeout = function () return true; end;
		onincoming = function (c, data) self:incoming(c, data); end;
		ondrain = function (c)
			if c ~= self.conn then return; end
			self.unwritten = 0;
			self:pump();
			if not self.notification_dropped then return; end
			self.notification_dropped = false;
			self.with.missed();
		end;
		ondisconnect = function (c, err)
			if c ~= self.conn then return; end
			-- The process at the other end is gone: the next one deserves its chance.
			self.stalled = false;
			local why = err and err ~= "closed" and tostring(err) or "it closed the connection";
			if not self.greeted and not self.rejection then
				why = why .. " before it answered session.hello (if that stays so, its --server-user doesn't name Prosody's user)";
			end
			self:disconnected(why);
		end;
	};
end

-- with:
--   socket()               the path of the daemon's socket
--   hello()                params of session.hello, in as many pieces as need a line of their own
--   greeted(result)        hello was answered: hosts and log of all pieces, registration
--   answer(method, params, reply)  what the daemon asks: a result, or nil and an error; or nothing, and reply(result, err) later
--   away(why, is_refusal)  it stopped answering, or refused hello: once in a row, and once more for each new reason that the daemon gives
--   back(software)         it answers again: once in a row
--   missed()               notifications were dropped
--   tell()                 notifies of what the line that comes next may depend on
--   ended(method, seconds, result, failure)  a question came to its end
local function new(with)
	local self = setmetatable({
		with = with, pause = first_pause, looked_at = 0, last_id = 0, waiting_count = 0, waiting_bytes = 0;
		next_id = 1; -- those before were written, or given up
	}, Client);
	self:let_go();
	self.listener = listener_of(self);
	return {
		-- Asks a question; callback(result) or callback(nil, failure), at once or later, exactly once.
		--
		-- options: timeout in seconds; again: may be asked once more when the connection is lost; overtakes: rests on nothing that is to be told.
		-- A failure has either the daemon's code, message, denial, sasl and stanza, or a reason: "away" (not asked),
		-- "lost" and "timeout" (asked, outcome unknown), "busy", "too-long", "not-text" (not asked).
		request = function (...) self:request(...); end;
		-- Tells the daemon something. Notices are dropped while it is away: after each hello it hears it all.
		notify = function (...) self:notify(...); end;
		-- Says hello again on the open connection, or connects.
		declare = function () if self.conn then self:hello(); else self:connect(); end end;
		-- Drops the connection for a new one, to another socket say.
		reconnect = function () self:hang_up(self.conn, "the configuration has changed"); end;
		close = function ()
			local c = self.conn;
			self.closed = true;
			self:fail(self:let_go());
			if c then c:close(); end
		end;
	};
end

return { new = new };
