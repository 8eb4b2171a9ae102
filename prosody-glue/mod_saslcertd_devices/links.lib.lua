-- What becomes of a link that somebody opens: its token goes to the daemon, and the daemon's answer to the page. And the account that a
-- link makes, where accounts live in Prosody.
--
-- It must not decide, nor log a token: the daemon says what a link is, and in which words it refuses.

local usermanager = require "core.usermanager";
local new_id = require "util.id".long;
local split_jid = require "util.jid".split;
local json = require "util.json";

-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

local host = module.host;
local max_body_bytes, max_token_bytes = 16 * 1024, 64;
local not_sent = "This is not what the page sends";
local statuses = {
	["bad-request"] = 400, ["not-acceptable"] = 400, ["not-allowed"] = 403, ["not-authorized"] = 403, forbidden = 403, ["item-not-found"] = 404;
	conflict = 409, ["resource-constraint"] = 409, ["policy-violation"] = 429;
};

local function answer(response, status, body)
	response.status_code = status;
	response.headers.content_type = "application/json";
	return json.encode(body);
end

local function refuse(response, status, code, text) return answer(response, status, { error = code, text = text }); end

-- Strangers ask as often as they like: once in a row.
local warned_of;
local function warn_once(why)
	if why ~= warned_of then module:log("warn", "Nothing could be done with a link: %s", why); end
	warned_of = why;
end

local function refuse_as(response, failure)
	local kind, condition = api.failures.kind_of(failure), type(failure.stanza) == "table" and failure.stanza.condition;
	if kind == "refused" and statuses[condition] then return refuse(response, statuses[condition], failure.denial, failure.message); end
	if kind == "unsendable" or failure.fault == "wrong-fields" then return refuse(response, 400, "bad-request", not_sent); end
	warn_once(failure.message or failure.reason);
	return refuse(response, 503, "unavailable", kind == "unanswered" and "The certificate service did not answer; the link may have been used or not"
		or "The certificate service is not available at the moment");
end

-- Browsers say where a page comes from that posts something.
local function is_foreign(request, address)
	local origin = request.headers.origin;
	local own = address:match("^%a+://[^/]+");
	return origin ~= nil and origin ~= own and origin:match("^https?://(.+)$") ~= request.headers.host;
end

-- The account is there and has its device, with the role or without.
local function give_role(username)
	if not usermanager.set_user_role then return; end -- COMPAT 0.12
	local role = module:get_option_string("default_provisioned_role", "prosody:member");
	-- One that nobody has defined raises an error; where roles can't be given there may be no answer.
	local ok, is_given, err = pcall(usermanager.set_user_role, username, host, role);
	if ok and (is_given or not err) then return; end
	module:log("error", "%s@%s, made by a link, could not be given the role \"%s\" of default_provisioned_role: %s",
		username, host, role, err or is_given);
end

-- Others hear of it as of a registration: rosters, groups, welcome messages.
local function registered(username, ip)
	module:log("info", "Registered by a link: %s@%s", username, host);
	local session = { ip = ip, host = host, username = username, log = function (...) module:log(...); end };
	-- The link is used and the certificate there, whatever they make of it.
	local ok, err = pcall(module.fire_event, module, "user-registered", {
		username = username, host = host, source = module.name, ip = ip, session = session;
	});
	if not ok then module:log("error", "The registration of %s@%s could not be told: %s", username, host, err); end
end

-- An account in Prosody is made before the daemon takes the link for used, so that this can come to an end in between: then the same
-- link finds what it has begun. Nobody hears its password, by which it is known again until it is complete: not all versions and storages
-- keep an account without any, and this one looks like all others to whoever tries passwords.
local marks = module:open_store("saslcertd_links", "keyval"); -- username → { making = incarnation, password = … }, then { untold = true }
local incarnations = module:open_store("saslcertd", "keyval"); -- of mod_saslcertd

-- That a link was used may be answered too late, or never: then the first login tells of the registration.
local untold = {};
local function nobody() end
local each, state, first = (marks.users or nobody)(marks); -- not all storages can say
for username in each or nobody, state, first do
	local mark = marks:get(username);
	untold[username] = type(mark) == "table" and mark.untold or nil;
end

local function tell_once(username, ip)
	if not untold[username] then return; end
	untold[username] = nil;
	local mark = marks:get(username);
	-- It may be another account of the name by now.
	if type(mark) ~= "table" or not mark.untold then return; end
	marks:set(username, nil);
	registered(username, ip);
end
module:hook("resource-bind", function (event) tell_once(event.session.username, event.session.ip); end);

local function could_not(what, err)
	module:log("error", "No account was made for a link: %s: %s", what, err or "no reason given");
	return nil, { code = -32001, message = "The account could not be made" };
end

-- Makes the account; nil and why not.
local function create(username, incarnation)
	local password = new_id() .. new_id();
	local ok, err = marks:set(username, { making = incarnation, password = password });
	if not ok then return nil, err; end
	return usermanager.create_user(username, password, host);
end

local function complete(username, incarnation)
	give_role(username);
	return incarnations:set(username, { incarnation = incarnation });
end

-- Makes an account whose password nobody knows, with this incarnation; one that exists stays as it is. For account.register: see docs/protocol.md.
local function register(username, incarnation)
	local ok, err;
	local mark, problem = marks:get(username);
	local data, other_problem = incarnations:get(username);
	if problem or other_problem then return could_not("its data can't be read", problem or other_problem); end
	local present = type(data) == "table" and data.incarnation or nil;
	local is_begun = type(mark) == "table" and mark.making == incarnation;
	if not usermanager.user_exists(username, host) then
		ok, err = create(username, incarnation);
		if not ok then return could_not("it can't be created", err); end
		present, is_begun = nil, true;
	elseif is_begun and present == nil then
		-- Somebody else may have got the name since.
		is_begun = usermanager.test_password(username, host, mark.password) == true;
	end
	if is_begun and present == nil then
		ok, err = complete(username, incarnation);
		if not ok then return could_not("it is not complete", err); end
		present = incarnation;
	end
	if is_begun and present == incarnation then
		ok, err = marks:set(username, { untold = true });
		untold[username] = true;
		if not ok then module:log("error", "The password that a link has made for %s@%s is still in saslcertd_links: %s", username, host, err); end
	end
	return { exists = true, incarnation = present or json.null };
end

-- A stranger's words must not become a line that the daemon can't read, and never answers.
local function is_text(value, is_needed) return type(value) == "string" or not is_needed and (value == nil or value == json.null); end
local function is_sound(body)
	return type(body) == "table" and is_text(body.token, true) and #body.token <= max_token_bytes and is_text(body.name) and is_text(body.certificate);
end

local function carry_out(request, response)
	-- It raises an error for some of what is no JSON.
	local ok, body = pcall(json.decode, request.body or "");
	if not ok or not is_sound(body) then return refuse(response, 400, "bad-request", not_sent); end
	local redeems = body.certificate ~= nil;
	local question = { host = host, token = body.token, address = request.ip };
	if redeems then question.name, question.certificate = body.name, body.certificate; end
	local result, failure = api.change(redeems and "link.redeem" or "link.look", question);
	if not result then return refuse_as(response, failure); end
	warned_of = nil;
	if redeems and result.kind == "new" then
		local username = split_jid(result.account);
		if module:get_option_string("authentication") == "saslcertd" then
			give_role(username);
			registered(username, request.ip);
		else
			tell_once(username, request.ip);
		end
	end
	-- The connection has no place for it.
	result.name = result.name or json.null;
	return answer(response, 200, result);
end

-- Answers what the page posts. address: that of the page.
local function redeem(event, address)
	local request, response = event.request, event.response;
	if is_foreign(request, address) then return refuse(response, 403, "forbidden", "Another page may not do this"); end
	local content_type = (request.headers.content_type or ""):lower():match("^%s*([^%s;]+)");
	if content_type ~= "application/json" then return refuse(response, 415, "bad-request", "JSON is wanted"); end
	if #(request.body or "") > max_body_bytes then return refuse(response, 413, "bad-request", "This is too long"); end
	return carry_out(request, response);
end

return { redeem = redeem, register = register, refuse = refuse };
