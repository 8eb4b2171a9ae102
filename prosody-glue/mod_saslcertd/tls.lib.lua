-- Asks clients for a certificate in TLS, on STARTTLS and direct TLS, without any c2s_ssl setting: Prosody alone does
-- not ask, and on 13 it would end the handshake at a self-signed one. What the admin has set comes first.
--
-- It must not judge certificates: that is for the daemon, at the login.

local ask_for_certificate = {
	verify = { "peer", "client_once" };
	-- Go on whatever OpenSSL thinks of the certificate.
	verifyext = { "lsec_continue", "lsec_ignore_purpose" };
};
local direct_tls = { c2s_direct_tls = true, legacy_ssl = true };

-- with: create_context, rawget_option (host, name), get_module (host, name), enabled()
local function new(with)
	local tls = {};

	local function is_direct_tls(item)
		return item.encryption == "ssl" and direct_tls[item.name] and not item.ssl_config;
	end

	-- For those of mod_c2s's ports that were there first. Closes and opens the listening socket.
	local function redo_ports()
		local c2s = with.get_module("*", "c2s");
		if not with.enabled() or not c2s or not c2s.module.items then return; end
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

	function tls.load(module, started)
		-- Before portmanager, at 0.
		module:hook("item-added/net-provider", function (event)
			if with.enabled() and is_direct_tls(event.item) then event.item.ssl_config = ask_for_certificate; end
		end, 10);
		if started then
			redo_ports();
		else
			module:hook("server-started", redo_ports, 100);
		end
		module:hook("config-reloaded", redo_ports, -10);
	end

	function tls.add_host(module)
		local context, config;

		-- The same order and the same fallback to the parent domain as in mod_tls; ours is last, so it counts least.
		local function build()
			context, config = nil, nil;
			if not with.enabled() then return; end
			local host = module.host;
			local parent = host:match("%.(.*)$");
			local function option(name)
				return with.rawget_option(host, name) or parent and with.rawget_option(parent, name) or {};
			end
			local err;
			context, err, config = with.create_context(host, "server",
				option("c2s_ssl"), option("ssl"), with.rawget_option("*", "c2s_ssl") or {}, ask_for_certificate);
			if not context then
				module:log("error", "Clients can't be asked for certificates on STARTTLS: %s", err);
			end
		end
		build();
		module:hook_global("config-reloaded", build, -10);

		-- Before mod_tls, which keeps a context that is there.
		module:hook("stream-features", function (event)
			local session = event.origin;
			if context and session.type == "c2s_unauthed" and not session.secure and session.ssl_ctx == nil
			and session.conn and session.conn.starttls then
				session.ssl_ctx, session.ssl_cfg = context, config;
			end
		end, 1000);
	end

	return tls;
end

return { new = new };
