local load_library = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "load.lua");
local library = load_library("shell");
local shown = load_library("certificates").shown;

local fingerprint = ("0123456789abcdef"):rep(4);

local function new_world()
	local world = { asked = {}, records = {}, disabled = {}, closed = {}, accounts = { ["hamlet@shakespeare.lit"] = true } };
	world.state = { socket = "/run/s.sock", connected = true, software = "saslcertd 1", since = 0, hosts = {}, sessions = 2 };
	world.shell = library.new({
		certificates = {
			fetch = function (question)
				world.question = question;
				if world.failure then return nil, world.failure; end
				return world.records, world.disabled;
			end;
		};
		ask = function (method, params, options)
			world.asked[#world.asked + 1] = { method, params, options };
			return world.result, world.failure;
		end;
		close_revoked = function (...)
			world.closed = { ... };
			return world.closed_count;
		end;
		split_jid = function (text)
			local bare, resource = text:lower():match("^([^/]*)/?(.*)$");
			return bare:match("^([^@]+)@"), bare:match("([^@]+)$"), resource ~= "" and resource or nil;
		end;
		serves = function (host) return host == "shakespeare.lit"; end;
		exists = function (username, host)
			if world.nobody_knows then return nil; end
			return world.accounts[username .. "@" .. host] or false;
		end;
		state = function () return world.state; end;
		why = function () return "connection refused"; end;
		timeout = function () return 2; end;
		null = "null";
		shown = shown;
	});
	return world;
end

describe("an account that is no account", function ()
	for jid, problem in pairs({
		["shakespeare.lit"] = "is not an account";
		["hamlet@shakespeare.lit/castle"] = "is not an account";
		["hamlet@rome.lit"] = "rome.lit is no host with saslcertd here";
		[" "] = "Whose?";
		[false] = "user@host";
	}) do
		it("is refused: " .. tostring(jid), function ()
			local world = new_world();
			for _, command in ipairs({ "list", "revoke" }) do
				local ok, text = world.shell[command](jid or nil, "phone");
				assert.is_false(ok);
				assert.truthy(text:find(problem, 1, true), text);
			end
			assert.same({}, world.asked);
		end);
	end
end);

describe("the list of certificates", function ()
	it("has a line for each, of every account of the name", function ()
		local world = new_world();
		world.records = {
			{
				name = "raw\27"; fingerprint = fingerprint; not_after = 1798761600; resources = { "raw\27" };
				last_use = { at = 1767315600, address = "raw\27" };
				shown = { name = [[my "pho\u{200b}ne"]], resources = { "orchard", [[a\u{1b}b]] }, address = "192.0.2.7" };
			};
			{ name = "old", shown = { name = "old" }, fingerprint = fingerprint, not_after = 1767225600, expired = true, resources = {} };
		};
		world.disabled = { { name = "tablet", shown = { name = "tablet" }, fingerprint = fingerprint } };
		local ok, text, lines = world.shell.list("Hamlet@shakespeare.lit");
		assert.is_true(ok);
		assert.equal("2 certificates of hamlet@shakespeare.lit", text);
		assert.same({
			[["my \u{22}pho\u{200b}ne\u{22}"  sha256 0123456789abcdef…  valid until 2027-01-01  last used 2026-01-02 01:00 UTC from 192.0.2.7  ]]
				.. [[2 sessions: "orchard", "a\u{1b}b"]];
			[["old"  sha256 0123456789abcdef…  valid until 2026-01-01 (EXPIRED)  never used  no session]];
			[["tablet"  sha256 0123456789abcdef…  disabled; it can still be revoked]];
		}, lines);
		assert.same({
			account = "hamlet@shakespeare.lit", incarnation = "null";
			session = { secure = true, by = "admin", jid = "null", address = "null" };
		}, world.question);
	end);

	it("is empty, or there is no such account", function ()
		local world = new_world();
		assert.same({ true, "0 certificates of hamlet@shakespeare.lit", {} }, { world.shell.list("hamlet@shakespeare.lit") });
		assert.same({ false, "There is no account yorick@shakespeare.lit" }, { world.shell.list("yorick@shakespeare.lit") });
		world.nobody_knows = true;
		assert.is_true((world.shell.list("yorick@shakespeare.lit")));
	end);

	it("is shown with dates that nobody can write down", function ()
		local world = new_world();
		world.records = { { shown = { name = "odd" }, not_after = 1e300 }, { name = "raw\27", not_after = "soon" } };
		local _, _, lines = world.shell.list("hamlet@shakespeare.lit");
		assert.equal([["odd"  sha256 ?  valid until ?  never used  no session]], lines[1]);
		assert.equal([["?"  sha256 ?  valid until ?  never used  no session]], lines[2]);
	end);

	it("says why it can't be had", function ()
		for text, failure in pairs({
			["saslcertd can't be asked: connection refused"] = { reason = "away" };
			["saslcertd did not answer"] = { reason = "timeout" };
			["the host was not declared"] = { code = -32002, message = "the host was not declared" };
		}) do
			local world = new_world();
			world.failure = failure;
			assert.same({ false, text }, { world.shell.list("hamlet@shakespeare.lit") });
		end
	end);
end);

describe("a revocation", function ()
	it("says what was revoked, and how many sessions were closed", function ()
		local world = new_world();
		world.result = {
			name = "raw\27", fingerprint = fingerprint, key_id = "beef", removed = { "raw\27", "renewed" };
			shown = { name = "phone", removed = { "phone", "renewed" } };
		};
		world.closed_count = 1;
		local ok, text, lines = world.shell.revoke("hamlet@shakespeare.lit", "phone");
		assert.is_true(ok);
		assert.equal('Revoked "phone" of hamlet@shakespeare.lit (sha256 0123456789abcdef…); 1 session closed', text);
		assert.same({
			'"renewed" had the same key, and is gone, too';
			"To lift it: saslcertd cert unrevoke hamlet@shakespeare.lit beef";
		}, lines);
		assert.same({ "hamlet@shakespeare.lit", "beef" }, world.closed);
		assert.equal("certificate.revoke", world.asked[1][1]);
		assert.equal("phone", world.asked[1][2].name);
		assert.equal("admin", world.asked[1][2].session.by);
		assert.is_true(world.asked[1][3].timeout >= 10);
		assert.is_nil(world.asked[1][3].again);
		world.closed_count = nil;
		assert.truthy(select(2, world.shell.revoke("hamlet@shakespeare.lit", "phone")):find("; its sessions are closed", 1, true));
	end);

	it("that was not answered may have been done", function ()
		local world = new_world();
		world.failure = { reason = "lost" };
		assert.same({ false, "saslcertd did not answer; it may have been done or not" }, { world.shell.revoke("hamlet@shakespeare.lit", "phone") });
	end);

	it("of an unknown name says which part is unknown", function ()
		local world = new_world();
		world.failure = { code = -32000, denial = "name-unknown", message = "no" };
		assert.same({ false, 'hamlet@shakespeare.lit has no certificate with this name' },
			{ world.shell.revoke("hamlet@shakespeare.lit", "pho\nne") });
		assert.same({ false, "There is no account yorick@shakespeare.lit" }, { world.shell.revoke("yorick@shakespeare.lit", "phone") });
		assert.is_false((world.shell.revoke("hamlet@shakespeare.lit")));
		assert.is_false((world.shell.revoke("hamlet@shakespeare.lit", "")));
	end);
end);

describe("the status", function ()
	it("tells of the connection, of each host and of the sessions", function ()
		local world = new_world();
		world.state.hosts = {
			{ name = "rome.lit", ready = true, in_daemon = true, scram = { "SHA-1", "SHA-256" } };
			{ name = "denmark.lit" };
		};
		assert.same({ true, "All is well", {
			"Connected since 1970-01-01 00:00:00 UTC to saslcertd 1 at /run/s.sock";
			"denmark.lit: not declared to saslcertd yet; accounts in Prosody";
			"rome.lit: ready; accounts in saslcertd (SCRAM-SHA-1, SCRAM-SHA-256)";
			"2 sessions logged in with a certificate";
		} }, { world.shell.status() });
	end);

	it("is an error while the daemon is away", function ()
		local world = new_world();
		world.state = { socket = "/run/s.sock", connected = false, since = 60, why = "gone", hosts = {} };
		assert.same({ false, "saslcertd can't be asked: gone", { "Not connected since 1970-01-01 00:01:00 UTC to saslcertd at /run/s.sock" } },
			{ world.shell.status() });
	end);

	it("is an error while the daemon does not answer on its connection", function ()
		local world = new_world();
		world.state.silent = true;
		local ok, text, lines = world.shell.status();
		assert.is_false(ok);
		assert.equal("saslcertd can't be asked: it does not answer", text);
		assert.equal("Connected since 1970-01-01 00:00:00 UTC to saslcertd 1 at /run/s.sock", lines[1]);
	end);

	it("is an error while a host is not ready or withdrawn", function ()
		local world = new_world();
		world.state.hosts = {
			{ name = "a.lit", ready = false, errors = { "this", "that" } };
			{ name = "b.lit", ready = true, withdrawn = true };
		};
		local ok, text, lines = world.shell.status();
		assert.is_false(ok);
		assert.equal("Not ready: a.lit, b.lit", text);
		assert.equal("a.lit: NOT ready: this; that; accounts in Prosody", lines[2]);
		assert.equal("b.lit: withdrawn because of another module, see the log; accounts in Prosody", lines[3]);
	end);
end);
