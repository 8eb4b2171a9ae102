// The password of a file.

/** A fresh one: 80 random bits in letters and digits that nobody confuses, in groups. */
export function newPassword(): string {
	const letters = "abcdefghjkmnpqrstuvwxyz123456789";
	const all = [...crypto.getRandomValues(new Uint8Array(16))].map(byte => letters[byte % letters.length]).join("");
	return all.match(/.{4}/g)!.join("-");
}
