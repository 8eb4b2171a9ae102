// Bundles the page into ../target/devices/page, or with --tests the unit tests into ../target/devices/tests.
//
// Needs `npm ci`. Must not know what the page does.

import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
	const { metafile } = await build({
		entryPoints: { page: join(here, "src", "page.ts"), style: join(here, "src", "style.css") },
		outdir: page,
		bundle: true,
		minify: true,
		format: "esm",
		target: ["chrome109", "firefox115", "safari16"],
		charset: "utf8",
		legalComments: "none",
		metafile: true,
		logLevel: "warning",
	});
	writeFileSync(join(page, "licences.txt"), licences(Object.keys(metafile.inputs)));
	for (const name of ["index.html", "icon.svg"]) copyFileSync(join(here, "src", name), join(page, name));
}

/** The licences of the packages that these files are of. */
function licences(files) {
	const names = new Set(files.map(file => file.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean));
	return [...names].sort().map(name => {
		const folder = join(here, "node_modules", name);
		const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
		const own = readdirSync(folder).find(file => /^licen[cs]e/i.test(file));
		// des.js has it at the end of its page.
		const text = own ? readFileSync(join(folder, own), "utf8") : readFileSync(join(folder, "README.md"), "utf8").split(/^#+ *LICENSE.*$/im)[1];
		if (!text) throw new Error(`${name} does not say its licence`);
		return `${name} ${version} (${license})\n\n${text.trim()}\n`;
	}).join(`\n${"-".repeat(72)}\n\n`);
}
