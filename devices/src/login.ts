// The view in which a user logs in. The password is in its field, goes to the session, and is nowhere else.

import { heading, show } from "./context.js";
import type { Context } from "./context.js";
import { field, h, problem } from "./dom.js";
import { LoginFailed, Session } from "./session.js";
import type { LoginProblem } from "./session.js";
import type { Key } from "./words.js";

/** What went wrong, and what helps. */
const problems: Record<LoginProblem, [Key, Key?]> = {
	otherHost: ["login.otherHost"],
	impossible: ["login.impossible"],
	passwordImpossible: ["login.passwordImpossible"],
	wrong: ["login.wrong", "login.wrongHelp"],
	unreachable: ["login.unreachable", "login.unreachableHelp"],
	plain: ["login.plain", "login.plainHelp"],
	away: ["login.away", "login.awayHelp"],
	disabled: ["login.disabled", "login.disabledHelp"],
	refused: ["login.refused", "login.wrongHelp"],
};

/**
 * Shows it. `address`: what stands in the field; `notice`: what is said above it.
 *
 * `entered` gets the session; `ended` hears of its end, if that is nobody's wish.
 */
export function showLogin(
	context: Context,
	address: string,
	notice: HTMLElement | null,
	entered: (session: Session) => void,
	ended: (byServer: boolean, address: string) => void,
): void {
	const { words, settings } = context;
	const values = { host: settings.host };
	const name = h("input", {
		name: "username", autocomplete: "username", inputmode: "email", autocapitalize: "none", autocorrect: "off", spellcheck: "false",
		placeholder: `@${settings.host}`, value: address,
	});
	const password = h("input", { name: "password", type: "password", autocomplete: "current-password" });
	const button = h("button", { class: "primary" }, words.say("login.button"));
	const said = h("div", {}, notice);

	const submit = async (event: Event) => {
		event.preventDefault();
		if (!name.value.trim() || !password.value) {
			said.replaceChildren(problem(words.say("login.empty")));
			(name.value.trim() ? password : name).focus();
			return;
		}
		said.replaceChildren();
		button.disabled = true;
		button.textContent = words.say("login.busy");
		try {
			const typed = name.value;
			const session = await Session.login(settings, typed, password.value, byServer => ended(byServer, typed));
			password.value = "";
			entered(session);
		} catch (error) {
			if (!(error instanceof LoginFailed)) throw error;
			const [what, help] = problems[error.problem];
			said.replaceChildren(problem(words.say(what, values), help && words.say(help, values)));
			if (error.problem === "wrong") password.select();
			password.focus();
		} finally {
			button.disabled = false;
			button.textContent = words.say("login.button");
		}
	};

	show(
		heading(words.say("title")),
		h("p", { class: "lead" }, words.say("login.intro")),
		h(
			"form",
			{ class: "card", novalidate: true, onsubmit: event => void submit(event) },
			said,
			field(words.say("login.address"), name),
			field(words.say("login.password"), password),
			button,
			h("p", { class: "hint" }, words.say("login.privacy")),
		),
	);
}
