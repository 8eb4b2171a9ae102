local load_library, null = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

-- What certificates.lib.lua does for it.
local certificates = { code_tag = function (code) return code and "code " .. code or nil; end };
-- And sasl.lib.lua.
local sasl = {
	chain_of_peer = function (session, leaf_only) return { session.presented, not leaf_only and "more" or nil }; end;
};
local prosody, api = {}, {};
local library = load_library("adhoc", nil, { ["util.dataforms"] = { new = function (layout) return layout; end } },
	{ prosody = prosody, module = {
		require = function (_, name) return name == "certificates" and certificates or name == "sasl" and sasl or load_library(name); end;
		shared = function () return api; end;
	} });

local node = library.node;

-- As much of util.stanza's form as the command reads.
local function form_of(fields, kind)
	local function children(list)
		return function ()
			local i = 0;
			return function () i = i + 1; return list[i]; end
		end;
	end
	local tags = {};
	for i, field in ipairs(fields) do
		local values = {};
		for j = 2, #field do
			values[j - 1] = { get_text = function () return field[j] ~= "" and field[j] or nil; end };
		end
		tags[i] = { attr = { var = field[1] }, childtags = children(values) };
	end
	return { attr = { type = kind or "submit" }, childtags = children(tags) };
end

-- As much of Prosody as the command touches.
local function new_world()
	local world = { asked = {}, closed = {}, made = {} };
	local session = {
		type = "c2s", username = "hamlet", host = "shakespeare.lit", full_jid = "hamlet@shakespeare.lit/desk", secure = true;
		send = function (stanza) world.sent = stanza; end;
	};
	world.session, world.sessions = session, { [session.full_jid] = session };
	local hooks = {};
	world.hooks = hooks;
	api.change = function (method, params)
		world.asked[#world.asked + 1] = { method = method, params = params };
		if world.failure then return nil, world.failure; end
		return world.answer;
	end;
	api.close = function (closings) world.closed[#world.closed + 1] = closings; end;
	prosody.full_sessions = world.sessions;
	function certificates.question_of(_, origin, make)
		world.made[#world.made + 1] = make;
		if world.unreadable then return nil, { message = "can't be read" }; end
		return { account = origin.username .. "@" .. origin.host };
	end
	local host = { name = "shakespeare.lit", withdrawn = function () return world.withdrawn or false; end };
	library.add_host(host, { hook = function (_, event, handler, priority) hooks[event] = { run = handler, priority = priority }; end });
	world.command = library.command(host, function (name, at, handler, permission)
		return { name = name, node = at, handler = handler, permission = permission };
	end);
	world.answer = { status = "completed", notes = {}, actions = {}, close = {} };
	function world.step(action, form, state, from)
		return world.command:handler({ action = action, form = form, from = from or session.full_jid }, state);
	end
	return world;
end

describe("what was filled in", function ()
	it("is all values of each field, the first time that it comes", function ()
		local form = form_of({ { "name", "phone" }, { "cert", "MI", "", "IB" }, { "name", "late" }, { "none" } });
		assert.same({ name = { "phone" }, cert = { "MI", "", "IB" }, none = {} }, library.values_of(form));
		assert.is_nil(library.values_of(nil));
	end);

	local function sent_of(...) return library.values_of(form_of({ { "cert", ... }, { "name", "phone" } })); end

	it("ends behind the first line of a private key, of whatever kind, in a line of its own or not", function ()
		for _, label in ipairs({ "PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK" }) do
			local first = "-----BEGIN " .. label .. "-----";
			for _, pasted in ipairs({ { first, "SECRET" }, { first .. "SECRET" }, { first .. "\nSECRET\n", "SECRET" } }) do
				assert.same({ cert = { first }, name = { "phone" } }, sent_of(table.unpack(pasted)));
			end
			assert.same({ "-----BEGIN CERTIFICATE-----", "MI", "-----END CERTIFICATE-----", " " .. first },
				sent_of("-----BEGIN CERTIFICATE-----", "MI", "-----END CERTIFICATE-----", " " .. first .. " SECRET", "SECRET").cert);
		end
	end);

	it("is whole where there is no private key", function ()
		for _, line in ipairs({ "-----BEGIN CERTIFICATE-----", "BEGIN PRIVATE KEY", "-----END PRIVATE KEY-----", "-----BEGIN private KEY-----" }) do
			assert.same({ line, "MI" }, sent_of(line, "MI").cert);
		end
	end);
end);

describe("the command", function ()
	local world;
	before_each(function () world = new_world(); end);

	it("is for local users, at the node of mod_client_certs", function ()
		assert.equal("local_user", world.command.permission);
		assert.equal("http://prosody.im/protocol/certs", world.command.node);
	end);

	it("hands each step on as it comes, with where it is", function ()
		world.answer.step = "menu";
		local _, state = world.step("execute");
		assert.equal("menu", state);
		world.step("complete", form_of({ { "name", "phone" } }), state);
		assert.same({
			{ account = "hamlet@shakespeare.lit", presented = null, step = null, action = "execute", fields = null },
			{ account = "hamlet@shakespeare.lit", presented = null, step = "menu", action = "complete", fields = { name = { "phone" } } },
		}, { world.asked[1].params, world.asked[2].params });
		assert.equal("command.step", world.asked[1].method);
	end);

	it("has an incarnation made only for a form that was filled in", function ()
		world.step("execute");
		world.step("prev", nil, "add");
		world.step("complete", form_of({}), "add");
		assert.same({ false, false, true }, world.made);
	end);

	it("takes no state that is not its own", function ()
		for _, state in ipairs({ {}, 1, true }) do
			world.step("complete", form_of({}), state);
			assert.equal(null, world.asked[#world.asked].params.step);
		end
	end);

	it("hands on the certificate that the connection presents now, unless the session has logged in with one", function ()
		world.session.presented = "MIIB";
		world.step("execute");
		world.session.saslcert = { key_id = "own" };
		world.step("execute");
		assert.same({ "MIIB", null }, { world.asked[1].params.presented, world.asked[2].params.presented });
	end);

	it("paints whatever form it is given", function ()
		world.answer = {
			status = "executing", step = "x", notes = {}, actions = { "prev", "complete" }, default = "complete", close = {};
			form = { title = "T", instructions = "I", fields = {
				{ name = "FORM_TYPE", type = "hidden", required = false, value = "x", options = {} },
				{ name = "b", type = "boolean", label = "B", required = false, value = true, options = {} },
				{ name = "c", type = "list-single", label = "C", required = true, options = { { label = "one", value = "1" } } },
			} };
		};
		local reply = world.step("next", form_of({}), "menu");
		assert.same({
			status = "executing", actions = { "prev", "complete", default = "complete" };
			form = {
				title = "T", instructions = "I";
				{ name = "FORM_TYPE", type = "hidden", required = false, value = "x", options = {} };
				{ name = "b", type = "boolean", label = "B", required = false, value = true, options = {} };
				{ name = "c", type = "list-single", label = "C", required = true, options = { { label = "one", value = "1" } } };
			};
		}, reply);
	end);

	it("shows notes, and a form at the end as a result", function ()
		world.answer.denial = "too-many-links";
		world.answer.notes = { { type = "info", text = "done" }, { type = "warn", text = "but" }, { type = "error", text = "no" } };
		world.answer.form = { title = "L", fields = {} };
		assert.same({
			status = "completed", info = "done", warn = "but", error = { message = "no" }, other = "code too-many-links", result = { title = "L" };
		}, (world.step("next", form_of({}), "menu")));
	end);

	it("turns the daemon's error into one of the stanza", function ()
		world.answer = { status = "error", error = { type = "modify", condition = "bad-request", command = "bad-sessionid", text = "over" } };
		local reply = world.step("complete", form_of({}), "executing");
		assert.same({ type = "modify", condition = "bad-request", text = "over", extra = { tag = "bad-sessionid" } }, reply.error);
		assert.equal("error", reply.status);
	end);

	it("closes what was revoked before it answers", function ()
		world.answer.close = { { account = "hamlet@shakespeare.lit", key_id = "k" } };
		world.step("complete", form_of({}), "revoke");
		assert.same({ { { account = "hamlet@shakespeare.lit", key_id = "k" } } }, world.closed);
	end);

	it("says so when the daemon can't be asked, or the account's data can't be read", function ()
		world.failure = { message = "away" };
		assert.same({ status = "completed", error = { message = "away" }, other = "code remote-server-timeout" }, (world.step("execute")));
		world.unreadable = true;
		assert.same({ status = "completed", error = { message = "can't be read" }, other = "code remote-server-timeout" }, (world.step("execute")));
		assert.equal(1, #world.asked);
	end);

	it("hands on the code of a refusal", function ()
		world.failure = { code = -32000, denial = "no-list", message = "No lists", stanza = { type = "cancel", condition = "not-allowed" } };
		assert.same({ status = "completed", error = { message = "No lists" }, other = "code no-list" }, (world.step("execute")));
	end);

	it("is given up without the daemon", function ()
		assert.same({ status = "canceled" }, (world.step("cancel", nil, "menu")));
		assert.same({ status = "canceled" }, (world.step("complete", form_of({}, "cancel"), "menu")));
		assert.same({}, world.asked);
	end);

	it("asks nothing for a session that is not one of this host's users", function ()
		world.sessions["hamlet@denmark.lit/desk"] = { type = "c2s", username = "hamlet", host = "denmark.lit" };
		world.sessions["gateway.lit/x"] = { type = "component", username = "hamlet", host = "shakespeare.lit" };
		for _, from in ipairs({ "hamlet@denmark.lit/desk", "gateway.lit/x", "hamlet@shakespeare.lit", "nobody@shakespeare.lit/x" }) do
			for _, state in ipairs({ "menu", "revoke" }) do
				local reply = world.step("complete", form_of({}), state, from);
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

	it("does nothing while it is withdrawn", function ()
		world.withdrawn = true;
		assert.equal("service-unavailable", world.step("execute").error.condition);
		assert.equal("service-unavailable", world.step("complete", form_of({}), "revoke").error.condition);
		assert.same({}, world.asked);
	end);
end);
