// Debian's Chromium, driven by lines: each is a JSON object that names a page and the calls to make on it, and is answered by one line.
//
//   {"id": 1, "page": 0, "steps": [["getByLabel", "Password"], ["fill", "secret"]]}  →  {"id": 1, "result": null}
//
// browser.py is the other end. Nothing is fetched: the browser is Debian's, playwright-core npm's.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const packages = createRequire(new URL("../../devices/package.json", import.meta.url));
const { chromium } = packages("playwright-core");

const options = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
	executablePath: "/usr/bin/chromium",
	args: [
		"--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		// Names lead to this machine and nowhere else; this one certificate is trusted, and no other.
		`--host-resolver-rules=${options.hosts.map(host => `MAP ${host} 127.0.0.1`).join(",")},MAP * ~NOTFOUND,EXCLUDE 127.0.0.1`,
		`--ignore-certificate-errors-spki-list=${options.key}`,
	],
});
const pages = [];

const operations = {
	/** A page in a context of its own; `heard`: the address of each request and of each that was answered, and what the console says. */
	async open({ context }) {
		const page = await (await browser.newContext({ acceptDownloads: true, ...context })).newPage();
		page.setDefaultTimeout(options.patience * 1000);
		const heard = { requests: [], answered: [], console: [] };
		page.on("request", request => heard.requests.push(request.url()));
		page.on("response", response => heard.answered.push(response.url()));
		page.on("websocket", socket => heard.requests.push(socket.url()));
		page.on("console", message => heard.console.push(`${message.type()}: ${message.text()}`));
		page.on("pageerror", error => heard.console.push(`pageerror: ${error.message}`));
		return pages.push({ page, heard }) - 1;
	},
	async steps({ page, steps }) {
		let at = pages[page].page;
		for (const [name, ...args] of steps) at = await at[name](...args.map(revive));
		return at;
	},
	async key({ page, name, text }) {
		await pages[page].page.keyboard[name](text);
	},
	async heard({ page }) {
		return pages[page].heard;
	},
	async download({ page, steps, file }) {
		const [download] = await Promise.all([pages[page].page.waitForEvent("download"), operations.steps({ page, steps })]);
		await download.saveAs(file);
		return download.suggestedFilename();
	},
	/** What axe-core finds. */
	async axe({ page }) {
		const { source } = packages("axe-core");
		await pages[page].page.evaluate(source);
		const { violations } = await pages[page].page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
		return violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => `${node.target} ${node.failureSummary}`).join("; ")}`);
	},
};

/** A pattern travels as an object. */
function revive(value) {
	return value && typeof value === "object" && "pattern" in value ? new RegExp(value.pattern) : value && typeof value === "object" && !Array.isArray(value)
		? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)])) : value;
}

/** What is no plain value is a locator or the like. */
function plain(value) {
	try {
		return JSON.parse(JSON.stringify(value ?? null));
	} catch {
		return null;
	}
}

process.stdout.write('{"id":0}\n');
for await (const line of createInterface({ input: process.stdin })) {
	const { id, do: operation, ...rest } = JSON.parse(line);
	operations[operation](rest).then(
		result => process.stdout.write(`${JSON.stringify({ id, result: plain(result) })}\n`),
		error => process.stdout.write(`${JSON.stringify({ id, error: error.message })}\n`),
	);
}
await browser.close();
