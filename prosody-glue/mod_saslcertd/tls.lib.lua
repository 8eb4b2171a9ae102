-- Asks clients for a certificate in TLS, on STARTTLS and direct TLS, without any c2s_ssl setting: Prosody alone does not ask, and on 13 it
-- would end the handshake at a self-signed one. The admin's settings come first.
--
-- It must not judge certificates: that is for the daemon, at the login.

local create_context = require "core.certmanager".create_context;
local raw_option = require "core.configmanager".rawget;
local get_module = require "core.modulemanager".get_module;

local ask_for_certificate = {
	verify = { "peer", "client_once" };
	-- Go on whatever OpenSSL thinks of the certificate.
	verifyext = { "lsec_continue", "lsec_ignore_purpose" };
};
local direct_tls = { c2s_direct_tls = true, legacy_ssl = true };

-- The TLS context as mod_tls makes it of a host's settings: in the same order, and with the same fallback to the parent domain. ours is
-- last, so it counts least. Returns the context, or nil; what is wrong; and the settings.
local function context_of(host, ours)
	local parent = host:match("%.(.*)$");
	local function option(name) return raw_option(host, name) or parent and raw_option(parent, name) or {}; end
	return create_context(host, "server", option("c2s_ssl"), option("ssl"), raw_option("*", "c2s_ssl") or {}, ours or {});
end

-- is_enabled(): may it touch anything now?
local function new(is_enabled)
	local function is_direct_tls(item) return item.encryption == "ssl" and direct_tls[item.name] and not item.ssl_config; end

	-- For those of mod_c2s's ports that were there first. Closes and opens the listening socket.
	local function redo_ports()
		local c2s = get_module("*", "c2s");
		if not is_enabled() or not c2s or not c2s.module.items then return; end
		local items = {};
		for _, item in ipairs(c2s.module.items["net-provider"] or {}) do
			if is_direct_tls(item) then items[#items + 1] = item; end
		end
		for _, item in ipairs(items) do
			c2s.module:remove_item("net-provider", item);
			item.ssl_config = ask_for_certificate;
			c2s.module:add_item("net-provider", item);
		end
	end

	-- Before portmanager, at 0.
	module:hook("item-added/net-provider", function (event)
		if is_enabled() and is_direct_tls(event.item) then event.item.ssl_config = ask_for_certificate; end
	end, 10);
	if prosody.start_time then redo_ports(); else module:hook("server-started", redo_ports, 100); end
	module:hook("config-reloaded", redo_ports, -10);

	-- Returns what does the same for a host's STARTTLS.
	return function (host_module)
		local context, config;
		local function build()
			local err;
			context, err, config = nil, nil, nil;
			if is_enabled() then context, err, config = context_of(host_module.host, ask_for_certificate); end
			if err and not context then host_module:log("error", "Clients can't be asked for certificates on STARTTLS: %s", err); end
		end
		build();
		host_module:hook_global("config-reloaded", build, -10);

		-- Before mod_tls, which keeps a context that is there.
		host_module:hook("stream-features", function (event)
			local session = event.origin;
			if not context or session.type ~= "c2s_unauthed" or session.secure or session.ssl_ctx ~= nil then return; end
			if session.conn and session.conn.starttls then session.ssl_ctx, session.ssl_cfg = context, config; end
		end, 1000);
	end;
end

return { new = new, context_of = context_of };
