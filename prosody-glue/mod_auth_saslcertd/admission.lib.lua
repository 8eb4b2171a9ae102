-- No session begins without the daemon's yes. A password and a certificate have got theirs when they were checked; about whatever
-- else has logged a client in (a token, legacy authentication, another module) the daemon is asked before the client binds a
-- resource or resumes a session.
--
-- It must not decide.

local nodeprep = require "util.encodings".stringprep.nodeprep;
local null = require "util.json".null;
local st = require "util.stanza";

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

local xmlns_sm = { "urn:xmpp:sm:2", "urn:xmpp:sm:3" };

local batch = 100; -- so many accounts lose their tokens at once; then others get their turn

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

-- Nothing when the session may begin; or why not, as a stanza error, and SASL's condition.
local function refusal(session, username, mechanism)
	local account = username .. "@" .. host;
	if session.saslcert_account == account or session.saslcert and session.saslcert.account == account then return nil; end
	local admitted, failure = admit(session, "account.admit", username, { mechanism = mechanism or null });
	if admitted then return nil; end
	session.log("info", "No session of %s begins: %s", account, failure.denial or failure.message or failure.reason);
	local failures = api.failures;
	return failures.stanza_error(failure, failures.unchecked("account")), (failures.sasl_error(failure, "account"));
end

-- Before mod_sasl2 makes the session an authenticated one.
local function before_success(event)
	local session = event.session;
	local handler = session.sasl_handler;
	local username = handler and handler.username and nodeprep(handler.username);
	if not username then return; end
	local why, condition = refusal(session, username, handler.selected);
	if not why then return; end
	if not session.destroyed then
		module:fire_event("sasl2/c2s/failure", { session = session, message = condition, error_text = why.text });
	end
	return true;
end

local function before_bind(event)
	local session = event.session;
	local why = refusal(session, session.username, session.saslcert_mechanism);
	if not why then return; end
	event.error = why;
	return false;
end

local function before_resumption(xmlns, session)
	if session.type ~= "c2s_unbound" or not session.username then return; end
	local why = refusal(session, session.username, session.saslcert_mechanism);
	if not why then return; end
	session.send(st.stanza("failed", { xmlns = xmlns }):tag(why.condition, { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up());
	return true;
end

-- A token would let somebody in whom the daemon has disabled meanwhile.
local function drop_tokens(event)
	local session = event.session;
	session.fast_token_request = nil;
	if session.sasl_handler then session.sasl_handler.rotation_needed = nil; end
end

local function add_hooks()
	module:hook("sasl2/c2s/success", before_success, 1100);
	module:hook("pre-resource-bind", before_bind, 1000);
	for _, xmlns in ipairs(xmlns_sm) do
		module:hook_tag(xmlns, "resume", function (session) return before_resumption(xmlns, session); end, 100);
	end
	-- Before mod_sasl2_fast (75).
	module:hook("sasl2/c2s/success", drop_tokens, 80);
end

-- Removes, little by little, the tokens that clients got before their accounts moved into the daemon (mod_sasl2_fast). None is given
-- out since, so all that are there are old.
local function revoke_tokens()
	local store, names = module:open_store("fast_tokens", "keyval"), {};
	-- Not every kind of storage can name its users; some raise an error.
	local listed, err = pcall(function ()
		for username in store:users() do names[#names + 1] = username; end
	end);
	if not listed then return module:log("debug", "Whose tokens there are can't be listed: %s", err); end
	if not names[1] then return; end
	local revoked, at = 0, 0;
	module:add_timer(0, function ()
		for _ = 1, batch do
			at = at + 1;
			if not names[at] then
				module:log("info", "Revoked tokens that are older than the move into saslcertd; accounts: %d", revoked);
				return nil;
			end
			local ok, why = store:set(names[at], nil);
			revoked = revoked + (ok and 1 or 0);
			if not ok then module:log("error", "The tokens of %s could not be revoked: %s", names[at], why); end
		end
		return 0;
	end);
end

return { admit = admit, add_hooks = add_hooks, revoke_tokens = revoke_tokens };
