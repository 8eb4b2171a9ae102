// The view of a link for another device of the user.

import { generate } from "lean-qr/nano";
import { toSvg } from "lean-qr/extras/svg";
import { heading, show, wordsOf } from "./context.js";
import type { LoggedIn } from "./context.js";
import { copyButton } from "./copy.js";
import { h, problem } from "./dom.js";

/** Has the server make one, and shows it. `back` leads to the list. */
export async function showNewLink(context: LoggedIn, back: () => void): Promise<void> {
	const { words, session } = context;
	const leave = h("div", { class: "actions stacked" }, h("button", { class: "quiet", onclick: back }, words.say("link.back")));
	show(heading(words.say("link.title")), h("p", { class: "hint", role: "status" }, words.say("link.busy")));
	let link: { url: string; expires: number };
	try {
		link = await session.makeLink();
	} catch (error) {
		return show(heading(words.say("link.title")), problem(...wordsOf(context, error)), leave);
	}
	const address = h("code", { class: "address", id: "link" }, link.url);
	show(
		heading(words.say("link.title")),
		h("p", { class: "lead" }, words.say("link.lead", { time: words.moment(link.expires) })),
		h("div", { class: "card" },
			picture(link.url, words.say("link.picture")),
			h("p", { class: "label", id: "link-label" }, words.say("link.address")),
			address,
			copyButton(words, address, "link-label")),
		h("section", { class: "card" },
			h("h2", {}, words.say("made.next")),
			h("ol", { class: "steps" }, ...words.lines("link.steps").map(step => h("li", {}, step)))),
		leave,
	);
}

/** A QR code with its quiet zone, dark on light whatever the page's colours are: half of all readers want it so. */
function picture(text: string, label: string): Element {
	const code = toSvg(generate(text), document, { on: "#000", off: "#fff" });
	code.setAttribute("class", "code");
	code.setAttribute("role", "img");
	code.setAttribute("aria-label", label);
	return code;
}
