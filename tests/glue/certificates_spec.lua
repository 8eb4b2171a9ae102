local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local library = load_library("certificates");

-- As much of a stanza as the parser touches.
local function element(name, children)
	local self = { name = name, tags = {} };
	local text;
	for _, child in ipairs(children or {}) do
		if type(child) == "string" then text = (text or "") .. child; else self.tags[#self.tags + 1] = child; end
	end
	function self.childtags(_, wanted)
		local i = 0;
		return function ()
			repeat i = i + 1; until not self.tags[i] or self.tags[i].name == wanted;
			return self.tags[i];
		end;
	end
	function self.get_child(_, wanted) return self:childtags(wanted)(); end
	function self.get_text() return text; end
	return self;
end

local function append(...) return element("append", { ... }); end
local name, cert = element("name", { "phone" }), element("x509cert", { "MII\n B\t" });

describe("an append", function ()
	it("is a name, a certificate without white space, and whether it may manage", function ()
		assert.same({ name = "phone", certificate = "MIIB", may_manage = true }, library.parse_append(append(name, cert)));
		assert.is_false(library.parse_append(append(name, cert, element("no-cert-management"))).may_manage);
	end);

	for what, request in pairs({
		["without a name"] = append(cert);
		["without a certificate"] = append(name);
		["with two names"] = append(name, name, cert);
		["with two certificates"] = append(name, cert, cert);
		["with an empty name"] = append(element("name", { "  " }), cert);
		["with an empty certificate"] = append(name, element("x509cert", { " \n" }));
		["with elements in the name"] = append(element("name", { element("b") }), cert);
	}) do
		it(what .. " is a bad request", function ()
			local details, condition, text = library.parse_append(request);
			assert.is_nil(details);
			assert.equal("bad-request", condition);
			assert.is_string(text);
		end);
	end

	it("of more than the daemon reads is refused here", function ()
		assert.is_table(library.parse_append(append(name, element("x509cert", { ("A"):rep(24 * 1024) .. (" "):rep(5000) }))));
		assert.equal("not-acceptable", (select(2, library.parse_append(append(name, element("x509cert", { ("A"):rep(24 * 1024 + 1) }))))));
		assert.equal("not-acceptable", (select(2, library.parse_append(append(element("name", { ("a"):rep(5000) }), cert)))));
	end);
end);

describe("the stanza error of a failure", function ()
	it("is the daemon's", function ()
		assert.same({ "cancel", "conflict", "Taken" }, { library.words({ stanza = { type = "cancel", condition = "conflict" }, message = "Taken" }) });
	end);

	it("says wait when nobody answered, and whether the change may have been made", function ()
		for _, reason in ipairs({ "away", "busy", "lost", "timeout" }) do
			local kind, condition = library.words({ reason = reason });
			assert.same({ "wait", "remote-server-timeout" }, { kind, condition });
		end
		assert.truthy((select(3, library.words({ reason = "lost" }))):find("may have been carried out"));
	end);

	it("is never what can't be an element", function ()
		assert.equal("remote-server-timeout", (select(2, library.words({ stanza = { type = "cancel", condition = "<x/>" } }))));
		assert.equal("remote-server-timeout", (select(2, library.words({ stanza = { type = "what", condition = "conflict" } }))));
	end);
end);
