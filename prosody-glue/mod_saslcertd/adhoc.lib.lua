-- Ad-hoc commands (XEP-0050): users whose client doesn't know XEP-0257 manage their certificates with forms. Names of
-- fields and forms are those of mod_client_certs.
--
-- It must not decide: each form becomes the question that a client with XEP-0257 would cause (certificates.lib.lua).

local node = "http://prosody.im/protocol/certs";
local xmlns_commands = "http://jabber.org/protocol/commands";
-- RFC 5280, 4.1.2.5: 9999-12-31 23:59:59 says that there is no end.
local no_end = 253402300799;

local several_certificates = "There is more than one certificate in it: paste only your own, and only one at a time";
local no_certificate = "This is no certificate: neither PEM (BEGIN CERTIFICATE) nor its base64";

-- The base64, without white space, of the only certificate in what somebody pasted: PEM with any text around it, or bare
-- base64. Of a private key no more than its first line, and of what begins with a byte order mark no more than that: the daemon
-- says what it means. Returns nil and what is wrong if there is none, or more than one.
local function certificate_in(text, max_base64)
	local body, last = nil, 0;
	while true do
		local first, label;
		first, last, label = text:find("%-%-%-%-%-BEGIN ([%u%d ]+)%-%-%-%-%-", last + 1);
		if not first then break; end
		if label:find("PRIVATE KEY", 1, true) then return text:sub(first, last); end
		if label == "CERTIFICATE" or label == "X509 CERTIFICATE" then
			if body then return nil, several_certificates; end
			local end_first, end_last = text:find("-----END " .. label .. "-----", last + 1, true);
			if not end_first then return nil, "The end of the certificate is missing"; end
			body, last = text:sub(last + 1, end_first - 1), end_last;
		end
	end
	local base64 = (body or text):gsub("%s+", "");
	if base64:sub(1, 3) == "\239\187\191" then return "\239\187\191"; end
	if base64:find("^[%w+/]+=+[%w+/]") then return nil, several_certificates; end
	if not base64:find("^[%w+/]+=*$") then return nil, no_certificate; end
	if #base64 > max_base64 then
		return nil, ("The certificate is longer than %d KiB of base64"):format(max_base64 / 1024);
	end
	return base64;
end

local function readable_time(seconds)
	if type(seconds) ~= "number" or seconds ~= seconds then return "unknown"; end
	if seconds >= no_end then return "never"; end
	return os.date("!%Y-%m-%d %H:%M UTC", math.floor(math.max(seconds, -no_end)));
end

-- What a person wants to know of a record. texts: what is shown of it; name_of: the shown name of each fingerprint in the list.
local function describe(record, texts, name_of)
	local lines = { ("%s: %s"):format(record.expired and "Expired" or "Expires", readable_time(record.not_after)) };
	local added = type(record.added) == "table" and record.added or {};
	local how = "with a password";
	if added.by == "certificate" then
		local name = added.fingerprint and name_of[added.fingerprint];
		how = name and ('with the certificate "%s"'):format(name) or "with a certificate that is no longer in the list";
	end
	lines[#lines + 1] = ("Added: %s by %s, logged in %s"):format(readable_time(added.at), texts.added_jid or "an administrator", how);
	local use = type(record.last_use) == "table" and record.last_use or nil;
	if use then
		lines[#lines + 1] = ("Last login: %s%s"):format(readable_time(use.at), texts.address and " from " .. texts.address or "");
	else
		lines[#lines + 1] = "Last login: none yet";
	end
	lines[#lines + 1] = "Online: " .. (texts.resources[1] and table.concat(texts.resources, ", ") or "no");
	if record.may_manage == false then lines[#lines + 1] = "May not manage certificates"; end
	return table.concat(lines, "\n");
end

local function quoted(names)
	local list = {};
	for i, name in ipairs(names) do list[i] = ('"%s"'):format(name); end
	return table.concat(list, ", ");
end

-- One name, as it is shown, for each key in the list but this one: a revocation takes every record of its key.
-- Disabled ones too: their sessions may live on.
local function others(records, disabled, own_key_id, shown)
	local names, keys, seen = {}, {}, { [own_key_id] = true };
	for _, list in ipairs({ records, disabled }) do
		for _, record in ipairs(list) do
			if not seen[record.key_id] then
				seen[record.key_id] = true;
				names[#names + 1] = shown(record).name;
				keys[#keys + 1] = record.key_id;
			end
		end
	end
	return names, keys;
end

-- with: certificates (see certificates.lib.lua); words, printable, shown, max_certificate_base64 (of that library);
--   close_revoked(account, key_id); new_form; presented(session) (the base64 of the certificate in its TLS connection, or
--   nil); full_sessions; st
local function new(with)
	local certificates, printable, shown = with.certificates, with.printable, with.shown;

	local function form_type(name)
		return { name = "FORM_TYPE", type = "hidden", value = node .. "#" .. name };
	end

	local name_field = { name = "name", type = "text-single", label = "Name", required = true };
	local manage_field = { name = "manage", type = "boolean", label = "Can manage certificates", value = true };

	local add_form = with.new_form({
		title = "Adding a certificate";
		instructions = "Give the certificate a name, that of the device for example, and paste it as PEM";
		form_type("add"), name_field,
		{ name = "cert", type = "text-multi", label = "Certificate (PEM)", required = true },
		manage_field,
	});

	local add_current_form = with.new_form({
		title = "Adding the certificate of this connection";
		instructions = "Your client has presented a certificate. Give it a name, and log in with it from now on";
		form_type("add-current"), name_field, manage_field,
	});

	-- The fields, or nil and what is wrong.
	local function read(layout, form)
		if not form then return nil, "The form is missing"; end
		local fields, errors = layout:data(form);
		if not errors then return fields; end
		local problems = {};
		for _, field in ipairs(layout) do
			local problem = field.name and errors[field.name];
			if problem then problems[#problems + 1] = ("%s: %s"):format(field.label or field.name, problem); end
		end
		return nil, table.concat(problems, "\n");
	end

	local function failed(text)
		return { status = "completed", error = { message = printable(text) } };
	end

	local function text_of(failure)
		local _, condition, text = with.words(failure);
		return text or condition;
	end

	local function done(text, warnings)
		local warning = type(warnings) == "table" and warnings[1] and table.concat(warnings, "\n") or nil;
		return { status = "completed", info = printable(text), warn = warning and printable(warning) };
	end

	local function refused(kind, condition, text, command_condition)
		local tag = command_condition and with.st.stanza(command_condition, { xmlns = xmlns_commands }) or nil;
		return { status = "error", error = { type = kind, condition = condition, text = text, extra = { tag = tag } } };
	end

	local function ask_for(layout)
		return { status = "executing", form = layout, actions = { "prev", "complete", default = "complete" } };
	end

	local function fetch(host, session)
		local question, failure = certificates.question(host, session);
		if not question then return nil, failure; end
		return certificates.fetch(question);
	end

	-- own_key_id: of the certificate that the asking session logged in with.
	local function change(question, own_key_id, method, details)
		local result, failure = certificates.change(question, method, details);
		-- Whoever reads the answer finds the sessions gone. The asker's own must live to send it; the daemon's next line
		-- closes that.
		if result and method == "certificate.revoke" and result.key_id ~= own_key_id then
			with.close_revoked(question.account, result.key_id);
		end
		return result, failure;
	end

	local function append(host, session, fields, certificate)
		local question, result, failure;
		question, failure = certificates.question(host, session, true);
		if not question then return failed(text_of(failure)); end
		result, failure = certificates.change(question, "certificate.append", {
			name = fields.name;
			certificate = certificate;
			may_manage = fields.manage == true;
		});
		if not result then return failed(text_of(failure)); end
		return done(('Added the certificate "%s". Expires: %s'):format(shown(result).name, readable_time(result.not_after)), result.warnings);
	end

	-- Each sub-command: its label; offered(session), if not everybody is to see it; begin(host, session), the reply that
	-- shows its form or does all there is to do; finish(host, session, form), the reply to the form.
	local subcommands = {};

	subcommands["add"] = {
		label = "Add certificate";
		begin = function () return ask_for(add_form); end;
		finish = function (host, session, form)
			local fields, problem = read(add_form, form);
			if not fields then return failed(problem); end
			local certificate;
			certificate, problem = certificate_in(fields.cert, with.max_certificate_base64);
			if not certificate then return failed(problem); end
			return append(host, session, fields, certificate);
		end;
	};

	local function presents_none()
		return failed("Your client has presented no certificate on this connection that could be added");
	end

	subcommands["add-current"] = {
		label = "Add the certificate that I am using now";
		offered = function (session) return not session.saslcert and with.presented(session) ~= nil; end;
		begin = function (_, session)
			if not with.presented(session) then return presents_none(); end
			return ask_for(add_current_form);
		end;
		finish = function (host, session, form)
			local fields, problem = read(add_current_form, form);
			if not fields then return failed(problem); end
			local certificate = with.presented(session);
			if not certificate then return presents_none(); end
			return append(host, session, fields, certificate);
		end;
	};

	subcommands["list"] = {
		label = "List certificates";
		begin = function (host, session)
			local records, failure = fetch(host, session);
			if not records then return failed(text_of(failure)); end
			if not records[1] then return done("There are no certificates in your list"); end
			local name_of, layout = {}, { title = "List of certificates" };
			for _, record in ipairs(records) do name_of[record.fingerprint] = shown(record).name; end
			for i, record in ipairs(records) do
				local texts = shown(record);
				layout[i] = {
					name = printable(record.name), type = "text-multi", label = texts.name;
					value = printable(describe(record, texts, name_of));
				};
			end
			return { status = "completed", result = with.new_form(layout) };
		end;
	};

	local function choose_and(method, subcommand, label, title, instructions, past, with_disabled)
		local choice = with.new_form({ { name = "cert", type = "list-single", label = "Certificate", required = true } });
		return {
			label = label;
			begin = function (host, session)
				local fingerprint = session.saslcert and session.saslcert.fingerprint;
				local records, disabled = fetch(host, session);
				if not records then return failed(text_of(disabled)); end
				local options, names = {}, {};
				for i, record in ipairs(records) do
					local name, own = printable(record.name), record.fingerprint == fingerprint and " (the one that you are using now)" or "";
					options[i] = { label = shown(record).name .. own, value = name };
					names[name] = true;
				end
				for _, record in ipairs(with_disabled and disabled or {}) do
					local name = printable(record.name);
					if not names[name] then
						names[name] = true;
						options[#options + 1] = { label = shown(record).name .. " (disabled; sessions may be online)", value = name };
					end
				end
				if not options[1] then return done("There are no certificates in your list"); end
				return ask_for(with.new_form({
					title = title;
					instructions = instructions;
					form_type(subcommand),
					{ name = "cert", type = "list-single", label = "Certificate", required = true, options = options },
				}));
			end;
			finish = function (host, session, form)
				local fields, problem = read(choice, form);
				if not fields then return failed(problem); end
				local own_key_id = session.saslcert and session.saslcert.key_id;
				local question, result, failure;
				question, failure = certificates.question(host, session);
				if question then result, failure = change(question, own_key_id, method, { name = fields.cert }); end
				if not result then return failed(text_of(failure)); end
				local texts = shown(result);
				local removed = texts.removed[1] and texts.removed or { texts.name };
				return done(("%s: %s"):format(past, quoted(removed)));
			end;
		};
	end

	subcommands["disable"] = choose_and("certificate.disable", "disable", "Disable certificate",
		"Disabling a certificate", "Nobody can log in with it any more, until it is added again. Sessions stay", "Disabled");

	subcommands["revoke"] = choose_and("certificate.revoke", "revoke", "Revoke certificate",
		"Revoking a certificate", "For a device that is lost: its sessions are closed, and its key can never be used again", "Revoked", true);

	local function needs_certificate()
		return failed("You did not log in with a certificate, so there is none to keep. Revoke certificates one by one");
	end

	subcommands["revoke-others"] = {
		label = "Revoke all certificates but the one that I am using now";
		offered = function (session) return session.saslcert ~= nil; end;
		begin = function (host, session)
			local tag = session.saslcert;
			if not tag then return needs_certificate(); end
			local records, disabled = fetch(host, session);
			if not records then return failed(text_of(disabled)); end
			local names = others(records, disabled, tag.key_id, shown);
			if not names[1] then return done("There are no other certificates in your list"); end
			return ask_for(with.new_form({
				title = "Revoking all other certificates";
				instructions = ("Their sessions are closed, and their keys can never be used again: %s"):format(printable(quoted(names)));
				form_type("revoke-others"),
			}));
		end;
		finish = function (host, session)
			local tag = session.saslcert;
			if not tag then return needs_certificate(); end
			-- One question for all: once begun it goes on, even if this session ends.
			local question, records, disabled, failure;
			question, failure = certificates.question(host, session);
			if question then
				records, disabled = certificates.fetch(question);
				failure = disabled;
			end
			if not records then return failed(text_of(failure)); end
			local revoked = {};
			local names, keys = others(records, disabled, tag.key_id, shown);
			for i, key_id in ipairs(keys) do
				local result;
				result, failure = change(question, tag.key_id, "certificate.revoke", { key_id = key_id });
				-- Another session may have been faster.
				if not result and failure.denial ~= "name-unknown" then
					local reply = failed(("Not all are revoked. %s"):format(text_of(failure)));
					reply.info = revoked[1] and printable("Revoked: " .. quoted(revoked));
					return reply;
				end
				local removed = shown(result).removed;
				if result and not removed[1] then removed = { names[i] }; end
				for _, name in ipairs(removed) do revoked[#revoked + 1] = name; end
			end
			if not revoked[1] then return done("There are no other certificates in your list"); end
			return done("Revoked: " .. quoted(revoked));
		end;
	};

	local order = { "add", "add-current", "list", "disable", "revoke", "revoke-others" };

	local function menu(session)
		local options = {};
		for _, value in ipairs(order) do
			local subcommand = subcommands[value];
			if not subcommand.offered or subcommand.offered(session) then
				options[#options + 1] = { label = subcommand.label, value = value };
			end
		end
		return with.new_form({
			title = "Certificate management";
			instructions = "What action do you want to perform?";
			form_type("subcmd"),
			{ name = "subcmd", type = "list-single", label = "Actions", required = true, options = options },
		});
	end

	local menu_answer = with.new_form({ { name = "subcmd", type = "list-single", label = "Actions", required = true } });

	-- The session that sent the command; nil if it is not one of this host's users.
	local function asking_session(host, data)
		local session = data.origin or with.full_sessions[data.from]; -- COMPAT 0.12
		if not session or session.type ~= "c2s" or session.host ~= host.name or not session.username then return nil; end
		return session;
	end

	local known_actions = { execute = true, next = true, complete = true, prev = true, cancel = true };

	-- What mod_adhoc calls: the reply, and the state that it hands in with the next step of this command. The state comes
	-- back to whoever knows the command's session id, so it is nothing but where one is: "menu", or a sub-command.
	local function handle(host, data, state)
		if not known_actions[data.action] then
			return refused("modify", "bad-request", "There is no such action", "malformed-action");
		end
		if data.action == "cancel" or data.form and data.form.attr.type == "cancel" then return { status = "canceled" }; end
		local session = asking_session(host, data);
		if not session then return refused("auth", "forbidden", "This is for users of this server only"); end
		if host.withdrawn() then return refused("cancel", "service-unavailable", "Certificates are not managed here"); end

		-- Session ids are common to all commands: with that of another one comes its state.
		if state ~= "menu" and not subcommands[state or ""] then state = nil; end
		if data.action == "prev" or not state and data.action == "execute" then
			return { status = "executing", form = menu(session), actions = { "next", default = "next" } }, "menu";
		elseif not state then
			return refused("modify", "bad-request", "This command has ended, start it again", "bad-sessionid");
		elseif state ~= "menu" then
			return subcommands[state].finish(host, session, data.form);
		end
		local fields, problem = read(menu_answer, data.form);
		if not fields then return failed(problem); end
		local subcommand = subcommands[fields.subcmd];
		if not subcommand then return failed("There is no such action"); end
		local reply = subcommand.begin(host, session);
		return reply, reply.status == "executing" and fields.subcmd or nil;
	end

	local adhoc = {};

	-- new_command: of mod_adhoc's library.
	function adhoc.command(host, new_command)
		return new_command("Manage certificates", node, function (_, data, state)
			return handle(host, data, state);
		end, "local_user");
	end

	function adhoc.add_host(host, module)
		-- COMPAT 0.12: the command doesn't hear who sent it, and a component may be allowed to use any address.
		module:hook("iq-set/host/" .. xmlns_commands .. ":command", function (event)
			local origin, stanza = event.origin, event.stanza;
			if stanza.tags[1].attr.node ~= node or origin.type == "c2s" or host.withdrawn() then return; end
			origin.send(with.st.error_reply(stanza, "auth", "forbidden", "This is for users of this server only"));
			return true;
		end, 510);
	end

	return adhoc;
end

return { new = new, node = node, certificate_in = certificate_in, readable_time = readable_time, describe = describe, others = others };
