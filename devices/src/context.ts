// What every view has. Must not know any of them.

import { h } from "./dom.js";
import type { Platform } from "./platform.js";
import { Refused } from "./session.js";
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
 * The server's no in the user's words; its own, which are English, where they say more.
 *
 * Any other error is a fault of the page or of its browser: the console has it, and the user hears that it did not work.
 */
export function wordsOf({ words, settings }: Context, refused: unknown): [string, string] {
	if (!(refused instanceof Refused)) {
		console.error(refused);
		return [words.say("error.other"), ""];
	}
	const [key, theirs] = refusals[refused.condition] ?? ["error.other", true];
	return [words.say(key, { host: settings.host }), theirs ? refused.text : ""];
}

// Source: the conditions of docs/protocol.md. Is the server's text worth reading, too?
const refusals: Record<string, [Key, boolean]> = {
	"bad-request": ["error.name", true],
	"conflict": ["error.conflict", false],
	"forbidden": ["error.forbidden", false],
	"item-not-found": ["error.gone", false],
	"not-acceptable": ["error.unacceptable", true],
	"not-allowed": ["error.noList", false],
	"policy-violation": ["error.notSecure", false],
	"remote-server-timeout": ["error.away", false],
	"resource-constraint": ["error.full", false],
	"service-unavailable": ["error.noList", false],
};
