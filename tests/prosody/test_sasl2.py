"""SASL2 (XEP-0388) with the community's mod_sasl2, bind2, stream management and FAST; on Prosody 13 only, since
mod_sasl2 does not work over TLS on 0.12. Downgrade protection needs no SASL2, and is tried on both."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from connection import TLS_1_2, TLS_1_3, Refused, StreamEnded, local_name
from namespaces import BIND2, FAST, SASL2, SMACKS
from prosody import USUAL_MODULES, Config
from raw import Stream
from rome import ROME
from scene import DOMAIN, SHORT_LIFE, Account, Scene, expiry_of
from test_conformance_login import condition_of

USER_AGENT = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>a test</software><device>a phone</device></user-agent>"


@pytest.fixture
def scene(with_sasl2: Scene) -> Scene:
    return with_sasl2


def bind(tag: str = "a client", inline: str = "") -> str:
    return f"<bind xmlns='{BIND2}'><tag>{tag}</tag>{inline}</bind>"


def identity(success: ET.Element) -> str | None:
    return success.findtext(f"{{{SASL2}}}authorization-identifier")


# --- offering ------------------------------------------------------------------------------------


# The mod_sasl2 of 2025 and later answers nothing there, and leaves a traceback of its own, with or without our module.
@pytest.mark.provokes(r"mod_sasl2\.lua:\d+: attempt to index a nil value \(field 'sasl_handler'\)", r"^\tstack traceback:$")
async def test_388_01_nothing_before_tls(scene: Scene):
    account = scene.account()
    async with await Stream.open_unencrypted(scene.server()) as stream:
        assert stream.sasl2_mechanisms == []
        with pytest.raises((Refused, TimeoutError)) as refused:
            await stream.external2(account.jid)
        assert isinstance(refused.value, TimeoutError) or refused.value.condition == "encryption-required"


async def test_388_02_external_is_listed_for_a_certificate_that_can_log_in_as_in_sasl(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, stranger, disabled = await scene.enrol(account, "phone"), scene.certificate(account), await scene.enrol(account, "disabled")
    async with await scene.password_session(account) as desk:
        await desk.disable("disabled")
    for tls in (TLS_1_2, TLS_1_3):
        for certificate, offered in ((phone, 1), (stranger, 0), (disabled, 0), (None, 0)):
            async with await scene.open(certificate=certificate, direct_tls=direct_tls, tls=tls) as stream:
                assert stream.sasl2_mechanisms.count("EXTERNAL") == stream.mechanisms.count("EXTERNAL") == offered
                assert sorted(stream.sasl2_mechanisms) == sorted(stream.mechanisms)
                assert "SCRAM-SHA-1-PLUS" in stream.sasl2_mechanisms


async def test_388_02_the_daemon_is_asked_once_for_both_lists(scene: Scene):
    account = scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    for certificate in (phone, stranger):
        async with await scene.open(certificate=certificate) as stream:
            await condition_of(stream.external("somebody@else.lit"))
            await condition_of(stream.external2("somebody@else.lit"))
            await stream.plain2(account.username, account.password)
        asked = [line for line in scene.daemon.read_log().splitlines() if "external.offer" in line and certificate.fingerprint in line]
        assert len(asked) == 1, asked


async def test_388_03_the_list_does_not_tell_who_exists(scene: Scene):
    account, other = scene.account(), scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    for certificate in (phone, stranger, None):
        lists = set()
        for claims in (None, account.jid, other.jid, f"nobody-of-this-name@{DOMAIN}", "somebody@else.lit"):
            async with await scene.open(certificate=certificate, claims=claims) as stream:
                lists.add(tuple(sorted(stream.sasl2_mechanisms)))
        assert len(lists) == 1, lists


async def test_388_04_external_that_was_not_announced_fails(scene: Scene):
    account = scene.account()
    for certificate in (None, scene.certificate(account)):
        async with await scene.open(certificate=certificate) as stream:
            assert "EXTERNAL" not in stream.sasl2_mechanisms
            assert await condition_of(stream.external2()) == "invalid-mechanism"
            await stream.plain2(account.username, account.password)


# --- login ---------------------------------------------------------------------------------------


async def test_388_05_an_authzid_must_be_whom_the_stream_comes_from(scene: Scene, direct_tls: bool):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    how = {"certificate": both, "direct_tls": direct_tls}
    for claims in (account.jid, f"{account.jid}/orchard", account.jid.upper(), None):
        async with await scene.open(claims=claims, **how) as stream:
            assert identity(await stream.external2(account.jid)) == account.jid, claims
    for claims in (other.jid, f"{account.username}@denmark.lit", DOMAIN, "no jid@@"):
        async with await scene.open(claims=claims, **how) as stream:
            assert await condition_of(stream.external2(account.jid)) == "invalid-authzid", claims
            # After a challenge it is the same.
            assert local_name(await stream.start_authentication2("EXTERNAL", None)) == "challenge"
            answer = await stream.respond2(account.jid.encode())
            assert await condition_of(stream.finish_authentication2(answer)) == "invalid-authzid", claims
            # In SASL nobody asks.
            await stream.external(account.jid)


async def test_388_05_without_an_authzid_the_certificate_says_who_it_is(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    for claims in (account.jid, other.jid, None):
        async with await scene.open(claims=claims, certificate=phone) as stream:
            assert identity(await stream.external2()) == account.jid


async def test_388_06_who_says_what_client_it_is_is_not_shown_to_others(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, claims=account.jid) as stream:
        success = await stream.external2(account.jid, inline=USER_AGENT + bind())
        assert b"a phone" not in ET.tostring(success)
        async with await scene.password_session(account) as desk:
            assert (await desk.certificates())["phone"].users == (stream.jid.partition("/")[2],)
    assert "a phone" not in str(scene.records(account))


async def test_388_07_success_says_who_is_logged_in(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    for authzid in (None, account.jid, account.jid.upper(), f"{account.jid}/balcony"):
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
            assert identity(await stream.external2(authzid)) == account.jid
            await stream.bind("orchard")
            await stream.ping()
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
        bound = identity(await stream.external2(inline=bind("a client"))) or ""
        assert bound.startswith(f"{account.jid}/a client~")
        await stream.ping()


async def test_388_07_a_full_address_is_bound_whatever_the_client_asks_for(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(f"{account.jid}/orchard"))
    async with await scene.open(certificate=phone) as stream:
        assert identity(await stream.external2(inline=bind("balcony"))) == f"{account.jid}/orchard"
        await stream.ping()
    async with await scene.open(certificate=phone) as stream:
        await stream.external2()
        assert await stream.bind("balcony") == f"{account.jid}/orchard"


async def test_388_08_every_refusal_has_the_condition_of_sasl(scene: Scene):
    account, other = scene.account(), scene.account()
    phone, both = await scene.enrol(account), scene.certificate(account, other)
    await scene.enrol(account, "both", both)
    async with await scene.open(certificate=phone) as stream:
        for initial, condition in ((other.jid.encode(), "invalid-authzid"), (b"\0", "malformed-request"), (b"\xff", "malformed-request")):
            assert await condition_of(stream.authenticate2("EXTERNAL", initial)) == condition, initial
        assert await condition_of(stream.authenticate2("EXTERNAL", "!!!!")) == "incorrect-encoding"
    async with await scene.open(certificate=both) as stream:
        assert await condition_of(stream.external2()) == "invalid-authzid"


async def test_388_08_after_a_refusal_nothing_inline_happens(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        wishes = token_request() + bind("left over", f"<enable xmlns='{SMACKS}' resume='true'/>")
        assert await condition_of(stream.external2(other.jid, inline=wishes)) == "invalid-authzid"
        assert identity(await stream.external2()) == account.jid
        assert (await stream.bind("orchard")) == f"{account.jid}/orchard"


async def test_388_08_a_certificate_that_expires_between_offer_and_login_is_credentials_expired(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(account, not_after=SHORT_LIFE))
    async with await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.sasl2_mechanisms
        await expiry_of(phone)
        assert await condition_of(early.external2()) == "credentials-expired"
        await early.plain2(account.username, account.password)
        await early.bind()


async def test_388_08_a_certificate_that_is_revoked_between_offer_and_login_is_not_authorized(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as early, await scene.password_session(account) as desk:
        assert "EXTERNAL" in early.sasl2_mechanisms
        await desk.revoke("phone")
        assert await condition_of(early.external2(account.jid)) == "not-authorized"
        await early.plain2(account.username, account.password, inline=bind())
        await early.ping()


async def test_388_08_a_disabled_account_is_account_disabled(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.sasl2_mechanisms
        scene.prosody.shell(f'user:disable("{account.jid}")')
        assert await condition_of(early.external2()) == "account-disabled"
        async with await scene.open(certificate=phone) as late:
            assert "EXTERNAL" not in late.sasl2_mechanisms


async def test_388_08_while_the_daemon_is_away_it_is_temporary_auth_failure_and_passwords_work(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as early:
        assert scene.daemon.stop() == 0
        try:
            async with await scene.open(certificate=phone) as late:
                assert "EXTERNAL" in early.sasl2_mechanisms and "EXTERNAL" not in late.sasl2_mechanisms
                for stream in (early, late):
                    assert await condition_of(stream.external2()) == "temporary-auth-failure"
                    await stream.plain2(account.username, account.password, inline=bind())
        finally:
            scene.daemon.start()
            scene.rig.wait_attached()
    async with await scene.open(certificate=phone) as stream:
        await stream.external2()


@pytest.mark.parametrize("first", ["certificate", "password"])
@pytest.mark.parametrize("second", ["certificate", "password"])
async def test_388_09_who_is_logged_in_may_not_authenticate_again(scene: Scene, first: str, second: str):
    """Else a session could leave the certificate behind that it came with, and outlive its revocation."""
    account = scene.account()
    phone = await scene.enrol(account)

    async def log_in(stream: Stream, how: str, inline: str) -> None:
        if how == "certificate":
            await stream.external2(inline=inline)
        else:
            await stream.plain2(account.username, account.password, inline=inline)

    for inline in ("", bind()):
        async with await scene.open(certificate=phone) as stream:
            await log_in(stream, first, inline)
            with pytest.raises(StreamEnded) as ended:
                await log_in(stream, second, "")
            assert ended.value.condition == "policy-violation"


async def test_388_10_an_empty_response_is_an_empty_string_and_an_absent_one_is_none(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    for initial in (b"", "="):
        async with await scene.open(certificate=phone) as stream:
            assert identity(await stream.authenticate2("EXTERNAL", initial)) == account.jid
    for response in (b"", account.jid.encode()):
        async with await scene.open(certificate=phone) as stream:
            challenge = await stream.start_authentication2("EXTERNAL", None)
            assert challenge.tag == f"{{{SASL2}}}challenge" and not challenge.text
            assert identity(await stream.finish_authentication2(await stream.respond2(response))) == account.jid


# --- downgrade protection (XEP-0474): the client compares the lists with a hash in SCRAM ------------


def hash_of_lists(stream: Stream, mechanisms: list[str]) -> str:
    """What a client expects that was told these mechanisms."""
    bindings = sorted(stream.channel_bindings)
    text = "\x1e".join(sorted(mechanisms)) + ("\x1f" + "\x1e".join(bindings) if bindings else "")
    return base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()


def first_message(answer: ET.Element) -> dict[str, str]:
    """The attributes of SCRAM's challenge."""
    assert local_name(answer) == "challenge", ET.tostring(answer)
    return dict(part.split("=", 1) for part in base64.b64decode(answer.text or "").decode().split(","))


@pytest.mark.parametrize("protocol", ["SASL", "SASL2"])
async def test_474_the_list_that_a_stream_was_told_stays_its_list(scene: Scene, protocol: str):
    account = scene.account()
    phone, other = await scene.enrol(account, "phone"), await scene.enrol(account, "other")

    async def assert_unharmed(stream: Stream, offered: bool) -> None:
        is_sasl2 = protocol == "SASL2"
        told = stream.sasl2_mechanisms if is_sasl2 else stream.mechanisms
        assert ("EXTERNAL" in told) == offered
        start = stream.start_authentication2 if is_sasl2 else stream.start_authentication
        given = first_message(await start("SCRAM-SHA-1", f"n,,n={account.username},r=nonce".encode()))
        assert given["h"] == hash_of_lists(stream, told)

    async with await scene.open(certificate=phone) as quiet, await scene.open() as without:
        await assert_unharmed(quiet, True)
        await assert_unharmed(without, False)
    async with await scene.open(certificate=phone) as stream, await scene.password_session(account) as desk:
        await desk.revoke("phone")
        assert await condition_of(stream.external2() if protocol == "SASL2" else stream.external()) == "not-authorized"
        await assert_unharmed(stream, True)
    async with await scene.open(certificate=other) as before:
        assert scene.daemon.stop() == 0
        try:
            during = await scene.open(certificate=other)
            await assert_unharmed(before, True)
        finally:
            scene.daemon.start()
            scene.rig.wait_attached()
    # It was not told of EXTERNAL; who asks for it all the same is answered by the daemon, which is back.
    async with during:
        login = during.external2("somebody@else.lit") if protocol == "SASL2" else during.external("somebody@else.lit")
        assert await condition_of(login) == "invalid-authzid"
        await assert_unharmed(during, False)


async def test_474_is_for_a_prosody_that_lets_modules_see_the_challenge_and_harms_no_other(own_scene: Callable[..., Scene]):
    """0.12 does not: mod_sasl_ssdp is never called there, and clients take the hash's absence for a server without it."""
    scene = own_scene(Config(modules=[*USUAL_MODULES, "sasl_ssdp"]))
    account = scene.account()
    phone = await scene.enrol(account)
    shows = '"sasl/"..session.base_type' in (scene.prosody.unpacked / "usr/lib/prosody/modules/mod_saslauth.lua").read_text()
    for certificate in (phone, None):
        async with await scene.open(certificate=certificate) as stream:
            given = first_message(await stream.start_authentication("SCRAM-SHA-1", f"n,,n={account.username},r=nonce".encode()))
            assert given.get("h") == (hash_of_lists(stream, stream.mechanisms) if shows else None)
        async with await scene.open(certificate=certificate) as stream:
            await stream.scram(account.username, account.password)
    async with await scene.open(certificate=phone) as stream:
        await stream.external()


# --- FAST (XEP-0484) and passwords beside it ------------------------------------------------------


def token_request(mechanism: str = "HT-SHA-256-NONE") -> str:
    return f"{USER_AGENT}<request-token xmlns='{FAST}' mechanism='{mechanism}'/>"


def token_of(success: ET.Element) -> str | None:
    token = success.find(f"{{{FAST}}}token")
    return None if token is None else token.get("token")


async def with_token(stream: Stream, account: Account, token: str, inline: str = "") -> ET.Element:
    proof = hmac.digest(token.encode(), b"Initiator", "sha256")
    initial = account.username.encode() + b"\0" + proof
    return await stream.authenticate2("HT-SHA-256-NONE", initial, f"{USER_AGENT}<fast xmlns='{FAST}'/>{inline}")


async def test_484_02_a_certificate_session_gets_no_token_that_would_outlive_it(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    for inline in (token_request(), token_request() + bind()):
        async with await scene.open(certificate=phone, claims=account.jid) as stream:
            success = await stream.external2(account.jid, inline=inline)
            assert token_of(success) is None, ET.tostring(success)
            await (stream.ping() if stream.jid else stream.bind())


async def test_484_02_nor_when_it_takes_over_a_password_session(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    enable = f"<enable xmlns='{SMACKS}' resume='true'/>"
    async with await scene.open(claims=account.jid) as desk:
        success = await desk.plain2(account.username, account.password, inline=token_request() + bind("desk", enable))
        assert token_of(success)
        enabled = success.find(f"{{{BIND2}}}bound/{{{SMACKS}}}enabled")
        assert enabled is not None, ET.tostring(success)
        desk.drop()
    resume = f"<resume xmlns='{SMACKS}' h='0' previd='{enabled.get('id')}'/>"
    async with await scene.open(certificate=phone, claims=account.jid) as stream:
        success = await stream.external2(account.jid, inline=token_request() + resume)
        assert success.find(f"{{{SMACKS}}}resumed") is not None, ET.tostring(success)
        assert token_of(success) is None
        # And the stream goes on.
        await stream.ping()


@pytest.mark.parametrize("first", ["password", "certificate"])
async def test_388_07_a_session_that_is_resumed_inline_goes_on_and_has_the_tag_of_its_login(scene: Scene, first: str):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    enable = f"<enable xmlns='{SMACKS}' resume='true'/>"
    before = phone if first == "certificate" else None
    async with await scene.open(certificate=before, claims=account.jid) as stream:
        inline = bind("desk", enable)
        if before:
            success = await stream.external2(account.jid, inline=inline)
        else:
            success = await stream.plain2(account.username, account.password, inline=inline)
        enabled = success.find(f"{{{BIND2}}}bound/{{{SMACKS}}}enabled")
        assert enabled is not None, ET.tostring(success)
        stream.drop()
    resume = f"<resume xmlns='{SMACKS}' h='0' previd='{enabled.get('id')}'/>"
    async with await scene.open(certificate=laptop, claims=account.jid) as stream:
        success = await stream.external2(account.jid, inline=resume)
        assert success.find(f"{{{SMACKS}}}resumed") is not None, ET.tostring(success)
        await stream.ping()
        async with await scene.password_session(account) as desk:
            await desk.revoke("phone")
            await stream.ping()
            await desk.revoke("laptop")
            await stream.wait_closed(5)


async def test_484_02_tokens_of_password_sessions_are_undisturbed(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    for certificate in (None, phone):
        async with await scene.open(certificate=certificate, claims=account.jid) as stream:
            token = token_of(await stream.plain2(account.username, account.password, inline=token_request()))
            assert token
        async with await scene.open(certificate=certificate, claims=account.jid) as stream:
            success = await with_token(stream, account, token)
            assert identity(success) == account.jid
            proof = hmac.digest(token.encode(), b"Responder", "sha256")
            assert base64.b64decode(success.findtext(f"{{{SASL2}}}additional-data", "")) == proof
            await stream.bind()


async def test_484_02_a_device_that_logs_in_with_a_certificate_holds_no_token_by_which_it_could_come_back(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    other = USER_AGENT.replace("d4565fa7", "00000000")

    async def by_password(agent: str = USER_AGENT) -> str | None:
        async with await scene.open(claims=account.jid) as stream:
            wish = token_request().replace(USER_AGENT, agent)
            return token_of(await stream.plain2(account.username, account.password, inline=wish))

    earlier, others = await by_password(), await by_password(other)
    assert earlier and others
    # A token that was used stands under another key.
    used = await by_password()
    assert used
    async with await scene.open(claims=account.jid) as stream:
        await with_token(stream, account, used)
    waiting = await by_password()
    async with await scene.open(certificate=phone, claims=account.jid) as stream:
        await stream.external2(account.jid, inline=USER_AGENT + bind())
    async with await scene.password_session(account) as desk:
        await desk.revoke("phone")
    for token in (earlier, used, waiting):
        assert token
        async with await scene.open(certificate=phone, claims=account.jid) as stream:
            assert await condition_of(with_token(stream, account, token)) == "not-authorized"
    # Nor does it get one that would outlive a certificate; another device is undisturbed.
    assert await by_password() is None
    async with await scene.open(claims=account.jid) as stream:
        proof = hmac.digest(others.encode(), b"Initiator", "sha256")
        inline = f"{other}<fast xmlns='{FAST}'/>"
        assert identity(await stream.authenticate2("HT-SHA-256-NONE", account.username.encode() + b"\0" + proof, inline)) == account.jid


# --- passwords that the daemon knows ---------------------------------------------------------------


async def test_a_password_that_the_daemon_knows_logs_in_and_gets_no_token_that_would_outlive_it(scene: Scene, direct_tls: bool):
    account = scene.account(host=ROME)
    phone = await scene.enrol(account)
    async with await scene.open(ROME, direct_tls=direct_tls, claims=account.jid) as stream:
        assert {"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"} <= set(stream.sasl2_mechanisms)
        with pytest.raises(Refused, match="^not-authorized"):
            await stream.plain2(account.username, "a wrong one")
    async with await scene.open(ROME, direct_tls=direct_tls, claims=account.jid) as stream:
        success = await stream.plain2(account.username, account.password, inline=token_request() + bind())
        assert identity(success) == stream.jid and token_of(success) is None
        await stream.ping()
        scene.daemon.ask("account.set_password", {"account": account.jid, "password": "another"})
        assert (await stream.wait_closed(5)).condition == "reset"
    async with await scene.open(ROME, certificate=phone, direct_tls=direct_tls, claims=account.jid) as stream:
        assert identity(await stream.external2(account.jid)) == account.jid
