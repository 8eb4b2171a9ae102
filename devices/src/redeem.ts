// A link without a password: asks the server what it is, and hands the certificate in.
//
// Must not know the page.

import { base64 } from "./certificate.js";
import { Refused } from "./refused.js";

/** What a link does when it is redeemed. */
export interface Link {
	/** The bare address. */
	account: string;
	/** Adds a certificate; makes the account with it; puts it in the place of all others. */
	kind: "add" | "new" | "replace";
	/** How its maker has called the device. */
	name: string | null;
	/** Seconds since the epoch. */
	expires: number;
}

/** The link's secret, if this is the fragment of an address that has one: `#` and 22 characters. */
export function tokenOf(fragment: string): string | null {
	return /^#([\w-]{22})$/.exec(fragment)?.[1] ?? null;
}

/** Asks what the link is. It can be redeemed as before. Errors: Refused, of this and below. */
export const look = (token: string): Promise<Link> => post({ token });

/** Redeems it with a certificate (DER). Answers with the name that the device has. */
export async function redeem(token: string, name: string, certificate: Uint8Array): Promise<string> {
	const answer = await post<{ name: string }>({ token, name, certificate: base64(certificate) });
	return answer.name;
}

/** Whether this refusal says nothing about what was done: no answer came, or the server could not ask to the end. */
export const isLost = (error: unknown) => error instanceof Refused && (error.condition === lost || error.condition === "unavailable");

/** Source: docs/protocol.md, `POST /devices/redeem`. */
async function post<Answer>(question: object): Promise<Answer> {
	let response;
	let answer;
	try {
		response = await fetch("redeem", {
			method: "POST",
			headers: { "Content-Type": "application/json" },
			body: JSON.stringify(question),
			credentials: "omit",
			referrerPolicy: "no-referrer",
			redirect: "error",
			signal: AbortSignal.timeout(patienceMs),
		});
		answer = await response.json() as unknown;
	} catch {
		throw new Refused(lost, "");
	}
	if (response.ok) return answer as Answer;
	const { error, text } = answer as { error?: string; text?: string };
	// Over http no session is forbidden anything: it is the page.
	throw new Refused(error === "forbidden" ? "page-foreign" : error ?? lost, text ?? "");
}

const lost = "no-answer";
const patienceMs = 20_000;
