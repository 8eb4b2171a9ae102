-- Prosody's accounts, when they live in the daemon: what its usermanager wants of an authentication provider, but for
-- logging in.
--
-- It must not decide: what a password may be and who may create what is the daemon's business. It never keeps a password.

local valid_text = require "util.encodings".utf8.valid;
local null = require "util.json".null;
local now = require "util.time".now;

local known = module:require "known".new();

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

-- The daemon takes less, and says so; what would not fit into a question is refused here.
local max_password_bytes = 32 * 1024;
-- Of all accounts, page by page.
local list_timeout = 10;
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

-- A daemon that left a question unanswered on which everything waited isn't asked that way before this time.
local not_before = 0;

local function ask_exists(username)
	local params = { account = username .. "@" .. host };
	if api.can_wait() then
		return api.ask("account.exists", params, { timeout = math.min(api.timeout(), exists_timeout), again = true });
	end
	local time = now();
	if time < not_before and not_before - time <= blocking_pause then return nil, { reason = "away" }; end
	local result, failure = api.ask_blocking("account.exists", params, blocking_seconds);
	if not result and not failure.code then not_before = now() + blocking_pause; end
	return result, failure;
end

-- Was it said in the log that nobody knows who exists?
local has_complained = false;

-- What the daemon says of an account, or nil and the failure.
local function learn(username)
	local mark = known.mark();
	local result, failure = ask_exists(username);
	-- No account can have this name.
	if not result and failure.code == -32602 then result = { exists = false }; end
	if not result then return nil, failure; end
	local facts = {
		exists = result.exists == true;
		enabled = result.enabled == true;
		created = tonumber(result.created);
		password_changed = tonumber(result.password_changed);
	};
	has_complained = false;
	known.remember(username, facts, mark);
	return facts;
end

-- The same, but of what is sure already nothing is asked.
local function facts_of(username)
	local facts = known.fresh(username);
	if facts then return facts; end
	return learn(username);
end

-- The daemon's answer to a change; or nil, a text and the failure.
local function change(username, method, params)
	params.account = username .. "@" .. host;
	local result, failure;
	if api.can_wait() then
		result, failure = api.change(method, params);
	else
		result, failure = api.ask_blocking(method, params, blocking_change_seconds, host);
	end
	known.forget(username);
	if result then return result; end
	module:log("info", "%s of %s failed: %s", method, username, failure.denial or failure.message or failure.reason);
	-- It may have been done: then nobody else tells us.
	if failure.code == nil or failure.code == -32001 then api.check(); end
	return nil, text_of(failure), failure;
end

local function check_password(password)
	if type(password) ~= "string" or #password > max_password_bytes or not valid_text(password) then
		return nil, "A password must be UTF-8 text of at most 1024 bytes";
	end
	return true;
end

-- Whether there is an account, and what is known of it.
local function add_reading(accounts)
	-- True when the daemon can't be asked and nothing is known. Whoever hears "no" bounces the message to somebody who is offline,
	-- doesn't store it in the archive, or drops a change of a roster. "Yes" to a stranger's name costs a file that is nobody's (but
	-- that of who registers the name next: he finds a stranger's messages); nobody logs in by it.
	function accounts.user_exists(username)
		if type(username) ~= "string" or username == "" then return nil, "No such account"; end
		if not known.fresh(username) and not api.can_wait() and known.existed(username) then return true; end
		local facts, failure = facts_of(username);
		if facts then
			if facts.exists then return true; end
			return nil, "No such account";
		end
		if not known.existed(username) and not has_complained then
			has_complained = true;
			module:log("warn", "Whether %s exists can't be asked: %s. Until saslcertd answers again, every name counts as an account",
				username, failure.message or failure.reason);
		end
		return true;
	end

	-- Never of what was known before the daemon went away: tokens of Prosody's own get people in by it.
	local function sure_facts(username)
		local facts, failure = facts_of(username);
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

	function accounts.test_password(username, password)
		local ok, err = check_password(password);
		if not ok then return nil, err; end
		local result, failure = api.ask("account.verify", { account = username .. "@" .. host, password = password, address = null });
		if not result then return nil, text_of(failure); end
		return true;
	end

	function accounts.users()
		local names = {};
		local params = { host = host, after = null };
		for _ = 1, max_pages do
			local result, failure = api.ask("account.list", params, { timeout = math.max(api.timeout(), list_timeout), again = true });
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
end

-- The name that a thread has reserved: it creates the account, or gives the name back.
local reserved = setmetatable({}, { __mode = "k" });

-- The reservation of this name by this thread, which is used up by it.
local function take_reservation(username)
	local own = reserved[coroutine.running()];
	reserved[coroutine.running()] = nil;
	return own and own.username == username and own.token or nil;
end

-- Keeps others from creating an account of this name, until this thread has. True; or nil, a text and the failure.
local function reserve(username)
	reserved[coroutine.running()] = nil;
	local result, err, failure = change(username, "account.create", { password = null, caller = "server" });
	if not result then return nil, err, failure; end
	reserved[coroutine.running()] = { username = username, token = result.reservation };
	return true;
end

-- Creating an account, in one step or two, its password, and its end.
local function add_changes(accounts, caller)
	-- In the second step of a creation it's the new account's.
	function accounts.set_password(username, password)
		local token = take_reservation(username);
		local ok, err = check_password(password);
		if ok and token then
			ok, err = change(username, "account.create", { password = password, reservation = token, caller = "server" });
		elseif ok then
			ok, err = change(username, "account.set_password", { password = password });
		end
		if not ok then return nil, err; end
		api.password_is_of(username .. "@" .. host, ok.password_changed);
		return true;
	end

	-- Without a password only the name is reserved: Prosody 13 sets the password in another step.
	function accounts.create_user(username, password)
		local own = reserved[coroutine.running()];
		if password == nil then
			if own and own.username == username then return true; end
			return reserve(username);
		end
		local who = caller(username);
		local token = take_reservation(username);
		local ok, problem = check_password(password);
		if not ok then return nil, problem; end
		local result, err = change(username, "account.create", { password = password, reservation = token, caller = who });
		if not result then return nil, err; end
		api.password_is_of(username .. "@" .. host, result.password_changed);
		if who == "reset" and result.created == false then
			prosody.events.fire_event("user-password-changed", { username = username, host = host });
		end
		return true;
	end

	for name, method in pairs({ delete_user = "account.delete", enable = "account.enable", disable = "account.disable" }) do
		accounts[name] = function (username)
			local params = name == "delete_user" and { reservation = take_reservation(username) } or {};
			local ok, err = change(username, method, params);
			if not ok then return nil, err; end
			return true;
		end;
	end
end

-- caller(username): who creates this account: "server", "prosodyctl" or "reset".
-- Returns the provider, and what else of it the module needs.
local function new(caller)
	local accounts = { name = "saslcertd" };
	add_reading(accounts);
	add_changes(accounts, caller);
	return accounts, { known = known, reserve = reserve, can_ask = function (username) return facts_of(username) ~= nil; end };
end

return { new = new, text_of = text_of };
