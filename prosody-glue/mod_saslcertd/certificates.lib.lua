-- XEP-0257: users list, add and remove the certificates of their account.
--
-- It must not decide: the daemon says what is wrong with a request, what is allowed, and in which words it refuses.

local array = require "util.array";
local json, null = require "util.json", require "util.json".null;
local st = require "util.stanza";

local stanza_error = module:require "failures".stanza_error;

-- Outlives reloads of this module.
local api = module:shared("/*/saslcertd/api");

local xmlns = "urn:xmpp:saslcert:1";
local xmlns_json = "urn:xmpp:json:0"; -- XEP-0335

-- The texts of a request's children, by their names; null for a child that holds other elements.
local function children_of(request)
	local children = {};
	for child in request:childtags(nil, xmlns) do
		local texts = children[child.name] or array();
		texts[#texts + 1] = child.tags[1] and null or child:get_text() or "";
		children[child.name] = texts;
	end
	return children;
end

-- The params that every question of this session has, or nil and the failure. make: an account without an incarnation gets one.
local function question_of(host, origin, make)
	local account, tag = origin.username .. "@" .. host.name, origin.saslcert;
	local incarnation, err;
	if not host.in_daemon() then incarnation, err = host.accounts.incarnation(origin.username, make); end
	if err then return nil, { reason = "away" }; end
	return { account = account, incarnation = incarnation or null, session = {
		secure = origin.secure and true or false;
		by = tag and "certificate" or "sasl";
		mechanism = not tag and origin.saslcert_mechanism or null;
		fingerprint = tag and tag.fingerprint;
		key_id = tag and tag.key_id;
		jid = origin.full_jid;
		address = origin.ip or null;
	} };
end

-- For clients that have words of their own: a value, and the code of a refusal.
local function in_json(value) return st.stanza("json", { xmlns = xmlns_json }):text(json.encode(value)); end
local function code_tag(code) return code and in_json({ denial = code }) or nil; end

-- in_full: all else that the daemon says of it, too.
local function add_item(reply, record, in_full)
	reply:tag("item"):text_tag("name", record.name):text_tag("x509cert", record.certificate);
	if record.resources[1] then
		reply:tag("users");
		for _, resource in ipairs(record.resources) do reply:text_tag("resource", resource); end
		reply:up();
	end
	record.certificate = nil;
	if in_full then reply:add_child(in_json(record)); end
	reply:up();
end

local function refuse(origin, stanza, failure)
	local why = stanza_error(failure);
	why.extra = { tag = code_tag(failure.denial) };
	origin.send(st.error_reply(stanza, why));
	return true;
end

local function list(host, origin, stanza)
	local question, failure = question_of(host, origin);
	if not question then return refuse(origin, stanza, failure); end
	local reply = st.reply(stanza):tag("items", { xmlns = xmlns });
	local in_full = stanza.tags[1]:get_child("json", xmlns_json) ~= nil;
	repeat
		local result, why = api.ask("certificate.list", question, { timeout = 2 * api.timeout(), again = true });
		if not result then return refuse(origin, stanza, why); end
		for _, record in ipairs(result.certificates) do add_item(reply, record, in_full); end
		question.after = result.next;
		if in_full and not result.next then reply:add_child(in_json({ links = result.links })); end
	until not result.next or origin.destroyed;
	origin.send(reply);
	return true;
end

local function change(host, origin, stanza)
	local request = stanza.tags[1];
	local result;
	-- Only an account with an incarnation has certificates.
	local question, failure = question_of(host, origin, request.name == "append");
	if question then
		question.element, question.children = request.name, children_of(request);
		result, failure = api.change("certificate.request", question);
	end
	if not result then return refuse(origin, stanza, failure); end
	origin.send(st.reply(stanza));
	-- A client that has read the answer finds the sessions gone. The daemon says so in its next line, but before that is read
	-- this session goes on with what it sent behind its question, and after a full buffer others do, too.
	api.close(result.close);
	return true;
end

return {
	list = list, change = change, xmlns = xmlns, question_of = question_of, children_of = children_of, code_tag = code_tag;
};
