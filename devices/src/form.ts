// The form in which a device gets its key. The key is made here.
//
// Must not know how the certificate gets to the server.

import { apps } from "./apps.js";
import type { FileForm } from "./apps.js";
import { ec, makeIdentity, rsa } from "./certificate.js";
import type { Identity } from "./certificate.js";
import { heading, show, wordsOf } from "./context.js";
import type { Context } from "./context.js";
import type { Bytes } from "./der.js";
import { field, h, problem } from "./dom.js";
import { filesOf, showMade } from "./made.js";
import { Refused } from "./refused.js";
import type { Key } from "./words.js";

const usualDays = 365;
const usualRsaBits = 2048;

/** What the server has of a device whose certificate it got. */
export interface Known {
	name: string;
	/** Whether it has it at all is not sure: what is to be said of that. */
	doubt?: HTMLElement;
}

/** What the form is for. */
export interface Purpose {
	/** Whose key it is: the bare address. */
	address: string;
	/** Is it for the device that shows the page? */
	own: boolean;
	title: string;
	/** What stands above the form. */
	lead: Node[];
	/** The name that is proposed. */
	name: string;
	/** What is said where no app of this device can log in with a key. */
	noApp: Key;
	/** Is it asked whether the device may manage others? */
	asksManage: boolean;
	/** What the button says that does it. */
	button: string;
	/** Gives the certificate (DER) to the server. It can be asked again for the same one. Errors: Refused. */
	upload(name: string, certificate: Bytes, mayManage: boolean): Promise<Known>;
	/** The way back; none where nothing stands behind the form. */
	back?: () => void;
	/** What comes after the file was taken. */
	done(): void;
}

/** Shows the form, and then what was made. */
export function showForm(context: Context, purpose: Purpose): void {
	const { words, platform, settings } = context;
	const { own, back } = purpose;
	const name = h("input", { name: "name", value: purpose.name, autocomplete: "off", maxlength: "100", "data-focus": purpose.lead.length === 0 });
	const likely = own ? platform.app ?? "other" : "conversations";
	const app = h("select", { name: "app" },
		...apps.map(({ id }) => h("option", { value: id, selected: id === likely }, words.say(`app.${id}`))));
	const form = h("select", { name: "form" },
		h("option", { value: "3des" }, words.say("add.form3des")),
		h("option", { value: "aes" }, words.say("add.formAes")),
		h("option", { value: "pem" }, words.say("add.formPem")));
	const forms = field(words.say("add.form"), form);
	const manage = h("input", { type: "checkbox", name: "manage", checked: true });
	const button = h("button", { class: "primary" }, purpose.button);
	const said = h("div", {});
	// One key of a kind for all attempts: the answer to an earlier one may be lost, and the key be in the list.
	const identities: { ec?: Identity; rsa?: Identity } = {};
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
			const days = Math.min(usualDays, settings.max_validity_days ?? usualDays);
			const kind = "rsa" in chosen() ? "rsa" : "ec";
			const wish = kind === "ec" ? ec : rsa(Math.max(usualRsaBits, settings.min_rsa_bits ?? 0));
			const identity = identities[kind] ??= await makeIdentity(purpose.address, days, new Date(), wish);
			const type = chosen().form ?? form.value as FileForm;
			// What can fail here, fails before the server has a certificate whose key is lost.
			const files = await filesOf(identity, `${purpose.address} ${wanted}`, type);
			const known = await purpose.upload(wanted, identity.certificate, manage.checked);
			const made = { address: purpose.address, files, until: identity.until, own, app: chosen(), form: type };
			showMade(context, { ...made, ...known }, purpose.done);
		} catch (error) {
			said.replaceChildren(problem(...wordsOf(context, error)));
			if (error instanceof Refused && isAboutName(error)) name.select();
		} finally {
			button.disabled = false;
			button.textContent = purpose.button;
			// A button that is disabled loses it.
			if (document.activeElement === document.body) button.focus();
		}
	};

	show(
		heading(purpose.title),
		...purpose.lead,
		h(
			"form",
			{ class: "card", novalidate: true, onsubmit: event => void submit(event) },
			said,
			own && !platform.app && h("div", { class: "problem" }, h("p", {}, words.say(purpose.noApp))),
			field(words.say("add.name"), name),
			field(words.say("add.app"), app),
			forms,
			purpose.asksManage && h("label", { class: "choice" }, manage, h("span", {}, words.say("add.manage"))),
			h("div", { class: "actions" }, back && h("button", { type: "button", class: "quiet", onclick: back }, words.say("cancel")), button),
			h("details", {}, h("summary", {}, words.say("add.cannot")), h("p", { class: "hint" }, words.say("add.cannotText"))),
		),
	);
}

const isAboutName = ({ condition }: Refused) => ["name-taken", "name-invalid"].includes(condition);
