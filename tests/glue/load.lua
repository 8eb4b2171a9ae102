-- Loads a library of a module as Prosody does, without Prosody: it only gets what is handed in.

local root = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "../../prosody-glue/";

return function (name, module)
	return assert(loadfile(root .. (module or "mod_saslcertd") .. "/" .. name .. ".lib.lua"))();
end;
