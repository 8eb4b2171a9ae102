local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");

local function new_world()
	local world = { values = {}, requests = {} };
	local values = world.values;
	local library = load_library("metrics", nil, {
		["core.statsmanager"] = { get_metric_registry = function () return not world.is_uncounted and {} or nil; end };
	}, { module = {
		metric = function (_, kind, name, _, _, label_keys)
			assert.is_table(label_keys);
			return {
				with_labels = function (_, ...)
					assert.equal(#label_keys, select("#", ...));
					local key = table.concat({ name, ... }, " ");
					local function add(_, value)
						assert.equal("counter", kind);
						values[key] = (values[key] or 0) + value;
					end
					local function set(_, value)
						assert.equal("gauge", kind);
						values[key] = value;
					end
					local function sample(_, value)
						assert.equal("histogram", kind);
						values[key] = values[key] or {};
						table.insert(values[key], value);
					end
					return { add = add, set = set, sample = sample };
				end;
			};
		end;
	} });
	world.metrics = library.new();
	function world.count_expiring()
		world.metrics.count_expiring(function (method, params, _, callback)
			world.requests[#world.requests + 1] = { method, params };
			world.callback = callback;
		end);
	end
	return world;
end

describe("a measured question", function ()
	local function measured(result, failure)
		local world = new_world();
		world.metrics.ended("external.login", 0.5, result, failure);
		world.values.connected = nil;
		return world.values;
	end

	it("is counted by how it ended; only what was answered took time", function ()
		assert.same({ ["questions external.login ok"] = 1, ["latency external.login"] = { 0.5 } }, measured({}));
		assert.same({
			["questions external.login refused"] = 1, ["denials cert-expired"] = 1, ["latency external.login"] = { 0.5 };
		}, measured(nil, { code = -32000, denial = "cert-expired" }));
		assert.same({
			["questions external.login refused"] = 1, ["denials key-revoked"] = 1, ["latency external.login"] = { 0.5 };
		}, measured({ offer = false, candidates = {}, denial = "key-revoked" }));
		assert.same({ ["questions external.login fault"] = 1, ["latency external.login"] = { 0.5 } }, measured(nil, { code = -32001 }));
		assert.same({ ["questions external.login fault"] = 1 }, measured(nil, { reason = "too-long" }));
		for _, reason in ipairs({ "away", "lost", "timeout", "busy" }) do
			assert.same({ ["questions external.login away"] = 1 }, measured(nil, { reason = reason }));
		end
	end);
end);

describe("the connection", function ()
	it("is there or not, at first not", function ()
		local world = new_world();
		assert.equal(0, world.values.connected);
		world.metrics.connected(true);
		assert.equal(1, world.values.connected);
	end);
end);

describe("certificates that are about to expire", function ()
	it("are counted for all hosts at once", function ()
		local world = new_world();
		world.count_expiring();
		assert.same({ { "certificate.expiring", { days = 30 } } }, world.requests);
		world.callback({ counts = { ["a.lit"] = 3, ["c.lit"] = 0 } });
		assert.equal(3, world.values["certificates_expiring a.lit"]);
		assert.is_nil(world.values["certificates_expiring b.lit"]);
		assert.equal(0, world.values["certificates_expiring c.lit"]);
		-- A host that is not served any more has none.
		world.count_expiring();
		world.callback({ counts = { ["c.lit"] = 1 } });
		assert.equal(0, world.values["certificates_expiring a.lit"]);
		assert.equal(1, world.values["certificates_expiring c.lit"]);
	end);

	it("are still those of before when the daemon is away", function ()
		local world = new_world();
		world.count_expiring();
		world.callback({ counts = { ["a.lit"] = 3 } });
		world.count_expiring();
		world.callback(nil, { reason = "away" });
		assert.equal(3, world.values["certificates_expiring a.lit"]);
	end);

	it("are not asked for where nobody would see the answer", function ()
		local world = new_world();
		world.is_uncounted = true;
		world.count_expiring();
		assert.same({}, world.requests);
	end);
end);
