// SASLprep (RFC 4013), as a client needs it before SCRAM.
//
// What the table of bidirectional text and that of unassigned code points forbid is not looked for: no account can have such a
// password, so the server refuses it as a wrong one.

/** The prepared text, or `null` if it has characters that are prohibited. */
export function saslprep(text: string): string | null {
	const mapped = text.replace(nonAsciiSpace, " ").replace(mappedToNothing, "");
	const normal = mapped.normalize("NFKC");
	return prohibited.test(normal) ? null : normal;
}

// RFC 3454: C.1.2, and B.1.
const nonAsciiSpace = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu;
const mappedToNothing = /[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]/gu;
// C.2 to C.9: controls, private use, no characters, surrogates, what is no plain text, what changes the display, tags.
const prohibited =
	/[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06dd\u070f\u180e\u200e\u200f\u2028-\u202e\u2060-\u2063\u206a-\u206f\u2ff0-\u2ffb\ufeff\ufff9-\ufffd\u0340\u0341\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/u;
