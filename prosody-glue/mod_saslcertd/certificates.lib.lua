-- XEP-0257: users list, add and remove the certificates of their account.
--
-- It must not decide: the daemon says what is allowed, and in which words it refuses.

local xmlns = "urn:xmpp:saslcert:1";

local max_certificate_base64 = 24 * 1024;
-- The daemon takes names of 256 bytes; it trims them, so white space may come on top.
local max_name_bytes = 4 * 1024;
-- A change waits for the disk of the daemon's machine.
local change_timeout = 10;
local max_pages = 1024;

local error_types = { auth = true, cancel = true, continue = true, modify = true, wait = true };

-- The stanza error of a failure: type, condition, text.
local function words(failure)
	local stanza = failure.stanza;
	if stanza and error_types[stanza.type] and type(stanza.condition) == "string" and stanza.condition:find("^%l[%l-]*$") then
		return stanza.type, stanza.condition, failure.message;
	end
	if failure.reason == "too-long" or failure.reason == "not-text" then
		return "modify", "not-acceptable", "The request is too long or not text";
	end
	if failure.reason == "lost" or failure.reason == "timeout" then
		return "wait", "remote-server-timeout", "The certificate service did not answer; the request may have been carried out or not";
	end
	return "wait", "remote-server-timeout", "The certificate service is not available at the moment";
end

-- The text of the only child of this name; nil and what is wrong.
local function only_text(request, name)
	local found;
	for child in request:childtags(name, xmlns) do
		if found then return nil, ("There must be only one <%s/>"):format(name); end
		found = child;
	end
	if not found then return nil, ("There must be a <%s/>"):format(name); end
	if #found.tags > 0 then return nil, ("<%s/> must contain text only"):format(name); end
	return found:get_text() or "";
end

local function named(request)
	local name, problem = only_text(request, "name");
	if not name then return nil, "bad-request", problem; end
	if name:find("^%s*$") then return nil, "bad-request", "<name/> must not be empty"; end
	if #name > max_name_bytes then return nil, "not-acceptable", "The name is too long"; end
	return name;
end

-- What an <append/> asks for: name, certificate, may_manage; or nil, condition and text.
local function parse_append(request)
	local name, condition, text = named(request);
	if not name then return nil, condition, text; end
	local certificate, problem = only_text(request, "x509cert");
	if not certificate then return nil, "bad-request", problem; end
	certificate = certificate:gsub("%s+", "");
	if certificate == "" then return nil, "bad-request", "<x509cert/> must not be empty"; end
	if #certificate > max_certificate_base64 then
		return nil, "not-acceptable", ("The certificate is longer than %d KiB of base64"):format(max_certificate_base64 / 1024);
	end
	return { name = name, certificate = certificate, may_manage = not request:get_child("no-cert-management", xmlns) };
end

-- What XML can't carry would raise an error in util.stanza.
local function printable(text)
	return (tostring(text):gsub("[%z\1-\8\11\12\14-\31]", "?"));
end

local function with_details(question, details)
	local params = {};
	for name, value in pairs(question) do params[name] = value; end
	for name, value in pairs(details) do params[name] = value; end
	return params;
end

local function facts_of(with, origin)
	local tag = origin.saslcert;
	return {
		secure = origin.secure and true or false;
		by = tag and "certificate" or "sasl";
		mechanism = not tag and origin.saslcert_mechanism or with.null;
		fingerprint = tag and tag.fingerprint;
		key_id = tag and tag.key_id;
		jid = origin.full_jid;
		address = origin.ip or with.null;
	};
end

-- The params that every question of this session has, or nil and the failure.
local function question_of(with, host, origin, make_incarnation)
	local incarnation, err;
	if not host.in_daemon() then
		local read = make_incarnation and host.accounts.make_incarnation or host.accounts.incarnation;
		incarnation, err = read(origin.username);
		if err then
			return nil, {
				stanza = { type = "wait", condition = "internal-server-error" };
				message = "The account's data can't be read at the moment";
			};
		end
	end
	return { account = origin.username .. "@" .. host.name, incarnation = incarnation or with.null, session = facts_of(with, origin) };
end

-- All records, or nil and the failure.
local function fetch(with, question)
	local records = {};
	local params = with_details(question, { after = with.null });
	for _ = 1, max_pages do
		local result, failure = with.ask("certificate.list", params, { timeout = 2 * with.timeout(), again = true });
		if not result then return nil, failure; end
		for _, record in ipairs(type(result.certificates) == "table" and result.certificates or {}) do
			records[#records + 1] = record;
		end
		if result.next == nil or result.next == params.after then break; end
		params.after = result.next;
	end
	return records;
end

local function add_item(reply, record)
	reply:tag("item");
	reply:text_tag("name", printable(record.name));
	reply:text_tag("x509cert", printable(record.certificate));
	local resources = type(record.resources) == "table" and record.resources or {};
	if resources[1] then
		reply:tag("users");
		for _, resource in ipairs(resources) do reply:text_tag("resource", printable(resource)); end
		reply:up();
	end
	reply:up();
end

-- with: ask(method, params, options); close_revoked(account, key_id); timeout(); null; st
local function new(with)
	local certificates = {};
	local st = with.st;

	-- For other questions of the same session.
	function certificates.question(...) return question_of(with, ...); end

	local function refuse(origin, stanza, failure)
		if not origin.destroyed then
			origin.send(st.error_reply(stanza, words(failure)));
		end
		return true;
	end

	function certificates.list(host, origin, stanza)
		local question, failure = certificates.question(host, origin);
		if not question then return refuse(origin, stanza, failure); end
		local records;
		records, failure = fetch(with, question);
		if not records then return refuse(origin, stanza, failure); end
		local reply = st.reply(stanza):tag("items", { xmlns = xmlns });
		for _, record in ipairs(records) do add_item(reply, record); end
		if not origin.destroyed then origin.send(reply); end
		return true;
	end

	local function change(host, origin, stanza, method, details, make_incarnation)
		local question, result, failure;
		question, failure = certificates.question(host, origin, make_incarnation);
		if not question then return refuse(origin, stanza, failure); end
		result, failure = with.ask(method, with_details(question, details), { timeout = math.max(with.timeout(), change_timeout) });
		if not result then return refuse(origin, stanza, failure); end
		if not origin.destroyed then origin.send(st.reply(stanza)); end
		-- Whoever has read the answer finds the sessions gone. The daemon says so in its next line, but before that is read
		-- this session goes on with what it sent behind its question, and after a full buffer others do, too.
		if method == "certificate.revoke" then with.close_revoked(question.account, result.key_id); end
		return true;
	end

	local function malformed(origin, stanza, condition, text)
		origin.send(st.error_reply(stanza, "modify", condition, text));
		return true;
	end

	function certificates.append(host, origin, stanza)
		local details, condition, text = parse_append(stanza.tags[1]);
		if not details then return malformed(origin, stanza, condition, text); end
		return change(host, origin, stanza, "certificate.append", details, true);
	end

	local function remove(method)
		return function (host, origin, stanza)
			local name, condition, text = named(stanza.tags[1]);
			if not name then return malformed(origin, stanza, condition, text); end
			return change(host, origin, stanza, method, { name = name });
		end
	end
	certificates.disable = remove("certificate.disable");
	certificates.revoke = remove("certificate.revoke");

	return certificates;
end

return {
	new = new;
	xmlns = xmlns;
	words = words;
	parse_append = parse_append;
	printable = printable;
};
