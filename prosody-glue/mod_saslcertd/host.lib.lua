-- One host: its authentication provider is wrapped, users hear that they have lists of certificates, if they have; and all of
-- it withdraws while mod_client_certs is there.
--
-- It must not know the connection to the daemon.

local modulemanager = require "core.modulemanager";
local usermanager = require "core.usermanager";

local new_accounts = module:require "accounts".new;
local new_command = module:require "adhoc".command;
local xmlns = module:require "certificates".xmlns;
local wrap_provider = module:require "sasl".wrap_provider;

local rival = "client_certs";

-- The ad-hoc command, if this host has any.
local function provided_command(module, host)
	-- By way of its module: by this name, require would find our own library.
	local loaded, mod_adhoc = pcall(module.depends, module, "adhoc");
	if not loaded then
		-- An admin who disabled it wants no commands, but may well want certificates.
		module:log("info", "No ad-hoc commands for certificates: %s", mod_adhoc);
		return nil;
	end
	local command = new_command(host, mod_adhoc.module:require("adhoc").new);
	module:provides("adhoc", command);
	return command;
end

-- Calls changed(is_there) when the rival comes or goes, and now.
local function watch_rival(module, changed)
	-- One that fails to load (as Debian's does) leaves its handlers behind all the same.
	local is_enabled = modulemanager.get_modules_for_host(module.host):contains(rival);
	local was_there = false;

	local function look()
		local is_there = is_enabled or modulemanager.is_loaded(module.host, rival) or false;
		changed(is_there);
		if is_there and not was_there then
			module:log("error", "mod_%s is enabled too, and takes every login by certificate. mod_saslcertd withdraws on this host: "
				.. "remove \"%s\" from modules_enabled and restart Prosody", rival, rival);
			module:set_status("error", "Withdrawn because of mod_" .. rival);
		elseif was_there and not is_there then
			module:log("info", "mod_%s is gone, mod_saslcertd is back", rival);
			module:set_status("core", "Loaded", true);
		end
		was_there = is_there;
	end

	look();
	for _, event in ipairs({ "module-loaded", "module-unloaded", "module-reloaded" }) do
		module:hook(event, function (payload) if payload.module == rival then look(); end end);
	end
end

-- module: of the host. with: closed(); provider_changed()
local function new(module, with)
	local host = { name = module.host, module = module, accounts = new_accounts(module) };
	-- Do users have lists of certificates here? The daemon says so.
	local has_lists, has_rival = true, false;
	local is_shown, command, unwrap = false, nil, nil;

	-- After a wait the host may be gone; usermanager raises an error then.
	local function provider_now() return prosody.hosts[host.name] and usermanager.get_provider(host.name) or nil; end

	function host.in_daemon() return (provider_now() or {}).name == "saslcertd"; end

	function host.withdrawn() return has_rival or with.closed() or not prosody.hosts[host.name]; end

	-- Users hear that they have lists of certificates, and get the command.
	local function update_lists()
		local was_shown = is_shown;
		is_shown = has_lists and not has_rival;
		local begins = is_shown and not was_shown;
		-- Prosody knows one command of a name. While the rival is there it is the rival's, and must be left alone; afterwards
		-- there is none.
		if command and (begins or not has_lists) then
			module:remove_item("adhoc-provider", command);
			command = nil;
		end
		if begins then
			module:add_feature(xmlns);
			command = provided_command(module, host);
		elseif was_shown and not is_shown then
			module:remove_item("feature", xmlns);
		end
	end

	module:hook("account-disco-info", function (event)
		if is_shown and not host.withdrawn() then event.reply:tag("feature", { var = xmlns }):up(); end
	end);

	watch_rival(module, function (is_there) has_rival = is_there; update_lists(); end);

	function host.set_lists(wanted) has_lists = wanted; update_lists(); end

	function host.unload()
		if unwrap then unwrap(); end
		unwrap = nil;
	end

	local function wrap()
		host.unload();
		unwrap = wrap_provider(provider_now(), host.name, host.withdrawn);
	end

	wrap();
	-- After usermanager, which takes or drops the provider at 0.
	for _, event in ipairs({ "item-added/auth-provider", "item-removed/auth-provider" }) do
		module:hook(event, function () wrap(); with.provider_changed(); end, -100);
	end

	return host;
end

return { new = new };
