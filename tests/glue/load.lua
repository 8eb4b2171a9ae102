-- Loads a library of a module as Prosody does, without Prosody: of Prosody's own libraries it gets those that are handed in, or as
-- much of them as is written here.

local root = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "../../prosody-glue/";

local null = setmetatable({}, { __tostring = function () return "null"; end });

-- Who came last is kept.
local function new_cache(size)
	local values, order, first = {}, {}, 1;
	return {
		get = function (_, key) return values[key]; end;
		set = function (_, key, value)
			values[key] = value;
			if value == nil then return; end
			order[#order + 1] = key;
			if #order - first >= size then
				values[order[first]] = nil;
				first = first + 1;
			end
		end;
	};
end

local function new_queue(size)
	local items = {};
	return {
		count = function () return #items; end;
		pop = function () return table.remove(items, 1); end;
		push = function (_, item)
			if #items >= size then return nil, "queue full"; end
			items[#items + 1] = item;
			return true;
		end;
	};
end

local list_mt = { __name = "util.array" };

local known = {
	["util.queue"] = { new = new_queue };
	["util.cache"] = { new = new_cache };
	["util.array"] = function (list) return setmetatable(list or {}, list_mt); end;
	["util.json"] = { null = null };
	["util.encodings"] = { utf8 = { valid = function (text) return not text:find("\255", 1, true); end } };
	["util.stanza"] = {
		stanza = function (name) return name; end;
		error_reply = function (_, kind, condition, text)
			if type(kind) == "table" then return kind; end
			return { type = kind, condition = condition, text = text };
		end;
	};
};

-- libraries: those of Prosody, by name. globals: what its environment has beside them; unless the module in it says otherwise, the libraries
-- of ours that it requires are the real ones. ending: of the file's name.
local function load_library(name, module, libraries, globals, ending)
	local function require_fake(wanted)
		return libraries and libraries[wanted] or known[wanted] or error(wanted .. " was not handed in", 2);
	end
	local environment = setmetatable({ require = require_fake }, { __index = _G });
	for key, value in pairs(globals or {}) do environment[key] = value; end
	environment.module = globals and globals.module or {};
	environment.module.require = environment.module.require or function (_, wanted) return load_library(wanted, module, libraries, globals); end;
	local path = root .. (module or "mod_saslcertd") .. "/" .. name .. (ending or ".lib.lua");
	return assert(loadfile(path, "t", environment))();
end

return load_library, null, known["util.array"];
