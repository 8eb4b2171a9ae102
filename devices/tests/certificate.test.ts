// The certificate, as openssl reads it and would have written it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { base64, ec, fingerprint, makeIdentity, pem, rsa, toBeSigned } from "../src/certificate.js";
import { concat, integer, oid, time } from "../src/der.js";

let folder: string;
before(() => { folder = mkdtempSync(join(tmpdir(), "devices-")); });
after(() => rmSync(folder, { recursive: true }));

const write = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content);
const openssl = (...words: string[]) => execFileSync("openssl", words, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });

/** Of a phone's key, and of one for an app that takes nothing else. */
const kinds = [["P-256", ec], ["RSA", rsa(2048)]] as const;

async function read(address: string, kind = ec): Promise<string> {
	const identity = await makeIdentity(address, 365, new Date("2026-03-01T12:30:45.678Z"), kind);
	assert.equal(identity.until.getTime(), new Date(new X509Certificate(identity.certificate).validTo).getTime());
	assert.equal(await fingerprint(identity.certificate), new X509Certificate(identity.certificate).fingerprint256.replaceAll(":", "").toLowerCase());
	write("key.pem", pem("PRIVATE KEY", identity.key));
	write("certificate.pem", pem("CERTIFICATE", identity.certificate));
	// Its own key has signed it.
	openssl("verify", "-CAfile", "certificate.pem", "-partial_chain", "-no_check_time", "certificate.pem");
	assert.deepEqual(openssl("x509", "-in", "certificate.pem", "-pubkey", "-noout"), openssl("pkey", "-in", "key.pem", "-pubout"));
	return openssl("x509", "-in", "certificate.pem", "-text", "-noout", "-nameopt", "utf8,sep_comma_plus", "-certopt", "no_pubkey,no_sigdump").toString();
}

for (const [name, kind] of kinds) test(`the address stands in all three places, for a year, for clients only: ${name}`, async () => {
	const text = await read("hamlet@shakespeare.lit", kind);
	assert.match(text, kind === ec ? /Algorithm: ecdsa-with-SHA256\n/ : /Algorithm: sha256WithRSAEncryption\n/);
	assert.match(openssl("pkey", "-in", "key.pem", "-text", "-noout").toString(), kind === ec ? /NIST CURVE: P-256/ : /2048 bit/);
	assert.match(text, /Version: 3/);
	assert.match(text, /Not Before: Mar {2}1 11:30:45 2026 GMT/);
	assert.match(text, /Not After : Mar {2}1 11:30:45 2027 GMT/);
	assert.match(text, /Subject: CN=hamlet@shakespeare.lit/);
	assert.match(text, /Basic Constraints: critical\s+CA:FALSE/);
	assert.match(text, /Key Usage: critical\s+Digital Signature\n/);
	assert.match(text, /Extended Key Usage: *\s+TLS Web Client Authentication\n/);
	assert.match(text, /Subject Alternative Name: *\s+othername:\s*XmppAddr::hamlet@shakespeare.lit, email:hamlet@shakespeare.lit\n/);
});

test("an address beyond ASCII has no rfc822Name", async () => {
	const text = await read("jürgen@shakespeare.lit");
	assert.match(text, /XmppAddr::jürgen@shakespeare.lit\n/);
	assert.doesNotMatch(text, /email:/);
});

for (const [name, kind] of kinds) test(`what is signed is what openssl writes for the same names and times, byte for byte: ${name}`, async () => {
	const identity = await makeIdentity("hamlet@shakespeare.lit", 365, new Date(), kind);
	write("key.pem", pem("PRIVATE KEY", identity.key));
	write("index", "");
	write("serial", "4a0102030405060708090a0b0c0d0e0f\n");
	write("config", `
[req]
distinguished_name = name
prompt = no
string_mask = utf8only
[name]
CN = hamlet@shakespeare.lit
[ca]
default_ca = here
[here]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
email_in_dn = no
string_mask = utf8only
[any]
commonName = supplied
[extensions]
subjectKeyIdentifier = none
authorityKeyIdentifier = none
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectAltName = otherName:1.3.6.1.5.5.7.8.5;UTF8:hamlet@shakespeare.lit,email:hamlet@shakespeare.lit
`);
	openssl("req", "-new", "-key", "key.pem", "-config", "config", "-out", "request.pem");
	openssl(
		"ca", "-batch", "-selfsign", "-config", "config", "-keyfile", "key.pem", "-in", "request.pem", "-out", "theirs.pem", "-extensions", "extensions",
		"-startdate", "20260301113045Z", "-enddate", "20510301113045Z", "-notext",
	);
	const theirs = Uint8Array.from(openssl("x509", "-in", "theirs.pem", "-outform", "DER"));
	const ours = toBeSigned({
		address: "hamlet@shakespeare.lit",
		serial: Uint8Array.from([0x4a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
		from: new Date("2026-03-01T11:30:45Z"),
		until: new Date("2051-03-01T11:30:45Z"),
		publicKey: Uint8Array.from(openssl("pkey", "-in", "key.pem", "-pubout", "-outform", "DER")),
		algorithm: kind.algorithm,
	});
	// Behind the header of the whole.
	assert.deepEqual(theirs.slice(4, 4 + ours.length), ours);
});

test("numbers, identifiers and times have one form", () => {
	const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
	const cases: [Uint8Array, string][] = [
		[integer(0), "020100"], [integer(127), "02017f"], [integer(128), "02020080"], [integer(2048), "02020800"], [integer(65536), "0203010000"],
		[integer(Uint8Array.of(0, 0, 0x80)), "02020080"], [integer(Uint8Array.of(0)), "020100"],
		[oid("1.2.840.113549.1.12.1.3"), "060a2a864886f70d010c0103"], [oid("2.5.29.17"), "0603551d11"],
		[time(new Date("2049-12-31T23:59:59Z")), "170d3439313233313233353935395a"],
		[time(new Date("2050-01-01T00:00:00Z")), "180f32303530303130313030303030305a"],
	];
	for (const [got, wanted] of cases) assert.equal(hex(got), wanted);
});

test("base64 takes any bytes", () => {
	const all = concat(Uint8Array.from({ length: 256 }, (_, i) => i));
	assert.equal(base64(all), Buffer.from(all).toString("base64"));
});
