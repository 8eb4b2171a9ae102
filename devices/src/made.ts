// The view of a key that was made: its file, the password once, and the next steps.
//
// The key leaves the page in the user's file only.

import { fileName } from "./apps.js";
import type { App, FileForm } from "./apps.js";
import { pem } from "./certificate.js";
import type { Identity } from "./certificate.js";
import { heading, show } from "./context.js";
import type { Context } from "./context.js";
import { copyButton } from "./copy.js";
import { utf8 } from "./der.js";
import { ask, h } from "./dom.js";
import { newPassword } from "./password.js";
import { pkcs12 } from "./pkcs12.js";
import type { Form } from "./pkcs12.js";

export interface Files {
	/** Of the PKCS#12 file. */
	password: string;
	container: Form;
	p12: Uint8Array<ArrayBuffer>;
	pem: Uint8Array<ArrayBuffer>;
}

/** `label`: what a device shows of the PKCS#12 file. */
export async function filesOf(identity: Identity, label: string, form: FileForm): Promise<Files> {
	const password = newPassword();
	const container = form === "pem" ? "3des" : form;
	return {
		password,
		container,
		p12: await pkcs12(identity, label, password, container),
		pem: utf8(pem("PRIVATE KEY", identity.key) + pem("CERTIFICATE", identity.certificate)),
	};
}

export interface Made {
	/** Whose key it is. */
	address: string;
	files: Files;
	name: string;
	until: Date;
	own: boolean;
	app: App;
	form: FileForm;
	/** Whether the server has the certificate is not sure: what is said of that. */
	doubt?: HTMLElement;
}

/** Shows the file, its password once, and the next steps. */
export function showMade(context: Context, made: Made, back: () => void): void {
	const { words } = context;
	const { address, files, name, app, form } = made;
	const { password, container } = files;
	let isSaved = false;
	const saving = (kind: "p12" | "pem", label: string, look: string) => {
		const type = kind === "pem" ? "application/x-pem-file" : "application/x-pkcs12";
		const link = h("a", {
			class: `button ${look}`,
			href: URL.createObjectURL(new Blob([files[kind]], { type })),
			download: fileName(address, name, kind === "pem" ? "pem" : container),
			onclick: () => { isSaved = true; },
		}, label);
		return link;
	};
	const code = h("code", { class: "password", id: "password" }, password);
	const locked = h("div", { class: "secret" },
		h("p", { class: "label", id: "password-label" }, words.say("made.password")),
		code,
		copyButton(words, code, "password-label"),
		h("p", { class: "hint" }, words.say("made.passwordOnce")));
	const links = form === "pem"
		? [saving("pem", words.say("made.download"), "primary"), h("p", { class: "hint" }, words.say("made.pemWarning"))]
		: [saving("p12", words.say("made.download"), "primary"), locked];
	const other = form === "pem"
		? [saving("p12", words.say("made.p12"), "quiet"), locked]
		: [saving("pem", words.say("made.pem"), "quiet"), h("p", { class: "hint" }, words.say("made.pemWarning"))];
	const steps = words.lines(app.id === "other" && form === "pem" ? "steps.otherPem" : app.steps, { address });
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
		...(made.doubt ? [made.doubt] : []),
		h("div", { "class": "card", "data-keep": true }, ...links),
		h("section", { class: "card" },
			h("h2", {}, words.say("made.next")),
			h("ol", { class: "steps" }, ...steps.map(step => h("li", {}, step)))),
		h("details", { class: "card" }, h("summary", {}, words.say("made.other")), ...other),
		h("div", { class: "actions stacked" }, h("button", { class: "primary", onclick: () => void finish() }, words.say("made.finish"))),
	);
}
