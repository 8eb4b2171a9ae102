// Bundles the page into ../target/devices/page, or with --tests the unit tests into ../target/devices/tests.
//
// Needs `npm ci`. Must not know what the page does.

import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "target", "devices");

if (process.argv.includes("--tests")) {
	const tests = join(here, "tests");
	rmSync(join(target, "tests"), { recursive: true, force: true });
	await build({
		entryPoints: readdirSync(tests).filter(name => name.endsWith(".test.ts")).map(name => join(tests, name)),
		outdir: join(target, "tests"),
		outExtension: { ".js": ".mjs" },
		bundle: true,
		platform: "node",
		format: "esm",
		target: "node18",
		define: { REPOSITORY: JSON.stringify(dirname(here)) },
		// Browsers and newer Nodes have it without asking.
		banner: { js: 'import { webcrypto } from "node:crypto"; globalThis.crypto ??= webcrypto;' },
		logLevel: "warning",
	});
} else {
	const page = join(target, "page");
	rmSync(page, { recursive: true, force: true });
	mkdirSync(page, { recursive: true });
	await build({
		entryPoints: { page: join(here, "src", "page.ts"), style: join(here, "src", "style.css") },
		outdir: page,
		bundle: true,
		minify: true,
		format: "esm",
		target: ["chrome109", "firefox115", "safari16"],
		charset: "utf8",
		legalComments: "linked",
		logLevel: "warning",
	});
	for (const name of ["index.html", "icon.svg"]) copyFileSync(join(here, "src", name), join(page, name));
}
