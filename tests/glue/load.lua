-- Loads a library of the module as Prosody does, without Prosody: it only gets what is handed in.

local root = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "../../prosody-glue/mod_saslcertd/";

return function (name)
	return assert(loadfile(root .. name .. ".lib.lua"))();
end;
