-- The least that EXTERNAL can cost beside a host's own mechanisms: one certificate in a table, Prosody's own mechanism, no daemon, no
-- list, no rules. For the bench only: it has none of the checks that make a login safe, but that of the account.

local usermanager = require "core.usermanager";

local host = module.host;
local owners = {
	[module:get_option_string("bench_floor_fingerprint")] = module:get_option_string("bench_floor_username");
};

local function is_usable(username)
	return usermanager.user_exists(username, host)
		-- COMPAT 0.12: it disables nobody.
		and (not usermanager.user_is_enabled or usermanager.user_is_enabled(username, host));
end

-- When every module is loaded, so that the host has its provider.
module:hook_global("server-started", function ()
	local provider = usermanager.get_provider(host);
	local get_sasl_handler = provider.get_sasl_handler;
	function provider.get_sasl_handler(session)
		local handler = get_sasl_handler(session);
		local certificate = session.conn:socket():getpeercertificate();
		local owner = certificate and owners[certificate:digest("sha256")];
		if owner and is_usable(owner) then
			handler.mechs.EXTERNAL = true;
			handler.profile.external = function () return owner, true; end;
		end
		return handler;
	end
end);
