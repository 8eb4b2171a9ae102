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

-- with: ask(method, params, options); timeout(); null; st; hosts (see mod_saslcertd)
local function new(with)
	local certificates = {};
	local st = with.st;

	local function account_of(host, origin)
		return origin.username .. "@" .. host.name;
	end

	local function facts_of(origin)
		local tag = origin.saslcert;
		return {
			secure = origin.secure and true or false;
			by = tag and "certificate" or "password";
			fingerprint = tag and tag.fingerprint;
			key_id = tag and tag.key_id;
			jid = origin.full_jid;
			address = origin.ip or with.null;
		};
	end

	local function refuse(origin, stanza, failure)
		if not origin.destroyed then
			origin.send(st.error_reply(stanza, words(failure)));
		end
		return true;
	end

	local function could_not_read_store(origin, stanza)
		origin.send(st.error_reply(stanza, "wait", "internal-server-error", "The account's data can't be read at the moment"));
		return true;
	end

	-- The params that every question has; nil if the account's store can't be read.
	local function question(host, origin, make_incarnation)
		local incarnation, err;
		if not host.in_daemon() then
			local read = make_incarnation and host.accounts.make_incarnation or host.accounts.incarnation;
			incarnation, err = read(origin.username);
			if err then return nil; end
		end
		return { account = account_of(host, origin), incarnation = incarnation or with.null, session = facts_of(origin) };
	end

	local function printable(text)
		-- What XML can't carry would raise an error in util.stanza.
		return (tostring(text):gsub("[%z\1-\8\11\12\14-\31]", "?"));
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

	function certificates.list(host, origin, stanza)
		local reply = st.reply(stanza):tag("items", { xmlns = xmlns });
		local params = question(host, origin);
		if not params then return could_not_read_store(origin, stanza); end
		params.after = with.null;
		for _ = 1, max_pages do
			local result, failure = with.ask("certificate.list", params, { timeout = 2 * with.timeout(), again = true });
			if origin.destroyed then return true; end
			if not result then return refuse(origin, stanza, failure); end
			for _, record in ipairs(type(result.certificates) == "table" and result.certificates or {}) do
				add_item(reply, record);
			end
			if result.next == nil or result.next == params.after then break; end
			params.after = result.next;
		end
		origin.send(reply);
		return true;
	end

	local function change(host, origin, stanza, method, details, make_incarnation)
		local params = question(host, origin, make_incarnation);
		if not params then return could_not_read_store(origin, stanza); end
		for name, value in pairs(details) do params[name] = value; end
		local result, failure = with.ask(method, params, { timeout = math.max(with.timeout(), change_timeout) });
		if not result then return refuse(origin, stanza, failure); end
		-- Nothing may come between the answer and this line: the next one may close this very session.
		if not origin.destroyed then origin.send(st.reply(stanza)); end
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

return { new = new, xmlns = xmlns, words = words, parse_append = parse_append };
