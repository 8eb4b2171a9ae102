local load_library, null = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local library = load_library("certificates", nil, nil, { module = { shared = function () end } });

-- As much of a stanza as is read.
local function element(name, children)
	local self = { name = name, tags = {} };
	local text;
	for _, child in ipairs(children or {}) do
		if type(child) == "string" then text = (text or "") .. child; else self.tags[#self.tags + 1] = child; end
	end
	function self.childtags()
		local i = 0;
		return function ()
			i = i + 1;
			return self.tags[i];
		end;
	end
	function self.get_text() return text; end
	return self;
end

describe("what a client asks for", function ()
	it("is handed on as it came: the texts of its children, and which of them are none", function ()
		local request = element("append", {
			element("name", { "phone" }), element("name", { element("b") }), element("x509cert", { "MII\n B" }), element("no-cert-management"),
		});
		assert.same({ name = { "phone", null }, x509cert = { "MII\n B" }, ["no-cert-management"] = { "" } }, library.children_of(request));
		assert.same({}, library.children_of(element("revoke")));
	end);
end);

describe("a change", function ()
	local sent, asked, closed, answer, failure;
	local host = { name = "shakespeare.lit", in_daemon = function () return true; end };
	local origin = { username = "hamlet", secure = true, send = function (stanza) sent = stanza; end };
	local api = {
		change = function (method, params)
			asked = { method, params.account, params.element, params.children };
			return answer, failure;
		end;
		close = function (closings) closed = { closings, sent }; end;
	};
	local certificates = load_library("certificates", nil, { ["util.json"] = { null = null, encode = function (value) return value; end }, ["util.stanza"] = {
		stanza = function (name, attr) return { text = function (_, text) return { name, attr.xmlns, text }; end }; end;
		reply = function () return "done"; end;
		error_reply = function (_, why) return why; end;
	} }, { module = { shared = function () return api; end } });
	local function change(request) return certificates.change(host, origin, { tags = { request } }); end

	it("is the daemon's, and the client has its answer before the sessions are closed", function ()
		answer, failure = { close = { "a session" } }, nil;
		assert.is_true(change(element("revoke", { element("name", { "phone" }) })));
		assert.same({ "certificate.request", "hamlet@shakespeare.lit", "revoke", { name = { "phone" } } }, asked);
		assert.same({ { "a session" }, "done" }, closed);
	end);

	it("that is refused is refused in the daemon's words", function ()
		local stanza = { type = "cancel", condition = "conflict" };
		answer, failure, closed = nil, { code = -32000, denial = "name-taken", stanza = stanza, message = "Taken" }, nil;
		assert.is_true(change(element("append")));
		local tag = { "json", "urn:xmpp:json:0", { denial = "name-taken" } };
		assert.same({ type = "cancel", condition = "conflict", text = "Taken", extra = { tag = tag } }, sent);
		assert.is_nil(closed);
		-- Nothing was decided.
		failure = { reason = "away" };
		assert.is_true(change(element("append")));
		assert.same({ "remote-server-timeout", {} }, { sent.condition, sent.extra });
	end);
end);
