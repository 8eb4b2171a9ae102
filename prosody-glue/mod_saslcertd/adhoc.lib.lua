-- Ad-hoc commands (XEP-0050): users whose client doesn't know XEP-0257 manage their certificates with forms.
--
-- It must not know a form, a field or a step: it hands the client's entries to the daemon, and paints the form of the answer.

local array = require "util.array";
local new_form = require "util.dataforms".new;
local null = require "util.json".null;
local st = require "util.stanza";

local certificates = module:require "certificates";
local stanza_error = module:require "failures".stanza_error;
local chain_of_peer = module:require "sasl".chain_of_peer;

-- Outlives reloads of this module.
local api = module:shared("/*/saslcertd/api");

local node = "http://prosody.im/protocol/certs";
local xmlns_commands = "http://jabber.org/protocol/commands";

-- The text up to the first line of a private key, and whether there is one. The key itself is nobody's business but its user's: it
-- goes no further than this, and the daemon sees by that line what was pasted, and says so.
local function without_private_key(text)
	for label, behind in text:gmatch("%-%-%-%-%-BEGIN ([%u%d ]+)%-%-%-%-%-()") do
		if label:find("PRIVATE KEY", 1, true) then return text:sub(1, behind - 1), true; end
	end
	return text, false;
end

-- The values of each field of a form, which are its lines if it is a text, by its name; nil if there is no form.
local function values_of(form)
	if not form then return nil; end
	local fields = {};
	for field in form:childtags("field") do
		local name, lines = field.attr.var, array();
		for value in field:childtags("value") do
			local line, has_key = without_private_key(value:get_text() or "");
			lines[#lines + 1] = line;
			if has_key then break; end
		end
		if name then fields[name] = fields[name] or lines; end
	end
	return fields;
end

local function refused(err)
	local tag = err.command and st.stanza(err.command, { xmlns = xmlns_commands }) or nil;
	return { status = "error", error = { type = err.type, condition = err.condition, text = err.text, extra = { tag = tag } } };
end

-- The daemon's answer as mod_adhoc wants it, and the state that comes back with the next step.
local function reply_of(answer)
	if answer.error then return refused(answer.error); end
	local reply, form, goes_on = { status = answer.status }, answer.form, answer.status == "executing";
	reply.other = certificates.code_tag(answer.denial);
	for _, note in ipairs(answer.notes) do reply[note.type] = note.type == "error" and { message = note.text } or note.text; end
	if form then
		form.fields.title, form.fields.instructions = form.title, form.instructions;
		reply[goes_on and "form" or "result"] = new_form(form.fields);
	end
	if goes_on then
		reply.actions = answer.actions;
		reply.actions.default = answer.default;
	end
	return reply, answer.step;
end

local function step(host, session, data, state)
	-- A form that was filled in may add a certificate, and only an account with an incarnation has any.
	local question, failure = certificates.question_of(host, session, state ~= nil and data.form ~= nil);
	local result;
	if question then
		-- The certificate in its TLS connection.
		question.presented = not session.saslcert and chain_of_peer(session, true)[1] or null;
		question.step = type(state) == "string" and state or null;
		question.action = data.action;
		question.fields = values_of(data.form) or null;
		result, failure = api.change("command.step", question);
	end
	if not result then
		local why = stanza_error(failure);
		return { status = "completed", error = { message = why.text or why.condition }, other = certificates.code_tag(failure.denial or why.condition) };
	end
	-- A user who reads the answer finds the sessions gone.
	api.close(result.close);
	return reply_of(result);
end

-- mod_adhoc calls this. Returns the reply, and the state that it hands in with the next step. Session ids are common to all commands:
-- with that of another one comes its state, and the daemon tells ours from others'.
local function handle(host, data, state)
	if data.action == "cancel" or data.form and data.form.attr.type == "cancel" then return { status = "canceled" }; end
	local session = data.origin or prosody.full_sessions[data.from]; -- COMPAT 0.12
	local is_user = session and session.type == "c2s" and session.host == host.name and session.username;
	if not is_user then return refused({ type = "auth", condition = "forbidden" }); end
	if host.withdrawn() then return refused({ type = "cancel", condition = "service-unavailable" }); end
	return step(host, session, data, state);
end

-- new_command: of mod_adhoc's library.
local function command(host, new_command)
	return new_command("Manage certificates", node, function (_, data, state) return handle(host, data, state); end, "local_user");
end

local function add_host(host, module)
	-- COMPAT 0.12: the command doesn't hear who sent it, and a component may be allowed to use any address.
	module:hook("iq-set/host/" .. xmlns_commands .. ":command", function (event)
		local origin, stanza = event.origin, event.stanza;
		if stanza.tags[1].attr.node ~= node or origin.type == "c2s" or host.withdrawn() then return; end
		origin.send(st.error_reply(stanza, "auth", "forbidden"));
		return true;
	end, 510);
end

return { command = command, add_host = add_host, node = node, values_of = values_of };
