"""XEP-0257: users manage their certificates. The numbers are those of the table in docs/conformance.md."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest

import certs
from certs import ClientCertificate
from connection import Refused, StreamEnded
from namespaces import CLIENT, SASLCERT
from raw import Stream
from scene import SHORT_LIFE, Scene, eventually
from slix import session as slixmpp_session

APPEND = f"<append xmlns='{SASLCERT}'>{{}}</append>"

#: Characters that mean something to XML, to JSON, to a log, and letters of several scripts.
ANY_NAME = "Ophelia's <phone> & \"co\" \\ ]]> {0} %s \u0647\u0627\u062a\u0641 \u7535\u8bdd \u03c4\u03b7\u03bb \U0001f4f1\u200d\u00e9e\u0301"


async def refusal_of(change: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as refusal:
        await change
    return refusal.value


def conditions(refusal: Refused) -> tuple[str | None, str]:
    return refusal.type, refusal.condition


def text_of(refusal: Refused) -> str:
    return refusal.element.findtext("{urn:ietf:params:xml:ns:xmpp-stanzas}text") or ""


def changes(stream: Stream, certificate: ClientCertificate, name: str = "phone") -> list[Callable[[], Awaitable[None]]]:
    """Each way to change the list; `name` stands in it."""
    return [
        lambda: stream.append("another", certificate.base64),
        lambda: stream.disable(name),
        lambda: stream.revoke(name),
    ]


# --- append --------------------------------------------------------------------------------------


async def test_257_01_base64_of_der_is_taken_with_or_without_white_space(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        for name, separator in [("plain", ""), ("lines", "\n"), ("windows", "\r\n"), ("indented", "\n\t  ")]:
            certificate = scene.certificate(account)
            lines = [certificate.base64[at : at + 64] for at in range(0, len(certificate.base64), 64)]
            await desk.append(name, separator + separator.join(lines) + separator)
            assert base64.b64decode((await desk.certificates())[name].certificate, validate=True) == certificate.der
            async with await scene.certificate_session(account, certificate):
                pass


async def test_257_01_anything_else_than_one_certificate_in_der_is_refused_in_clear_words(scene: Scene):
    account = scene.account()
    good = scene.certificate(account)

    def of_der(der: bytes) -> str:
        return base64.b64encode(der).decode()

    cases: dict[str, tuple[str, tuple[str, str], str]] = {
        "PEM": (good.cert_file.read_text(), ("modify", "not-acceptable"), "PEM"),
        "behind a byte order mark": ("\ufeff" + good.base64, ("modify", "not-acceptable"), "byte order mark"),
        "a file with a byte order mark": (of_der(b"\xef\xbb\xbf" + good.der), ("modify", "not-acceptable"), "byte order mark"),
        "PEM in base64": (of_der(good.cert_file.read_bytes()), ("modify", "not-acceptable"), "PEM text"),
        "a chain": (of_der(good.der + scene.certificate(account).der), ("modify", "not-acceptable"), "one certificate"),
        "a byte behind it": (of_der(good.der + b"\0"), ("modify", "not-acceptable"), "one certificate"),
        "truncated": (of_der(good.der[:-1]), ("modify", "not-acceptable"), "DER"),
        "half of it": (of_der(good.der[: len(good.der) // 2]), ("modify", "not-acceptable"), "DER"),
        "a set for a sequence": (of_der(b"\x31" + good.der[1:]), ("modify", "not-acceptable"), "SET"),
        "wrong tag inside": (of_der(good.der[:4] + b"\x31" + good.der[5:]), ("modify", "not-acceptable"), "SET"),
        "DER, but no certificate": (of_der(b"\x30\x03\x02\x01\x07"), ("modify", "not-acceptable"), "X.509"),
        "its key": (of_der(good.key_file.read_bytes()), ("modify", "not-acceptable"), "Make a new key"),
        "version 1": (of_der(certs.version_1()), ("modify", "not-acceptable"), "version 1"),
        "RSA of 1024 bits": (scene.certificate(account, key="rsa-1024").base64, ("modify", "not-acceptable"), "it has 1024 bits, this server wants at least 2048"),
        "more than 16 KiB": (scene.certificate(account, padding=17000).base64, ("modify", "not-acceptable"), "KiB"),
        "more than a question holds": (of_der(bytes(100_000)), ("modify", "not-acceptable"), "KiB"),
        "no base64": ("&lt;certificate&gt;", ("modify", "bad-request"), "base64"),
        "base64 without its end": (good.base64.rstrip("=")[:-1], ("modify", "bad-request"), "base64"),
        "nothing": ("", ("modify", "bad-request"), "empty"),
        "white space": (" \n ", ("modify", "bad-request"), "empty"),
    }
    async with await scene.password_session(account) as desk:
        for what, (text, expected, word) in cases.items():
            refusal = await refusal_of(desk.append(what, text))
            assert (what, conditions(refusal)) == (what, expected)
            assert word.lower() in text_of(refusal).lower(), f"{what}: {text_of(refusal)}"
        assert await desk.certificates() == {}
        await desk.append("phone", good.base64)


async def test_257_02_a_name_and_a_certificate_stand_in_the_request_once_and_as_text(scene: Scene):
    account = scene.account()
    certificate = f"<x509cert>{scene.certificate(account).base64}</x509cert>"
    async with await scene.password_session(account) as desk:
        for content in [
            "",
            certificate,
            "<name/>" + certificate,
            "<name> \n </name>" + certificate,
            "<name>phone</name>",
            "<name>phone</name><name>laptop</name>" + certificate,
            "<name>phone</name>" + 2 * certificate,
            "<name><b>phone</b></name>" + certificate,
            f"<name>phone</name><x509cert><c/>{scene.certificate(account).base64}</x509cert>",
            "<name xmlns='urn:other'>phone</name>" + certificate,
        ]:
            refusal = await refusal_of(desk.iq("set", APPEND.format(content)))
            assert (content[:60], conditions(refusal)) == (content[:60], ("modify", "bad-request"))
        for element in ("disable", "revoke"):
            for content in ("", "<name/>", "<name>a</name><name>b</name>"):
                refusal = await refusal_of(desk.iq("set", f"<{element} xmlns='{SASLCERT}'>{content}</{element}>"))
                assert conditions(refusal) == ("modify", "bad-request")
        assert await desk.certificates() == {}


async def test_257_02_names_belong_to_the_user_and_not_to_the_server(scene: Scene):
    accounts = [scene.account(), scene.account()]
    for account in accounts:
        await scene.enrol(account, "phone")
    for account in accounts:
        async with await scene.password_session(account) as desk:
            assert list(await desk.certificates()) == ["phone"]


async def test_257_02_a_name_in_any_script_survives_unchanged(scene: Scene):
    account = scene.account()
    certificate = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await desk.send("<presence/>")
        await desk.append(ANY_NAME, certificate.base64)
        assert list(await desk.certificates()) == [ANY_NAME]
        assert [record["name"] for record in scene.records(account)] == [ANY_NAME]
        assert ANY_NAME in body_of(await desk.message(5))
        async with slixmpp_session(scene.server(), account.jid, password=account.password) as slixmpp:
            assert await slixmpp.plugin["xep_0257"].get_certs() == {(ANY_NAME, certificate.base64, ())}
        assert (await refusal_of(desk.append(ANY_NAME, scene.certificate(account).base64))).condition == "conflict"
        await desk.disable(ANY_NAME)
        await desk.append(ANY_NAME, certificate.base64)
        await desk.revoke(ANY_NAME)
        assert await desk.certificates() == {}


async def test_257_03_success_is_an_empty_result(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        content = f"<name>phone</name><x509cert>{scene.certificate(account).base64}</x509cert>"
        results = [await desk.iq("set", APPEND.format(content))]
        results.append(await desk.iq("set", f"<disable xmlns='{SASLCERT}'><name>phone</name></disable>"))
        await desk.append("laptop", scene.certificate(account).base64)
        results.append(await desk.iq("set", f"<revoke xmlns='{SASLCERT}'><name>laptop</name></revoke>", to=account.jid))
        assert [(result.get("type"), len(result)) for result in results] == [("result", 0)] * 3


async def test_257_04_a_name_in_use_is_a_conflict(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.password_session(account) as desk:
        for name in ("phone", "  phone\n"):
            assert conditions(await refusal_of(desk.append(name, scene.certificate(account).base64))) == ("cancel", "conflict")
        # Case is part of a name.
        await desk.append("Phone", scene.certificate(account).base64)
        listed = await desk.certificates()
        assert list(listed) == ["phone", "Phone"]
        assert base64.b64decode(listed["phone"].certificate) == phone.der
        await desk.disable("phone")
        await desk.append("phone", scene.certificate(account).base64)


async def test_257_04_the_same_certificate_under_another_name_is_a_conflict(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.password_session(account) as desk:
        refusal = await refusal_of(desk.append("my phone", phone.base64))
        assert conditions(refusal) == ("cancel", "conflict") and "already" in text_of(refusal)


@dataclass
class Contest:
    """What became of eight simultaneous appends."""

    appended: int
    conditions: list[tuple[str | None, str]]


async def contest(scene: Scene, streams: list[Stream], wishes: list[tuple[str, ClientCertificate]]) -> Contest:
    tasks = [stream.append(name, certificate.base64) for stream, (name, certificate) in zip(streams, wishes, strict=True)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(refusals) + outcomes.count(None) == len(wishes), outcomes
    return Contest(outcomes.count(None), [conditions(refusal) for refusal in refusals])


async def test_257_04_of_eight_simultaneous_appends_one_succeeds_and_seven_conflict(scene: Scene):
    account = scene.account()
    streams = [await scene.password_session(account) for _ in range(8)]
    same = scene.certificate(account)
    for number in range(8):
        # One name for eight certificates, and one certificate under eight names.
        wishes = [(f"phone {number}", scene.certificate(account)) for _ in range(8)]
        if number == 7:
            wishes = [(f"same {contestant}", same) for contestant in range(8)]
        result = await contest(scene, streams, wishes)
        assert result == Contest(1, [("cancel", "conflict")] * 7)
        assert len(await streams[0].certificates()) == number + 1
    for stream in streams:
        await stream.close()


async def test_257_05_the_certificate_can_be_used_from_then_on(scene: Scene, direct_tls: bool):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        for number in range(5):
            certificate = scene.certificate(account)
            async with await scene.open(certificate=certificate, direct_tls=direct_tls) as early:
                assert "EXTERNAL" not in early.mechanisms
            await desk.append(f"device {number}", certificate.base64)
            async with await scene.certificate_session(account, certificate, "orchard", direct_tls=direct_tls) as stream:
                await stream.ping()


async def test_257_06_a_device_may_upload_the_certificate_of_another(scene: Scene):
    account = scene.account()
    phone, bot = await scene.enrol(account, "phone"), scene.certificate(account)
    async with await scene.certificate_session(account, phone) as stream:
        await stream.append("bot", bot.base64)
    async with await scene.certificate_session(account, bot, "bot"), await scene.certificate_session(account, phone, "phone"):
        records = {record["name"]: record for record in scene.records(account)}
        assert records["phone"]["added"]["by"] == "password"
        assert (records["bot"]["added"]["by"], records["bot"]["added"]["fingerprint"]) == ("certificate", phone.fingerprint)


# --- who may -------------------------------------------------------------------------------------


async def test_257_07_a_certificate_without_management_may_not_change_the_list(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await desk.append("phone", phone.base64, may_manage=False)
    async with await scene.certificate_session(account, phone) as stream:
        for change in changes(stream, scene.certificate(account)):
            assert conditions(await refusal_of(change())) == ("auth", "forbidden")
        # What is refused for its sender's sake is refused before anything is said about the list.
        for change in changes(stream, phone, "no such name"):
            assert conditions(await refusal_of(change())) == ("auth", "forbidden")
        await stream.ping()
        assert list(await stream.certificates()) == ["phone"]


async def test_257_07_a_disabled_certificate_takes_the_right_with_it(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone) as stream, await scene.password_session(account) as desk:
        await desk.append("laptop", scene.certificate(account).base64)
        await desk.disable("phone")
        for change in changes(stream, scene.certificate(account), "laptop"):
            assert conditions(await refusal_of(change())) == ("auth", "forbidden")


async def test_257_07_where_only_passwords_manage_no_certificate_does(settings: Scene):
    account = settings.account(host="passwords.lit")
    phone = await settings.enrol(account, "phone")
    async with await settings.certificate_session(account, phone) as stream, await settings.password_session(account) as desk:
        for change in changes(stream, settings.certificate(account)):
            assert conditions(await refusal_of(change())) == ("auth", "forbidden")
        assert list(await stream.certificates()) == ["phone"]
        for change in changes(desk, settings.certificate(account)):
            try:
                await change()
            except Refused as refusal:
                # It was disabled a moment ago.
                assert refusal.condition == "item-not-found"


@pytest.mark.parametrize("host", ["shakespeare.lit", "passwords.lit"])
async def test_257_07_the_right_follows_the_login_and_not_the_session_that_it_resumes(scene: Scene, settings: Scene, host: str):
    scene = scene if host == "shakespeare.lit" else settings
    account = scene.account(host=host)
    phone = scene.certificate(account)
    async with await scene.password_session(account, "orchard") as first:
        await first.append("phone", phone.base64, may_manage=host == "passwords.lit")
        await first.append("laptop", scene.certificate(account).base64)
        token = await first.enable_resumption()
        first.drop()
    async with await scene.open(host, certificate=phone) as second:
        await second.external()
        await second.resume(token)
        for change in changes(second, scene.certificate(account), "laptop"):
            assert conditions(await refusal_of(change())) == ("auth", "forbidden")
        assert (await second.certificates())["phone"].users == ("orchard",)
        second.drop()
    # And back: who logs in with the password may, in whatever session.
    async with await scene.open(host) as third:
        await third.scram(account.username, account.password)
        await third.resume(token)
        await third.append("another", scene.certificate(account).base64)
        await third.revoke("phone")
        await third.ping()
        assert list(await third.certificates()) == ["laptop", "another"]


async def test_257_08_a_certificate_without_management_may_list(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await desk.append("phone", phone.base64, may_manage=False)
        await desk.append("laptop", scene.certificate(account).base64)
        async with await scene.certificate_session(account, phone, "orchard") as stream:
            assert await stream.certificates() == await desk.certificates()


# --- the list ------------------------------------------------------------------------------------


async def test_257_09_every_certificate_is_listed_with_its_name_and_data_in_the_order_of_addition(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        assert await desk.certificates() == {}
        # More than the daemon puts into one answer.
        added = {f"device {number}": scene.certificate(account, padding=9000) for number in (*range(10, 20), *range(10))}
        for name, certificate in added.items():
            await desk.append(name, certificate.base64)
        listed = await desk.certificates()
        assert list(listed) == list(added)
        assert {name: base64.b64decode(item.certificate, validate=True) for name, item in listed.items()} == {
            name: certificate.der for name, certificate in added.items()
        }


async def test_257_09_the_list_is_only_the_accounts_own(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    await scene.enrol(account, "phone", both)
    async with await scene.password_session(other) as stranger:
        assert await stranger.certificates() == {}
        await stranger.append("shared", both.base64)
        assert list(await stranger.certificates()) == ["shared"]
        for change in (stranger.disable("phone"), stranger.revoke("phone")):
            assert conditions(await refusal_of(change)) == ("cancel", "item-not-found")
    async with await scene.open(certificate=both) as stream:
        await stream.external(account.jid)
        await stream.bind()
        assert list(await stream.certificates()) == ["phone"]


async def test_257_10_the_list_names_the_live_resources_of_each_certificate(scene: Scene):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")

    async def users(stream: Stream) -> dict[str, list[str]]:
        return {name: sorted(item.users) for name, item in (await stream.certificates()).items()}

    async with (
        await scene.password_session(account, "desk") as desk,
        # It presents the certificate, but did not log in with it.
        await scene.password_session(account, "presented", certificate=phone),
        await scene.open(certificate=phone) as unbound,
        await scene.certificate_session(account, phone, "orchard"),
    ):
        await unbound.external()
        async with await scene.certificate_session(account, phone, "b\u00e4lcony <&>") as gone:
            assert await users(desk) == {"phone": ["b\u00e4lcony <&>", "orchard"], "laptop": []}
            await gone.send("</stream:stream>")
            await gone.wait_closed()
        assert await users(desk) == {"phone": ["orchard"], "laptop": []}
        async with await scene.certificate_session(account, laptop, "orchard"):
            assert await users(desk) == {"phone": [], "laptop": ["orchard"]}


# --- disable -------------------------------------------------------------------------------------


async def test_257_11_a_disabled_certificate_is_refused_but_its_session_lives_on(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    await scene.enrol(account, "laptop")
    async with (
        await scene.certificate_session(account, phone, direct_tls=direct_tls) as living,
        await scene.open(certificate=phone, direct_tls=direct_tls) as waiting,
        await scene.password_session(account) as desk,
    ):
        await desk.disable("phone")
        assert list(await desk.certificates()) == ["laptop"]
        with pytest.raises(Refused, match="^not-authorized"):
            await waiting.external()
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
            assert "EXTERNAL" not in stream.mechanisms
            with pytest.raises(Refused):
                await stream.external()
        await living.ping()


async def test_257_11_a_disabled_certificate_may_be_enrolled_again(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account) as desk:
        await desk.disable("phone")
        await desk.append("phone again", phone.base64)
    async with await scene.certificate_session(account, phone):
        pass


# --- expiry --------------------------------------------------------------------------------------


async def test_257_13_an_expired_certificate_stays_for_a_while_holds_its_name_and_takes_no_place(settings: Scene):
    account = settings.account(host="few.lit")
    short = settings.certificate(account, not_after=SHORT_LIFE)
    async with await settings.password_session(account) as desk:
        await desk.append("short", short.base64)

        async def has_expired() -> bool:
            return settings.records(account)[0]["expired"]

        await eventually("the certificate expires", has_expired)
        assert list(await desk.certificates()) == ["short"]
        assert (await refusal_of(desk.append("short", settings.certificate(account).base64))).condition == "conflict"
        # Two is the limit of this host, and the expired one does not count.
        await desk.append("one", settings.certificate(account).base64)
        await desk.append("two", settings.certificate(account).base64)
        assert (await refusal_of(desk.append("three", settings.certificate(account).base64))).condition == "resource-constraint"
        assert list(await desk.certificates()) == ["short", "one", "two"]
        await desk.disable("short")
        assert list(await desk.certificates()) == ["one", "two"]


# --- disco, and where it is answered -------------------------------------------------------------


async def test_257_20_the_feature_is_advertised_on_the_host_and_on_the_account(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    for stream in (await scene.password_session(account), await scene.certificate_session(account, phone)):
        async with stream:
            for jid in (account.host, account.jid, "denmark.lit"):
                features = await stream.features_of(jid)
                assert SASLCERT in features, jid
                # 257-24: the versions before are not spoken.
                assert not {"urn:xmpp:saslcert:0", "urn:xmpp:tmp:pubkey"} & features
            assert SASLCERT not in await stream.features_of("guests.lit")


async def test_257_21_nothing_of_it_works_on_an_unencrypted_stream(settings: Scene):
    account = settings.account(host="plain.lit")
    await settings.enrol(account, "phone")
    async with await Stream.open_unencrypted(settings.server(account.host)) as stream:
        await stream.plain(account.username, account.password)
        await stream.bind()
        for change in [stream.certificates, *changes(stream, settings.certificate(account))]:
            refusal = await refusal_of(change())
            assert conditions(refusal) == ("modify", "policy-violation") and "encrypted" in text_of(refusal)
        await stream.ping()
        async with await settings.password_session(account) as desk:
            assert list(await desk.certificates()) == ["phone"]


async def test_257_21_a_resumption_does_not_make_an_unencrypted_stream_secure(settings: Scene):
    account = settings.account(host="plain.lit")
    async with await settings.password_session(account) as first:
        token = await first.enable_resumption()
        await first.certificates()
        first.drop()
    async with await Stream.open_unencrypted(settings.server(account.host)) as second:
        await second.plain(account.username, account.password)
        await second.resume(token)
        for change in [second.certificates, *changes(second, settings.certificate(account))]:
            assert conditions(await refusal_of(change())) == ("modify", "policy-violation")


@pytest.mark.parametrize("logged_in", [False, True], ids=["before-sasl", "before-binding"])
async def test_257_21_nothing_of_it_works_before_the_session_is_complete(scene: Scene, logged_in: bool):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    for to in (None, account.jid, account.host):
        async with await scene.open(certificate=phone) as stream:
            if logged_in:
                await stream.external()
            with pytest.raises((Refused, StreamEnded)):
                await stream.iq("get", f"<items xmlns='{SASLCERT}'/>", to=to)
        async with await scene.open(certificate=phone) as stream:
            if logged_in:
                await stream.external()
            with pytest.raises((Refused, StreamEnded)):
                await stream.iq("set", f"<revoke xmlns='{SASLCERT}'><name>phone</name></revoke>", to=to)
    assert [record["name"] for record in scene.records(account)] == ["phone"]


async def test_257_21_each_user_manages_their_own_account_and_no_other(scene: Scene):
    account, other = scene.account(), scene.account()
    namesake = scene.account(account.username, "denmark.lit")
    await scene.enrol(account, "phone")
    async with await scene.password_session(other) as stranger, await scene.password_session(namesake) as twin:
        for stream in (stranger, twin):
            for to in (account.jid, account.host, f"{account.jid}/orchard"):
                for kind, element in [("get", "items"), ("set", "append"), ("set", "disable"), ("set", "revoke")]:
                    content = f"<name>phone</name><x509cert>{scene.certificate(account).base64}</x509cert>"
                    with pytest.raises(Refused) as refusal:
                        await stream.iq(kind, f"<{element} xmlns='{SASLCERT}'>{content if kind == 'set' else ''}</{element}>", to=to)
                    assert refusal.value.condition in ("service-unavailable", "not-allowed", "forbidden")
            assert await stream.certificates() == {}
        # Its own certificate may not name the namesake.
        assert conditions(await refusal_of(twin.append("phone", scene.certificate(account).base64))) == ("modify", "not-acceptable")
    assert [record["name"] for record in scene.records(account)] == ["phone"]
    assert scene.records(namesake) == scene.records(other) == []


# --- our own profile -----------------------------------------------------------------------------


async def test_257_23_names_are_trimmed_and_have_1_to_256_bytes_without_control_characters(scene: Scene):
    account = scene.account()
    longest = "\u00e9" * 128
    async with await scene.password_session(account) as desk:
        for name in (longest + "x", "y" * 257, "y" * 5000, "two\nlines", "a\ttab", "\u0085", "a\u009fb", "\u007f"):
            refusal = await refusal_of(desk.append(name, scene.certificate(account).base64))
            assert refusal.type == "modify" and refusal.condition in ("bad-request", "not-acceptable"), name
        await desk.append(f" \n{longest}\t ", scene.certificate(account).base64)
        assert list(await desk.certificates()) == [longest]
        await desk.append("a b", scene.certificate(account).base64)
        await desk.disable(f"  {longest}")
        await desk.revoke("\na b\n")
        assert await desk.certificates() == {}


async def test_257_23_the_list_has_a_limit(settings: Scene):
    account = settings.account(host="few.lit")
    streams = [await settings.password_session(account) for _ in range(8)]
    result = await contest(settings, streams, [(f"device {number}", settings.certificate(account)) for number in range(8)])
    assert result == Contest(2, [("wait", "resource-constraint")] * 6)
    desk = streams[0]
    first, _ = await desk.certificates()
    await desk.disable(first)
    await desk.append("in its place", settings.certificate(account).base64)
    assert len(await desk.certificates()) == 2
    for stream in streams:
        await stream.close()


async def test_257_23_a_name_that_is_not_in_the_list_is_not_found(scene: Scene):
    account = scene.account()
    await scene.enrol(account, "phone")
    async with await scene.password_session(account) as desk:
        for name in ("Phone", "phone 2", "y" * 257, "pho", "*"):
            for change in (desk.disable(name), desk.revoke(name)):
                assert conditions(await refusal_of(change)) == ("cancel", "item-not-found")
        for remove in (desk.revoke, desk.disable):
            await desk.append("laptop", scene.certificate(account).base64)
            await remove("laptop")
            assert conditions(await refusal_of(remove("laptop"))) == ("cancel", "item-not-found")


async def test_257_12_a_certificate_that_was_disabled_can_still_be_revoked(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with (
        await scene.password_session(account) as desk,
        await scene.certificate_session(account, phone) as thief,
    ):
        # Whoever holds a stolen key might do this first, and stay.
        await thief.disable("phone")
        await desk.revoke("phone")
        await thief.wait_closed(5)
        assert conditions(await refusal_of(desk.revoke("phone"))) == ("cancel", "item-not-found")


async def test_257_24_the_version_before_is_not_spoken(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        for kind, content in [
            ("get", "<items xmlns='urn:xmpp:saslcert:0'/>"),
            ("set", "<append xmlns='urn:xmpp:saslcert:0'><item><keyinfo xmlns='urn:xmpp:tmp:pubkey'><name>phone</name></keyinfo></item></append>"),
        ]:
            assert conditions(await refusal_of(desk.iq(kind, content))) == ("cancel", "service-unavailable")


# --- messages ------------------------------------------------------------------------------------


def body_of(message: ET.Element) -> str:
    return message.findtext(f"{{{CLIENT}}}body") or ""


async def test_the_account_is_told_of_each_change_by_which_session_and_from_where(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account, "desk") as desk, await scene.password_session(account, "other") as other:
        for stream in (desk, other):
            await stream.send("<presence/>")
        for change in (
            lambda: desk.append("my phone", phone.base64),
            lambda: desk.disable("my phone"),
            lambda: desk.append("my phone", phone.base64),
            lambda: desk.revoke("my phone"),
        ):
            await change()
            for stream in (desk, other):
                told = await stream.message(5)
                assert (told.get("from"), told.get("type", "normal")) == (account.host, "normal")
                for word in ('"my phone"', f"{account.jid}/desk", "password", "127.0.0.1"):
                    assert word in body_of(told)
        # A refused change is none.
        with pytest.raises(Refused):
            await desk.disable("my phone")
        await desk.append("my laptop", scene.certificate(account).base64)
        assert "my laptop" in body_of(await desk.message(5))


async def test_the_account_is_told_which_certificate_made_a_change(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone, "stolen") as thief, await scene.password_session(account) as desk:
        await desk.send("<presence/>")
        await desk.message(5)  # Of the enrolment, while nobody was there.
        await thief.append("mine", scene.certificate(account).base64)
        body = body_of(await desk.message(5))
        for word in ('"mine"', f"{account.jid}/stolen", "certificate", "127.0.0.1"):
            assert word in body


async def test_an_account_that_is_offline_is_told_at_its_next_login(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account, "desk") as desk:
        await desk.append("phone", phone.base64)
    async with await scene.certificate_session(account, phone, "orchard") as stream:
        await stream.append("laptop", scene.certificate(account).base64)
        await stream.disable("laptop")
        await stream.revoke("phone")
        await stream.wait_closed(5)
    async with await scene.password_session(account) as later:
        await later.send("<presence/>")
        bodies = [body_of(await later.message(5)) for _ in range(4)]
    assert [next(verb for verb in ("added", "removed", "revoked") if verb in body) for body in bodies] == ["added", "added", "removed", "revoked"]
    for body, resource in zip(bodies, ["desk", "orchard", "orchard", "orchard"], strict=True):
        assert f"{account.jid}/{resource}" in body and "127.0.0.1" in body


async def test_the_account_is_told_of_what_the_administrator_did(scene: Scene):
    account = scene.account()
    await scene.enrol(account, "phone")
    await scene.enrol(account, "laptop")
    for verb, name in [("disable", "phone"), ("revoke", "laptop")]:
        done = scene.daemon.command("cert", verb, account.jid, name)
        assert done.returncode == 0, done.stderr
    async with await scene.password_session(account) as later:
        await later.send("<presence/>")
        bodies = [body_of(await later.message(5)) for _ in range(4)]
    for body, name in zip(bodies[2:], ["phone", "laptop"], strict=True):
        assert f'"{name}"' in body and "administrator" in body
