// Each language says everything, with the same places to fill in.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { refusals } from "../src/context.js";
import { choose, Dictionary, languages } from "../src/words.js";
import type { Key } from "../src/words.js";

/** The folder of the repository; see build.mjs. */
declare const REPOSITORY: string;
const en = languages["en"]!;
const places = (text: string | string[] | undefined) => [text].flat().join(" ").match(/\{\w+\}/g)?.sort() ?? [];

for (const [language, words] of Object.entries(languages)) {
	test(`${language} is complete`, () => {
		assert.deepEqual(Object.keys(words).sort(), Object.keys(en).sort());
		for (const key of Object.keys(en) as Key[]) {
			assert.deepEqual(new Set(places(words[key])), new Set(places(en[key])), key);
			assert.equal([words[key]].flat().length, [en[key]].flat().length, key);
			assert.ok([words[key]].flat().every(text => text && text.trim() === text), key);
		}
	});
}

test("the browser's first language that there is, is taken", () => {
	const cases: [string[], string][] = [
		[["de-CH", "en"], "de-CH"], [["pt-BR", "es-419", "en"], "es-419"], [["FR"], "FR"], [["ja"], "en"], [[], "en"], [["constructor", "__proto__"], "en"],
	];
	for (const [wanted, got] of cases) assert.equal(choose(wanted), got);
	const british = new Dictionary("en-GB");
	assert.deepEqual([british.language, british.say("cancel"), british.day(0)], ["en", "Cancel", "1 Jan 1970"]);
});

test("what a language lacks is said in English, and what nobody fills in stays", () => {
	languages["xx"] = { "cancel": "Xancel" };
	const words = new Dictionary("xx");
	assert.equal(words.say("cancel"), "Xancel");
	assert.equal(words.say("revoke.title", { name: "$& {name}" }), "Sign out “$& {name}”?");
	assert.equal(words.say("revoke.title"), "Sign out “{name}”?");
	delete languages["xx"];
});

test("in French no line begins with a sign that belongs to the word before it", () => {
	for (const [key, text] of Object.entries(languages["fr"]!)) assert.doesNotMatch([text].flat().join(" "), /« | [»:;?!]/, key);
});

/** The codes in the table of docs/protocol.md, which a test of the daemon compares with its denials. */
const row = /^\| `([a-z0-9-]+)` \| `[a-z-]+` \| [a-z]+ `[a-z-]+` \|/gm;
const denials = [...readFileSync(`${REPOSITORY}/docs/protocol.md`, "utf8").matchAll(row)].map(([, code]) => code!);

test("each refusal that has words is one that the server knows", () => {
	const undecided = [
		"bad-request", "forbidden", "no-answer", "not-acceptable", "page-foreign", "redeem-unanswered", "remote-server-timeout", "session-over", "service-unavailable",
		"unavailable",
	];
	assert.deepEqual(Object.keys(refusals).filter(code => !denials.includes(code)), undecided);
});

test("each refusal that the server knows has words, unless the page never hears it", () => {
	/** Why not, and of which. */
	const unheard: Record<string, string[]> = {
		"only logins are refused so": [
			"authzid-invalid", "authzid-malformed", "authzid-required", "cert-disabled", "cert-unknown", "chain-expired", "chain-revoked", "crl-expired",
			"crl-missing", "password-wrong", "session-refused",
		],
		"the page sends a certificate, as the protocol has it": ["cert-missing", "none-presented", "not-base64", "request-malformed"],
		"its RSA keys are as long as the host wants": ["key-too-short"],
		"its certificates have one address, which is the account's": ["address-foreign", "address-missing", "held-by-another"],
		"it changes no passwords and ends no account": ["password-needed", "password-unacceptable"],
		"only an administrator names accounts, and terms of links": ["account-kept", "account-name-impossible", "link-terms"],
	};
	const named = Object.values(unheard).flat();
	assert.ok(denials.length > named.length);
	assert.deepEqual(denials.filter(code => !Object.hasOwn(refusals, code)).sort(), named.sort());
});

test("what docs/devices.md explains is what the page says", () => {
	const rows = readFileSync(`${REPOSITORY}/docs/devices.md`, "utf8").matchAll(/^\| "([^"]+)"/gm);
	const quoted = [...rows].map(([, sentence]) => sentence!);
	const said = Object.values(en).flat().join("\n").replaceAll("’", "'");
	assert.ok(quoted.length > 3);
	for (const sentence of quoted) assert.ok(said.includes(sentence), sentence);
});
