"""How the clients that people have log in with a certificate, and what exactly they send.

slixmpp (so poezio) and libstrophe are the real libraries. Conversations runs on a phone only: what it sends, by its
source, is replayed. Each transcript is what the client said on the encrypted stream.
"""

import asyncio
import base64
import json
import logging
import re
import subprocess
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from slixmpp.exceptions import IqError

import slix
from certs import ClientCertificate
from namespaces import BIND2, FAST, SMACKS
from processes import PATIENCE, clean_environment, finish
from scene import DOMAIN, Account, Scene
from test_command_line import enroll, saslcertd, way_to

# --- slixmpp -------------------------------------------------------------------------------------

SLIXMPP = """\
<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="EXTERNAL">=</auth>
<iq id="1" type="set"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>orchard</resource></bind></iq>
<iq id="2" type="get"><items xmlns="urn:xmpp:saslcert:1" /></iq>
<iq id="3" type="set"><append xmlns="urn:xmpp:saslcert:1"><name>tablet</name><x509cert>$tablet</x509cert></append></iq>
<iq id="4" type="set"><append xmlns="urn:xmpp:saslcert:1"><name>bot</name><x509cert>$bot</x509cert><no-cert-management /></append></iq>
<iq id="5" type="set"><disable xmlns="urn:xmpp:saslcert:1"><name>tablet</name></disable></iq>
<iq id="6" type="set"><revoke xmlns="urn:xmpp:saslcert:1"><name>bot</name></revoke></iq>
"""


async def test_slixmpp_logs_in_and_manages_certificates_with_its_own_plugin(scene: Scene, caplog: pytest.LogCaptureFixture):
    account = scene.account()
    phone = await scene.enrol(account)
    tablet, bot = scene.certificate(account), scene.certificate(account)
    with caplog.at_level(logging.DEBUG, logger="slixmpp.xmlstream.xmlstream"):
        async with slix.session(scene.server(), f"{account.jid}/orchard", certificate=phone) as client:
            plugin = client.plugin["xep_0257"]
            assert client.boundjid.full == f"{account.jid}/orchard"
            assert await plugin.get_certs() == {("phone", phone.base64, ("orchard",))}
            await plugin.add_cert("tablet", tablet.base64)
            await plugin.add_cert("bot", bot.base64, allow_management=False)
            assert [record["may_manage"] for record in scene.records(account)] == [True, True, False]
            await plugin.disable_cert("tablet")
            await plugin.revoke_cert("bot")
    sent = [message.removeprefix("SEND: ") for message in caplog.messages if message.startswith("SEND: ")]
    sent = [one for one in sent if one.startswith(("<auth", "<iq"))]
    numbers = iter(range(1, 100))
    told = [re.sub(r'id="[0-9a-f]{32}"', lambda _: f'id="{next(numbers)}"', one) for one in sent]
    assert told == Template(SLIXMPP).substitute(tablet=tablet.base64, bot=bot.base64).splitlines()


async def test_slixmpp_without_management_is_told_that_it_is_forbidden(scene: Scene):
    account = scene.account()
    bot = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await desk.append("bot", bot.base64, may_manage=False)
    async with slix.session(scene.server(), account.jid, certificate=bot) as client:
        plugin = client.plugin["xep_0257"]
        assert {name for name, _, _ in await plugin.get_certs()} == {"bot"}
        for change in (plugin.add_cert("mine", scene.certificate(account).base64), plugin.disable_cert("bot"), plugin.revoke_cert("bot")):
            with pytest.raises(IqError) as error:
                await change
            assert error.value.condition == "forbidden"


# --- libstrophe ----------------------------------------------------------------------------------

LIBSTROPHE = """\
<?xml version="1.0"?><stream:stream to="$domain" xml:lang="en" version="1.0" xmlns="jabber:client" \
xmlns:stream="http://etherx.jabber.org/streams" from="$bare">
<auth mechanism="EXTERNAL" xmlns="urn:ietf:params:xml:ns:xmpp-sasl">$response</auth>
<?xml version="1.0"?><stream:stream to="$domain" xml:lang="en" version="1.0" xmlns="jabber:client" \
xmlns:stream="http://etherx.jabber.org/streams" from="$bare">
<iq id="_xmpp_bind1" type="set"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><required/>$wish</bind></iq>
"""


@pytest.fixture(scope="module")
def strophe_login(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small program on the real library; it logs in and says as whom."""
    program = tmp_path_factory.mktemp("libstrophe") / "strophe_login"
    source = Path(__file__).with_name("strophe_login.c")
    finish(["cc", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source), "-lstrophe"], "compiling strophe_login.c")
    return program


async def log_in_with_libstrophe(program: Path, scene: Scene, certificate: ClientCertificate, jid: str | None) -> tuple[str | None, list[str]]:
    """Who is logged in, or None; and what the library sent after STARTTLS, until it was bound."""
    return await run_strophe_login(program, scene, [str(certificate.cert_file), str(certificate.key_file), *([jid] if jid else [])])


async def run_strophe_login(program: Path, scene: Scene, which: list[str], **environment: str) -> tuple[str | None, list[str]]:
    words = [str(program), "127.0.0.1", str(scene.prosody.starttls_port), str(scene.prosody.ca_file), *which]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment() | environment
    )
    try:
        bound, log = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    sent = re.findall(r"^conn DEBUG SENT: (.*)$", log.decode(), re.MULTILINE)
    encrypted = next((at for at, what in enumerate(sent) if what.startswith("<starttls")), len(sent)) + 1
    binding = next((at for at, what in enumerate(sent) if "<bind " in what), len(sent)) + 1
    return bound.decode().strip() if process.returncode == 0 else None, sent[encrypted:binding]


@pytest.mark.parametrize("configured", ["nothing", "the bare JID", "a full JID", "another case"])
async def test_libstrophe_logs_in_with_one_address(scene: Scene, strophe_login: Path, configured: str):
    account = scene.account()
    phone = await scene.enrol(account)
    jid = {
        "nothing": None, "the bare JID": account.jid, "a full JID": f"{account.jid}/laptop", "another case": f"{account.username.upper()}@{DOMAIN}",
    }
    as_configured = jid[configured]
    bound, sent = await log_in_with_libstrophe(strophe_login, scene, phone, as_configured)
    # It says nothing when the certificate says the same, and its configured JID, resource and all, when it does not.
    response = "=" if as_configured in (None, account.jid) else base64.b64encode(as_configured.encode()).decode()
    wish = "<resource>laptop</resource>" if configured == "a full JID" else ""
    bare = (as_configured or account.jid).partition("/")[0]
    assert sent == Template(LIBSTROPHE).substitute(domain=DOMAIN, bare=bare, response=response, wish=wish).splitlines()
    assert bound and bound.startswith(f"{account.jid}/laptop" if wish else f"{account.jid}/")


@pytest.mark.parametrize("resource", ["", "/laptop"], ids=["the bare JID", "a full JID"])
async def test_libstrophe_logs_in_with_one_of_several_addresses(scene: Scene, strophe_login: Path, resource: str):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    for owner in (account, other):
        bound, sent = await log_in_with_libstrophe(strophe_login, scene, both, owner.jid + resource)
        assert bound and bound.startswith(owner.jid + (resource or "/"))
        assert f">{base64.b64encode((owner.jid + resource).encode()).decode()}</auth>" in sent[1]


async def test_libstrophe_with_a_full_address_is_bound_to_it(scene: Scene, strophe_login: Path):
    account = scene.account()
    full = f"{account.jid}/Desk"
    phone = await scene.enrol(account, certificate=scene.certificate(full))
    for configured in (None, full, account.jid):
        bound, _ = await log_in_with_libstrophe(strophe_login, scene, phone, configured)
        assert bound == full, configured
    assert (await log_in_with_libstrophe(strophe_login, scene, phone, f"{account.jid}/laptop"))[0] is None


async def test_libstrophe_is_refused_as_somebody_else_or_with_an_unknown_certificate(scene: Scene, strophe_login: Path):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    assert (await log_in_with_libstrophe(strophe_login, scene, phone, other.jid))[0] is None
    assert (await log_in_with_libstrophe(strophe_login, scene, scene.certificate(account), account.jid))[0] is None


@pytest.mark.parametrize("encryption", ["aes", "3des"])
async def test_libstrophe_logs_in_with_the_pkcs12_file_that_enroll_makes(scene: Scene, strophe_login: Path, encryption: str):
    account = scene.account()
    device = scene.folder / "device"
    words = ["enroll", account.jid, "--name", "Büro 📱", "--out", str(device), "--password-file", "-", f"--pkcs12={encryption}", "--json"]
    # Not in this thread: here the scene lives.
    done = await asyncio.to_thread(saslcertd, scene, *words, *way_to(scene, False), stdin=account.password + "\n")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    file = Path(report["pkcs12"])
    assert file.parent == device and file.stat().st_mode & 0o777 == 0o600
    # With PKCS#12 the library does not look for an address in the certificate.
    which = [str(file), "-", account.jid]
    bound, _ = await run_strophe_login(strophe_login, scene, which, PKCS12_PASSWORD=report["pkcs12_password"])
    assert bound and bound.startswith(f"{account.jid}/")
    assert (await run_strophe_login(strophe_login, scene, which, PKCS12_PASSWORD="wrong"))[0] is None


# --- Conversations -------------------------------------------------------------------------------

CONVERSATIONS = """\
<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="EXTERNAL">$authzid</auth>
"""

CONVERSATIONS_SASL2 = """\
<authenticate xmlns="urn:xmpp:sasl:2" mechanism="EXTERNAL"><initial-response>$authzid</initial-response>\
<user-agent id="6a2e1b0c-93f8-4f43-8c5d-1f6c6c1a3d11"><software>Conversations</software><device>Pixel 6</device></user-agent>\
<bind xmlns="urn:xmpp:bind:0"><tag>Conversations</tag><enable xmlns="urn:xmpp:carbons:2"/><enable xmlns="urn:xmpp:sm:3"/></bind>\
<request-token xmlns="urn:xmpp:fast:0" mechanism="HT-SHA-256-NONE"/></authenticate>
"""


def conversations_address(certificate: bytes) -> str | None:
    """The address that Conversations finds in a certificate: an e-mail address, or a common name that is one. It does
    not look at xmppAddr."""
    parsed = x509.load_der_x509_certificate(certificate)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for email in names.get_values_for_type(x509.RFC822Name):
        return email
    for oid in (NameOID.EMAIL_ADDRESS, NameOID.COMMON_NAME):
        for attribute in parsed.subject.get_attributes_for_oid(oid):
            if "@" in attribute.value and "/" not in attribute.value:
                return str(attribute.value)
    return None


def as_conversations_wants_it(scene: Scene, account: Account, where: str) -> ClientCertificate:
    found = {"rfc822Name": {"emails": [account.jid]}, "common name": {"common_name": account.jid}}[where]
    certificate = scene.certificate(account, **found)
    assert conversations_address(certificate.der) == account.jid
    return certificate


@pytest.mark.parametrize("where", ["rfc822Name", "common name"])
async def test_conversations_logs_in_with_the_bare_address_as_authzid(scene: Scene, direct_tls: bool, where: str):
    account = scene.account()
    phone = await scene.enrol(account, certificate=as_conversations_wants_it(scene, account, where))
    async with await scene.open(certificate=phone, direct_tls=direct_tls, claims=account.jid) as stream:
        assert "EXTERNAL" in stream.mechanisms
        authzid = base64.b64encode(account.jid.encode()).decode()
        await stream.send(Template(CONVERSATIONS).substitute(authzid=authzid))
        await stream.finish_authentication(await stream.read())
        assert await stream.bind("Conversations.x1y2") == f"{account.jid}/Conversations.x1y2"


@pytest.mark.parametrize("where", ["rfc822Name", "common name"])
async def test_conversations_logs_in_over_sasl2(with_sasl2: Scene, direct_tls: bool, where: str):
    scene = with_sasl2
    account = scene.account()
    phone = await scene.enrol(account, certificate=as_conversations_wants_it(scene, account, where))
    async with await scene.open(certificate=phone, direct_tls=direct_tls, claims=account.jid) as stream:
        assert "EXTERNAL" in stream.sasl2_mechanisms
        authzid = base64.b64encode(account.jid.encode()).decode()
        await stream.send(Template(CONVERSATIONS_SASL2).substitute(authzid=authzid))
        success = await stream.finish_authentication2(await stream.read())
        assert re.fullmatch(re.escape(account.jid) + "/Conversations~.+", stream.jid or "")
        assert success.find(f"{{{BIND2}}}bound/{{{SMACKS}}}enabled") is not None, ET.tostring(success)
        assert success.find(f"{{{FAST}}}token") is None
        await stream.ping()


async def test_conversations_is_refused_when_its_certificate_is_revoked_and_may_fall_back(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=as_conversations_wants_it(scene, account, "rfc822Name"))
    async with await scene.password_session(account) as desk:
        await desk.revoke("phone")
    async with await scene.open(certificate=phone, claims=account.jid) as stream:
        # It prefers EXTERNAL whenever it is listed, so it must not be.
        assert "EXTERNAL" not in stream.mechanisms
        await stream.scram(account.username, account.password)
        await stream.bind()


def test_enroll_makes_a_certificate_in_which_conversations_finds_its_address(scene: Scene):
    account = scene.account()
    certificate, _ = enroll(scene, account, "phone", scene.folder / "device")
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
    assert conversations_address(der) == account.jid
