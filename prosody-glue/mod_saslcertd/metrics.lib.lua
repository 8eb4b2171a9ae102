-- Figures about the daemon for Prosody's statistics: questions and how they ended, refusals by reason, how long answers took, whether
-- there is a connection, and certificates that are about to expire.
--
-- It must not make a label of anything that a stranger has sent.

local statsmanager = require "core.statsmanager";

local kind_of = module:require "failures".kind_of;

local buckets = { 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10 };
local expiring_days, expiring_timeout = 30, 10; -- the latter in seconds

-- ok: yes; refused: no; fault: could not be decided; away: not asked, or not answered in time.
local function result_of(result, failure)
	-- That EXTERNAL isn't offered, or a form refused, is no error, but a no all the same.
	if result then return result.denial and "refused" or "ok"; end
	local kind = kind_of(failure);
	return kind == "unsendable" and "fault" or kind == "unanswered" and "away" or kind;
end

local function new()
	local metrics, counted = {}, {}; -- certificates by host, as they were counted last
	local questions = module:metric("counter", "questions", "", "Questions to saslcertd by how they ended", { "method", "result" });
	local denials = module:metric("counter", "denials", "", "Questions that saslcertd refused, by its reason", { "denial" });
	local latency = module:metric("histogram", "latency", "seconds", "How long saslcertd took to answer", { "method" }, { buckets = buckets });
	local connected = module:metric("gauge", "connected", "", "Whether saslcertd can be asked", {});
	local expiring = module:metric("gauge", "certificates_expiring", "",
		("Certificates that expire soon; days: %d"):format(expiring_days), { "host" });

	-- A question came to its end after so many seconds.
	function metrics.ended(method, seconds, result, failure)
		if failure and failure.fault == "chain-forgotten" then return; end -- it is asked again
		local how = result_of(result, failure);
		questions:with_labels(method, how):add(1);
		if how == "refused" then denials:with_labels((result or failure).denial or "other"):add(1); end
		if result or failure.code then latency:with_labels(method):sample(seconds); end
	end

	function metrics.connected(is_connected) connected:with_labels():set(is_connected and 1 or 0); end

	-- Asks how many certificates of each host are about to expire, with the client's request().
	function metrics.count_expiring(request)
		if not statsmanager.get_metric_registry() then return; end
		request("certificate.expiring", { days = expiring_days }, { timeout = expiring_timeout, again = true }, function (result)
			if not result then return; end
			-- A host that is not served any more has none.
			for host in pairs(counted) do if not result.counts[host] then expiring:with_labels(host):set(0); end end
			for host, count in pairs(result.counts) do expiring:with_labels(host):set(count); end
			counted = result.counts;
		end);
	end

	metrics.connected(false);
	return metrics;
end

return { new = new };
