-- What the daemon has said about accounts, remembered for a while: Prosody asks whether a user exists several times for each
-- message, and not always where it could wait for an answer.
--
-- It must not ask anything.

local new_cache = require "util.cache".new;
local now = require "util.time".now;

local exists_seconds = 5 * 60;
-- Somebody may be creating it right now.
local missing_seconds = 5;
local max_accounts = 100000;

local function new()
	local known = {};
	local entries = new_cache(max_accounts);
	local changes, epoch = 0, 0;

	-- Taken before a question, and handed to remember(): an answer that was overtaken by a change is not kept.
	function known.mark() return changes; end

	-- facts: { exists, … }
	function known.remember(username, facts, mark)
		if mark == changes then entries:set(username, { facts = facts, at = now(), epoch = epoch }); end
	end

	-- What is known for sure, or nil.
	function known.fresh(username)
		local entry = entries:get(username);
		if not entry or entry.epoch ~= epoch then return nil; end
		local age = now() - entry.at;
		if age < 0 or age >= (entry.facts.exists and exists_seconds or missing_seconds) then return nil; end
		return entry.facts;
	end

	-- Was it there when that was last heard?
	function known.existed(username)
		local entry = entries:get(username);
		return entry ~= nil and entry.facts.exists;
	end

	function known.forget(username)
		changes = changes + 1;
		entries:set(username, nil);
	end

	-- Nothing is sure any more.
	function known.expire()
		changes, epoch = changes + 1, epoch + 1;
	end

	return known;
end

return { new = new };
