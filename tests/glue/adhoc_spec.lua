local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local library = load_library("adhoc");

local node = library.node;
local shown = load_library("certificates").shown;
local max_base64 = 24 * 1024;
local base64 = ("MIIB"):rep(40) .. "AA==";

local function armoured(body, label)
	label = label or "CERTIFICATE";
	return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(label, body, label);
end

describe("what somebody pasted", function ()
	local wrapped = base64:gsub(("."):rep(64), "%0\n");

	for what, text in pairs({
		["bare base64"] = base64;
		["wrapped base64"] = " \t" .. wrapped:gsub("\n", "\r\n") .. "\n\n";
		["PEM"] = armoured(wrapped);
		["PEM with CRLF"] = armoured(wrapped):gsub("\n", "\r\n");
		["PEM whose line breaks became spaces"] = armoured(wrapped):gsub("\n", " ");
		["PEM of an old OpenSSL"] = armoured(wrapped, "X509 CERTIFICATE");
		["PEM with text around it"] = "Certificate:\n    Data: = = +\n" .. armoured(wrapped) .. "subject=CN=-----hamlet-----\n";
		["PEM with other things in armour"] = armoured("AAAA", "EC PARAMETERS") .. armoured(wrapped) .. armoured("AAAA", "PUBLIC KEY");
	}) do
		it("is a certificate: " .. what, function ()
			assert.equal(base64, library.certificate_in(text, max_base64));
		end);
	end

	for what, case in pairs({
		["nothing"] = { "", "neither PEM" };
		["white space"] = { " \n\t", "neither PEM" };
		["words"] = { "to be, or not to be", "neither PEM" };
		["padding alone"] = { "==", "neither PEM" };
		["two in PEM"] = { armoured(wrapped) .. armoured(wrapped), "more than one" };
		["two in PEM of which the first lacks its end"] = { "-----BEGIN CERTIFICATE-----\nMIIB\n" .. armoured(wrapped), "neither PEM" };
		["two in base64"] = { wrapped .. "\n" .. wrapped, "more than one" };
		["a certificate without its end"] = { "-----BEGIN CERTIFICATE-----\n" .. wrapped, "end of the certificate" };
		["a request"] = { armoured(wrapped, "CERTIFICATE REQUEST"), "neither PEM" };
		["an empty armour"] = { armoured(""), "neither PEM" };
		["too much"] = { ("A"):rep(max_base64 + 1), "24 KiB" };
		["too much in PEM"] = { armoured(("A"):rep(max_base64 + 4)), "24 KiB" };
		["bytes that are no text"] = { "MII\0B\255", "neither PEM" };
	}) do
		it("is refused with a reason: " .. what, function ()
			local certificate, problem = library.certificate_in(case[1], max_base64);
			assert.is_nil(certificate);
			assert.truthy(problem:find(case[2], 1, true), problem);
		end);
	end

	for what, case in pairs({
		["a private key"] = { armoured(wrapped, "PRIVATE KEY"), "-----BEGIN PRIVATE KEY-----" };
		["a certificate and its encrypted key"] = {
			armoured(wrapped) .. armoured(wrapped, "ENCRYPTED PRIVATE KEY"), "-----BEGIN ENCRYPTED PRIVATE KEY-----";
		};
		["a byte order mark before base64"] = { " \239\187\191" .. wrapped, "\239\187\191" };
		["a key and its certificate"] = { armoured(wrapped, "EC PRIVATE KEY") .. armoured(wrapped), "-----BEGIN EC PRIVATE KEY-----" };
	}) do
		it("is not sent on, but that it was there: " .. what, function ()
			assert.equal(case[2], library.certificate_in(case[1], max_base64));
		end);
	end

	it("is read in time proportional to its length", function ()
		for _, text in ipairs({
			("-----BEGIN CERTIFICATE-----"):rep(9000);
			("-----BEGIN "):rep(20000);
			("-"):rep(250000);
			"-----BEGIN " .. ("PRIVATE KEY"):rep(20000);
			("="):rep(250000);
			("A="):rep(125000);
		}) do
			local start = os.clock();
			assert.is_nil((library.certificate_in(text, max_base64)));
			assert.is_true(os.clock() - start < 1);
		end
	end);
end);

describe("a time", function ()
	it("is readable, whatever the number", function ()
		assert.equal("2026-01-01 00:00 UTC", library.readable_time(1767225600));
		assert.equal("2026-01-01 00:00 UTC", library.readable_time(1767225600.75));
		assert.equal("never", library.readable_time(253402300799));
		assert.equal("never", library.readable_time(math.huge));
		for _, odd in ipairs({ 0, -1, -1e300, 0 / 0, "soon", {}, false }) do
			assert.is_string(library.readable_time(odd));
		end
		assert.equal("unknown", library.readable_time(nil));
	end);
end);

describe("a record", function ()
	it("is told with all that a person wants to know", function ()
		assert.equal(table.concat({
			"Expires: 2027-01-01 00:00 UTC";
			"Added: 2026-01-01 00:00 UTC by hamlet@shakespeare.lit/desk, logged in with the certificate \"phone\"";
			"Last login: 2026-02-01 00:00 UTC from 192.0.2.7";
			"Online: orchard, balcony";
			"May not manage certificates";
		}, "\n"), library.describe({
			not_after = 1798761600;
			added = { at = 1767225600, by = "certificate", fingerprint = "f", jid = "raw" };
			last_use = { at = 1769904000, address = "raw" };
			resources = { "raw" };
			may_manage = false;
		}, { added_jid = "hamlet@shakespeare.lit/desk", address = "192.0.2.7", resources = { "orchard", "balcony" } }, { f = "phone" }));
	end);

	it("may lack nearly everything", function ()
		assert.equal(
			"Expired: unknown\nAdded: unknown by an administrator, logged in with a password\nLast login: none yet\nOnline: no",
			library.describe({ expired = true }, shown({ name = "raw" }), {})
		);
	end);
end);

describe("the others", function ()
	it("are one of each key, less those of one's own", function ()
		local records = {
			{ name = "phone", key_id = "a" }, { name = "mine", key_id = "b" }, { name = "my old one", key_id = "b" },
			{ name = "phone, renewed", key_id = "a" }, { name = "tablet", key_id = "c" },
		};
		local function as_it_is(record) return record; end
		assert.same({ "phone", "tablet" }, (library.others(records, {}, "b", as_it_is)));
		local names, keys = library.others(records, { { name = "lost", key_id = "d" }, { name = "gone", key_id = "a" } }, "b", as_it_is);
		assert.same({ { "phone", "tablet", "lost" }, { "a", "c", "d" } }, { names, keys });
		assert.same({}, (library.others({ records[2] }, {}, "b", as_it_is)));
	end);
end);

-- As much of Prosody as the command touches.
local function new_world()
	local world = { asked = {}, closed = {}, replies = {} };
	local session = {
		type = "c2s", username = "hamlet", host = "shakespeare.lit", full_jid = "hamlet@shakespeare.lit/desk", secure = true;
		send = function (stanza) world.sent = stanza; end;
	};
	world.session, world.sessions = session, { [session.full_jid] = session };
	local hooks = {};
	world.hooks = hooks;
	local adhoc = library.new({
		certificates = {
			question = function (_, origin) return { account = origin.username .. "@" .. origin.host }; end;
			fetch = function ()
				for _, record in ipairs(world.records or {}) do record.shown = record.shown or { name = record.name }; end
				return world.records or {}, {};
			end;
			change = function (question, method, details)
				world.asked[#world.asked + 1] = { account = question.account, method = method, details = details };
				local name = details.name or details.key_id; -- they are the same here
				local reply = world.replies[name];
				if type(reply) == "string" then return nil, { denial = reply, message = reply }; end
				return reply or { name = "raw", key_id = name, removed = { "raw" }, shown = { name = name, removed = { name } } };
			end;
		};
		words = function (failure) return "cancel", "conflict", failure.message; end;
		printable = function (text) return text; end;
		shown = shown;
		max_certificate_base64 = max_base64;
		close_revoked = function (_, key_id) world.closed[#world.closed + 1] = key_id; end;
		new_form = function (layout)
			function layout.data(_, form) return form.fields; end
			return layout;
		end;
		presented = function (origin) return origin.presented; end;
		full_sessions = world.sessions;
		st = {
			stanza = function (name) return name; end;
			error_reply = function (_, kind, condition) return { kind = kind, condition = condition }; end;
		};
	});
	local host = { name = "shakespeare.lit", withdrawn = function () return world.withdrawn or false; end };
	adhoc.add_host(host, { hook = function (_, event, handler, priority) hooks[event] = { run = handler, priority = priority }; end });
	local command = adhoc.command(host, function (name, at, handler, permission)
		return { name = name, node = at, handler = handler, permission = permission };
	end);
	world.command = command;
	function world.step(action, fields, state, from)
		local form = fields and { attr = { type = "submit" }, fields = fields } or nil;
		return command:handler({ action = action, form = form, from = from or session.full_jid }, state);
	end
	return world;
end

describe("the command", function ()
	local world;
	before_each(function () world = new_world(); end);

	it("is for local users, at the node of mod_client_certs", function ()
		assert.equal("local_user", world.command.permission);
		assert.equal("http://prosody.im/protocol/certs", world.command.node);
	end);

	it("keeps nothing but where one is between its steps", function ()
		local reply, state = world.step("execute");
		assert.same({ "executing", "menu" }, { reply.status, state });
		reply, state = world.step("next", { subcmd = "add" }, state);
		assert.same({ "executing", "add", node .. "#add" }, { reply.status, state, reply.form[1].value });
		reply, state = world.step("complete", { name = "phone", cert = base64, manage = true }, state);
		assert.same({ "completed", nil }, { reply.status, state });
		assert.same({
			{ account = "hamlet@shakespeare.lit", method = "certificate.append", details = { name = "phone", certificate = base64, may_manage = true } },
		}, world.asked);
	end);

	it("asks nothing for a session that is not one of this host's users", function ()
		world.sessions["hamlet@denmark.lit/desk"] = { type = "c2s", username = "hamlet", host = "denmark.lit" };
		world.sessions["gateway.lit/x"] = { type = "component", username = "hamlet", host = "shakespeare.lit" };
		for _, from in ipairs({ "hamlet@denmark.lit/desk", "gateway.lit/x", "hamlet@shakespeare.lit", "nobody@shakespeare.lit/x" }) do
			for _, state in ipairs({ "menu", "revoke" }) do
				local reply = world.step("complete", { subcmd = "list", cert = "phone" }, state, from);
				assert.same({ "error", "forbidden" }, { reply.status, reply.error.condition });
			end
		end
		assert.same({}, world.asked);
	end);

	it("looks at who really sent it, not at what the stanza says", function ()
		local hook = world.hooks["iq-set/host/http://jabber.org/protocol/commands:command"];
		assert.is_true(hook.priority > 500); -- mod_adhoc's
		local function sent_by(kind, at)
			world.sent = nil;
			local origin = { type = kind, send = world.session.send };
			return hook.run({ origin = origin, stanza = { tags = { { attr = { node = at } } } } });
		end
		assert.is_nil(sent_by("c2s", node));
		assert.is_nil(sent_by("component", "another"));
		assert.is_true(sent_by("component", node));
		assert.equal("forbidden", world.sent.condition);
		world.withdrawn = true;
		assert.is_nil(sent_by("component", node));
	end);

	it("takes no state that is not its own", function ()
		for _, state in ipairs({ "executing", {}, 1, "__index", true }) do
			local reply = world.step("complete", { subcmd = "list" }, state);
			assert.same({ "error", "bad-sessionid" }, { reply.status, reply.error.extra.tag });
			assert.equal("menu", (select(2, world.step("execute", nil, state))));
		end
	end);

	it("does nothing while it is withdrawn", function ()
		world.withdrawn = true;
		assert.equal("service-unavailable", world.step("execute").error.condition);
		assert.equal("service-unavailable", world.step("complete", { cert = "phone" }, "revoke").error.condition);
		assert.same({}, world.asked);
	end);

	it("offers what the session can use", function ()
		local function offered()
			local reply, values = world.step("execute"), {};
			for i, option in ipairs(reply.form[2].options) do values[i] = option.value; end
			return table.concat(values, " ");
		end
		assert.equal("add list disable revoke", offered());
		world.session.presented = base64;
		assert.equal("add add-current list disable revoke", offered());
		world.session.saslcert = { key_id = "own", fingerprint = "f" };
		assert.equal("add list disable revoke revoke-others", offered());
	end);

	it("adds the certificate that is presented when the form comes, not an earlier one", function ()
		world.session.presented = "earlier";
		local _, state = world.step("next", { subcmd = "add-current" }, "menu");
		world.session.presented = "now";
		world.step("complete", { name = "phone" }, state);
		assert.same({ name = "phone", certificate = "now", may_manage = false }, world.asked[1].details);
		world.session.presented = nil;
		assert.is_table(world.step("complete", { name = "phone" }, state).error);
		assert.equal(1, #world.asked);
	end);

	it("closes what it has revoked before it answers, less the asker's own sessions", function ()
		world.session.saslcert = { key_id = "own", fingerprint = "f" };
		world.step("complete", { cert = "phone" }, "revoke");
		world.step("complete", { cert = "own" }, "revoke");
		world.step("complete", { cert = "tablet" }, "disable");
		assert.same({ "phone" }, world.closed);
	end);
end);

describe("a name that can't be seen", function ()
	it("is shown as the daemon writes it, and stays what a form answers", function ()
		local world = new_world();
		world.records = { { name = "a\226\128\174b", key_id = "k", fingerprint = "f", shown = { name = [[a\u{202e}b]] } } };
		local list = world.step("next", { subcmd = "list" }, "menu").result[1];
		assert.same({ "a\226\128\174b", [[a\u{202e}b]] }, { list.name, list.label });
		local form = world.step("next", { subcmd = "revoke" }, "menu").form;
		assert.same({ { label = [[a\u{202e}b]], value = "a\226\128\174b" } }, form[2].options);
	end);
end);

describe("revoking all but this one", function ()
	local world;
	before_each(function ()
		world = new_world();
		world.session.saslcert = { key_id = "own", fingerprint = "f" };
		world.records = {
			{ name = "a", key_id = "a" }, { name = "mine", key_id = "own" }, { name = "b", key_id = "b" }, { name = "c", key_id = "c" },
		};
	end);
	local function finish() return world.step("complete", {}, "revoke-others"); end

	it("asks for each of the others", function ()
		assert.same({ status = "completed", info = 'Revoked: "a", "b", "c"' }, finish());
		assert.same({ "a", "b", "c" }, world.closed);
	end);

	it("goes on past one that somebody else has just removed", function ()
		world.replies.b = "name-unknown";
		assert.equal('Revoked: "a", "c"', finish().info);
	end);

	it("stops at a refusal, and says what is done and what is not", function ()
		world.replies.b = "management-forbidden";
		local reply = finish();
		assert.equal('Revoked: "a"', reply.info);
		assert.equal("Not all are revoked. management-forbidden", reply.error.message);
		assert.equal(2, #world.asked);
	end);

	it("goes on when the session ends in the middle", function ()
		world.replies.a = setmetatable({}, { __index = function (_, key)
			-- What Prosody does to a session that has ended.
			for name in pairs(world.session) do world.session[name] = nil; end
			return ({ key_id = "a", shown = { name = "a", removed = { "a" } } })[key];
		end });
		finish();
		assert.equal(3, #world.asked);
	end);

	it("is nothing for a session that logged in with a password", function ()
		world.session.saslcert = nil;
		assert.is_table(finish().error);
		assert.is_table(world.step("next", { subcmd = "revoke-others" }, "menu").error);
		assert.same({}, world.asked);
	end);
end);
