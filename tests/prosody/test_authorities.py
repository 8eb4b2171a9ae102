"""Certificates that an authority issued: `saslcertd_trust` other than "enrolled"."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import certs
import rome
from certs import ClientCertificate
from connection import Refused
from processes import REPOSITORY
from prosody import Config, Host
from raw import Stream
from scene import DOMAIN, Account, Scene, eventually

#: XEP-0257's feature.
CERTIFICATES = "urn:xmpp:saslcert:1"
#: The ad-hoc command for it.
COMMAND = "http://prosody.im/protocol/certs"


class Authorities:
    """A company: its root, a department below it, their lists, and the files that Prosody's configuration names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = certs.make(folder, [], common_name="Denmark Root", is_ca=True)
        self.department = certs.make(folder, [], common_name="Elsinore", is_ca=True, issuer=self.root)
        self.ca_file, self.crl_file = folder / "authorities.pem", folder / "lists.pem"
        self.ca_file.write_bytes(self.root.cert_file.read_bytes())

    def options(self, trust: str, *, lists: bool = False) -> str:
        files = f'saslcertd_trust = "{trust}"\nsaslcertd_ca_file = "{self.ca_file}"'
        return f'{files}\nsaslcertd_crl_file = "{self.crl_file}"' if lists else files

    def issue(self, *accounts: Account, by_department: bool = False) -> ClientCertificate:
        """What a client of theirs presents."""
        issuer = self.department if by_department else self.root
        leaf = certs.make(self.folder, [account.jid for account in accounts], issuer=issuer)
        return certs.with_chain(leaf, [self.department]) if by_department else leaf

    def publish(self, *revoked: ClientCertificate) -> None:
        """New lists, in the place of the old ones."""
        text = b"".join(self.list_of(issuer, revoked) for issuer in (self.root, self.department))
        new = self.crl_file.with_suffix(".new")
        new.write_bytes(text)
        os.replace(new, self.crl_file)

    def list_of(self, issuer: ClientCertificate, revoked: tuple[ClientCertificate, ...]) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        name = x509.load_der_x509_certificate(issuer.der).subject
        builder = x509.CertificateRevocationListBuilder().issuer_name(name)
        builder = builder.last_update(now - datetime.timedelta(minutes=1)).next_update(now + datetime.timedelta(days=1))
        for one in revoked:
            certificate = x509.load_der_x509_certificate(one.der)
            if certificate.issuer == name:
                entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
                builder = builder.add_revoked_certificate(entry.build())
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        key = serialization.load_pem_private_key(issuer.key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        public = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(public, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    folder = tmp_path / "company"
    folder.mkdir()
    return Authorities(folder)


def trusting(options: str) -> Config:
    return Config(hosts=[Host(DOMAIN, options)])


async def commands_of(stream: Stream) -> set[str]:
    node = "http://jabber.org/protocol/commands"
    answer = await stream.iq("get", f"<query xmlns='http://jabber.org/protocol/disco#items' node='{node}'/>", to=DOMAIN)
    return {one.get("node", "") for one in answer.iter("{http://jabber.org/protocol/disco#items}item")}


@pytest.mark.parametrize("by_department", [False, True], ids=["by the root", "by a department"])
async def test_who_has_a_card_of_the_company_needs_no_list(
    own_scene: Callable[..., Scene], authorities: Authorities, by_department: bool, direct_tls: bool
):
    scene = own_scene(trusting(authorities.options("ca")))
    account, other = scene.account(), scene.account()
    card = authorities.issue(account, by_department=by_department)
    async with await scene.certificate_session(account, card, direct_tls=direct_tls) as stream:
        assert stream.jid is not None and stream.jid.startswith(account.jid + "/")
        assert CERTIFICATES not in await stream.features_of(DOMAIN)
        assert not COMMAND in await commands_of(stream)
        with pytest.raises(Refused, match="^not-allowed"):
            await stream.append("phone", scene.certificate(account).base64)
    # Neither what the user would have enrolled elsewhere, nor what names nobody who exists.
    stranger = authorities.issue(Account("yorick"))
    for certificate in (scene.certificate(account), stranger, authorities.issue(Account(other.username, "denmark.lit"))):
        async with await scene.open(certificate=certificate, direct_tls=direct_tls) as stream:
            assert "EXTERNAL" not in stream.mechanisms
            await stream.scram(account.username, account.password)
            await stream.bind()


async def test_passwords_and_lists_go_on_where_either_suffices(own_scene: Callable[..., Scene], authorities: Authorities):
    scene = own_scene(trusting(authorities.options("enrolled_or_ca")))
    account = scene.account()
    phone, card = await scene.enrol(account), authorities.issue(account)
    # A chain that is longer than the daemon reads keeps neither out.
    others = [scene.certificate(account, padding=20_000)] + [scene.certificate(account, padding=4_000) for _ in range(9)]
    departments = authorities.issue(account, by_department=True)
    long = [certs.with_chain(phone, others), certs.with_chain(departments, [others[0], authorities.department, *others[1:]])]
    for certificate in (phone, card, *long):
        async with await scene.certificate_session(account, certificate) as stream:
            assert CERTIFICATES in await stream.features_of(DOMAIN)
    async with await scene.certificate_session(account, card) as stream:
        with pytest.raises(Refused, match="^forbidden"):
            await stream.append("tablet", scene.certificate(account).base64)


async def test_both_may_be_wanted(own_scene: Callable[..., Scene], authorities: Authorities):
    scene = own_scene(trusting(authorities.options("enrolled_and_ca")))
    account = scene.account()
    card = authorities.issue(account, by_department=True)
    async with await scene.open(certificate=card) as stream:
        assert "EXTERNAL" not in stream.mechanisms
    await scene.enrol(account, "card", card)
    async with await scene.certificate_session(account, card):
        pass
    async with await scene.password_session(account) as stream:
        with pytest.raises(Refused, match="^not-acceptable"):
            await stream.append("phone", scene.certificate(account).base64)


@pytest.mark.parametrize("by_department", [False, True], ids=["by the root", "by a department"])
async def test_a_revocation_list_ends_sessions(own_scene: Callable[..., Scene], authorities: Authorities, by_department: bool):
    authorities.publish()
    scene = own_scene(trusting(authorities.options("ca", lists=True)))
    account = scene.account()
    stolen, kept = (authorities.issue(account, by_department=by_department) for _ in range(2))
    async with (
        await scene.certificate_session(account, stolen, "stolen") as thief,
        await scene.certificate_session(account, kept, "kept") as owner,
        await scene.password_session(account, "password") as beside,
    ):
        authorities.publish(stolen)
        assert (await thief.wait_closed()).condition == "not-authorized"
        for stream in (owner, beside):
            await stream.ping()
    async with await scene.open(certificate=stolen) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external()
    async with await scene.certificate_session(account, kept):
        pass


@pytest.mark.provokes(r"is away")
async def test_what_was_revoked_while_the_daemon_was_away_is_out_when_it_is_back(
    own_scene: Callable[..., Scene], authorities: Authorities
):
    authorities.publish()
    scene = own_scene(trusting(authorities.options("ca", lists=True)))
    account = scene.account()
    stolen, kept = authorities.issue(account), authorities.issue(account)
    async with (
        await scene.certificate_session(account, stolen, "stolen") as thief,
        await scene.certificate_session(account, kept, "kept") as owner,
    ):
        scene.daemon.stop()
        authorities.publish(stolen)
        scene.daemon.start()
        assert (await thief.wait_closed()).condition == "not-authorized"
        await owner.ping()


@pytest.mark.provokes(r"saslcertd_ca_file = ", r"the authorities could not be asked", "cannot be used")
async def test_a_file_that_is_missing_says_so_and_is_read_when_it_is_there(own_scene: Callable[..., Scene], authorities: Authorities):
    # Relative to the configuration.
    scene = own_scene(trusting('saslcertd_trust = "ca"\nsaslcertd_ca_file = "authorities.pem"'))
    account = scene.account()
    card = authorities.issue(account)

    async def is_said() -> bool:
        return "there is no such file" in scene.prosody.read_log()

    await eventually("Prosody has said what is wrong with the file", is_said)
    async with await scene.open(certificate=card) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused, match="^temporary-auth-failure"):
            await stream.external()
        await stream.scram(account.username, account.password)
    (scene.prosody.folder / "authorities.pem").write_bytes(authorities.ca_file.read_bytes())

    async def is_let_in() -> bool:
        async with await scene.open(certificate=card) as stream:
            return "EXTERNAL" in stream.mechanisms

    await eventually("the file has been read", is_let_in)
    async with await scene.certificate_session(account, card):
        pass


async def test_a_card_is_that_of_whoever_has_the_name(own_scene: Callable[..., Scene], authorities: Authorities):
    """No list, so nothing that a later account could inherit: the authority says who it is."""
    scene = own_scene(trusting(authorities.options("ca")))
    account = scene.account()
    card = authorities.issue(account)
    async with await scene.certificate_session(account, card):
        pass
    scene.prosody.control("deluser", account.jid)
    async with await scene.open(certificate=card) as stream:
        assert "EXTERNAL" not in stream.mechanisms
    scene.account(account.username)
    async with await scene.certificate_session(account, card):
        pass


async def test_accounts_in_the_daemon_have_cards_too(own_scene: Callable[..., Scene], authorities: Authorities):
    scene = own_scene(rome.config(f"saslcertd_guess_delay_max = 0\n{authorities.options('ca')}"))
    brutus, cassius = scene.account(host=rome.ROME), Account("cassius", rome.ROME)
    card = authorities.issue(brutus)
    async with await scene.certificate_session(brutus, card):
        pass
    async with await scene.open(rome.ROME, certificate=authorities.issue(cassius)) as stream:
        assert "EXTERNAL" not in stream.mechanisms
    scene.daemon.ask("account.disable", {"account": brutus.jid})
    async with await scene.open(rome.ROME, certificate=card) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external()


async def test_a_host_may_change_its_mind_while_prosody_runs(own_scene: Callable[..., Scene], authorities: Authorities):
    scene = own_scene(trusting(authorities.options("ca")))
    account = scene.account()
    async with await scene.password_session(account) as stream:

        async def has_no_lists() -> bool:
            return CERTIFICATES not in await stream.features_of(DOMAIN)

        await eventually("the daemon's answer is heard", has_no_lists)
        for options, announced in [("", True), (authorities.options("ca"), False), (authorities.options("enrolled_or_ca"), True)]:
            scene.prosody.config.hosts[0] = Host(DOMAIN, options)
            scene.prosody.write_config()
            scene.prosody.reload_config()

            async def is_so(announced: bool = announced) -> bool:
                is_command = COMMAND in await commands_of(stream)
                return (CERTIFICATES in await stream.features_of(DOMAIN)) is announced and is_command is announced

            await eventually("what is announced has changed", is_so)


async def test_where_a_list_is_wanted_again_the_sessions_of_an_authority_end(own_scene: Callable[..., Scene], authorities: Authorities):
    scene = own_scene(trusting(authorities.options("enrolled_or_ca")))
    account = scene.account()
    phone = await scene.enrol(account)
    async with (
        await scene.certificate_session(account, authorities.issue(account), "card") as card,
        await scene.certificate_session(account, phone, "phone") as listed,
    ):
        scene.prosody.config.hosts[0] = Host(DOMAIN, "")
        scene.prosody.write_config()
        scene.prosody.reload_config()
        assert (await card.wait_closed()).condition == "not-authorized"
        await listed.ping()


async def test_the_documentations_own_authority(own_scene: Callable[..., Scene], tmp_path: Path):
    """docs/operations.md, line by line."""
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    section = page[page.index("\n## Authorities\n") :]
    section = section[: section.index("\n## ", 1)].replace("/etc/saslcertd", str(tmp_path / "etc"))
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?m)(?:^    .*\n|^\n(?=    ))+", section)]
    options, ca_cnf, made, hamlet_cnf, issued, revoked = (block.strip() + "\n" for block in blocks)

    def run(commands: str) -> None:
        done = subprocess.run(["sh", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (commands, done.stderr)

    (tmp_path / "ca.cnf").write_text(ca_cnf)
    (tmp_path / "hamlet.cnf").write_text(hamlet_cnf)
    run(made)
    run(issued)
    scene = own_scene(trusting(options))
    account = scene.account("hamlet")
    der = x509.load_pem_x509_certificate((tmp_path / "hamlet.crt").read_bytes()).public_bytes(serialization.Encoding.DER)
    card = ClientCertificate(tmp_path / "hamlet.crt", tmp_path / "hamlet.key", der)
    async with await scene.certificate_session(account, card) as stream:
        run(revoked)
        assert (await stream.wait_closed()).condition == "not-authorized"
    assert f"{tmp_path / 'etc' / 'lists.pem'}: revocation lists: 1" in scene.daemon.command("status").stdout
