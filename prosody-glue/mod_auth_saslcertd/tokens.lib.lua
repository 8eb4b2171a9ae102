-- Tokens that clients got before their accounts moved into the daemon (mod_sasl2_fast). None is given out since, so all that are
-- there are old.

-- So many accounts at once; then others get their turn.
local batch = 100;

-- Removes them, little by little. with: store (keyval, of the tokens); repeat_soon(f) (calls f until it returns nothing);
--   log(level, format, …)
local function revoke_all(with)
	local names = {};
	-- Not every kind of storage can name its users; some raise an error.
	local listed, err = pcall(function ()
		for username in with.store:users() do names[#names + 1] = username; end
	end);
	if not listed then
		with.log("debug", "Whose tokens there are can't be listed: %s", err);
		return;
	end
	if not names[1] then return; end
	local revoked, at = 0, 0;
	with.repeat_soon(function ()
		for _ = 1, batch do
			at = at + 1;
			if not names[at] then
				with.log("info", "Revoked tokens that are older than the move into saslcertd; accounts: %d", revoked);
				return nil;
			end
			local ok, why = with.store:set(names[at], nil);
			if ok then
				revoked = revoked + 1;
			else
				with.log("error", "The tokens of %s could not be revoked: %s", names[at], why);
			end
		end
		return 0;
	end);
end

return { revoke_all = revoke_all };
