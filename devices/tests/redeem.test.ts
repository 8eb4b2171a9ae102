// What stands behind the # of an address.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isLost, tokenOf } from "../src/redeem.js";
import { Refused } from "../src/refused.js";

test("a link's secret is 22 characters of base64url, and nothing else is asked about", () => {
	const token = "Az09_-Az09_-Az09_-Az09";
	const cases: [string, string | null][] = [
		[`#${token}`, token], [token, null], [`#${token}0`, null], [`#${token.slice(1)}`, null], [`#${token}\n`, null], ["#", null], ["", null],
		[`#${token.replace("_", "/")}`, null], [`#${token.replace("_", "%5F")}`, null], [`#${token.replace("A", "Ä")}`, null], [`##${token}`, null],
	];
	for (const [fragment, wanted] of cases) assert.equal(tokenOf(fragment), wanted, JSON.stringify(fragment));
});

test("an answer that did not come is no refusal", () => {
	const cases: [unknown, boolean][] = [
		[new Refused("no-answer", ""), true], [new Refused("unavailable", "away"), true],
		[new Refused("link-unknown", ""), false], [new Refused("name-invalid", ""), false], [new TypeError(), false],
	];
	for (const [error, wanted] of cases) assert.equal(isLost(error), wanted);
});
