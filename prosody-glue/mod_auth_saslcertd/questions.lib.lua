-- A question that lets somebody in, and what a client hears of a no, or of no answer.
--
-- It must not decide.

local null = require "util.json".null;

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

-- May the session log in, or begin, as this user? A yes tags it before anything else waits: the daemon's next line may say that the
-- account is gone. Returns the answer; or nil and the failure.
local function admit(session, method, username, params)
	params.account, params.address = username .. "@" .. host, session.ip or null;
	local result, failure = api.ask(method, params);
	if not result then return nil, failure; end
	if session.destroyed then return nil, { reason = "gone" }; end
	session.saslcert_account = params.account;
	-- By these the daemon knows whether the login still holds.
	session.saslcert_login = { incarnation = result.incarnation, password_changed = result.password_changed };
	return result;
end

-- A stanza error: the daemon's no is in its words, and what could not be asked is told in these.
local function stanza_error(failure, could_not_ask)
	local stanza = failure.stanza or { type = "wait", condition = "remote-server-timeout" };
	return { type = stanza.type, condition = stanza.condition, text = failure.code == -32000 and failure.message or could_not_ask };
end

return { admit = admit, stanza_error = stanza_error };
