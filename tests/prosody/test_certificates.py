"""What no rule of a specification says of certificates: the end of a session's, what the daemon has of one, and long ones."""

import contextlib
import json
from collections.abc import Callable

import pytest

import certs
from connection import Refused
from namespaces import JSON, SASLCERT
from processes import wait_until
from prosody import Config, Host
from scene import DOMAIN, SHORT_LIFE, Scene, expiry_of


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


async def test_what_the_client_was_told_is_what_the_daemon_has(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "Ophelia's «phone» & more")
    async with await scene.certificate_session(account, phone, "orchard"):
        # In a crowd the daemon hears of a session a moment later.
        wait_until("the daemon has heard of the session", lambda: scene.records(account)[0]["resources"])
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


async def test_a_client_that_asks_for_it_gets_each_row_of_its_list_in_full(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone, "orchard"), await scene.password_session(account) as desk:
        result = await desk.iq("get", f"<items xmlns='{SASLCERT}'><json xmlns='{JSON}'/></items>")
        told, beside = [json.loads(element.text or "") for element in result.iter(f"{{{JSON}}}json")]
        assert beside == {"links": []}
        [row] = scene.records(account)
        assert row["resources"] == ["orchard"] and row["last_use"]
        # It stands beside it, as XEP-0257 has it; and what is null is left out.
        assert [element.text for element in result.iter(f"{{{SASLCERT}}}x509cert")] == [row.pop("certificate")]
        row["added"] = {name: value for name, value in row["added"].items() if value is not None}
        assert told == row
        plain = await desk.iq("get", f"<items xmlns='{SASLCERT}'/>")
        assert not list(plain.iter(f"{{{JSON}}}json"))
