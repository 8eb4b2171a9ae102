-- No session begins without the daemon's yes. A password and a certificate have got theirs when they were checked; about whatever
-- else has logged a client in (a token, legacy authentication, another module) the daemon is asked before the client binds a
-- resource or resumes a session.
--
-- It must not decide.

local xmlns_sm = { "urn:xmpp:sm:2", "urn:xmpp:sm:3" };

local could_not_ask = "The account can't be checked at the moment";

-- with: ask(method, params, options); timeout(); nodeprep; st; null
local function new(host, with)
	local admission = {};
	local st = with.st;

	-- True, or nil and the failure.
	local function require_yes(session, username, mechanism)
		local account = username .. "@" .. host;
		if session.saslcert_account == account or session.saslcert and session.saslcert.account == account then return true; end
		local result, failure = with.ask("account.admit", {
			account = account;
			mechanism = mechanism or with.null;
			address = session.ip or with.null;
		}, { timeout = with.timeout(), again = true });
		if session.destroyed then return nil, { reason = "gone" }; end
		if not result then
			session.log("info", "No session of %s begins: %s", account, failure.denial or failure.message or failure.reason);
			return nil, failure;
		end
		-- The tag comes first: the daemon's next line may say that the account is gone.
		session.saslcert_account = account;
		session.saslcert_login = { incarnation = result.incarnation, password_changed = result.password_changed };
		return true;
	end

	local function text_of(failure) return failure.code == -32000 and failure.message or could_not_ask; end

	local function stanza_error(failure)
		local stanza = failure.stanza or { type = "wait", condition = "remote-server-timeout" };
		return { type = stanza.type, condition = stanza.condition, text = text_of(failure) };
	end

	-- Before mod_sasl2 makes the session an authenticated one.
	local function before_success(module, event)
		local session = event.session;
		local handler = session.sasl_handler;
		local username = handler and handler.username and with.nodeprep(handler.username);
		if not username then return; end
		local admitted, failure = require_yes(session, username, handler.selected);
		if admitted then return; end
		if not session.destroyed then
			module:fire_event("sasl2/c2s/failure", {
				session = session;
				message = failure.sasl or "temporary-auth-failure";
				error_text = text_of(failure);
			});
		end
		return true;
	end

	local function before_bind(event)
		local session = event.session;
		local admitted, failure = require_yes(session, session.username, session.saslcert_mechanism);
		if admitted then return; end
		event.error = stanza_error(failure);
		return false;
	end

	local function before_resumption(xmlns, session)
		if session.type ~= "c2s_unbound" or not session.username then return; end
		local admitted, failure = require_yes(session, session.username, session.saslcert_mechanism);
		if admitted then return; end
		session.send(st.stanza("failed", { xmlns = xmlns })
			:tag(stanza_error(failure).condition, { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up());
		return true;
	end

	function admission.add_host(module)
		module:hook("sasl2/c2s/success", function (event) return before_success(module, event); end, 1100);
		module:hook("pre-resource-bind", before_bind, 1000);
		for _, xmlns in ipairs(xmlns_sm) do
			module:hook_tag(xmlns, "resume", function (session) return before_resumption(xmlns, session); end, 100);
		end
	end

	return admission;
end

return { new = new };
