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
-- HTTP's number for a stanza error's condition, as others map XMPP to HTTP: the page and people read the denial's code and words, which
-- are the daemon's. A condition that has none here is an error of ours.
local statuses = {
	["stream-not-secure"] = 403; -- a denial's own
	["bad-request"] = 400, ["not-acceptable"] = 400, ["not-allowed"] = 403, ["not-authorized"] = 403, forbidden = 403, ["item-not-found"] = 404;
	conflict = 409, ["resource-constraint"] = 409, ["policy-violation"] = 429;
};
local max_brackets = 300; -- a name may have nothing else

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
	local status = kind == "refused" and (statuses[failure.denial] or statuses[condition]);
	if status then return refuse(response, status, failure.denial, failure.message); end
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

-- The roles that are stored under a name: name → true. Before there is an account they are a former one's: where accounts live in the daemon,
-- one may be deleted while this server is away. Nil: they can't be read.
local function roles_of(username)
	if not usermanager.set_user_role then return nil; end -- COMPAT 0.12
	local primary, err = usermanager.get_user_role(username, host);
	local secondary, other_err = usermanager.get_user_secondary_roles(username, host);
	if err or other_err then return nil; end
	local roles = { [primary and primary.name or ""] = true };
	for name in pairs(secondary or {}) do roles[name] = true; end
	return roles;
end

-- Has somebody given it a role since it was made? former: of its mark. If that can't be said: yes, unless nobody could say which roles were
-- a former account's.
local function has_anothers_role(username, former)
	local role, err = usermanager.get_user_role(username, host);
	if err then module:log("warn", "The role of %s@%s, made by a link, stays as it is: %s", username, host, err); end
	return err ~= nil or former and role and not former[role.name]
		and role.name ~= module:get_option_string("default_user_role", "prosody:registered");
end

local function take_former_roles(username, former)
	for name in pairs(usermanager.get_user_secondary_roles(username, host) or {}) do
		if not former or former[name] then usermanager.remove_user_secondary_role(username, host, name); end
	end
end

-- The account is there and has its device, with the role or without. is_fresh: it was made just now.
local function give_role(username, mark, is_fresh)
	if not usermanager.set_user_role then return; end -- COMPAT 0.12
	local former = mark and mark.roles;
	take_former_roles(username, former);
	if not is_fresh and has_anothers_role(username, former) then return; end
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

-- An account in Prosody is made before the daemon takes the link for used, so that this can come to an end in between: then the same link
-- finds what it has begun. Until others have heard of the account it has a mark: username → { incarnation: which account of the name it is
-- to be; roles: those that were stored under its name before; began: since when it is being made; password: the one that it has, where it
-- began with one; is_whole: nothing is missing; is_anothers: somebody has given it another password }
local marks = module:open_store("saslcertd_links", "keyval");
local incarnations = module:open_store("saslcertd", "keyval"); -- of mod_saslcertd
local kept = module:open_store("accounts", "keyval"); -- of Prosody's own providers

local function in_daemon() return api.in_daemon and api.in_daemon(host); end -- an older mod_saslcertd says nothing

-- That a link was used may be answered too late, or never: then the first login tells of the registration. An account in the daemon has a
-- mark for that alone, from before the link is used. The account of a name that was told of last is not told of again.
local untold, told = {}, {};
local function load_marks()
	if not marks.users then return; end -- not all storages can say
	for username in marks:users() do untold[username] = true; end
end
local is_loaded, why_not = pcall(load_marks);
if not is_loaded then module:log("warn", "Whom links have registered can't be read from saslcertd_links: %s", why_not); end

-- incarnation: that of the account that there is.
local function tell_once(username, ip, incarnation)
	if not untold[username] then return; end
	local mark = marks:get(username);
	if type(mark) == "table" and mark.incarnation ~= incarnation then return; end
	untold[username] = nil;
	-- It may be another account of the name by now.
	if type(mark) ~= "table" then return; end
	told[username] = mark.incarnation;
	marks:set(username, nil);
	registered(username, ip);
end

-- Which account in the daemon of its name it is; and which one in Prosody there is.
local function incarnation_of(session) return (session.saslcert or session.saslcert_login or {}).incarnation; end
local function incarnation_here(username)
	local data, err = incarnations:get(username);
	return type(data) == "table" and data.incarnation or nil, err;
end

-- Before there is a session that Prosody would end, because its role has changed.
module:hook("authentication-success", function (event)
	local username = event.session.username;
	local mark = untold[username] and in_daemon() and marks:get(username);
	if type(mark) == "table" and mark.incarnation == incarnation_of(event.session) then give_role(username, mark); end
end);

module:hook("resource-bind", function (event)
	local session = event.session;
	if not untold[session.username] then return; end
	local incarnation = in_daemon() and incarnation_of(session) or not in_daemon() and incarnation_here(session.username);
	if incarnation then tell_once(session.username, session.ip, incarnation); end
end);

-- An account of this name and incarnation is about to be made in the daemon, perhaps by several who ask at once. If it is not, nobody
-- logs in as it, and the mark says nothing. Returns the mark, and that of another incarnation that it replaces; or nil.
local function expect(username, incarnation)
	if told[username] == incarnation then return nil; end
	local before = marks:get(username);
	before = type(before) == "table" and before or nil;
	untold[username] = true;
	-- By now the account may be there, and have a role of its own.
	if before and before.incarnation == incarnation then return before; end
	local mark = { incarnation = incarnation, roles = roles_of(username) };
	local ok, err = marks:set(username, mark);
	if not ok then module:log("error", "That %s@%s may be registered can't be written into saslcertd_links: %s", username, host, err); end
	return mark, before;
end

local function could_not(what, username, err)
	module:log("error", "The account of a link, %s@%s, could not be %s: %s", username, host, what, err or "no reason given");
	return nil, { code = -32001, message = "The account could not be " .. what };
end

local function noise() return new_id() .. new_id(); end

local function info_of(username)
	local info = usermanager.get_account_info and usermanager.get_account_info(username, host); -- COMPAT 0.12
	return type(info) == "table" and info or {};
end

-- Prosody's times are seconds: in the one of its making this tells somebody else's hand.
local finishing;
module:hook_global("user-password-changed", function (event)
	if event.host ~= host or event.username == finishing then return; end
	local mark = marks:get(event.username);
	if type(mark) ~= "table" then return; end
	mark.is_anothers = true;
	marks:set(event.username, mark);
end);

-- From a mark to its account: two writes.
local max_seconds_of_making = 2;

-- Is it the half made account of this mark, and has nobody else had a hand in it? If that can't be said: no. The mark is written first, and
-- an end may come in between; then the account is somebody else's, and younger.
local function is_as_begun(username, mark)
	if mark.is_whole or mark.is_anothers then return false; end
	if mark.password then return usermanager.test_password(username, host, mark.password) == true; end
	local info = info_of(username);
	local seconds = (info.created or math.huge) - (mark.began or 0);
	return info.enabled == false and info.password_updated == info.created and seconds >= 0 and seconds <= max_seconds_of_making;
end

-- Makes the account, which is disabled until it is whole; or, where there is no such thing (Prosody 0.12, providers of others), with a
-- password by which it is known again. Returns its mark, or nil and why not.
local function begin(username, incarnation)
	-- A provider takes an account that it can't read for none.
	local _, problem = kept:get(username);
	if problem then return nil, problem; end
	local mark = { incarnation = incarnation, began = os.time(), roles = roles_of(username) };
	local ok, err = marks:set(username, mark);
	if not ok then return nil, err; end
	untold[username] = true;
	if rawget(usermanager.get_provider(host), "enable") then
		usermanager.create_user(username, nil, host);
		if usermanager.user_exists(username, host) and info_of(username).enabled == false then return mark; end
	end
	mark.password = noise();
	ok, err = marks:set(username, mark);
	if ok then ok, err = usermanager.create_user(username, mark.password, host); end
	return ok and mark or nil, err;
end

-- is_fresh: it was begun just now.
local function complete(username, mark, is_fresh)
	give_role(username, mark, is_fresh);
	local ok, err = incarnations:set(username, { incarnation = mark.incarnation });
	if not ok or mark.password then return ok, err; end
	-- Prosody's SCRAM raises an error for an account that is enabled and has no password. So it looks like all others to whoever tries one.
	finishing = username;
	-- Others' modules hear of it, and may raise an error.
	local was_asked, is_set, why = pcall(usermanager.set_password, username, noise(), host);
	finishing = nil;
	if not (was_asked and is_set) then return nil, why or is_set; end
	return usermanager.enable_user(username, host);
end

local function note_whole(username, mark)
	mark.is_whole = true;
	local ok, err = marks:set(username, mark);
	if not ok then module:log("error", "That %s@%s is whole can't be written into saslcertd_links: %s", username, host, err); end
end

-- The mark of this incarnation, and the incarnation that the account of the name has; or nil, nil and why they can't be read.
local function read(username, incarnation)
	local mark, problem = marks:get(username);
	local present, other_problem = incarnation_here(username);
	if problem or other_problem then return nil, nil, problem or other_problem; end
	return type(mark) == "table" and mark.incarnation == incarnation and mark or nil, present;
end

-- Makes an account whose password nobody knows, with this incarnation; one that exists stays as it is. accounts: of accounts.lib.lua. For
-- account.register: see docs/protocol.md.
local function register(username, incarnation, accounts)
	local mark, present, err = read(username, incarnation);
	if err then return could_not("read", username, err); end
	local is_begun = mark and (present or incarnation) == incarnation and is_as_begun(username, mark);
	local is_fresh = not usermanager.user_exists(username, host);
	if is_fresh then
		mark, err = begin(username, incarnation);
		if not mark then return could_not("created", username, err); end
	end
	if is_begun or is_fresh then
		local ok, why = complete(username, mark, is_fresh);
		if not ok then return could_not("finished", username, why); end
		present = incarnation;
	end
	local enabled = accounts.enabled(username);
	if mark and not mark.is_whole and present == incarnation and enabled then note_whole(username, mark); end
	return { exists = true, enabled = enabled, incarnation = present or json.null };
end

-- A stranger's words must not become a line that the daemon can't read, and never answers.
local function is_text(value, is_needed) return type(value) == "string" or not is_needed and (value == nil or value == json.null); end
local function is_sound(body)
	return type(body) == "table" and is_text(body.token, true) and #body.token <= max_token_bytes and is_text(body.name) and is_text(body.certificate);
end

-- Hands a certificate in. Returns the daemon's answer, or nil and the failure.
local function hand_in(question, ip)
	local link, mark, before;
	if in_daemon() then
		local failure;
		link, failure = api.change("link.look", { host = host, token = question.token, address = ip });
		if not link then return nil, failure; end
		if link.kind == "new" then mark, before = expect(split_jid(link.account), link.incarnation); end
	end
	local result, failure = api.change("link.redeem", question);
	if before and not result and api.failures.kind_of(failure) == "refused" then marks:set(split_jid(link.account), before); end
	if result and result.kind == "new" then
		local username = split_jid(result.account);
		if mark then give_role(username, mark, true); end
		tell_once(username, ip, link and link.incarnation or incarnation_here(username));
	end
	return result, failure;
end

local function carry_out(request, response, is_secure)
	local text = request.body or "";
	-- What is deeply nested takes long to read, and is no question.
	if select(2, text:gsub("[%[{]", "")) > max_brackets then return refuse(response, 400, "bad-request", not_sent); end
	-- It raises an error for some of what is no JSON.
	local ok, body = pcall(json.decode, text);
	if not ok or not is_sound(body) then return refuse(response, 400, "bad-request", not_sent); end
	local question = { host = host, token = body.token, address = request.ip };
	local result, failure;
	if body.certificate ~= nil then
		question.name, question.certificate, question.secure = body.name, body.certificate, is_secure;
		result, failure = hand_in(question, request.ip);
	else
		result, failure = api.change("link.look", question);
	end
	if not result then return refuse_as(response, failure); end
	warned_of = nil;
	-- The connection has no place for the name; and the incarnation is nobody's business.
	result.name, result.incarnation = result.name or json.null, nil;
	return answer(response, 200, result);
end

-- Answers what the page posts. address: that of the page; is_secure: as mod_websocket will see a session that comes the same way.
local function redeem(event, address, is_secure)
	local request, response = event.request, event.response;
	if is_foreign(request, address) then return refuse(response, 403, "forbidden", "Another page may not do this"); end
	local content_type = (request.headers.content_type or ""):lower():match("^%s*([^%s;]+)");
	if content_type ~= "application/json" then return refuse(response, 415, "bad-request", "JSON is wanted"); end
	if #(request.body or "") > max_body_bytes then return refuse(response, 413, "bad-request", "This is too long"); end
	return carry_out(request, response, is_secure);
end

return { redeem = redeem, register = register, refuse = refuse };
