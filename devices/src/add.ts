// The form in which a device gets its key. The key is made here.

import { apps } from "./apps.js";
import type { FileForm } from "./apps.js";
import { fingerprint, makeIdentity } from "./certificate.js";
import type { Identity } from "./certificate.js";
import { heading, show, wordsOf } from "./context.js";
import type { LoggedIn } from "./context.js";
import { field, h, problem } from "./dom.js";
import { filesOf, showMade } from "./made.js";
import { freeName } from "./platform.js";
import { Refused } from "./session.js";
import type { Session } from "./session.js";

const usualDays = 365;

/** Shows the form. `taken`: the names that there are. `own`: is it for the device that shows the page? `back` leads to the list. */
export function showAdd(context: LoggedIn, taken: string[], own: boolean, back: () => void): void {
	const { words, platform, session } = context;
	const proposal = freeName(words.say(own ? platform.name : "device.phone"), taken);
	const name = h("input", { name: "name", value: proposal, autocomplete: "off", maxlength: "100", "data-focus": true });
	const likely = own ? platform.app ?? "other" : "conversations";
	const app = h("select", { name: "app" },
		...apps.map(({ id }) => h("option", { value: id, selected: id === likely }, words.say(`app.${id}`))));
	const form = h("select", { name: "form" },
		h("option", { value: "3des" }, words.say("add.form3des")),
		h("option", { value: "aes" }, words.say("add.formAes")),
		h("option", { value: "pem" }, words.say("add.formPem")));
	const forms = field(words.say("add.form"), form);
	const manage = h("input", { type: "checkbox", name: "manage", checked: true });
	const button = h("button", { class: "primary" }, words.say("add.button"));
	const said = h("div", {});
	// One key for all attempts: the answer to an earlier one may be lost, and the key be in the list.
	let identity: Identity | undefined;
	const chosen = () => apps.find(({ id }) => id === app.value)!;
	const adapt = () => { forms.hidden = chosen().form !== undefined; };
	app.addEventListener("change", adapt);
	adapt();

	const submit = async (event: Event) => {
		event.preventDefault();
		const wanted = name.value.trim();
		if (!wanted) {
			said.replaceChildren(problem(words.say("add.nameEmpty")));
			return name.focus();
		}
		said.replaceChildren();
		button.disabled = true;
		button.textContent = words.say("add.busy");
		try {
			const days = Math.min(usualDays, context.settings.max_validity_days ?? usualDays);
			identity ??= await makeIdentity(session.address, days, new Date());
			const type = chosen().form ?? form.value as FileForm;
			// What can fail here, fails before the server has a certificate whose key is lost.
			const files = await filesOf(identity, `${session.address} ${wanted}`, type);
			const known = await append(session, wanted, identity.certificate, manage.checked);
			showMade(context, { files, name: known, until: identity.until, own, app: chosen(), form: type }, back);
		} catch (error) {
			said.replaceChildren(problem(...wordsOf(context, error)));
			if (error instanceof Refused && error.condition === "conflict") name.select();
		} finally {
			button.disabled = false;
			button.textContent = words.say("add.button");
		}
	};

	show(
		heading(words.say(own ? `add.title${platform.kind}` : "add.titleOther")),
		h(
			"form",
			{ class: "card", novalidate: true, onsubmit: event => void submit(event) },
			said,
			own && !platform.app && h("div", { class: "problem" }, h("p", {}, words.say("add.noApp"))),
			field(words.say("add.name"), name),
			field(words.say("add.app"), app),
			forms,
			h("label", { class: "choice" }, manage, h("span", {}, words.say("add.manage"))),
			h("div", { class: "actions" }, h("button", { type: "button", class: "quiet", onclick: back }, words.say("cancel")), button),
			h("details", {}, h("summary", {}, words.say("add.cannot")), h("p", { class: "hint" }, words.say("add.cannotText"))),
		),
	);
}

/**
 * Adds a certificate, unless the list has it: an answer that does not come in time says nothing about what was done.
 *
 * The name that it has there. Errors: Refused.
 */
async function append(session: Session, name: string, certificate: Uint8Array<ArrayBuffer>, mayManage: boolean): Promise<string> {
	try {
		await session.append(name, certificate, mayManage);
		return name;
	} catch (error) {
		if (!(error instanceof Refused) || error.condition === "remote-server-timeout") throw error;
		const wanted = await fingerprint(certificate);
		const there = (await session.list().catch(() => [])).find(device => device.fingerprint === wanted);
		if (!there) throw error;
		return there.shown.name;
	}
}
