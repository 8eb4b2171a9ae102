local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local console = load_library("console");

local shell = {
	list = function (jid) return true, "1 of " .. jid, { "first" }; end;
	revoke = function (jid, name) return false, ("no %s of %s"):format(name, jid); end;
	status = function () return true, "well"; end;
};

local function session()
	local printed = {};
	return { session = { print = function (line) printed[#printed + 1] = line; end } }, printed;
end

local function check(section)
	local self, printed = session();
	assert.same({ true, "1 of a@b" }, { section.list(self, "a@b") });
	assert.same({ "first" }, printed);
	assert.same({ nil, "no x of a@b" }, { section.revoke(self, "a@b", "x") });
	assert.same({ true, "well" }, { section.status(self) });
end

describe("the admin shell", function ()
	it("of 13 gets items", function ()
		local section = {};
		local words = {};
		assert.is_nil(console.add_to_shell({
			get_option_period = function () end;
			add_item = function (_, kind, item)
				assert.equal("shell-command", kind);
				assert.equal("saslcert", item.section);
				section[item.name] = item.handler;
				words[item.name] = #item.args;
			end;
		}, shell));
		check(section);
		assert.same({ list = 1, revoke = 2, status = 0 }, words);
	end);

	it("of 0.12 gets a table, until the module's end", function ()
		local env = {};
		local module = { shared = function (_, path) return path == "/*/admin_shell/env" and env; end };
		local remove = console.add_to_shell(module, shell);
		check(env.saslcert);
		local later = console.add_to_shell(module, shell);
		remove();
		assert.is_table(env.saslcert);
		later();
		assert.is_nil(env.saslcert);
	end);
end);

describe("prosodyctl", function ()
	it("takes just as many words as the command has", function ()
		for _, command in ipairs(console.commands) do
			local arg = { command.name };
			for i = 0, 4 do
				if i ~= #command.words then assert.is_nil(console.run(shell, command, arg)); end
				arg[#arg + 1] = "x";
			end
		end
	end);
end);
