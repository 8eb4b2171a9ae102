// The view of a link for another device of the user.

import { generate } from "lean-qr/nano";
import { toSvg } from "lean-qr/extras/svg";
import { heading, show, wordsOf } from "./context.js";
import type { LoggedIn } from "./context.js";
import { copyButton } from "./copy.js";
import { field, h, problem } from "./dom.js";
import { freeName } from "./platform.js";

/** Asks for the device's name, has the server make one, and shows it. `taken`: the names that there are. `back` leads to the list. */
export function showNewLink(context: LoggedIn, taken: string[], back: () => void): void {
	const { words, session } = context;
	const name = h("input", { name: "name", value: freeName(words.say("device.phone"), taken), autocomplete: "off", maxlength: "100", "data-focus": true });
	const button = h("button", { class: "primary" }, words.say("link.button"));
	const said = h("div", {});
	const submit = async (event: Event) => {
		event.preventDefault();
		said.replaceChildren();
		button.disabled = true;
		try {
			showLinkMade(context, await session.makeLink(name.value.trim()), back);
		} catch (error) {
			said.replaceChildren(problem(...wordsOf(context, error)));
			button.disabled = false;
			// A button that is disabled loses it.
			button.focus();
		}
	};
	show(
		heading(words.say("link.title")),
		h("form", { class: "card", novalidate: true, onsubmit: event => void submit(event) },
			said,
			field(words.say("add.name"), name, words.say("link.nameHint")),
			h("div", { class: "actions" }, h("button", { type: "button", class: "quiet", onclick: back }, words.say("cancel")), button)),
	);
}

function showLinkMade({ words }: LoggedIn, link: { url: string; expires: number }, back: () => void): void {
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
		h("div", { class: "actions stacked" }, h("button", { class: "quiet", onclick: back }, words.say("link.back"))),
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
