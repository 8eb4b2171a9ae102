// What a library would do elsewhere stays small enough to be read in one go.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

/** The folder of the repository; see build.mjs. */
declare const REPOSITORY: string;

/** Lines with code in them. */
const count = (code: string) => code.split("\n").filter(line => /\S/.test(line) && !/^\s*(\/\/|\/?\*)/.test(line)).length;

test("DER, certificate and PKCS#12 are at most 200 lines", () => {
	assert.equal(count("// a\n\n/** b\n * c\n */\nlet d; // e\n\t}\n"), 2);
	const lines = ["der", "certificate", "pkcs12"].map(name => count(readFileSync(join(REPOSITORY, "devices", "src", `${name}.ts`), "utf8")));
	assert.ok(Math.min(...lines) > 0);
	const sum = lines.reduce((one, other) => one + other);
	assert.ok(sum <= 200, `${sum} lines: ${lines}`);
});
