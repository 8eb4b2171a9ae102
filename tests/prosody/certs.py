"""Client certificates for tests: good ones, and any that are wrong in a chosen way.

`make` writes PEM files that every TLS library reads. What a certificate says is given by arguments; what is not
given is as a sensible enrolment would choose it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

XMPP_ADDR = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
NS_COMMENT = ObjectIdentifier("2.16.840.1.113730.1.13")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate and its key as files; `chain_file` is what a client presents."""

    cert_file: Path
    key_file: Path
    der: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.der).decode()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def not_after(self) -> float:
        """Its last second, in seconds since the epoch."""
        return x509.load_der_x509_certificate(self.der).not_valid_after_utc.timestamp()

    @property
    def key_id(self) -> str:
        public = x509.load_der_x509_certificate(self.der).public_key()
        spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()


def new_key(kind: str) -> PrivateKey:
    """A fresh key: `p256`, `p384`, `ed25519`, or `rsa-BITS`."""
    if kind.startswith("rsa-"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa-")))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[kind])


def der(tag: int, value: bytes) -> bytes:
    """One value in DER, below a tag of one byte."""
    if len(value) < 0x80:
        return bytes([tag, len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def utf8_string(text: str) -> bytes:
    """The DER of a UTF8String."""
    return der(0x0C, text.encode())


def make(
    folder: Path,
    addresses: Sequence[str],
    *,
    key: str | PrivateKey = "p256",
    common_name: str = "a client certificate",
    not_before: datetime.timedelta = datetime.timedelta(hours=-1),
    not_after: datetime.timedelta = datetime.timedelta(days=365),
    padding: int = 0,
    emails: Sequence[str] = (),
    issuer: ClientCertificate | None = None,
    is_ca: bool = False,
    encode_address: Callable[[str], bytes] | None = None,
) -> ClientCertificate:
    """A certificate with an xmppAddr for each of `addresses`, written below `folder`; self-signed, or by `issuer`.

    `padding`: so many bytes of comment make it as large as one likes. `not_before`, `not_after`: from now.
    `emails`: each an rfc822Name. `encode_address`: the DER of an address, instead of a UTF8String.
    """
    private = new_key(key) if isinstance(key, str) else key
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    signer, signer_name = private, name
    if issuer:
        signer_name = x509.load_der_x509_certificate(issuer.der).subject
        loaded = serialization.load_pem_private_key(issuer.key_file.read_bytes(), None)
        assert isinstance(loaded, PrivateKey)
        signer = loaded
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer_name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + not_before)
        .not_valid_after(now + not_after)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    encode = encode_address or utf8_string
    names: list[x509.GeneralName] = [x509.OtherName(XMPP_ADDR, encode(address)) for address in addresses]
    names += [x509.RFC822Name(email) for email in emails]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if padding:
        comment = x509.UnrecognizedExtension(NS_COMMENT, der(0x16, b"x" * padding))
        builder = builder.add_extension(comment, critical=False)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return write(folder, builder.sign(signer, digest), private)


def of_somebody_elses_key(folder: Path, addresses: Sequence[str], theirs: ClientCertificate) -> ClientCertificate:
    """A certificate for `addresses` with the public key of `theirs`, as anybody can make one who has only seen that;
    nobody can log in with it. `key_file` is that of the key that signed it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "not my key")])
    signer = new_key("p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(x509.load_der_x509_certificate(theirs.der).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.OtherName(XMPP_ADDR, utf8_string(one)) for one in addresses]), critical=False)
    )
    return write(folder, builder.sign(signer, hashes.SHA256()), signer)


def version_1() -> bytes:
    """A certificate of version 1, which has no extensions, in DER. An older `openssl x509 -req` makes one; of the newer ones, and
    of Python's library, none is to be had."""
    algorithm = der(0x30, bytes.fromhex("06082a8648ce3d040302"))  # ecdsa-with-SHA256
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phone")]).public_bytes()
    now = datetime.datetime.now(datetime.timezone.utc)
    dates = [now - datetime.timedelta(hours=1), now + datetime.timedelta(days=9)]
    validity = der(0x30, b"".join(der(0x17, f"{date:%y%m%d%H%M%SZ}".encode()) for date in dates))
    key = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = der(0x30, der(0x02, b"\x01") + algorithm + name + validity + name + key)
    signature = private.sign(signed, ec.ECDSA(hashes.SHA256()))
    certificate = der(0x30, signed + algorithm + der(0x03, b"\0" + signature))
    assert x509.load_der_x509_certificate(certificate).version == x509.Version.v1
    return certificate


def same_key(folder: Path, addresses: Sequence[str], other: ClientCertificate) -> ClientCertificate:
    """Another certificate for the key of `other`, as its owner can make it."""
    private = serialization.load_pem_private_key(other.key_file.read_bytes(), None)
    assert isinstance(private, PrivateKey)
    return make(folder, addresses, key=private)


def write(folder: Path, certificate: x509.Certificate, private: PrivateKey) -> ClientCertificate:
    der = certificate.public_bytes(serialization.Encoding.DER)
    stem = folder / hashlib.sha256(der).hexdigest()[:16]
    cert_file, key_file = stem.with_suffix(".crt"), stem.with_suffix(".key")
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return ClientCertificate(cert_file, key_file, der)


def with_chain(leaf: ClientCertificate, others: Sequence[ClientCertificate]) -> ClientCertificate:
    """`leaf`, presented with `others` behind it, as a client with intermediate certificates does."""
    bundle = leaf.cert_file.with_suffix(".chain.pem")
    bundle.write_bytes(b"".join(one.cert_file.read_bytes() for one in [leaf, *others]))
    return ClientCertificate(bundle, leaf.key_file, leaf.der)


#: What users of Prosody's older certificate module were told to write; the documentation shows the same.
OPENSSL_CONFIG = """\
[req]
prompt = no
x509_extensions = v3_extensions
req_extensions = v3_extensions
distinguished_name = distinguished_name

[v3_extensions]
extendedKeyUsage = clientAuth
keyUsage = digitalSignature,keyEncipherment
basicConstraints = CA:FALSE
subjectAltName = @subject_alternative_name

[subject_alternative_name]
otherName.0 = 1.3.6.1.5.5.7.8.5;FORMAT:UTF8,UTF8:hamlet@shakespeare.lit

[distinguished_name]
commonName = Hamlet
emailAddress = hamlet@shakespeare.lit
"""

OPENSSL_RECIPE = """\
openssl genrsa -out client.key 4096
openssl req -key client.key -new -out client.req -config client.cnf -extensions v3_extensions
openssl x509 -req -days 365 -in client.req -signkey client.key -out client.crt -extfile client.cnf -extensions v3_extensions
"""


def by_the_openssl_recipe(folder: Path) -> ClientCertificate:
    """The certificate for hamlet@shakespeare.lit that the openssl commands yield, run as they stand."""
    (folder / "client.cnf").write_text(OPENSSL_CONFIG)
    for line in OPENSSL_RECIPE.splitlines():
        subprocess.run(line.split(), cwd=folder, check=True, capture_output=True)
    certificate = x509.load_pem_x509_certificate((folder / "client.crt").read_bytes())
    return ClientCertificate(folder / "client.crt", folder / "client.key", certificate.public_bytes(serialization.Encoding.DER))
