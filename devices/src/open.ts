// The view of a link that was opened: whose account it is for, and what will happen. Only the button redeems it.

import { heading, show, wordsOf } from "./context.js";
import type { Context } from "./context.js";
import { h, problem } from "./dom.js";
import { showForm } from "./form.js";
import type { Known } from "./form.js";
import { isLost, look, redeem } from "./redeem.js";
import type { Link } from "./redeem.js";
import { Refused } from "./refused.js";
import type { Key } from "./words.js";

/** What each kind is called, says that it does, and says on its button. */
const kinds: Record<Link["kind"], { title: Key; text: Key; button: Key }> = {
	add: { title: "open.titleAdd", text: "open.add", button: "add.button" },
	new: { title: "open.titleNew", text: "open.new", button: "open.buttonNew" },
	replace: { title: "open.titleReplace", text: "open.replace", button: "open.buttonReplace" },
};

/** Shows it. `token`: null if the address had something else where a link has its own. `login` leads to the login of this account. */
export async function showLink(context: Context, token: string | null, login: (address: string) => void): Promise<void> {
	const { words } = context;
	show(heading(words.say("open.title")), h("p", { class: "hint", role: "status" }, words.say("open.loading")));
	try {
		if (!token) throw new Refused("link-unknown", "");
		showOffer(context, token, await look(token), login);
	} catch (error) {
		const again = h("button", { class: "primary", onclick: () => void showLink(context, token, login) }, words.say("open.again"));
		const isFinal = error instanceof Refused && error.condition === "link-unknown";
		show(
			heading(words.say("open.title")),
			problem(...wordsOf(context, error)),
			h("div", { class: "actions stacked" },
				!isFinal && again,
				h("button", { class: "quiet", onclick: () => login("") }, words.say("open.login"))),
		);
	}
}

function showOffer(context: Context, token: string, link: Link, login: (address: string) => void): void {
	const { words, platform } = context;
	const { account, expires } = link;
	const { title, text, button } = kinds[link.kind];
	// Was there an attempt whose answer is lost?
	let isUnsure = false;
	const upload = async (name: string, certificate: Uint8Array<ArrayBuffer>): Promise<Known> => {
		try {
			return { name: await redeem(token, name, certificate) };
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
			if (isUnsure && error.condition === "already-enrolled") return { name };
			if (isUnsure && error.condition === "link-unknown") {
				return { name, doubt: problem(words.say("open.doubt"), words.say("open.doubtHelp")) };
			}
			if (!isLost(error)) throw error;
			isUnsure = true;
			throw new Refused("redeem-unanswered", error.text);
		}
	};
	const done = () => {
		const end = link.kind === "new" ? "open.endNew" : "open.end";
		show(
			heading(words.say("open.endTitle")),
			h("p", {}, words.say(end, { account, host: context.settings.host })),
			...link.kind === "new" ? [] : [h("div", { class: "actions stacked" },
				h("button", { class: "quiet", onclick: () => login(account) }, words.say("open.login")))],
		);
	};
	showForm(context, {
		address: account,
		own: true,
		title: words.say(title, { account }),
		lead: [
			h("p", { class: "lead" }, words.say(text, { account })),
			h("p", { class: "hint" }, words.say("open.until", { time: words.moment(expires) })),
		],
		name: link.name ?? words.say(platform.name),
		noApp: "open.noApp",
		asksManage: false,
		button: words.say(button),
		upload,
		done,
	});
}
