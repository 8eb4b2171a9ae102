-- Prosody runs on Lua 5.2 to 5.4: each of our files is at least Lua for the one that runs this.

local root = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "../../prosody-glue/";

describe("each file of both modules", function ()
	it("can be read by this Lua", function ()
		local count = 0;
		for path in assert(io.popen("find '" .. root .. "' -name '*.lua'")):lines() do
			assert(loadfile(path));
			count = count + 1;
		end
		assert.is_true(count > 15);
	end);
end);
