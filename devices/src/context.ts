// What every view has. Must not know any of them.

import { closeQuestions, h } from "./dom.js";
import type { Platform } from "./platform.js";
import { Refused } from "./refused.js";
import type { Session, Settings } from "./session.js";
import type { Dictionary, Key } from "./words.js";

export interface Context {
	settings: Settings;
	words: Dictionary;
	platform: Platform;
}

/** The same behind a login. */
export interface LoggedIn extends Context {
	session: Session;
}

/** Puts a view on the page, and the focus on its heading, so that a screen reader begins there. */
export function show(...view: Node[]): void {
	say("");
	closeQuestions();
	document.getElementById("view")!.replaceChildren(...view);
	const first = document.querySelector<HTMLElement>("#view [data-focus]") ?? document.querySelector<HTMLElement>("#view h1");
	first?.focus({ preventScroll: first.tagName === "H1" });
	scrollTo(0, 0);
}

/** An address in it stays together; one that is wider than the screen goes on behind its `@`. */
export function heading(text: string): HTMLElement {
	const parts = text.split(/(\S+@)(\S+)/);
	const address = (name: string, host: string) => h("span", { class: "whole" }, name, h("wbr"), host);
	return h("h1", { tabindex: "-1" }, ...parts.length === 4 ? [parts[0], address(parts[1]!, parts[2]!), parts[3]] : [text]);
}

/** Says something in passing: read out, shown for a while. */
export function say(text: string): void {
	const place = document.getElementById("said")!;
	place.textContent = text;
	clearTimeout(saying);
	saying = setTimeout(() => { place.textContent = ""; }, 8000);
}

let saying: ReturnType<typeof setTimeout> | undefined;

/**
 * The server's no in the user's words, and what helps; or its own words, which are English, where they say more.
 *
 * Any other error is a fault of the page or of its browser: the console has it, and the user hears that it did not work.
 */
export function wordsOf({ words, settings }: Context, refused: unknown): [string, string] {
	if (!(refused instanceof Refused)) {
		console.error(refused);
		return [words.say("error.other"), ""];
	}
	const values = { host: settings.host };
	const [key, help] = refusals[refused.condition] ?? ["error.other", theirs];
	return [words.say(key, values), help === undefined ? "" : help === theirs ? refused.text : words.say(help, values)];
}

/** The server's own text is worth reading. */
const theirs = Symbol();

/** What the user is told of each refusal, and what helps. Source: docs/protocol.md, and failures.lib.lua. */
export const refusals: Record<string, [Key, (Key | typeof theirs)?]> = {
	"account-disabled": ["login.disabled", "login.disabledHelp"],
	"account-exists": ["open.exists", "open.existsHelp"],
	"account-missing": ["error.account", "login.disabledHelp"],
	"already-enrolled": ["error.enrolled"],
	"cert-expired": ["error.clock", "error.clockHelp"],
	"cert-not-yet-valid": ["error.clock", "error.clockHelp"],
	"cert-unacceptable": ["error.unacceptable", theirs],
	"chain-untrusted": ["error.authority", "error.authorityHelp"],
	"key-revoked": ["error.revoked", "error.revokedHelp"],
	"link-forbidden": ["error.noLinks", "error.noLinksHelp"],
	"link-missing": ["error.linkGone"],
	"link-unknown": ["open.unknown", "open.unknownHelp"],
	"links-off": ["error.noLinks", "error.noLinksHelp"],
	"list-too-large": ["error.full"],
	"management-forbidden": ["error.forbidden", "error.forbiddenHelp"],
	"name-invalid": ["error.name", "error.nameHelp"],
	"name-taken": ["error.conflict"],
	"name-unknown": ["error.gone"],
	"no-list": ["error.noList"],
	"stream-not-secure": ["error.notSecure"],
	"too-many-certificates": ["error.full"],
	"too-many-guesses": ["open.guesses", "open.guessesHelp"],
	"too-many-links": ["error.links", "error.linksHelp"],
	"too-many-marks": ["error.marks", "error.marksHelp"],
	"validity-too-long": ["error.rules", "error.rulesHelp"],

	// Where nothing was decided.
	"bad-request": ["error.stale", "error.staleHelp"],
	"forbidden": ["error.forbidden", "error.forbiddenHelp"],
	"no-answer": ["login.unreachable", "login.unreachableHelp"],
	"not-acceptable": ["error.unacceptable", theirs],
	"page-foreign": ["error.foreign", "error.foreignHelp"],
	"redeem-unanswered": ["open.lost", "open.lostHelp"],
	"remote-server-timeout": ["error.away"],
	"session-over": ["session.lost", "session.lostHelp"],
	"service-unavailable": ["error.noList"],
	"unavailable": ["error.away"],
};
