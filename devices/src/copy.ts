// A button that copies what stands on the page.

import { say } from "./context.js";
import { h } from "./dom.js";
import type { Dictionary } from "./words.js";

/** Puts the text of an element on the clipboard. `label`: the id of what says what it is. */
export function copyButton(words: Dictionary, from: HTMLElement, label: string): HTMLElement {
	const copy = async () => {
		try {
			await navigator.clipboard.writeText(from.textContent ?? "");
			say(words.say("made.copied"));
		} catch {
			// The browser does not let us: it is marked, for the user to copy.
			getSelection()?.selectAllChildren(from);
		}
	};
	return h("button", { class: "quiet", onclick: () => void copy(), "aria-describedby": label }, words.say("made.copy"));
}
