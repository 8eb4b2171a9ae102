// The view of the user's devices, and of the links that wait for others. It looks every few seconds: what another session changes, logs in or leaves appears by itself.

import { showAdd } from "./add.js";
import { heading, say, show, wordsOf } from "./context.js";
import type { LoggedIn } from "./context.js";
import { ask, h, problem } from "./dom.js";
import { showNewLink } from "./link.js";
import { Refused } from "./refused.js";
import type { Device, OwnLink } from "./session.js";
import { facts, nameOf, originOf, waitingLinks } from "./waiting.js";

/** How often it looks. The server is asked for some kilobytes. */
const intervalMs = 3000;
/** 9999-12-31: the end of what has none. Source: RFC 5280, 4.1.2.5. */
const noEnd = 253402300799;

/** Shows it, until `showList` or another view takes its place. `logout`: the user wants to leave. */
export function showList(context: LoggedIn, logout: () => void): void {
	const { words, platform, session } = context;
	const list = h("ul", { class: "devices", "aria-label": words.say("title") });
	// The last change's no stays until the next change; that of the last look goes with the next good one.
	const changeSaid = h("div", {});
	const lookSaid = h("div", {});
	const others = h("button", { class: "quiet danger-text", hidden: true, onclick: () => void signOutOthers() }, words.say("list.others"));
	const link = h("button", { class: "quiet", hidden: true, onclick: () => showNewLink(context, taken(), back) }, words.say("list.link"));
	const waiting = h("section", { class: "waiting" });
	const loading = h("p", { class: "hint", role: "status" }, words.say("list.loading"));
	let devices: Device[] = [];
	let links: OwnLink[] = [];
	/** Can the server be told what XEP-0257 has no request for? */
	let hasCommand = false;
	let shown = "";
	let isInVain = false;

	const back = () => session.isOver ? logout() : showList(context, logout);
	const taken = () => [...devices, ...links].flatMap(({ name }) => name ?? []);
	const add = (own: boolean) => () => showAdd(context, devices.map(device => device.name), own, back);

	const look = async () => {
		try {
			({ devices, links } = await session.list());
		} catch (error) {
			tell(lookSaid, error);
			// Who is refused the list can't add to it, either. That the host has none is not going to change.
			actions.hidden = error instanceof Refused && error.condition !== "remote-server-timeout";
			isInVain = error instanceof Refused && error.condition === "no-list";
			return;
		} finally {
			loading.remove();
		}
		lookSaid.replaceChildren();
		actions.hidden = false;
		const now = JSON.stringify([devices, links]);
		if (now === shown || !list.isConnected) return;
		shown = now;
		paint();
	};

	/** What is said already is not read out once more. */
	const tell = (place: HTMLElement, error: unknown) => {
		const said = problem(...wordsOf(context, error));
		if (place.textContent !== said.textContent) place.replaceChildren(said);
	};

	const paint = () => {
		// Who has the focus on a button keeps it.
		const focused = document.activeElement?.getAttribute("data-of");
		list.replaceChildren(...devices.map(device => row(context, device, devices, () => void revoke(device))));
		if (devices.length === 0) {
			list.replaceChildren(h("li", { class: "empty" }, h("p", {}, words.say("list.empty")), h("p", { class: "hint" }, words.say("list.emptyHelp"))));
		}
		// Where users make links it ends those, too.
		others.hidden = devices.length < (context.settings.links === "self" ? 1 : 2);
		waiting.replaceChildren(...waitingLinks(context, links, devices, hasCommand ? which => void takeBack(which) : undefined));
		if (focused) document.querySelector<HTMLElement>(`#view [data-of="${focused}"]`)?.focus();
	};

	const change = async (what: () => Promise<void>, done: string) => {
		changeSaid.replaceChildren();
		try {
			await what();
			await look();
			say(done);
		} catch (error) {
			tell(changeSaid, error);
		}
		(document.activeElement === document.body ? document.querySelector<HTMLElement>("#view h1") : null)?.focus();
	};

	const revoke = async (device: Device) => {
		const named = { name: device.shown.name };
		const text = h("p", {}, words.say("revoke.text"));
		if (await ask(words.say("revoke.title", named), [text], words.say("cancel"), words.say("revoke.button"))) {
			await change(() => session.revoke(device.name), words.say("revoke.done", named));
		}
	};

	const signOutOthers = async () => {
		// Behind the question the list goes on.
		const offered = devices;
		const choices = offered.map((device, i) => {
			const radio = h("input", { type: "radio", name: "kept", value: String(i), checked: i === 0 });
			return h("label", { class: "choice" }, radio, h("span", {}, device.shown.name));
		});
		const group = h("fieldset", {}, h("legend", { class: "hidden" }, words.say("others.title")), ...choices);
		const content = [group, h("p", {}, words.say("others.text"))];
		if (!await ask(words.say("others.title"), content, words.say("cancel"), words.say("others.button"))) return;
		const kept = offered[choices.findIndex(choice => choice.querySelector("input")!.checked)];
		if (kept) await change(() => session.revokeOthers(kept.name), words.say("others.done", { name: kept.shown.name }));
	};

	const takeBack = async (which?: OwnLink) => {
		const say = (what: "title" | "text" | "button" | "done") =>
			which ? words.say(`takeBack.${what}One`, { name: nameOf(words, which) }) : words.say(`takeBack.${what}`);
		if (await ask(say("title"), [h("p", {}, say("text"))], words.say("cancel"), say("button"))) {
			await change(() => session.takeBack(which?.id ?? "all"), say("done"));
		}
	};

	const actions = h("div", { class: "actions stacked" },
		h("button", { class: "primary", onclick: add(true) }, words.say(`list.add${platform.kind}`)),
		h("button", { class: "quiet", onclick: add(false) }, words.say("list.addOther")),
		link,
		others);

	show(
		h("div", { class: "who" },
			h("span", {}, session.address),
			h("button", { class: "link", onclick: logout }, words.say("session.logout"))),
		heading(words.say("title")),
		h("p", { class: "lead" }, words.say("list.intro")),
		changeSaid,
		lookSaid,
		loading,
		list,
		waiting,
		actions,
	);

	session.hasCommand().then(has => {
		hasCommand = has;
		link.hidden = !has || context.settings.links !== "self";
		if (shown) paint();
	}, () => undefined);

	const again = async () => {
		if (!list.isConnected || isInVain) return;
		if (!document.hidden) await look();
		setTimeout(() => void again(), intervalMs);
	};
	void again();
}

function row({ words }: LoggedIn, device: Device, all: Device[], revoke: () => void): HTMLElement {
	const { added, last_use: used, shown } = device;
	const from = (at: number, address: string | undefined) =>
		address ? words.say("list.from", { time: words.moment(at), address }) : words.moment(at);
	return h(
		"li",
		{ class: "device" },
		h("div", { class: "name" },
			h("h2", {}, shown.name),
			device.resources.length > 0 && h("span", { class: "online" }, words.say("list.online")),
			device.expired && h("span", { class: "expired" }, words.say("list.expired"))),
		facts([
			[words.say("list.lastLogin"), used ? from(used.at, shown.address) : words.say("list.noLogin")],
			[words.say("list.added"), originOf(words, added, all)],
			[words.say("list.expires"), device.not_after >= noEnd ? words.say("list.never") : words.day(device.not_after)],
			[words.say("list.manages"), words.say(device.may_manage ? "list.yes" : "list.no")],
		]),
		h("button", {
			"class": "quiet danger-text", "data-of": device.fingerprint, "aria-label": words.say("list.revokeLabel", { name: shown.name }), "onclick": revoke,
		}, words.say("list.revoke")),
	);
}
