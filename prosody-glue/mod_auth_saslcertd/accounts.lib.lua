-- Prosody's accounts, when they live in the daemon: what its usermanager wants of an authentication provider, but for logging in. The
-- daemon's answers are remembered for a while: Prosody asks several times for each message whether a user exists, and not always
-- where it could wait for an answer.
--
-- It must not decide: the daemon says what a password may be, and who may create an account. It never keeps a password.

local new_cache = require "util.cache".new;
local null = require "util.json".null;
local now = require "util.time".now;

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

-- How long what was heard is sure. A missing account may be created right now.
local exists_seconds, missing_seconds = 5 * 60, 5;
local max_known = 100000;
local list_timeout = 10; -- of all accounts, page by page
local exists_timeout = 2; -- two such questions are asked for a message to somebody who is offline
-- All of Prosody stands still while it waits this long. A daemon that did not answer in time isn't asked that way again for a while.
local blocking_seconds, blocking_pause = 0.3, 5;
-- A command in Prosody 13's shell runs where nobody can wait, and the admin wants it done.
local blocking_change_seconds = 2;

-- By username: the daemon's answer, when it came (at), and in which epoch. Those of the epochs before are not sure.
local known, epoch = new_cache(max_known), 0;
-- An answer that was overtaken by a change is not kept.
local changes = 0;

local function forget(username) changes = changes + 1; known:set(username, nil); end

-- Nothing is sure any more.
local function expire() changes, epoch = changes + 1, epoch + 1; end

-- The facts that are sure, or nil; and whether there was such an account when that was last heard.
local function remembered(username)
	local facts = known:get(username);
	if not facts then return nil, false; end
	local age = now() - facts.at;
	local is_sure = facts.epoch == epoch and age >= 0 and age < (facts.exists and exists_seconds or missing_seconds);
	return is_sure and facts or nil, facts.exists;
end

-- When a question was left unanswered on which everything waited.
local silent_at = -math.huge;

local function ask_exists(username)
	local params = { account = username .. "@" .. host };
	if api.can_wait() then
		return api.ask("account.exists", params, { timeout = math.min(api.timeout(), exists_timeout), again = true });
	end
	-- The clock may have been set back.
	if math.abs(now() - silent_at) < blocking_pause then return nil, { reason = "away" }; end
	local result, failure = api.ask_blocking("account.exists", params, blocking_seconds);
	if not result and not failure.code then silent_at = now(); end
	return result, failure;
end

-- Was it said in the log that nobody knows who exists?
local has_complained = false;

-- The facts about an account, or nil and the failure. The daemon is not asked for facts that are sure already.
local function facts_of(username)
	local sure = remembered(username);
	if sure then return sure; end
	local changes_before = changes;
	local facts, failure = ask_exists(username);
	if not facts then return nil, failure; end
	has_complained = false;
	facts.at, facts.epoch = now(), epoch;
	if changes == changes_before then known:set(username, facts); end
	return facts;
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
	forget(username);
	if not result then
		module:log("info", "%s of %s failed: %s", method, username, failure.denial or failure.message or failure.reason);
		-- It may have been done: then nobody else tells us.
		if failure.code == nil or failure.code == -32001 then api.check(); end
		return nil, api.failures.text_of(failure, true), failure;
	end
	if result.password_changed then api.password_is_of(params.account, result.password_changed); end
	return result;
end

local provider = { name = "saslcertd" };

-- True when the daemon can't be asked and nothing is known. A "no" would bounce the message to somebody who is offline,
-- keep it out of the archive, or drop a change of a roster. "Yes" to a stranger's name costs a file that is nobody's (but
-- that of who registers the name next: he finds a stranger's messages); nobody logs in by it.
function provider.user_exists(username)
	if type(username) ~= "string" or username == "" then return nil, "No such account"; end
	local sure, existed = remembered(username);
	if not sure and existed and not api.can_wait() then return true; end
	local facts, failure = facts_of(username);
	if facts and not facts.exists then return nil, "No such account"; end
	if not facts and not existed and not has_complained then
		has_complained = true;
		module:log("warn", "Whether %s exists can't be asked: %s. Until saslcertd answers again, every name counts as an account",
			username, failure.message or failure.reason);
	end
	return true;
end

-- Never of what was known before the daemon went away: tokens of Prosody's own get people in by it.
function provider.get_account_info(username)
	local facts, failure = facts_of(username);
	if not facts then return nil, api.failures.text_of(failure); end
	if not facts.exists then return nil, "No such account"; end
	return { created = facts.created, password_updated = facts.password_changed, enabled = facts.enabled };
end

function provider.is_enabled(username)
	local info, err = provider.get_account_info(username);
	return info and info.enabled, err;
end

function provider.test_password(username, password)
	local result, failure = api.ask("account.verify", { account = username .. "@" .. host, password = password, address = null });
	return result and true, failure and api.failures.text_of(failure);
end

function provider.users()
	local names, params = {}, { host = host, after = null };
	repeat
		local result, failure = api.ask("account.list", params, { timeout = math.max(api.timeout(), list_timeout), again = true });
		-- The caller is about to iterate: nil would only be a less readable error, and no users at all a lie.
		if not result then error(api.failures.text_of(failure), 0); end
		for _, account in ipairs(result.accounts) do names[#names + 1] = account.username; end
		params.after = result.next;
	until not params.after;
	local i = 0;
	return function () i = i + 1; return names[i]; end;
end

-- The acts that a thread has begun and not ended yet: a creation, or a registration that an invitation allows to reset the password, for
-- which mod_register_ibr creates an account, too. The name is reserved for it (token), and the daemon knows for what.
local begun = setmetatable({}, { __mode = "k" });

-- Takes out the act that this thread has begun with the name.
local function take(username)
	local own = begun[coroutine.running()];
	begun[coroutine.running()] = nil;
	return own and own.username == username and own or {};
end

-- Keeps others from creating an account of this name, until this thread has; caller: of account.create. True; or nil, a text and the failure.
local function reserve(username, caller)
	local thread = coroutine.running();
	local own = begun[thread];
	if own and own.username == username and own.token then return true; end
	begun[thread] = nil;
	local result, err, failure = change(username, "account.create", { password = null, caller = caller });
	if not result then return nil, err, failure; end
	begun[thread] = { username = username, token = result.reservation };
	return true;
end

-- In the second step of a creation it's the new account's.
function provider.set_password(username, password)
	local token = take(username).token;
	-- None is an empty one, which the daemon refuses: without a password it would reserve the name again.
	local params = { password = password or "", reservation = token, caller = token and "server" };
	local result, err = change(username, token and "account.create" or "account.set_password", params);
	return result and true, err;
end

-- Without a password only the name is reserved: Prosody 13 sets the password in another step.
function provider.create_user(username, password)
	if password == nil then return reserve(username, "server"); end
	local token = take(username).token;
	local caller = prosody.process_type == "prosodyctl" and "prosodyctl" or "server";
	local result, err = change(username, "account.create", { password = password, reservation = token, caller = caller });
	if not result then return nil, err; end
	if token and not result.created then
		prosody.events.fire_event("user-password-changed", { username = username, host = host });
	end
	return true;
end

for name, method in pairs({ delete_user = "account.delete", enable = "account.enable", disable = "account.disable" }) do
	provider[name] = function (username)
		-- A name that was only reserved is given back.
		local result, err = change(username, method, { reservation = take(username).token });
		return result and true, err;
	end;
end

-- May the registration go on? Of two who ask for the same name, one hears of it here: Prosody has no word for who comes too late
-- after that.
local function registering(event)
	local username, thread = event.username, coroutine.running();
	begun[thread] = nil;
	if event.allowed == false then return; end
	local ok, _, failure = reserve(username, event.allow_reset == username and "reset" or "server");
	if ok then return; end
	local why = api.failures.stanza_error(failure, "Accounts can't be created at the moment");
	event.allowed, event.error_type, event.error_condition, event.reason = false, why.type, why.condition, why.text;
end

return { provider = provider, forget = forget, expire = expire, registering = registering };
