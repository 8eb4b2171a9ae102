-- Questions without an answer (client.lib.lua has the failures): what became of each, and the words for the asker.
--
-- It must not decide. Where the daemon has words, those are told.

local kinds = { ["too-long"] = "unsendable", ["not-text"] = "unsendable", lost = "unanswered", timeout = "unanswered" };
local error_types = { auth = true, cancel = true, continue = true, modify = true, wait = true };

local texts_for_owner = {
	unsendable = "The request is longer than 128 KiB, or not text";
	unanswered = "The certificate service did not answer; the request may have been carried out or not";
	away = "The certificate service is not available at the moment";
};

-- "refused" is a no, "fault" could not be decided, "unsendable" and "away" were not asked; "unanswered" may have been done.
local function kind_of(failure)
	if failure.code then return failure.code == -32000 and "refused" or "fault"; end
	return kinds[failure.reason] or "away";
end

-- It becomes the name of an element.
local function is_condition(name) return type(name) == "string" and name:find("^%l[%l-]*$") ~= nil; end

local function unchecked(what) return ("The %s can't be checked at the moment"):format(what); end

-- SASL's condition and text. what: the thing that could not be checked, if nothing was decided.
local function sasl_error(failure, what)
	if kind_of(failure) == "refused" and is_condition(failure.sasl) then return failure.sasl, failure.message; end
	return "temporary-auth-failure", unchecked(what);
end

-- A stanza error. undecided: the text for a stranger, unless it was decided; without it the owner of an account asks, and is told more.
local function stanza_error(failure, undecided)
	local kind, stanza = kind_of(failure), failure.stanza or {};
	if not error_types[stanza.type] or not is_condition(stanza.condition) then
		stanza = kind == "unsendable" and { type = "modify", condition = "not-acceptable" } or { type = "wait", condition = "remote-server-timeout" };
	end
	local text = kind ~= "refused" and undecided or failure.message or texts_for_owner[kind] or texts_for_owner.away;
	return { type = stanza.type, condition = stanza.condition, text = text };
end

-- For an administrator. is_change: may something have been done?
local function text_of(failure, is_change)
	local kind, code = kind_of(failure), failure.code;
	-- Nothing about a field that the daemon can't read: a password may stand there.
	if code and code <= -32000 and code >= -32003 and failure.message then return failure.message; end
	if kind == "unsendable" then return "That is too long, or not UTF-8 text"; end
	if kind == "unanswered" then return "saslcertd did not answer" .. (is_change and "; it may have been done or not" or ""); end
	return "saslcertd can't be asked at the moment";
end

return { kind_of = kind_of, unchecked = unchecked, sasl_error = sasl_error, stanza_error = stanza_error, text_of = text_of };
