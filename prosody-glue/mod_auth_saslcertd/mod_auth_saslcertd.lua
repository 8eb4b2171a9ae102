-- Accounts and passwords in saslcertd: PLAIN and SCRAM, registration, changes by users and admins. The daemon decides and
-- keeps them; this module carries questions and answers, over mod_saslcertd's connection.
--
-- This file wires. It must not decide, and never keeps a password.

module:depends("saslcertd");

local host = module.host;
-- Of mod_saslcertd, and outlives its reloads.
local api = module:shared("/*/saslcertd/api");

local accounts = module:require "accounts";
accounts.provider.get_sasl_handler = module:require "logins".get_sasl_handler;

-- After all who may allow a reset.
module:hook("user-registering", accounts.registering, -1000);

-- prosodyctl lets nobody in.
if prosody.process_type ~= "prosodyctl" then
	local admission = module:require "admission";
	admission.add_hooks();
	admission.revoke_tokens();
end

-- COMPAT 13.0: rostermanager goes on to serve its copy of the roster, and the next account of this name would get it. After all
-- who need it once more; others remove the stored one.
module:hook_global("user-deleted", function (event)
	if event.host ~= host then return; end
	local rosters = prosody.hosts[host].roster_cache;
	if rosters then rosters:set(event.username .. "@" .. host, nil); end
end, -1000);

api.accounts[host] = accounts;

function module.unload()
	if api.accounts[host] == accounts then api.accounts[host] = nil; end
end

module:provides("auth", accounts.provider);
