-- What Prosody's statistics show of the daemon: questions and how they ended, refusals by reason, how long answers took, whether
-- there is a connection, and certificates that are about to expire.
--
-- It must not make a label of anything that a stranger has sent.

local now = require "util.time".now;
local statsmanager = require "core.statsmanager";

local buckets = { 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10 };
local max_denials, max_denial_bytes = 64, 40;
local expiring_days = 30;
local expiring_timeout = 10;

-- ok: yes; refused: no; fault: could not be decided; away: not asked, or not answered in time.
local function result_of(result, failure)
	-- That EXTERNAL isn't offered, or a form refused, is no error, but a no all the same.
	if result then return type(result) == "table" and result.denial and "refused" or "ok"; end
	if failure.code == -32000 then return "refused"; end
	if failure.code or failure.reason == "too-long" or failure.reason == "not-text" then return "fault"; end
	return "away";
end

-- request(method, params, options, callback): of the client (see client.lib.lua).
local function new(request)
	local metrics = {};
	local questions = module:metric("counter", "questions", "", "Questions to saslcertd by how they ended", { "method", "result" });
	local denials = module:metric("counter", "denials", "", "Questions that saslcertd refused, by its reason", { "denial" });
	local latency = module:metric("histogram", "latency", "seconds", "How long saslcertd took to answer", { "method" }, { buckets = buckets });
	local connected = module:metric("gauge", "connected", "", "Whether saslcertd can be asked", {});
	local expiring = module:metric("gauge", "certificates_expiring", "",
		("Certificates that expire soon; days: %d"):format(expiring_days), { "host" });
	local known, known_count = {}, 0;
	-- By host, as they were counted last.
	local counted = {};

	local function label_of(denial)
		if type(denial) ~= "string" or #denial > max_denial_bytes or not denial:find("^[a-z%-]+$") then return "other"; end
		if not known[denial] then
			if known_count >= max_denials then return "other"; end
			known[denial], known_count = true, known_count + 1;
		end
		return denial;
	end

	-- A question came to its end after so many seconds.
	function metrics.ended(method, seconds, result, failure)
		local how = result_of(result, failure);
		questions:with_labels(method, how):add(1);
		if how == "refused" then denials:with_labels(label_of((result or failure).denial)):add(1); end
		-- The clock may be set back meanwhile.
		if result or failure.code then latency:with_labels(method):sample(math.max(seconds, 0)); end
	end

	-- The same request, measured.
	function metrics.request(method, params, options, callback)
		local asked_at = now();
		return request(method, params, options, function (result, failure)
			metrics.ended(method, now() - asked_at, result, failure);
			return callback(result, failure);
		end);
	end

	function metrics.connected(is_connected)
		connected:with_labels():set(is_connected and 1 or 0);
	end

	-- Asks how many certificates of each host are about to expire. The daemon looks at all certificates for it.
	function metrics.count_expiring()
		if not statsmanager.get_metric_registry() then return; end
		local options = { timeout = expiring_timeout, again = true };
		metrics.request("certificate.expiring", { days = expiring_days }, options, function (result)
			if not result then return; end
			-- A host that is not served any more has none.
			for host in pairs(counted) do
				if not result.counts[host] then expiring:with_labels(host):set(0); end
			end
			for host, count in pairs(result.counts) do expiring:with_labels(host):set(count); end
			counted = result.counts;
		end);
	end

	metrics.connected(false);
	return metrics;
end

return { new = new };
