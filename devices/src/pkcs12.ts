// A key and its certificate in one file that is locked with a password (PKCS#12, RFC 7292), laid out as openssl does it.
//
// Must not know who opens it.

import des from "des.js";
import { bmpString, concat, integer, nothing, octets, oid, sequence, set, tagged, taggedBytes, utf16, utf8 } from "./der.js";
import type { Bytes } from "./der.js";
import type { Identity } from "./certificate.js";

/** Which ciphers lock it, and with which hash it is sealed. Android up to 13 calls the password of the newer form wrong. */
const forms = {
	"aes": { lock: byAes, hash: "SHA-256", hashId: "2.16.840.1.101.3.4.2.1", hashBytes: 32 },
	"3des": { lock: byTripleDes, hash: "SHA-1", hashId: "1.3.14.3.2.26", hashBytes: 20 },
} as const;
export type Form = keyof typeof forms;

/** The file. `name` is what a device shows of it. */
export async function pkcs12(of: Identity, name: string, password: string, form: Form): Promise<Bytes> {
	const { lock } = forms[form];
	const attributes = set(
		sequence(oid(`${pkcs}.9.21`), set(octets(await digest("SHA-1", of.certificate)))),
		sequence(oid(`${pkcs}.9.20`), set(bmpString(name))),
	);
	// SafeContents, with one bag in it.
	const bag = (kind: number, value: Bytes) => sequence(sequence(oid(`${pkcs}.12.10.1.${kind}`), tagged(0, value), attributes));
	const certificate = bag(3, sequence(oid(`${pkcs}.9.22.1`), tagged(0, octets(of.certificate))));
	const [byWhich, certificates] = await lock(certificate, password);
	const [algorithm, key] = await lock(of.key, password);
	const encrypted = sequence(oid(`${pkcs}.7.1`), byWhich, taggedBytes(0, certificates));
	const safes = sequence(
		content(6, sequence(integer(0), encrypted)),
		content(1, octets(bag(2, sequence(algorithm, octets(key))))),
	);
	return sequence(integer(3), content(1, octets(safes)), await seal(safes, password, form));
}

/** What was locked, behind how (an AlgorithmIdentifier). */
type Locked = [algorithm: Bytes, bytes: Bytes];

/** PBES2 with PBKDF2 (HMAC-SHA-256) and AES-256-CBC. Source: RFC 8018. */
async function byAes(plain: Bytes, password: string): Promise<Locked> {
	const [salt, iv] = [random(8), random(16)];
	const secret = await crypto.subtle.importKey("raw", utf8(password), "PBKDF2", false, ["deriveKey"]);
	const key = await crypto.subtle.deriveKey(
		{ name: "PBKDF2", hash: "SHA-256", salt, iterations }, secret, { name: "AES-CBC", length: 256 }, false, ["encrypt"],
	);
	const hmac = sequence(oid("1.2.840.113549.2.9"), nothing);
	const derivation = sequence(oid(`${pkcs}.5.12`), sequence(octets(salt), integer(iterations), hmac));
	const cipher = sequence(oid("2.16.840.1.101.3.4.1.42"), octets(iv));
	const bytes = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-CBC", iv }, key, plain));
	return [sequence(oid(`${pkcs}.5.13`), sequence(derivation, cipher)), bytes];
}

/** pbeWithSHAAnd3-KeyTripleDES-CBC. Source: RFC 7292, appendix C. */
async function byTripleDes(plain: Bytes, password: string): Promise<Locked> {
	const salt = random(8);
	const key = await derived("SHA-1", 1, password, salt, 24);
	const iv = await derived("SHA-1", 2, password, salt, 8);
	const cipher = des.CBC.instantiate(des.EDE).create({ type: "encrypt", key: [...key], iv: [...iv] });
	const bytes = Uint8Array.from([...cipher.update([...plain]), ...cipher.final()]);
	return [sequence(oid(`${pkcs}.12.1.3`), sequence(octets(salt), integer(iterations))), bytes];
}

/** MacData: that nobody has changed it. Source: RFC 7292, 4. */
async function seal(safes: Bytes, password: string, form: Form): Promise<Bytes> {
	const { hash, hashId, hashBytes } = forms[form];
	const salt = random(8);
	const secret = await derived(hash, 3, password, salt, hashBytes);
	const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash }, false, ["sign"]);
	const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, safes));
	return sequence(sequence(sequence(oid(hashId), nothing), octets(mac)), octets(salt), integer(iterations));
}

/** So many bytes for a purpose (1: key, 2: IV, 3: MAC). Source: RFC 7292, B.2; the variables have its names. */
async function derived(hash: "SHA-1" | "SHA-256", purpose: 1 | 2 | 3, password: string, salt: Bytes, count: number): Promise<Bytes> {
	const v = 64;
	const filled = (bytes: Bytes) => Uint8Array.from({ length: v * Math.ceil(bytes.length / v) }, (_, i) => bytes[i % bytes.length]!);
	const D = new Uint8Array(v).fill(purpose);
	const I = concat(filled(salt), filled(utf16(`${password}\0`)));
	let out: Bytes = new Uint8Array(0);
	while (out.length < count) {
		let A = await digest(hash, concat(D, I));
		for (let round = 1; round < iterations; round++) A = await digest(hash, A);
		out = concat(out, A);
		for (let block = 0; block < I.length; block += v) {
			// I_j = I_j + B + 1, as numbers of v bytes; B is A over and over.
			let carry = 1;
			for (let i = v - 1; i >= 0; i--) {
				carry += I[block + i]! + A[i % A.length]!;
				I[block + i] = carry & 0xff;
				carry >>= 8;
			}
		}
	}
	return out.slice(0, count);
}

/** A ContentInfo; 1: data, 6: encrypted data. Source: RFC 2315, 8 and 14. */
const content = (type: 1 | 6, value: Bytes) => sequence(oid(`${pkcs}.7.${type}`), tagged(0, value));

const random = (count: number) => crypto.getRandomValues(new Uint8Array(count));

const digest = async (hash: string, bytes: Bytes): Promise<Bytes> => new Uint8Array(await crypto.subtle.digest(hash, bytes));

/** As many as openssl takes: the passwords are random, nobody guesses them. */
const iterations = 2048;
/** Of all identifiers of PKCS; behind it comes the number of the document: 5, 7, 9 or 12. */
const pkcs = "1.2.840.113549.1";
