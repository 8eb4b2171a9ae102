// What is done to a password before SCRAM; names of devices.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileName } from "../src/apps.js";
import { freeName, platformOf } from "../src/platform.js";
import { saslprep } from "../src/saslprep.js";

test("SASLprep: the examples of RFC 4013, 3, and others", () => {
	const cases: [string, string | null][] = [
		["I\u00adX", "IX"], ["user", "user"], ["USER", "USER"], ["\u00aa", "a"], ["\u2168", "IX"], ["\u0007", null],
		["a\u00a0b\u3000c", "a b c"], ["e\u0301", "é"], ["\ufb01", "fi"], ["\u212b", "Å"], ["pass\ufeffword", "password"],
		["\u200e", null], ["\ue000", null], ["\u2028", null], ["\ud800", null], ["\ufffd", null], ["\u{e0041}", null], ["\u{fffff}", null],
		["ünïcödé 密码 пароль", "ünïcödé 密码 пароль"], ["", ""], [" ", " "],
	];
	for (const [typed, wanted] of cases) assert.equal(saslprep(typed), wanted, JSON.stringify(typed));
});

test("a device is called what its browser says", () => {
	const cases: [string, boolean, string, string][] = [
		["Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36", true, "device.androidPhone", "Phone"],
		["Mozilla/5.0 (Android 14; Mobile; rv:121.0) Gecko/121.0 Firefox/121.0", true, "device.androidPhone", "Phone"],
		["Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/120.0 Safari/537.36", true, "device.androidTablet", "Tablet"],
		["Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)", true, "device.iphone", "Phone"],
		["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605", true, "device.ipad", "Tablet"],
		["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605", false, "device.mac", "Computer"],
		["Mozilla/5.0 (Windows NT 10.0; Win64; x64)", true, "device.windows", "Computer"],
		["Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)", true, "device.chromebook", "Computer"],
		["Mozilla/5.0 (X11; Linux x86_64)", false, "device.linux", "Computer"],
	];
	for (const [agent, touch, name, kind] of cases) {
		const platform = platformOf(agent, touch);
		assert.deepEqual([platform.name, platform.kind], [name, kind], agent);
	}
});

test("a name that is taken gets a number", () => {
	assert.equal(freeName("Mac", []), "Mac");
	assert.equal(freeName("Mac", ["Mac", "Mac 2"]), "Mac 3");
});

test("the name of a file has nothing that a system minds", () => {
	assert.equal(fileName("hamlet@shakespeare.lit", "My “phone”: a/b\\c\u202e", "3des"), "hamlet@shakespeare.lit.My-phone-a-b-c-.p12");
	assert.equal(fileName("jürgen@shakespeare.lit", "x".repeat(300), "pem").length, 124);
});
