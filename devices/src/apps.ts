// The apps that log in with a key, and the form in which each takes it. docs/clients.md says how we know.

import type { Key } from "./words.js";

export type FileForm = "3des" | "aes" | "pem";

/** Its name is in the words `app.…`. `steps`: the words that say what its owner does. `form`: none where they choose. `rsa`: it takes no other key. */
export const apps = [
	{ id: "conversations", form: "3des", steps: "steps.conversations" },
	{ id: "cheogram", form: "3des", steps: "steps.conversations" },
	{ id: "snikket", form: "3des", steps: "steps.conversations" },
	{ id: "atalk", form: "3des", steps: "steps.atalk" },
	{ id: "swift", form: "aes", steps: "steps.swift" },
	{ id: "spark", form: "pem", steps: "steps.spark", rsa: true },
	{ id: "poezio", form: "pem", steps: "steps.poezio" },
	{ id: "slixmpp", form: "pem", steps: "steps.slixmpp" },
	{ id: "other", form: undefined, steps: "steps.other" },
] as const satisfies readonly { id: string; form: FileForm | undefined; steps: Key; rsa?: true }[];

export type App = typeof apps[number];

/** A name for a file that every system can keep. */
export function fileName(address: string, device: string, form: FileForm): string {
	const safe = `${address}.${device}`.replace(/[^\p{L}\p{N}@._-]+/gu, "-").slice(0, 120);
	return `${safe}.${form === "pem" ? "pem" : "p12"}`;
}
