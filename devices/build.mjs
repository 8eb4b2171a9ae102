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
		metafile: true,
		logLevel: "warning",
	});
	for (const name of ["index.html", "icon.svg"]) copyFileSync(join(here, "src", name), join(page, name));
	writeFileSync(join(page, "licences.txt"), licencesOf(Object.keys(metafile.inputs)));
}

/** The licences of the packages that these files are from: they want to stand beside what was made of them. */
function licencesOf(files) {
	const packages = new Set(files.map(file => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]).filter(Boolean));
	return [...packages].sort().map(name => {
		const folder = join(here, "node_modules", name);
		const text = pattern => readFileSync(join(folder, readdirSync(folder).find(file => pattern.test(file)) ?? "package.json"), "utf8");
		const own = text(/^licen[cs]e/i);
		// des.js has its licence at the end of what there is to read.
		return `${name}\n\n${(own.startsWith("{") ? text(/^readme/i).replace(/^.*?#+ license/is, "") : own).trim()}\n`;
	}).join("\n---\n\n");
}
