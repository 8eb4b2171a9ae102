// The files against those who open them: openssl's own file, given its salts, is ours byte for byte; and openssl and Java's keytool
// get out of ours what was put in.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, mock, test } from "node:test";
import { ec, makeIdentity, pem, rsa } from "../src/certificate.js";
import type { Identity } from "../src/certificate.js";
import type { Bytes } from "../src/der.js";
import { newPassword } from "../src/password.js";
import { pkcs12 } from "../src/pkcs12.js";

const kinds = { "P-256": ec, "RSA": rsa(2048) };
let folder: string;
const identities = {} as Record<keyof typeof kinds, Identity>;

before(async () => {
	folder = mkdtempSync(join(tmpdir(), "devices-"));
	for (const kind of ["P-256", "RSA"] as const) {
		const identity = identities[kind] = await makeIdentity("hamlet@shakespeare.lit", 365, new Date(), kinds[kind]);
		write(`${kind}.key`, pem("PRIVATE KEY", identity.key));
		write(`${kind}.crt`, pem("CERTIFICATE", identity.certificate));
	}
});
after(() => rmSync(folder, { recursive: true }));

const write = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content);
const run = (program: string, ...words: string[]) => execFileSync(program, words, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
const openssl = (...words: string[]) => run("openssl", ...words);
const keytool = (...words: string[]) => run("keytool", ...words);

/** The octet strings of so many bytes between these others (in hexadecimal): alone, two bytes that look like their head are an accident that happens. */
function octetStrings(der: Uint8Array, count: number, behind: string, before: string): Bytes[] {
	const found = Buffer.from(der).toString("hex").matchAll(new RegExp(`${behind}04${hex(count)}([0-9a-f]{${2 * count}})${before}`, "g"));
	return [...found].map(([, bytes]) => Uint8Array.from(Buffer.from(bytes!, "hex")));
}

const hex = (byte: number) => byte.toString(16).padStart(2, "0");
/** Of each there is one for every cipher, and a salt for the seal. */
const saltsOf = (der: Uint8Array) => octetStrings(der, 8, "", /* 2048 */ "02020800");
const ivsOf = (der: Uint8Array) => octetStrings(der, 16, /* AES-256-CBC */ "060960864801650304012a", "");

/** What `make` makes when these are the random bytes. */
async function dealt(all: Bytes[], make: () => Promise<Bytes>): Promise<Bytes> {
	const deal = (place: Bytes) => {
		const next = all.shift();
		assert.equal(next?.length, place.length, "our file wants other random bytes than openssl's");
		place.set(next!);
		return place;
	};
	const { mock: dealer } = mock.method(crypto, "getRandomValues", deal as typeof crypto.getRandomValues);
	return make().finally(() => dealer.restore());
}

for (const kind of ["P-256", "RSA"] as const) {
	const exported = (...how: string[]) => Uint8Array.from(openssl(
		"pkcs12", "-export", "-inkey", `${kind}.key`, "-in", `${kind}.crt`, "-name", "phone", "-passout", "pass:secret", ...how, "-iter", "2048",
	));

	test(`openssl's own file is ours byte for byte, once it has the same salts: AES, ${kind}`, async () => {
		const theirs = exported("-keypbe", "AES-256-CBC", "-certpbe", "AES-256-CBC", "-macalg", "sha256");
		const [salts, ivs] = [saltsOf(theirs), ivsOf(theirs)];
		assert.equal(ivs.length, 2);
		assert.equal(salts.length, 3);
		const random = [salts[0]!, ivs[0]!, salts[1]!, ivs[1]!, salts[2]!];
		assert.deepEqual(await dealt(random, () => pkcs12(identities[kind], "phone", "secret", "aes")), theirs);
	});

	test(`openssl's own file is ours byte for byte, once it has the same salts: 3DES, ${kind}`, async () => {
		const theirs = exported("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1");
		const salts = saltsOf(theirs);
		assert.equal(salts.length, 3);
		assert.deepEqual(await dealt(salts, () => pkcs12(identities[kind], "phone", "secret", "3des")), theirs);
	});
}

for (const [form, kind] of [["aes", "P-256"], ["3des", "P-256"], ["3des", "RSA"]] as const) {
	test(`openssl gets the same key and certificate out of ours: ${form}, ${kind}`, async () => {
		const identity = identities[kind];
		const password = newPassword();
		write("ours.p12", await pkcs12(identity, "Hamlets Händi", password, form));
		const from = ["pkcs12", "-in", "ours.p12", "-passin", `pass:${password}`];
		write("out.pem", openssl(...from, "-nodes", "-nocerts"));
		assert.deepEqual(Uint8Array.from(openssl("pkcs8", "-topk8", "-nocrypt", "-in", "out.pem", "-outform", "DER")), identity.key);
		write("out.pem", openssl(...from, "-nokeys"));
		assert.deepEqual(Uint8Array.from(openssl("x509", "-in", "out.pem", "-outform", "DER")), identity.certificate);
		assert.throws(() => openssl("pkcs12", "-in", "ours.p12", "-passin", "pass:wrong", "-noout"));
	});

	test(`Java's keytool gets the same key and certificate out of ours: ${form}, ${kind}`, async () => {
		const identity = identities[kind];
		const password = newPassword();
		write("ours.p12", await pkcs12(identity, "phone", password, form));
		const from = ["-keystore", "ours.p12", "-storetype", "PKCS12", "-storepass", password];
		assert.deepEqual(Uint8Array.from(keytool("-exportcert", "-alias", "phone", ...from)), identity.certificate);
		// It takes the key out and writes it anew.
		rmSync(join(folder, "theirs.p12"), { force: true });
		keytool(
			"-importkeystore", "-noprompt", "-srckeystore", "ours.p12", "-srcstoretype", "PKCS12", "-srcstorepass", password,
			"-destkeystore", "theirs.p12", "-deststoretype", "PKCS12", "-deststorepass", "another", "-destkeypass", "another",
		);
		write("out.pem", openssl("pkcs12", "-in", "theirs.p12", "-passin", "pass:another", "-nodes", "-nocerts"));
		const points = [`${kind}.key`, "out.pem"].map(name => openssl("pkey", "-in", name, "-text", "-noout").toString());
		assert.equal(points[1], points[0]);
	});
}

test("a password is long, readable and another one each time", () => {
	const all = new Set(Array.from({ length: 100 }, newPassword));
	assert.equal(all.size, 100);
	for (const password of all) assert.match(password, /^[a-hjkmnp-z1-9]{4}(-[a-hjkmnp-z1-9]{4}){3}$/);
});

test("a long name and a long address keep their lengths", async () => {
	const long = await makeIdentity(`${"ü".repeat(400)}@shakespeare.lit`, 365, new Date());
	write("long.p12", await pkcs12(long, "n".repeat(256), "secret", "aes"));
	write("out.pem", openssl("pkcs12", "-in", "long.p12", "-passin", "pass:secret", "-nokeys"));
	assert.deepEqual(Uint8Array.from(openssl("x509", "-in", "out.pem", "-outform", "DER")), long.certificate);
	assert.ok(readFileSync(join(folder, "out.pem"), "utf8").includes(`friendlyName: ${"n".repeat(256)}`));
});
