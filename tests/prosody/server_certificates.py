"""The certificates that a server shows, from an authority of its own.

Needs only Python's standard library, and openssl.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from processes import finish


def make_server_certificates(folder: Path, ca_file: Path, domains: list[str]) -> None:
    """A certificate authority of its own for this rig, and a server certificate for each domain, where Prosody looks."""
    certs = folder / "certs"
    certs.mkdir()
    config = folder / "openssl.cnf"
    config.write_text(
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = saslcertd\n"
        "[authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n"
        "[server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth\n"
        "subjectAltName = " + ", ".join(f"DNS:{domain}" for domain in domains) + "\n"
    )
    authority_key, server, server_key = folder / "ca.key", folder / "server.pem", folder / "server.key"

    def make(section: str, key_file: Path, cert_file: Path, *signed_by: str) -> None:
        command = ["openssl", "req", "-x509", "-config", str(config), "-days", "30", "-nodes", "-extensions", section, *signed_by]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key_file), "-out", str(cert_file)]
        command += ["-subj", f"/CN=saslcertd test {section}"]
        finish(command, f"making the certificate of the test {section}")

    make("authority", authority_key, ca_file)
    make("server", server_key, server, "-CA", str(ca_file), "-CAkey", str(authority_key))
    for domain in domains:
        shutil.copy(server, certs / f"{domain}.crt")
        shutil.copy(server_key, certs / f"{domain}.key")
    authority_key.unlink()
