-- The page where users give their devices keys: files, and what the page has to know of this host. It runs in the browser as an ordinary
-- XMPP client, over mod_websocket.
--
-- It must not know certificates, and decides nothing.

local array = require "util.array";
local is_text = require "util.encodings".utf8.valid;
local json = require "util.json";
local portmanager = require "core.portmanager";
local serve_files = require "net.http.files".serve;

-- Nobody has an account there.
if module:get_host_type() ~= "local" or module:get_option_string("authentication") == "anonymous" then return; end

module:depends("http");
module:depends("websocket");
module:depends("saslcertd");

local links = module:require "links";
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

local picture_types = { png = "image/png", svg = "image/svg+xml", jpg = "image/jpeg", jpeg = "image/jpeg", webp = "image/webp" };

local serve = serve_files({
	path = module:get_directory() .. "/page";
	cache_max_file_size = 1024 * 1024;
	mime_map = {
		html = "text/html; charset=utf-8", js = "text/javascript; charset=utf-8", css = "text/css; charset=utf-8",
		svg = "image/svg+xml", txt = "text/plain; charset=utf-8";
	};
});

-- Where browsers find both: http_external_url, or Prosody's own port.
local function address() return module:http_url("devices", "/devices"); end
local function endpoint() return (module:http_url("websocket", "xmpp-websocket"):gsub("^http", "ws")); end

-- Prosody 13 has a switch: without it no proxy can say over plain http that a connection is secure.
local function believes_proxies()
	if not require "util.http".parse_forwarded then return true; end -- COMPAT 0.12
	return module:context("*"):get_option_boolean("http_legacy_x_forwarded", true) and true or false;
end

-- Nobody has so many; and all have to fit into a line.
local max_addresses, max_address_bytes = 100, 100;

-- How Prosody serves both: what must go wrong there is for the daemon to say. Or nil, if it is too much to be said.
local function web()
	local services = portmanager.get_active_services();
	local interfaces, proxies, https_ports = array(), array(), array();
	for _, ports in pairs(services:get("https") or {}) do
		for port in pairs(ports) do https_ports:push(port); end
	end
	for interface in pairs(services:get("http") or {}) do interfaces:push(interface); end
	-- Of mod_http, with its default.
	for proxy in module:context("*"):get_option_set("trusted_proxies", { "127.0.0.1", "::1" }) do proxies:push(proxy); end
	if #https_ports > max_addresses then return nil; end
	for _, list in ipairs({ interfaces, proxies }) do
		if #list > max_addresses then return nil; end
		for _, one in ipairs(list) do
			if type(one) ~= "string" or #one > max_address_bytes or not is_text(one) then return nil; end
		end
	end
	return {
		https_ports = https_ports, interfaces = interfaces, trusted_proxies = proxies, x_forwarded = believes_proxies();
		websocket_secure = module:get_option_boolean("consider_websocket_secure", false) or false;
	};
end

local has_warned;

-- The page loads its own files and talks to this host, and no other page may show it or read it.
local function protect(headers)
	headers.content_security_policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' "
		.. endpoint() .. "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
	headers.cache_control = "no-store";
	headers.cross_origin_opener_policy = "same-origin";
	headers.cross_origin_resource_policy = "same-origin";
	headers.referrer_policy = "no-referrer";
	headers.x_content_type_options = "nosniff";
end

-- The path of the logo and its type, if there is one.
local function logo()
	local path = module:get_option_path("saslcertd_devices_logo", nil, "config");
	return path, path and picture_types[(path:match("%.(%w+)$") or ""):lower()];
end

-- As mod_websocket will see a session that comes the same way.
local function is_secure_for(request)
	return (request.secure or module:get_option_boolean("consider_websocket_secure", false)) and true or false;
end

-- is_secure: of who asks.
local function settings(is_secure)
	if not is_secure and not has_warned then
		has_warned = true;
		local mend = believes_proxies() and "A proxy must say X-Forwarded-Proto: https, and be one of trusted_proxies"
			or "Over plain http no proxy is believed, since http_legacy_x_forwarded is off: switch it on";
		module:log("warn", "Somebody opened %s over a connection that is not secure, as far as Prosody knows: there they can't manage "
			.. "certificates. %s", address(), mend);
	end
	local _, picture_type = logo();
	return json.encode({
		host = module.host;
		name = module:get_option_string("saslcertd_devices_name", module.host);
		logo = picture_type ~= nil;
		websocket = endpoint();
		secure = is_secure;
		max_validity_days = module:get_option("saslcertd_max_validity_days");
		min_rsa_bits = module:get_option("saslcertd_min_rsa_bits");
		links = module:get_option_string("saslcertd_links", "admin");
	});
end

local function send_logo(response)
	local path, picture_type = logo();
	local file, err = io.open(path, "rb");
	if not file then
		module:log("error", "saslcertd_devices_logo can't be read: %s", err);
		return 404;
	end
	response.headers.content_type = picture_type;
	return response:send_file(file);
end

local function handle(event, path)
	local request, response = event.request, event.response;
	protect(response.headers);
	if path == "settings.json" then
		response.headers.content_type = "application/json";
		return settings(is_secure_for(request));
	elseif path == "redeem" then
		response.headers.allow = "POST";
		return links.refuse(response, 405, "bad-request", "A link is redeemed by POST");
	elseif path == "logo" and select(2, logo()) then
		return send_logo(response);
	end
	return serve(event, path);
end

module:provides("http", {
	name = "devices";
	default_path = "/devices";
	-- Prosody lets other origins read what a module serves, unless the module objects.
	cors = { enabled = false };
	route = {
		["GET /*"] = handle;
		["POST /redeem"] = function (event)
			protect(event.response.headers);
			return links.redeem(event, address(), is_secure_for(event.request));
		end;
	};
});

-- When all ports are open.
module:add_timer(0, function ()
	local path, picture_type = logo();
	if path and not picture_type then
		module:log("error", "saslcertd_devices_logo must be a .png, .svg, .jpg or .webp file, and is %s", path);
	end
	module:log("info", "Users give their devices keys at %s", address());
	-- Links lead there.
	api.pages[module.host] = { address = address(), web = web(), register = links.register };
	api.declare();
end);

function module.unload()
	api.pages[module.host] = nil;
	api.declare();
end
