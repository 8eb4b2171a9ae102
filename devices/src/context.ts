// What every view has. Must not know any of them.

import { h } from "./dom.js";
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
	document.getElementById("view")!.replaceChildren(...view);
	const first = document.querySelector<HTMLElement>("#view [data-focus]") ?? document.querySelector<HTMLElement>("#view h1");
	first?.focus({ preventScroll: first.tagName === "H1" });
	scrollTo(0, 0);
}

export const heading = (text: string) => h("h1", { tabindex: "-1" }, text);

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

// Source: docs/protocol.md: the conditions of stanza errors, and the names of denials, which answers over http have.
const refusals: Record<string, [Key, (Key | typeof theirs)?]> = {
	"bad-request": ["error.name", theirs],
	"conflict": ["error.conflict"],
	"forbidden": ["error.forbidden", "error.forbiddenHelp"],
	"item-not-found": ["error.gone"],
	"not-acceptable": ["error.unacceptable", theirs],
	"not-allowed": ["error.noList"],
	"policy-violation": ["error.notSecure"],
	"remote-server-timeout": ["error.away"],
	"resource-constraint": ["error.full"],
	"service-unavailable": ["error.noList"],

	"account-disabled": ["login.disabled", "login.disabledHelp"],
	"account-exists": ["open.exists", "open.existsHelp"],
	"link-unknown": ["open.unknown", "open.unknownHelp"],
	"list-too-large": ["error.full"],
	"name-invalid": ["error.name", theirs],
	"name-taken": ["error.conflict"],
	"no-answer": ["login.unreachable", "login.unreachableHelp"],
	"no-list": ["error.noList"],
	"redeem-unanswered": ["open.lost", "open.lostHelp"],
	"too-many-certificates": ["error.full"],
	"too-many-guesses": ["open.guesses", "open.guessesHelp"],
	"unavailable": ["error.away"],
};
