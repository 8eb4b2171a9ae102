-- Prosody's accounts, when they live in the daemon: what its usermanager wants of an authentication provider, but for
-- logging in.
--
-- It must not decide: what a password may be and who may create what is the daemon's business. It never keeps a password.

-- The daemon takes less, and says so; what would not fit into a question is refused here.
local max_password_bytes = 32 * 1024;
-- A change waits for the disk of the daemon's machine.
local change_timeout = 10;
-- Two such questions are asked for a message to somebody who is offline.
local exists_timeout = 2;
-- All of Prosody stands still while it waits this long.
local blocking_seconds = 0.3;
-- What an admin does with Prosody 13's shell is done where nobody can wait, and he wants it done.
local blocking_change_seconds = 2;
-- A daemon that did not answer in time isn't asked that way again for so long.
local blocking_pause = 5;
local max_pages = 100000;

-- What an admin, or the user who registers, is told of a failure.
local function text_of(failure)
	if failure.code == -32000 or failure.code == -32602 then return failure.message or "saslcertd refused that"; end
	if failure.code == -32002 then return "saslcertd has refused the options of this host, see the log"; end
	if failure.reason == "lost" or failure.reason == "timeout" then
		return "saslcertd did not answer; it may have been done or not";
	end
	return "saslcertd can't be asked at the moment";
end

-- What is asked of the daemon: learn(username), and change(username, method, params), which also forgets what was known.
local function new_questions(host, with)
	local known = with.known;
	local not_before = 0;
	local questions = {};

	local function ask_exists(username)
		local params = { account = username .. "@" .. host };
		if with.can_wait() then
			return with.ask("account.exists", params, { timeout = math.min(with.timeout(), exists_timeout), again = true });
		end
		local now = with.now();
		if now < not_before and not_before - now <= blocking_pause then return nil, { reason = "away" }; end
		local result, failure = with.ask_blocking("account.exists", params, blocking_seconds);
		if not result and not failure.code then not_before = with.now() + blocking_pause; end
		return result, failure;
	end

	-- What the daemon says, or nil and the failure.
	function questions.learn(username)
		local mark = known.mark();
		local result, failure = ask_exists(username);
		local facts;
		if result then
			facts = {
				exists = result.exists == true;
				enabled = result.enabled == true;
				created = tonumber(result.created);
				password_changed = tonumber(result.password_changed);
			};
		elseif failure.code == -32602 then
			facts = { exists = false }; -- no account can have this name
		else
			return nil, failure;
		end
		questions.complained = false;
		known.remember(username, facts, mark);
		return facts;
	end

	function questions.change(username, method, params)
		params.account = username .. "@" .. host;
		local result, failure;
		if with.can_wait() then
			result, failure = with.ask(method, params, { timeout = math.max(with.timeout(), change_timeout) });
		else
			result, failure = with.ask_blocking(method, params, blocking_change_seconds, host);
		end
		known.forget(username);
		if not result then
			with.log("info", "%s of %s failed: %s", method, username, failure.denial or failure.message or failure.reason);
			-- It may have been done: then nobody else tells us.
			if failure.code == nil or failure.code == -32001 then with.check(); end
			return nil, text_of(failure), failure;
		end
		return result;
	end

	return questions;
end

local function check_password(with, password)
	if type(password) ~= "string" or #password > max_password_bytes or not with.valid_text(password) then
		return nil, "A password must be UTF-8 text of at most 1024 bytes";
	end
	return true;
end

-- Whether there is an account, and what is known of it.
local function add_reading(accounts, with, questions)
	local known = with.known;

	-- True when the daemon can't be asked and nothing is known. Whoever hears "no" bounces the message to somebody who is offline,
	-- doesn't store it in the archive, or drops a change of a roster. "Yes" to a stranger's name costs a file that is nobody's (but
	-- that of who registers the name next: he finds a stranger's messages); nobody logs in by it.
	function accounts.user_exists(username)
		if type(username) ~= "string" or username == "" then return nil, "No such account"; end
		local facts = known.fresh(username);
		if not facts and not with.can_wait() and known.existed(username) then return true; end
		local failure;
		if not facts then facts, failure = questions.learn(username); end
		if facts then
			if facts.exists then return true; end
			return nil, "No such account";
		end
		if not known.existed(username) and not questions.complained then
			questions.complained = true;
			with.log("warn", "Whether %s exists can't be asked: %s. Until saslcertd answers again, every name counts as an account",
				username, failure.message or failure.reason);
		end
		return true;
	end

	-- Could the daemon be asked about this name?
	function accounts.can_ask(username)
		return known.fresh(username) ~= nil or questions.learn(username) ~= nil;
	end

	-- Never of what was known before the daemon went away: tokens of Prosody's own get people in by it.
	local function sure_facts(username)
		local facts, failure = known.fresh(username), nil;
		if not facts then facts, failure = questions.learn(username); end
		if not facts then return nil, text_of(failure); end
		if not facts.exists then return nil, "No such account"; end
		return facts;
	end

	function accounts.get_account_info(username)
		local facts, err = sure_facts(username);
		if not facts then return nil, err; end
		return { created = facts.created, password_updated = facts.password_changed, enabled = facts.enabled };
	end

	function accounts.is_enabled(username)
		local facts, err = sure_facts(username);
		if not facts then return nil, err; end
		return facts.enabled;
	end

end

-- Creating an account, in one step or two, and its password.
local function add_creating(accounts, host, with, questions)
	-- The name that a thread has reserved: it creates the account, or gives the name back.
	local reserved = setmetatable({}, { __mode = "k" });

	-- The reservation of this name by this thread, which is used up by it.
	local function take_reservation(username)
		local own = reserved[with.thread()];
		reserved[with.thread()] = nil;
		return own and own.username == username and own.token or nil;
	end

	-- In the second step of a creation it's the new account's.
	function accounts.set_password(username, password)
		local token = take_reservation(username);
		local ok, err = check_password(with, password);
		if ok and token then
			ok, err = questions.change(username, "account.create", { password = password, reservation = token, caller = "server" });
		elseif ok then
			ok, err = questions.change(username, "account.set_password", { password = password });
		end
		if not ok then return nil, err; end
		with.password_is_of(username .. "@" .. host, ok.password_changed);
		return true;
	end

	-- Keeps others from creating an account of this name, until this thread has. True; or nil, a text and the failure.
	local function reserve(username)
		reserved[with.thread()] = nil;
		local result, err, failure = questions.change(username, "account.create", { password = with.null, caller = "server" });
		if not result then return nil, err, failure; end
		reserved[with.thread()] = { username = username, token = result.reservation };
		return true;
	end
	accounts.reserve = reserve;

	-- Without a password only the name is reserved: Prosody 13 sets the password in another step.
	function accounts.create_user(username, password)
		local own = reserved[with.thread()];
		if password == nil then
			if own and own.username == username then return true; end
			return reserve(username);
		end
		local caller = with.caller(username);
		local token = take_reservation(username);
		local ok, problem = check_password(with, password);
		if not ok then return nil, problem; end
		local result, err = questions.change(username, "account.create", { password = password, reservation = token, caller = caller });
		if not result then return nil, err; end
		with.password_is_of(username .. "@" .. host, result.password_changed);
		if caller == "reset" and result.created == false then with.reset(username); end
		return true;
	end

	function accounts.delete_user(username)
		local ok, err = questions.change(username, "account.delete", { reservation = take_reservation(username) });
		if not ok then return nil, err; end
		return true;
	end

	function accounts.enable(username)
		local ok, err = questions.change(username, "account.enable", {});
		if not ok then return nil, err; end
		return true;
	end

	function accounts.disable(username)
		local ok, err = questions.change(username, "account.disable", {});
		if not ok then return nil, err; end
		return true;
	end

end

-- with:
--   ask(method, params, options)         waits; the result, or nil and the failure (see client.lib.lua)
--   ask_blocking(method, params, seconds, attach)  the same, while the server stands still; attach: the host, for a change
--   can_wait(), timeout(), now(), null, valid_text(string), known (see known.lib.lua)
--   thread()                             what asks first and acts later is one of these
--   caller(username)                     who creates this account: "server", "prosodyctl" or "reset"
--   check()                              asks which live sessions have lost their account
--   password_is_of(account, password_changed)  tells live sessions that they have seen the password change
--   reset(username)                      an existing account got another password in the place of a new account
--   log(level, format, …)
local function new(host, with)
	local accounts, questions = { name = "saslcertd" }, new_questions(host, with);
	add_reading(accounts, with, questions);
	add_creating(accounts, host, with, questions);

	function accounts.test_password(username, password)
		local ok, err = check_password(with, password);
		if not ok then return nil, err; end
		local result, failure = with.ask("account.verify", { account = username .. "@" .. host, password = password, address = with.null },
			{ timeout = with.timeout(), again = true });
		if not result then return nil, text_of(failure); end
		return true;
	end

	function accounts.users()
		local names = {};
		local params = { host = host, after = with.null };
		for _ = 1, max_pages do
			local result, failure = with.ask("account.list", params, { timeout = math.max(with.timeout(), change_timeout), again = true });
			-- The caller is about to iterate: nil would only be a less readable error, and no users at all a lie.
			if not result then error(text_of(failure), 0); end
			for _, account in ipairs(type(result.accounts) == "table" and result.accounts or {}) do
				names[#names + 1] = account.username;
			end
			if result.next == nil or result.next == params.after then break; end
			params.after = result.next;
		end
		local i = 0;
		return function ()
			i = i + 1;
			return names[i];
		end;
	end

	return accounts;
end

return { new = new, text_of = text_of };
