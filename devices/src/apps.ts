// The apps that log in with a key, and the form in which each takes it. docs/clients.md says how we know.

export type FileForm = "3des" | "aes" | "pem";

/** Of these words: `app.…` is its name, `steps.…` says what its owner does. `form`: none where they choose. */
export const apps = [
	{ id: "conversations", form: "3des" },
	{ id: "atalk", form: "3des" },
	{ id: "swift", form: "aes" },
	{ id: "poezio", form: "pem" },
	{ id: "slixmpp", form: "pem" },
	{ id: "other", form: undefined },
] as const satisfies readonly { id: string; form: FileForm | undefined }[];

export type App = typeof apps[number];

/** A name for a file that every system can keep. */
export function fileName(address: string, device: string, form: FileForm): string {
	const safe = `${address}.${device}`.replace(/[^\p{L}\p{N}@._-]+/gu, "-").slice(0, 120);
	return `${safe}.${form === "pem" ? "pem" : "p12"}`;
}
