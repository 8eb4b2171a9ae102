"""The user's own list (XEP-0257), and what a login with a certificate gives (XEP-0178). Numbers are those of our checklist."""

import contextlib
import datetime
import json
from collections.abc import Callable

import pytest

import certs
from connection import Refused, local_name
from namespaces import SASL
from prosody import Config, Host
from scene import DOMAIN, SHORT_LIFE, Scene, expiry_of


async def test_external_is_offered_only_with_a_certificate_that_can_log_in(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    for certificate, offered in [(phone, 1), (stranger, 0), (None, 0)]:
        async with await scene.open(certificate=certificate, direct_tls=direct_tls) as stream:
            assert stream.mechanisms.count("EXTERNAL") == offered
            assert "SCRAM-SHA-1" in stream.mechanisms


async def test_a_certificate_that_nobody_enrolled_is_refused_and_the_stream_goes_on(scene: Scene, direct_tls: bool):
    account = scene.account()
    async with await scene.open(certificate=scene.certificate(account), direct_tls=direct_tls) as stream:
        with pytest.raises(Refused) as refusal:
            await stream.external()
        assert refusal.value.condition in ("not-authorized", "invalid-mechanism")
        await stream.scram(account.username, account.password)
        await stream.bind()


@pytest.mark.parametrize("form", ["equals sign", "empty", "none"])
async def test_an_absent_authzid_means_the_address_in_the_certificate(scene: Scene, form: str):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        if form == "none":
            challenge = await stream.start_authentication("EXTERNAL", None)
            # Prosody writes an empty challenge as "=".
            assert challenge.tag == f"{{{SASL}}}challenge" and challenge.text in (None, "", "=")
            await stream.finish_authentication(await stream.respond(b""))
        else:
            answer = await stream.start_authentication("EXTERNAL", "=" if form == "equals sign" else "")
            if local_name(answer) == "challenge":
                answer = await stream.respond(b"")
            await stream.finish_authentication(answer)
        assert (await stream.bind("orchard")) == f"{account.jid}/orchard"


async def test_an_authzid_equal_to_the_address_is_accepted(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        await stream.external(account.jid)
        assert (await stream.bind()).startswith(account.jid + "/")


async def test_an_authzid_of_somebody_else_is_refused_as_invalid_authzid(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        with pytest.raises(Refused, match="^invalid-authzid"):
            await stream.external(other.jid)
        await stream.external()
        await stream.bind()


async def test_a_certificate_of_two_accounts_opens_the_one_that_the_authzid_names(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    for authzid in (account.jid, other.jid):
        async with await scene.open(certificate=both) as stream:
            await stream.external(authzid)
            assert (await stream.bind()).startswith(authzid + "/")
    async with await scene.open(certificate=both) as stream:
        with pytest.raises(Refused, match="^invalid-authzid"):
            await stream.external()


async def test_a_session_outlives_its_certificate_unless_the_host_wants_it_closed(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=[Host(DOMAIN, "saslcertd_close_expired = true"), Host("denmark.lit")]))
    closing, sparing = scene.account(), scene.account(host="denmark.lit")
    key, life = certs.new_key("p256"), 2 * SHORT_LIFE
    short = [scene.certificate(account, key=key, not_after=life) for account in (closing, sparing)]
    for account, certificate in zip((closing, sparing), short):
        await scene.enrol(account, "phone", certificate)
    # Its successor with the same key.
    renewed = scene.certificate(closing, key=key)
    await scene.enrol(closing, "phone-2", renewed)
    async with contextlib.AsyncExitStack() as stack:
        doomed, spared, newer = [
            await stack.enter_async_context(await scene.certificate_session(account, certificate))
            for account, certificate in ((closing, short[0]), (sparing, short[1]), (closing, renewed))
        ]
        ended = await doomed.wait_closed()
        assert (ended.condition, ended.text) == ("reset", "This client certificate has expired")
        await expiry_of(short[1])
        for stream in (spared, newer):
            await stream.ping()


async def test_a_certificate_that_expires_is_no_longer_offered_and_refused_as_credentials_expired(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(account, not_after=SHORT_LIFE))
    async with await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.mechanisms
        await expiry_of(phone)
        async with await scene.open(certificate=phone) as stream:
            assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused, match="^credentials-expired"):
            await early.external()


async def test_an_expired_certificate_may_not_be_enrolled(scene: Scene):
    account = scene.account()
    old = scene.certificate(account, not_before=datetime.timedelta(days=-2), not_after=datetime.timedelta(days=-1))
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused, match="^not-acceptable"):
            await desk.append("old", old.base64)


async def test_a_session_that_logged_in_with_a_certificate_may_not_change_the_password_or_remove_the_account(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    change = f"<username>{account.username}</username><password>stolen</password>"
    async with await scene.certificate_session(account, phone) as stream:
        for what in (change, "<remove/>"):
            for to in (None, account.host):
                with pytest.raises(Refused, match="^not-authorized"):
                    await stream.iq("set", f"<query xmlns='jabber:iq:register'>{what}</query>", to=to)
    async with await scene.password_session(account) as desk:
        await desk.iq("set", f"<query xmlns='jabber:iq:register'>{change}</query>", to=account.host)
    async with await scene.open() as stream:
        await stream.scram(account.username, "stolen")


async def test_a_certificate_that_names_somebody_else_may_not_be_enrolled(scene: Scene):
    account, other = scene.account(), scene.account()
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused):
            await desk.append("phone", scene.certificate(other).base64)
        assert await desk.certificates() == {}


async def test_what_the_client_was_told_is_what_the_daemon_has(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "Ophelia's «phone» & more")
    async with await scene.certificate_session(account, phone, "orchard"):
        (record,) = scene.records(account)
        assert record["name"] == "Ophelia's «phone» & more"
        assert (record["fingerprint"], record["key_id"]) == (phone.fingerprint, phone.key_id)
        assert record["resources"] == ["orchard"]
        listed = scene.daemon.command("cert", "list", account.jid, "--json")
        assert listed.returncode == 0, listed.stderr
        assert phone.fingerprint in json.dumps(json.loads(listed.stdout))


async def test_a_certificate_may_be_longer_than_stanzas_before_login(scene: Scene, direct_tls: bool):
    """Prosody takes no stanza of over 10,000 bytes before login; certificates come by TLS, and are uploaded after it."""
    account = scene.account()
    phone = scene.certificate(account, padding=12_000)
    async with await scene.password_session(account) as desk:
        await desk.append("phone", phone.base64)
    bundle = certs.with_chain(phone, [scene.certificate(padding=12_000)])
    async with await scene.certificate_session(account, bundle, direct_tls=direct_tls) as stream:
        await stream.ping()
    async with await scene.open(certificate=bundle, direct_tls=direct_tls) as stream:
        with pytest.raises(Refused):
            await stream.external("x" * 7_000)
        await stream.external(account.jid)
        await stream.bind()
