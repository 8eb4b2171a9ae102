-- One host: its authentication provider is wrapped, users hear that they have lists of certificates, if they have; and all of
-- it withdraws while mod_client_certs is there.
--
-- It must not know the connection to the daemon.

local rival = "client_certs";

-- The ad-hoc command, if this host has any. new: host, and what makes commands → the command.
local function provided_command(module, host, new)
	-- By way of its module: by this name, require would find our own library.
	local loaded, mod_adhoc = pcall(module.depends, module, "adhoc");
	if not loaded then
		-- Whoever disabled it wants no commands, but may well want certificates.
		module:log("info", "No ad-hoc commands for certificates: %s", mod_adhoc);
		return nil;
	end
	local command = new(host, mod_adhoc.module:require("adhoc").new);
	module:provides("adhoc", command);
	return command;
end

-- module: of the host. with: usermanager; is_active(name) (does Prosody serve the host still?); modulemanager;
--   accounts (what Prosody knows of the host's accounts); wrap(provider, hostname,
-- withdrawn); command(host, new_command) (the ad-hoc command); xmlns (the feature); closed(); provider_changed()
local function new(module, with)
	local name, usermanager = module.host, with.usermanager;
	-- One that fails to load (as Debian's does) leaves its handlers behind all the same.
	local rival_enabled = with.modulemanager.get_modules_for_host(name):contains(rival);
	local withdrawn, feature = nil, false;
	-- Do users have lists of certificates here? The daemon says so.
	local lists = true;
	local unwrap, command;

	local host = { name = name, module = module, accounts = with.accounts };

	-- Whoever has waited may find the host gone; usermanager raises an error then.
	local function provider_now()
		return with.is_active(name) and usermanager.get_provider(name) or nil;
	end

	function host.in_daemon()
		local provider = provider_now();
		return provider ~= nil and provider.name == "saslcertd";
	end

	function host.withdrawn() return withdrawn or with.closed() or not with.is_active(name); end

	local function set_feature(wanted)
		if wanted == feature then return; end
		feature = wanted;
		if wanted then module:add_feature(with.xmlns); else module:remove_item("feature", with.xmlns); end
	end

	-- Prosody knows one command of a name. While the rival is there it is the rival's, and must be left alone; afterwards
	-- there is none.
	local function remove_command()
		if command then module:remove_item("adhoc-provider", command); end
		command = nil;
	end

	local function provide_command()
		remove_command();
		command = provided_command(module, host, with.command);
	end

	local function look_for_rival()
		local before = withdrawn;
		withdrawn = rival_enabled or with.modulemanager.is_loaded(name, rival) or false;
		set_feature(lists and not withdrawn);
		if lists and not withdrawn and before ~= withdrawn then provide_command(); end
		if withdrawn and not before then
			module:log("error", "mod_%s is enabled too, and takes every login by certificate. mod_saslcertd withdraws on this host: "
				.. "remove \"%s\" from modules_enabled and restart Prosody", rival, rival);
			module:set_status("error", "Withdrawn because of mod_" .. rival);
		elseif before and not withdrawn then
			module:log("info", "mod_%s is gone, mod_saslcertd is back", rival);
			module:set_status("core", "Loaded", true);
		end
	end

	function host.set_lists(wanted)
		if wanted == lists then return; end
		lists = wanted;
		set_feature(lists and not withdrawn);
		if not lists then
			remove_command();
		elseif not withdrawn then
			provide_command();
		end
	end

	local function wrap()
		if unwrap then unwrap(); end
		unwrap = with.wrap(provider_now(), name, host.withdrawn);
	end

	function host.unload()
		if unwrap then unwrap(); end
		unwrap = nil;
	end

	look_for_rival();
	for _, event in ipairs({ "module-loaded", "module-unloaded", "module-reloaded" }) do
		module:hook(event, function (payload)
			if payload.module == rival then look_for_rival(); end
		end);
	end

	wrap();
	-- After usermanager, which takes or drops the provider at 0.
	for _, event in ipairs({ "item-added/auth-provider", "item-removed/auth-provider" }) do
		module:hook(event, function ()
			wrap();
			with.provider_changed();
		end, -100);
	end

	module:hook("account-disco-info", function (event)
		if feature and not host.withdrawn() then event.reply:tag("feature", { var = with.xmlns }):up(); end
	end);

	return host;
end

return { new = new };
