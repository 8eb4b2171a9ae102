// The links that the user has made and nobody has used: they stand below the devices.

import type { Context } from "./context.js";
import { h } from "./dom.js";
import type { Device, Origin, OwnLink } from "./session.js";
import type { Dictionary } from "./words.js";

/** What stands there; nothing, if there are none. `takeBack`, of one or of all: where the server can be told. */
export function waitingLinks({ words }: Context, links: OwnLink[], devices: Device[], takeBack?: (link?: OwnLink) => void): Node[] {
	if (links.length === 0) return [];
	return [
		h("h2", {}, words.say("links.title")),
		h("p", { class: "hint" }, words.say("links.intro")),
		h("ul", { "class": "devices", "aria-label": words.say("links.title") }, ...links.map(link => h(
			"li",
			{ class: "device" },
			h("h3", { class: "name" }, nameOf(words, link)),
			facts([
				[words.say("links.made"), originOf(words, link.made, devices)],
				[words.say("links.until"), words.moment(link.expires)],
				[words.say("links.uses"), String(link.uses)],
				[words.say("links.id"), link.id],
			]),
			takeBack && h("button", {
				"class": "quiet danger-text", "data-of": link.id, "aria-label": words.say("links.takeBackLabel", { name: nameOf(words, link) }),
				"onclick": () => takeBack(link),
			}, words.say("links.takeBack")),
		))),
		...takeBack && links.length > 1 ? [h("button", { "class": "quiet danger-text", "data-of": "all", "onclick": () => takeBack() }, words.say("links.takeBackAll"))] : [],
	];
}

/** What its maker has called the device, or else its number. */
export const nameOf = (words: Dictionary, { id, shown }: OwnLink) => shown.name ?? words.say("links.nameless", { id });

/** When and by which device something was made. */
export function originOf(words: Dictionary, { at, by, fingerprint }: Origin, devices: Device[]): string {
	const device = devices.find(one => one.fingerprint === fingerprint);
	const how = ({ password: "list.byPassword", admin: "list.byAdmin", certificate: device ? "list.byDevice" : "list.byGone" } as const)[by];
	return words.say(how, { time: words.moment(at), name: device?.shown.name ?? "" });
}

/** Terms and what is said of each. */
export const facts = (all: [term: string, fact: string][]) =>
	h("dl", {}, ...all.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact))));
