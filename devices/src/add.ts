// A device gets its key from a session: the certificate is added to the list.

import { fingerprint } from "./certificate.js";
import type { LoggedIn } from "./context.js";
import type { Bytes } from "./der.js";
import { showForm } from "./form.js";
import type { Known } from "./form.js";
import { freeName } from "./platform.js";
import { Refused } from "./refused.js";
import type { Session } from "./session.js";

/** Shows the form. `taken`: the names that there are. `own`: is it for the device that shows the page? `back` leads to the list. */
export function showAdd(context: LoggedIn, taken: string[], own: boolean, back: () => void): void {
	const { words, platform, session } = context;
	showForm(context, {
		address: session.address,
		own,
		title: words.say(own ? `add.title${platform.kind}` : "add.titleOther"),
		lead: [],
		name: freeName(words.say(own ? platform.name : "device.phone"), taken),
		noApp: "add.noApp",
		asksManage: true,
		button: words.say("add.button"),
		upload: (name, certificate, mayManage) => append(session, name, certificate, mayManage),
		back,
		done: back,
	});
}

/** Adds a certificate, unless the list has it: an answer that does not come in time says nothing about what was done. Errors: Refused. */
async function append(session: Session, name: string, certificate: Bytes, mayManage: boolean): Promise<Known> {
	try {
		await session.append(name, certificate, mayManage);
		return { name };
	} catch (error) {
		if (!(error instanceof Refused) || error.condition === "remote-server-timeout") throw error;
		const wanted = await fingerprint(certificate);
		const there = (await session.list().catch(() => ({ devices: [] }))).devices.find(device => device.fingerprint === wanted);
		if (!there) throw error;
		return { name: there.shown.name };
	}
}
