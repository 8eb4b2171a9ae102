local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local failures = load_library("failures");

local taken = { code = -32000, sasl = "not-authorized", stanza = { type = "cancel", condition = "conflict" }, message = "Taken" };
local full = {
	code = -32001, sasl = "temporary-auth-failure", stanza = { type = "wait", condition = "resource-constraint" }, message = "The disk is full",
};
local garbled = { code = -32602, message = "x is no number" };

describe("a failure", function ()
	it("is told by what became of the question", function ()
		for kind, those in pairs({
			refused = { taken }, fault = { full, garbled }, unsendable = { { reason = "too-long" }, { reason = "not-text" } };
			unanswered = { { reason = "lost" }, { reason = "timeout" } }, away = { { reason = "away" }, { reason = "busy" }, {} };
		}) do
			for _, failure in ipairs(those) do assert.equal(kind, failures.kind_of(failure)); end
		end
	end);
end);

describe("the stanza error of a failure", function ()
	local function words(...)
		local why = failures.stanza_error(...);
		return { why.type, why.condition, why.text };
	end

	it("is the daemon's", function ()
		assert.same({ "cancel", "conflict", "Taken" }, words(taken));
		assert.same({ "wait", "resource-constraint", "The disk is full" }, words(full));
	end);

	it("tells a stranger nothing of what was not decided", function ()
		assert.same({ "cancel", "conflict", "Taken" }, words(taken, "Not now"));
		assert.same({ "wait", "resource-constraint", "Not now" }, words(full, "Not now"));
		assert.same({ "wait", "remote-server-timeout", "Not now" }, words({ reason = "lost" }, "Not now"));
	end);

	it("says wait when nobody answered, and whether the change may have been made", function ()
		for _, reason in ipairs({ "away", "busy", "lost", "timeout" }) do
			local why = words({ reason = reason });
			assert.same({ "wait", "remote-server-timeout" }, { why[1], why[2] });
			assert.equal(reason == "lost" or reason == "timeout", why[3]:find("may have been carried out", 1, true) ~= nil);
		end
	end);

	it("says of what can't be sent that it is to be changed", function ()
		assert.same({ "modify", "not-acceptable", "The request is longer than 128 KiB, or not text" }, words({ reason = "too-long" }));
	end);

	it("is never what can't be an element", function ()
		for _, stanza in ipairs({ { type = "cancel", condition = "<x/>" }, { type = "what", condition = "conflict" }, { type = "cancel" } }) do
			assert.equal("remote-server-timeout", words({ stanza = stanza })[2]);
		end
	end);
end);

describe("SASL's words for a failure", function ()
	local unchecked = { "temporary-auth-failure", "The password can't be checked at the moment" };

	it("are the daemon's if it has decided, and else tell nothing", function ()
		assert.same({ "not-authorized", "Taken" }, { failures.sasl_error(taken, "password") });
		for _, failure in ipairs({ full, garbled, { reason = "timeout" }, {} }) do
			assert.same(unchecked, { failures.sasl_error(failure, "password") });
		end
	end);

	it("are never what can't be an element", function ()
		for _, sasl in ipairs({ "<x>", "", 5, "Not-Authorized" }) do
			assert.same(unchecked, { failures.sasl_error({ code = -32000, sasl = sasl, message = "No" }, "password") });
		end
	end);
end);

describe("an administrator", function ()
	it("is told the daemon's words, but not about a field, where a password may stand", function ()
		assert.equal("Taken", failures.text_of(taken));
		assert.equal("The disk is full", failures.text_of(full));
		assert.equal("saslcertd can't be asked at the moment", failures.text_of(garbled));
	end);

	it("is told of a change only that it may have been made", function ()
		assert.equal("saslcertd did not answer", failures.text_of({ reason = "lost" }));
		assert.equal("saslcertd did not answer; it may have been done or not", failures.text_of({ reason = "timeout" }, true));
		assert.equal("That is too long, or not UTF-8 text", failures.text_of({ reason = "too-long" }, true));
	end);
end);
