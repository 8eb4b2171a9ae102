"""More set-ups that somebody broke: Prosody's configuration, its modules, its user, and its certificate."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatserver import CONFIG, DOMAIN, MODULES, ChatServer, mend
from processes import wait_until

CERTIFICATES = "/etc/prosody/certs"


def disable(server: ChatServer, module: str) -> None:
    server.change("modules_disabled = {\n", f'modules_disabled = {{\n\t\t"{module}";\n')


@pytest.mark.provokes("No server mechanisms|no available mechanisms")
@pytest.mark.parametrize(
    ("module", "check"), [("saslcertd", "enabled"), ("saslauth", "logins"), ("c2s", "logins"), ("tls", "tls")], ids=["saslcertd", "saslauth", "c2s", "tls"]
)
def test_a_module_that_is_forbidden(well: ChatServer, module: str, check: str):
    disable(well, module)
    well.restart_prosody(listening=module != "c2s")
    assert well.login("phone").returncode != 0
    mend(well, (check, f"mod_{module}"))


@pytest.mark.provokes("internal_hased")
def test_an_authentication_with_a_slip(well: ChatServer):
    well.set_in_place("authentication", '"internal_hased"')
    well.restart_prosody()
    assert well.login("phone").returncode != 0
    mend(well, ("logins", 'authentication = "internal_hased"'))


def test_external_is_forbidden(well: ChatServer):
    well.set_globally('disable_sasl_mechanisms = { "DIGEST-MD5", "EXTERNAL" }')
    well.restart_prosody()
    assert well.login("phone").returncode != 0
    mend(well, ("rival", "disable_sasl_mechanisms forbids EXTERNAL"))


def test_a_user_of_prosodys_that_is_not_there(well: ChatServer):
    well.machine.run("prosodyctl stop --force")
    well.set_globally('prosody_user = "prosdy"')
    mend(well, ("socket", "no user prosdy"))


def test_a_prosody_that_was_killed(well: ChatServer):
    """Its pidfile is still there."""
    well.machine.run("kill -9 $(cat /run/prosody/prosody.pid)")
    wait_until("it is gone", lambda: well.login("phone").returncode != 0)
    mend(well, ("running", "Prosody isn't running"))


# --- its modules ---------------------------------------------------------------------------------


@pytest.mark.provokes("The daemon refuses session.hello")
def test_an_older_copy_of_the_module_that_is_found_first(well: ChatServer):
    older = "/srv/modules"
    well.machine.run(
        f"mkdir {older} && cp -r {MODULES}/mod_saslcertd {MODULES}/mod_auth_saslcertd {older}/ && "
        f"sed -i 's/^local protocol_version = 2;/local protocol_version = 0;/' {older}/mod_saslcertd/hello.lib.lua"
    )
    well.set_globally(f'plugin_paths = {{ "{older}" }}')
    well.restart_prosody()
    assert well.login("phone").returncode != 0
    mend(well, ("module", f"{older}/mod_saslcertd", "older version"))


def test_a_source_folder_in_roots_home(well: ChatServer):
    """Which Prosody's user may not enter, and should not."""
    source = "/root/source"
    well.machine.run(
        f"mkdir -p {source}/target/release {source}/prosody-glue && mv {MODULES}/mod_saslcertd {MODULES}/mod_auth_saslcertd {source}/prosody-glue/ && "
        f"cp /usr/bin/saslcertd {source}/target/release/ && ln -s {source}/target/release/saslcertd /usr/local/bin/saslcertd"
    )
    well.set_globally(f'plugin_paths = {{ "{source}/prosody-glue" }}')
    well.restart_prosody()
    assert well.login("phone").returncode != 0
    mend(well, ("module", "doesn't find mod_saslcertd", "may not enter /root"), ("module", "isn't in plugin_paths"))
    assert well.machine.run("stat -c %a /root").strip() == "700"


def test_a_module_that_prosodys_user_may_not_read(well: ChatServer):
    """As a strict umask leaves it."""
    well.machine.run(f"chmod 700 {MODULES}/mod_saslcertd && chmod 600 {MODULES}/mod_saslcertd/*")
    well.restart_prosody()
    assert well.login("phone").returncode != 0
    mend(well, ("module", "may not read"), ("hosts", "isn't connected"), but=(f"{MODULES}/mod_saslcertd",))


# --- the server's certificate --------------------------------------------------------------------


def make_certificate(folder: Path, host: str, days_ago: int) -> None:
    """A server's certificate that expired so many days ago (or will, in the future), and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=60)).not_valid_after(now - datetime.timedelta(days=days_ago))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = serialization.Encoding.PEM
    (folder / f"{DOMAIN}.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / f"{DOMAIN}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@pytest.mark.parametrize(
    ("host", "days_ago", "words"), [(DOMAIN, 2, "has expired 2 days ago"), ("elsinore.lit", -60, "is for another host")], ids=["expired", "of another host"]
)
def test_a_server_certificate_that_clients_refuse(well: ChatServer, host: str, days_ago: int, words: str):
    make_certificate(well.machine.file(CERTIFICATES), host, days_ago)
    well.restart_prosody()
    assert well.login("phone").returncode != 0
    # The command is for the folder with the new ones.
    mend(well, ("cert", words, DOMAIN), but=(CERTIFICATES,), folder="/root/certificates")
