// A key of this browser, and its certificate. Must not know what becomes of them.

import { bits, integer, latin1, nothing, octets, oid, sequence, set, tagged, taggedBytes, time, utf8, utf8String, yes } from "./der.js";
import type { Bytes } from "./der.js";

/** A fresh key (PKCS#8) and its certificate, both in DER. */
export interface Identity {
	key: Bytes;
	certificate: Bytes;
	/** The certificate's last second. */
	until: Date;
}

/** What a key is made by and signs with, how a certificate names that, and the form that its signatures have there. */
export interface Kind {
	parameters: EcKeyGenParams | RsaHashedKeyGenParams;
	algorithm: Bytes;
	signature(signed: Bytes): Bytes;
}

/** P-256, with SHA-256. Source: RFC 5758, 3.2. */
export const ec: Kind = {
	parameters: { name: "ECDSA", namedCurve: "P-256" },
	algorithm: sequence(oid("1.2.840.10045.4.3.2")),
	signature: numbers => sequence(integer(numbers.subarray(0, 32)), integer(numbers.subarray(32))),
};

/** RSA of so many bits, with PKCS #1 v1.5 and SHA-256. Source: RFC 4055, 5. */
export const rsa = (modulusLength: number): Kind => ({
	parameters: { name: "RSASSA-PKCS1-v1_5", modulusLength, publicExponent: Uint8Array.of(1, 0, 1), hash: "SHA-256" },
	algorithm: sequence(oid("1.2.840.113549.1.1.11"), nothing),
	signature: signed => signed,
});

/**
 * Makes a key and a certificate for `address`, signed by itself, from an hour before `now` until `days` later.
 *
 * The address stands where the specifications want it and where clients look for it: xmppAddr, rfc822Name (which holds ASCII only),
 * and the common name. Source: RFC 6120, 13.7.1; RFC 5280; the same as `saslcertd enroll` makes.
 */
export async function makeIdentity(address: string, days: number, now: Date, kind = ec): Promise<Identity> {
	const { parameters, algorithm } = kind;
	const pair = await crypto.subtle.generateKey(parameters, true, ["sign", "verify"]);
	const serial = crypto.getRandomValues(new Uint8Array(16));
	serial[0] = serial[0]! & 0x7f | 0x40;
	const from = new Date(Math.floor(now.getTime() / 1000) * 1000 - hour);
	const until = new Date(from.getTime() + days * 24 * hour);
	const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
	const body = toBeSigned({ address, serial, from, until, publicKey, algorithm });
	const signed = new Uint8Array(await crypto.subtle.sign({ name: parameters.name, hash: "SHA-256" }, pair.privateKey, body));
	const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
	return { key, certificate: sequence(body, algorithm, bits(kind.signature(signed))), until };
}

/** What is signed; `publicKey`: a SubjectPublicKeyInfo; `algorithm`: of the signature. */
export function toBeSigned(of: { address: string; serial: Bytes; from: Date; until: Date; publicKey: Bytes; algorithm: Bytes }): Bytes {
	const name = sequence(set(sequence(oid("2.5.4.3"), utf8String(of.address))));
	const xmppAddr = tagged(0, oid("1.3.6.1.5.5.7.8.5"), tagged(0, utf8String(of.address)));
	const isAscii = /^[\x21-\x7e]+$/.test(of.address);
	const names = sequence(xmppAddr, ...(isAscii ? [taggedBytes(1, utf8(of.address))] : []));
	return sequence(
		tagged(0, integer(2)),
		integer(of.serial),
		of.algorithm,
		name,
		sequence(time(of.from), time(of.until)),
		name,
		of.publicKey,
		tagged(3, sequence(
			extension("2.5.29.19", sequence(), true),
			extension("2.5.29.15", bits(Uint8Array.of(0x80), 7), true),
			extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.2"))),
			// COMPAT libstrophe 0.14: as the first extension it would find no xmppAddr in it.
			extension("2.5.29.17", names),
		)),
	);
}

/** PEM (RFC 7468), with a line feed at its end. */
export function pem(label: string, der: Uint8Array): string {
	const lines = base64(der).match(/.{1,64}/g) ?? [];
	return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}

/** How the daemon's list names a certificate (DER): its SHA-256 in hexadecimal digits. */
export async function fingerprint(certificate: Bytes): Promise<string> {
	const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", certificate));
	return [...hash].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

export const base64 = (bytes: Uint8Array) => btoa(latin1(bytes));

const extension = (id: string, value: Uint8Array, critical = false) =>
	sequence(oid(id), ...(critical ? [yes] : []), octets(value));

const hour = 60 * 60 * 1000;
