// The views in which a device gets its key: the form, and what to do with what was made.
//
// The key is made here and leaves the page in the user's file only.

import { apps, fileName } from "./apps.js";
import type { App, FileForm } from "./apps.js";
import { makeIdentity, pem } from "./certificate.js";
import type { Identity } from "./certificate.js";
import { heading, say, show, wordsOf } from "./context.js";
import type { LoggedIn } from "./context.js";
import { utf8 } from "./der.js";
import { ask, field, h, problem } from "./dom.js";
import { newPassword, pkcs12 } from "./pkcs12.js";
import { freeName } from "./platform.js";
import { Refused } from "./session.js";

const usualDays = 365;

/** Shows the form. `taken`: the names that there are. `own`: is it for the device that shows the page? `back` leads to the list. */
export function showAdd(context: LoggedIn, taken: string[], own: boolean, back: () => void): void {
	const { words, platform, session } = context;
	const proposal = freeName(words.say(own ? platform.name : "device.phone"), taken);
	const name = h("input", { name: "name", value: proposal, autocomplete: "off", maxlength: "100", "data-focus": true });
	const likely = own ? platform.app : "conversations";
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
			const identity = await makeIdentity(session.address, days, new Date());
			await session.append(wanted, identity.certificate, manage.checked);
			const until = Date.now() / 1000 + days * 24 * 60 * 60;
			await showMade(context, { identity, name: wanted, until, own, app: chosen(), form: chosen().form ?? form.value as FileForm }, back);
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
			said.replaceChildren(problem(...wordsOf(context, error)));
			if (error.condition === "conflict") name.select();
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
			field(words.say("add.name"), name),
			field(words.say("add.app"), app),
			forms,
			h("label", { class: "choice" }, manage, h("span", {}, words.say("add.manage"))),
			h("div", { class: "actions" }, h("button", { type: "button", class: "quiet", onclick: back }, words.say("cancel")), button),
			h("details", {}, h("summary", {}, words.say("add.cannot")), h("p", { class: "hint" }, words.say("add.cannotText"))),
		),
	);
}

interface Made {
	identity: Identity;
	name: string;
	/** Seconds since the epoch. */
	until: number;
	own: boolean;
	app: App;
	form: FileForm;
}

/** Shows the file, its password once, and the next steps. */
async function showMade(context: LoggedIn, made: Made, back: () => void): Promise<void> {
	const { words, session } = context;
	const { identity, name, app, form } = made;
	const password = newPassword();
	const container = form === "pem" ? "3des" : form;
	const files = {
		p12: await pkcs12(identity, `${session.address} ${name}`, password, container),
		pem: utf8(pem("CERTIFICATE", identity.certificate) + pem("PRIVATE KEY", identity.key)),
	};
	let isSaved = false;
	const saving = (kind: "p12" | "pem", label: string, look: string) => {
		const type = kind === "pem" ? "application/x-pem-file" : "application/x-pkcs12";
		const link = h("a", {
			class: `button ${look}`,
			href: URL.createObjectURL(new Blob([files[kind]], { type })),
			download: fileName(session.address, name, kind === "pem" ? "pem" : container),
			onclick: () => { isSaved = true; },
		}, label);
		return link;
	};
	const code = h("code", { class: "password", id: "password" }, password);
	const copy = async () => {
		await navigator.clipboard.writeText(password);
		say(words.say("made.copied"));
	};
	const locked = h("div", { class: "secret" },
		h("p", { class: "label", id: "password-label" }, words.say("made.password")),
		code,
		h("button", { class: "quiet", onclick: () => void copy(), "aria-describedby": "password-label" }, words.say("made.copy")),
		h("p", { class: "hint" }, words.say("made.passwordOnce")));
	const links = form === "pem"
		? [saving("pem", words.say("made.download"), "primary"), h("p", { class: "hint" }, words.say("made.pemWarning"))]
		: [saving("p12", words.say("made.download"), "primary"), locked];
	const other = form === "pem"
		? [saving("p12", words.say("made.p12"), "quiet"), locked]
		: [saving("pem", words.say("made.pem"), "quiet"), h("p", { class: "hint" }, words.say("made.pemWarning"))];
	const steps = words.lines(`steps.${app.id}`, { address: session.address });
	if (!made.own && form !== "pem") steps.splice(1, 0, words.say("steps.fetch"));

	const finish = async () => {
		const leaves = isSaved || await ask(words.say("made.lose"), [], words.say("made.back"), words.say("made.leave"));
		if (!leaves) return;
		for (const link of document.querySelectorAll<HTMLAnchorElement>("#view a[download]")) URL.revokeObjectURL(link.href);
		back();
	};

	show(
		heading(words.say("made.title", { name })),
		h("p", { class: "lead" }, words.say("made.until", { date: words.day(made.until) })),
		h("div", { "class": "card", "data-keep": true }, ...links),
		h("section", { class: "card" },
			h("h2", {}, words.say("made.next")),
			h("ol", { class: "steps" }, ...steps.map(step => h("li", {}, step)))),
		h("details", { class: "card" }, h("summary", {}, words.say("made.other")), ...other),
		h("div", { class: "actions stacked" }, h("button", { class: "primary", onclick: () => void finish() }, words.say("made.finish"))),
	);
}
