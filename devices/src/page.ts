// The page: asks its host what it has to know, and goes from view to view.

import type { Context } from "./context.js";
import { heading, say, show } from "./context.js";
import { h, problem } from "./dom.js";
import { showList } from "./list.js";
import { showLogin } from "./login.js";
import { showLink } from "./open.js";
import { platformOf } from "./platform.js";
import { tokenOf } from "./redeem.js";
import type { Session, Settings } from "./session.js";
import { choose, Dictionary } from "./words.js";

async function begin(): Promise<void> {
	// A link's secret does not stay in the address, where others see it. The browser's history has it already, and keeps it.
	const fragment = location.hash;
	if (fragment) history.replaceState(null, "", location.pathname + location.search);
	addEventListener("hashchange", () => location.reload());
	const words = new Dictionary(choose(navigator.languages));
	document.documentElement.lang = words.language;
	document.title = words.say("title");
	const answer = await fetch("settings.json", { credentials: "omit", referrerPolicy: "no-referrer" }).catch(() => null);
	if (!answer?.ok) return show(heading(words.say("title")), problem(words.say("noSettings"), words.say("noSettingsHelp")));
	const settings = await answer.json() as Settings;
	const context: Context = { settings, words, platform: platformOf(navigator.userAgent, navigator.maxTouchPoints > 1) };
	document.title = `${words.say("title")} · ${settings.name}`;
	const brand = document.getElementById("brand")!;
	brand.replaceChildren(...(settings.logo ? [h("img", { src: "logo", alt: "" })] : []), h("span", {}, settings.name));
	if (!settings.secure || !isSecureContext) {
		// With https on this side, it is a proxy that does not say so.
		const help = words.say(location.protocol === "https:" ? "error.notSecure" : "needsHttpsHelp", { host: settings.host });
		return show(heading(words.say("title")), problem(words.say("needsHttps"), help));
	}
	if (fragment) return showLink(context, tokenOf(fragment), address => login(context, address, null));
	login(context, "", null);
}

function login(context: Context, address: string, notice: HTMLElement | null): void {
	const { words } = context;
	const ended = (byServer: boolean, typed: string) => {
		const text = words.say(byServer ? "session.closed" : "session.lost");
		// A key that was just made, and its password, are nowhere else.
		if (document.querySelector("#view [data-keep]")) return say(text);
		login(context, typed, problem(text, words.say("session.lostHelp")));
	};
	showLogin(context, address, notice, (session: Session) => showList({ ...context, session }, () => {
		session.leave();
		login(context, "", null);
	}), ended);
}

void begin();
