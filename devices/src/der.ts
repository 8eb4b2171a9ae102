// Writes DER (X.690). Must not know what is written.

export type Bytes = Uint8Array<ArrayBuffer>;

/** An element: its tag, its length, and the contents one after the other. */
export function element(tag: number, ...contents: Uint8Array[]): Bytes {
	const content = concat(...contents);
	return concat(Uint8Array.of(tag), lengthBytes(content.length), content);
}

export const sequence = (...contents: Uint8Array[]) => element(0x30, ...contents);
export const octets = (...contents: Uint8Array[]) => element(0x04, ...contents);
export const utf8String = (text: string) => element(0x0c, utf8(text));
export const bmpString = (text: string) => element(0x1e, utf16(text));
export const nothing = element(0x05);
export const yes = element(0x01, Uint8Array.of(0xff));

/** SET OF: its elements are in the order of their bytes. */
export const set = (...contents: Uint8Array[]) => element(0x31, ...contents.sort((a, b) => latin1(a) < latin1(b) ? -1 : 1));

/** `[number]`, around something. */
export const tagged = (number: number, ...contents: Uint8Array[]) => element(0xa0 + number, ...contents);

/** `[number] IMPLICIT`, of a primitive type: its bytes. */
export const taggedBytes = (number: number, bytes: Uint8Array) => element(0x80 + number, bytes);

/** BIT STRING. `unused`: how many bits of the last byte do not count. */
export const bits = (bytes: Uint8Array, unused = 0) => element(0x03, Uint8Array.of(unused), bytes);

/** INTEGER, not negative: from its bytes, the highest first. */
export function integer(value: number | Uint8Array): Bytes {
	let bytes = typeof value === "number" ? bigEndian(value) : value;
	while (bytes.length > 1 && bytes[0] === 0) bytes = bytes.subarray(1);
	return element(0x02, ...(bytes[0]! & 0x80 ? [Uint8Array.of(0)] : []), bytes);
}

/** OBJECT IDENTIFIER, from its usual form with dots. */
export function oid(dotted: string): Bytes {
	const [first, second, ...rest] = dotted.split(".").map(Number);
	const septets = (part: number): number[] => part < 128 ? [part] : [...septets(part >>> 7).map(byte => byte | 0x80), part & 0x7f];
	return element(0x06, Uint8Array.from([first! * 40 + second!, ...rest].flatMap(septets)));
}

/** Time, to the second. Source: RFC 5280, 4.1.2.5: UTCTime through the year 2049, GeneralizedTime from 2050. */
export function time(date: Date): Bytes {
	const digits = date.toISOString().replace(/[-:T]|\.\d+/g, "");
	return date.getUTCFullYear() < 2050 ? element(0x17, utf8(digits.slice(2))) : element(0x18, utf8(digits));
}

export function concat(...parts: Uint8Array[]): Bytes {
	return Uint8Array.from(parts.flatMap(part => [...part]));
}
export const utf8 = (text: string): Bytes => new TextEncoder().encode(text);

/** UTF-16, the high byte first. */
export function utf16(text: string): Bytes {
	return Uint8Array.from({ length: 2 * text.length }, (_, i) => text.charCodeAt(i >> 1) >> (i & 1 ? 0 : 8) & 0xff);
}

/** Each byte as the character of its number. */
export const latin1 = (bytes: Uint8Array) => String.fromCharCode(...bytes);

function bigEndian(value: number): Bytes {
	return Uint8Array.from(value < 256 ? [value] : [...bigEndian(Math.floor(value / 256)), value % 256]);
}

function lengthBytes(length: number): Uint8Array {
	const bytes = bigEndian(length);
	return length < 128 ? bytes : concat(Uint8Array.of(0x80 + bytes.length), bytes);
}
