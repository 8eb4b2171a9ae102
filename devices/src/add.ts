// The views in which a device gets its key: the form, and what to do with what was made.
//
// The key is made here and leaves the page in the user's file only.

import { apps, fileName } from "./apps.js";
import type { App, FileForm } from "./apps.js";
import { fingerprint, makeIdentity, pem } from "./certificate.js";
import type { Identity } from "./certificate.js";
import { heading, say, show, wordsOf } from "./context.js";
import type { LoggedIn } from "./context.js";
import { utf8 } from "./der.js";
import { ask, field, h, problem } from "./dom.js";
import { newPassword, pkcs12 } from "./pkcs12.js";
import type { Form } from "./pkcs12.js";
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

interface Files {
	/** Of the PKCS#12 file. */
	password: string;
	container: Form;
	p12: Uint8Array<ArrayBuffer>;
	pem: Uint8Array<ArrayBuffer>;
}

/** `label`: what a device shows of the PKCS#12 file. */
async function filesOf(identity: Identity, label: string, form: FileForm): Promise<Files> {
	const password = newPassword();
	const container = form === "pem" ? "3des" : form;
	return {
		password,
		container,
		p12: await pkcs12(identity, label, password, container),
		pem: utf8(pem("CERTIFICATE", identity.certificate) + pem("PRIVATE KEY", identity.key)),
	};
}

interface Made {
	files: Files;
	name: string;
	until: Date;
	own: boolean;
	app: App;
	form: FileForm;
}

/** Shows the file, its password once, and the next steps. */
function showMade(context: LoggedIn, made: Made, back: () => void): void {
	const { words, session } = context;
	const { files, name, app, form } = made;
	const { password, container } = files;
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
		try {
			await navigator.clipboard.writeText(password);
			say(words.say("made.copied"));
		} catch {
			// The browser does not let us: it is marked, for the user to copy.
			getSelection()?.selectAllChildren(code);
		}
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
	const steps = words.lines(app.id === "other" && form === "pem" ? "steps.otherPem" : `steps.${app.id}`, { address: session.address });
	if (!made.own && form !== "pem") steps.splice(1, 0, words.say("steps.fetch"));

	const warn = (event: Event) => { if (!isSaved) event.preventDefault(); };
	// The phone's gesture for "back" asks as the button does. The view has an entry of its own in the history, for it to take away.
	const hold = () => history.pushState(null, "");
	const returned = () => {
		hold();
		void finish();
	};
	let isAsking = false;
	const finish = async () => {
		if (isAsking) return;
		isAsking = true;
		const leaves = isSaved || await ask(words.say("made.lose"), [], words.say("made.back"), words.say("made.leave"));
		isAsking = false;
		if (!leaves) return;
		removeEventListener("beforeunload", warn);
		removeEventListener("popstate", returned);
		history.back();
		for (const link of document.querySelectorAll<HTMLAnchorElement>("#view a[download]")) URL.revokeObjectURL(link.href);
		back();
	};

	addEventListener("beforeunload", warn);
	addEventListener("popstate", returned);
	hold();
	show(
		heading(words.say("made.title", { name })),
		h("p", { class: "lead" }, words.say("made.until", { date: words.day(made.until.getTime() / 1000) })),
		h("div", { "class": "card", "data-keep": true }, ...links),
		h("section", { class: "card" },
			h("h2", {}, words.say("made.next")),
			h("ol", { class: "steps" }, ...steps.map(step => h("li", {}, step)))),
		h("details", { class: "card" }, h("summary", {}, words.say("made.other")), ...other),
		h("div", { class: "actions stacked" }, h("button", { class: "primary", onclick: () => void finish() }, words.say("made.finish"))),
	);
}
