"""Logging in with a certificate, rule by rule: XEP-0178, RFC 4422 appendix A, and what XEP-0257 says of logins.

Each test bears the number of the rule that it shows; docs/conformance.md is the table of them.
"""

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import certs
from certs import ClientCertificate
from conftest import observed
from connection import TLS_1_2, TLS_1_3, Refused, StreamEnded, local_name
from namespaces import BIND, SASL
from prosody import Config, Host
from raw import Stream
from rig import Rig
from scene import DOMAIN, SHORT_LIFE, Account, Scene, expiry_of


async def logs_in(scene: Scene, certificate: ClientCertificate, authzid: str | None = None, host: str = DOMAIN) -> str:
    """The full JID that a login gives; Refused if the server does not want it."""
    async with await scene.open(host, certificate=certificate) as stream:
        await stream.external(authzid)
        return await stream.bind("orchard")


async def is_offered(scene: Scene, certificate: ClientCertificate | None, host: str = DOMAIN, **options) -> bool:
    async with await scene.open(host, certificate=certificate, **options) as stream:
        return "EXTERNAL" in stream.mechanisms


async def condition_of(login) -> str:
    with pytest.raises(Refused) as refusal:
        await login
    return refusal.value.condition


# --- XEP-0178: offering ---------------------------------------------------------------------------


async def test_178_01_a_certificate_names_one_address_several_or_none(scene: Scene):
    account, other = scene.account(), scene.account()
    one, several = await scene.enrol(account, "one"), scene.certificate(account, other)
    await scene.enrol(account, "several", several)
    assert await logs_in(scene, one) == f"{account.jid}/orchard"
    assert await logs_in(scene, several, account.jid) == f"{account.jid}/orchard"

    forester = scene.account(host="arden.lit")
    none = scene.certificate()
    await scene.enrol(forester, "none", none)
    assert await logs_in(scene, none, host="arden.lit") == f"{forester.jid}/orchard"


async def test_178_02_the_stream_header_may_say_from_and_nobody_trusts_it(scene: Scene, direct_tls: bool):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    for claims in (account.jid, f"{account.jid}/orchard", other.jid, "nobody@elsewhere.lit", "no jid@@"):
        async with await scene.open(certificate=phone, direct_tls=direct_tls, claims=claims) as stream:
            assert "EXTERNAL" in stream.mechanisms, claims
            await stream.external()
            assert (await stream.bind("orchard")) == f"{account.jid}/orchard", claims


async def test_178_03_without_tls_there_is_no_external(scene: Scene):
    async with await Stream.open_unencrypted(scene.server()) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        answer = await stream.start_authentication("EXTERNAL", b"")
        assert local_name(answer) == "failure"
        # The stream is still there for STARTTLS.
        assert stream.features.find("{urn:ietf:params:xml:ns:xmpp-tls}starttls") is not None


async def test_178_03_not_even_where_passwords_need_no_tls(settings: Scene):
    account = settings.account(host="plain.lit")
    async with await Stream.open_unencrypted(settings.server("plain.lit")) as stream:
        assert "PLAIN" in stream.mechanisms and "EXTERNAL" not in stream.mechanisms
        for authzid in (None, account.jid):
            assert await condition_of(stream.external(authzid)) == "invalid-mechanism"
        await stream.plain(account.username, account.password)
        await stream.bind()


@pytest.mark.parametrize("tls", [TLS_1_2, TLS_1_3], ids=["TLS 1.2", "TLS 1.3"])
async def test_178_04_the_server_asks_for_a_certificate_and_the_client_presents_it_in_tls(scene: Scene, direct_tls: bool, tls):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone, direct_tls=direct_tls, tls=tls) as stream:
        await stream.ping()


async def test_178_05_external_is_offered_for_the_certificate_that_was_presented(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    assert await is_offered(scene, phone, direct_tls=direct_tls)
    assert not await is_offered(scene, stranger, direct_tls=direct_tls)
    assert not await is_offered(scene, None, direct_tls=direct_tls)


async def test_178_05_external_is_not_offered_once_the_certificate_is_disabled_or_revoked(scene: Scene):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    assert await is_offered(scene, phone) and await is_offered(scene, laptop)
    async with await scene.password_session(account) as desk:
        await desk.disable("phone")
        await desk.revoke("laptop")
    assert not await is_offered(scene, phone) and not await is_offered(scene, laptop)


async def test_178_05_external_is_not_offered_before_the_certificate_is_valid(scene: Scene):
    account = scene.account()
    early = scene.certificate(account, not_before=datetime.timedelta(minutes=10))
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused, match="^not-acceptable"):
            await desk.append("early", early.base64)
    assert not await is_offered(scene, early)
    # Clocks differ: a few minutes are no reason.
    nearly = await scene.enrol(account, certificate=scene.certificate(account, not_before=datetime.timedelta(minutes=4)))
    assert await logs_in(scene, nearly) == f"{account.jid}/orchard"


async def test_178_05_external_is_not_offered_for_a_certificate_that_names_nobody_here(scene: Scene):
    account = scene.account()
    for addresses in ([], [f"{account.username}@elsewhere.lit"], [DOMAIN], ["nobody-of-this-name@" + DOMAIN]):
        assert not await is_offered(scene, scene.certificate(*addresses)), addresses


async def test_178_05_the_daemon_decides_once_per_connection(scene: Scene):
    account = scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    for certificate in (phone, stranger):
        async with await scene.open(certificate=certificate) as stream:
            for _ in range(2):
                with pytest.raises(Refused):
                    await stream.external("somebody@else.lit")
            await stream.scram(account.username, account.password)
            await stream.bind()
        asked = [line for line in scene.daemon.read_log().splitlines() if "external.offer" in line and certificate.fingerprint in line]
        assert len(asked) == 1, asked


# --- XEP-0178: who is logged in ------------------------------------------------------------------


async def test_178_09_one_address_and_no_authzid_logs_in(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    for initial in ("=", "", None):
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
            answer = await stream.start_authentication("EXTERNAL", initial)
            if local_name(answer) == "challenge":
                answer = await stream.respond("")
            await stream.finish_authentication(answer)
            assert await stream.bind("orchard") == f"{account.jid}/orchard"


async def test_178_09_addresses_of_other_servers_do_not_count(scene: Scene):
    account = scene.account()
    mixed = scene.certificate(f"{account.username}@elsewhere.lit", account, "elsewhere.lit")
    await scene.enrol(account, certificate=mixed)
    assert await logs_in(scene, mixed) == f"{account.jid}/orchard"


async def test_178_10_several_addresses_and_an_authzid_equal_to_one_logs_that_one_in(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    await scene.enrol(account, "ours", both)
    await scene.enrol(other, "ours", both)
    for wanted in (account, other):
        assert await logs_in(scene, both, wanted.jid) == f"{wanted.jid}/orchard"


async def test_178_10_only_for_those_who_enrolled_it_themselves(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    await scene.enrol(account, "ours", both)
    assert await condition_of(logs_in(scene, both, other.jid)) == "not-authorized"
    assert await logs_in(scene, both, account.jid) == f"{account.jid}/orchard"


async def test_178_11_several_addresses_and_no_authzid_is_invalid_authzid(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    await scene.enrol(account, "ours", both)
    async with await scene.open(certificate=both) as stream:
        assert await condition_of(stream.external()) == "invalid-authzid"
        # We leave the stream open: the client may mend its request.
        await stream.external(account.jid)
        await stream.bind()


async def test_178_12_a_certificate_without_address_is_mapped_by_the_list_it_stands_in(scene: Scene):
    forester = scene.account(host="arden.lit")
    nameless = scene.certificate()
    assert not await is_offered(scene, nameless, "arden.lit")
    await scene.enrol(forester, certificate=nameless)
    assert await is_offered(scene, nameless, "arden.lit")
    assert await logs_in(scene, nameless, host="arden.lit") == f"{forester.jid}/orchard"
    # Where addresses are required, nothing maps it.
    assert not await is_offered(scene, nameless)


async def test_178_13_a_mapping_that_equals_the_authzid_logs_in(scene: Scene):
    forester, other = scene.account(host="arden.lit"), scene.account(host="arden.lit")
    nameless = scene.certificate()
    await scene.enrol(forester, certificate=nameless)
    assert await logs_in(scene, nameless, forester.jid, "arden.lit") == f"{forester.jid}/orchard"
    # Whose it is must not depend on who else uploads it: a certificate is public.
    assert await condition_of(scene.enrol(other, certificate=nameless)) == "conflict"
    assert await condition_of(logs_in(scene, nameless, other.jid, "arden.lit")) == "invalid-authzid"
    for authzid in (forester.jid, ""):
        assert await logs_in(scene, nameless, authzid, "arden.lit") == f"{forester.jid}/orchard"


async def test_178_14_a_mapping_that_fails_is_not_authorized(scene: Scene):
    forester = scene.account(host="arden.lit")
    nameless = scene.certificate()
    await scene.enrol(forester, certificate=nameless)
    async with await scene.open("arden.lit", certificate=nameless) as stream:
        assert "EXTERNAL" in stream.mechanisms
        async with await scene.password_session(forester) as desk:
            await desk.disable("phone")
        assert await condition_of(stream.external()) == "not-authorized"
    # Where it fails from the start there is no EXTERNAL to choose.
    async with await scene.open("arden.lit", certificate=nameless) as stream:
        assert await condition_of(stream.external()) == "invalid-mechanism"


async def test_178_15_a_mapping_that_differs_from_the_authzid_is_invalid_authzid(scene: Scene):
    forester, other = scene.account(host="arden.lit"), scene.account(host="arden.lit")
    nameless = scene.certificate()
    await scene.enrol(forester, certificate=nameless)
    for authzid in (other.jid, f"{forester.username}@{DOMAIN}", "arden.lit"):
        assert await condition_of(logs_in(scene, nameless, authzid, "arden.lit")) == "invalid-authzid", authzid


async def test_178_16_after_the_login_comes_a_new_stream_and_the_binding_of_a_resource(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
        await stream.external()
        assert stream.mechanisms == []
        assert stream.features.find(f"{{{BIND}}}bind") is not None
        assert await stream.bind("orchard") == f"{account.jid}/orchard"
        await stream.ping()


async def test_178_17_one_address_and_an_equal_authzid_logs_in_whatever_its_case(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    shouting = scene.certificate(account.jid.upper())
    await scene.enrol(account, "shouting", shouting)
    local, domain = account.username, account.host
    fullwidth = "".join(chr(ord(letter) + 0xFEE0) for letter in local)
    equal = [account.jid, f"{local.upper()}@{domain}", f"{local}@{domain.upper()}", account.jid.upper(), f"{fullwidth}@{domain}"]
    for certificate in (phone, shouting):
        for authzid in equal:
            assert await logs_in(scene, certificate, authzid) == f"{account.jid}/orchard", authzid


@pytest.mark.parametrize("username", ["j\u00fcrg", "\u0439\u043e\u0440\u0438\u043a", "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03c5\u03c3"])
async def test_178_17_an_address_is_prepared_as_prosody_prepares_it_in_any_script(scene: Scene, username: str):
    account = scene.account(username)
    shouting = scene.certificate(account.jid.upper())
    await scene.enrol(account, certificate=shouting)
    for authzid in (None, account.jid, account.jid.upper()):
        assert await logs_in(scene, shouting, authzid) == f"{account.jid}/orchard", authzid
    assert await condition_of(logs_in(scene, shouting, account.jid[1:])) == "invalid-authzid"


async def test_178_17_a_full_authzid_is_accepted_and_its_resource_ignored(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    assert await logs_in(scene, phone, f"{account.jid}/balcony") == f"{account.jid}/orchard"


async def test_178_17_any_other_authzid_is_invalid_authzid(scene: Scene):
    account, other = scene.account(), scene.account()
    dane = scene.account(account.username, "denmark.lit")
    phone = await scene.enrol(account)
    wrong = [
        other.jid, f"{other.jid}/orchard", dane.jid, DOMAIN, f"{DOMAIN}/{account.username}", account.username, f"{account.username}@", f"@{DOMAIN}",
        f"{account.jid}@{DOMAIN}", f" {account.jid}", f"{account.jid}\n", f"{account.jid},{other.jid}", f"xmpp:{account.jid}", f"{account.jid}/", "=",
        f"nobody@{DOMAIN}", f"{account.username}@x.{DOMAIN}", "<&>", "\u202e" + account.jid,
    ]
    async with await scene.open(certificate=phone) as stream:
        for authzid in wrong:
            assert await condition_of(stream.external(authzid)) == "invalid-authzid", authzid
        await stream.external(account.jid)
        await stream.bind()


# --- RFC 4422, appendix A ------------------------------------------------------------------------


async def test_4422_01_a_nul_or_bad_utf8_is_malformed_request(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    jid = account.jid.encode()
    async with await scene.open(certificate=phone) as stream:
        with_nul = [b"\0", b"\0" + jid, jid + b"\0", jid + b"\0" + jid]
        for authzid in (*with_nul, b"\xff", b"\xff" + jid, jid + b"\xc3", b"\xed\xa0\x80" + jid, b"\xc0\x80"):
            assert await condition_of(stream.authenticate("EXTERNAL", authzid)) == "malformed-request", authzid
        await stream.external()
        await stream.bind()


async def test_4422_01_what_is_not_base64_is_incorrect_encoding(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        for rubbish in ("!!!!", "Zm9v*", "\u00e4\u00f6\u00fc"):
            assert await condition_of(stream.authenticate("EXTERNAL", rubbish)) == "incorrect-encoding", rubbish
        await stream.external()
        await stream.bind()


@pytest.mark.parametrize("cut_short", ["==", "====", "a"])
async def test_4422_01_base64_that_prosody_reads_as_nothing_says_nothing(scene: Scene, cut_short: str):
    """Its decoder is lenient; what is left is an empty response, and never another identity."""
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        await stream.authenticate("EXTERNAL", cut_short)
        assert await stream.bind("orchard") == f"{account.jid}/orchard"


async def test_4422_01_an_authzid_longer_than_any_address_is_refused(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        for length in (3000, 3073, 7000):
            assert await condition_of(stream.external("h" * length)) == "invalid-authzid", length
        await stream.external()
        await stream.bind()
    for length in (10_000, 150_000):
        async with await scene.open(certificate=phone) as stream:
            # With the fixes of 2026, and 0.12 always, Prosody reads no stanza of more than 10,000 bytes before the login.
            try:
                assert await condition_of(stream.external("h" * length)) == "invalid-authzid"
            except StreamEnded as ended:
                assert ended.condition == "policy-violation"
    assert await logs_in(scene, phone) == f"{account.jid}/orchard"


@pytest.mark.parametrize("response", ["", "=", None], ids=["empty", "equals sign", "an authzid"])
async def test_4422_02_without_an_initial_response_comes_an_empty_challenge_first(scene: Scene, direct_tls: bool, response: str | None):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
        challenge = await stream.start_authentication("EXTERNAL", None)
        # Prosody writes an empty challenge as "=".
        assert challenge.tag == f"{{{SASL}}}challenge" and challenge.text in (None, "=")
        await stream.finish_authentication(await stream.respond(account.jid.encode() if response is None else response))
        assert await stream.bind("orchard") == f"{account.jid}/orchard"


async def test_4422_02_a_refusal_after_the_challenge_is_as_one_without(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        for response, condition in ((other.jid.encode(), "invalid-authzid"), (b"\0", "malformed-request"), ("!!!!", "incorrect-encoding")):
            challenge = await stream.start_authentication("EXTERNAL", None)
            assert local_name(challenge) == "challenge"
            answer = await stream.respond(response)
            assert await condition_of(stream.finish_authentication(answer)) == condition
        # Each attempt starts anew.
        assert local_name(await stream.start_authentication("EXTERNAL", None)) == "challenge"
        await stream.finish_authentication(await stream.respond(""))
        await stream.bind()


async def test_4422_03_an_empty_response_means_the_identity_of_the_certificate(scene: Scene):
    account, other = scene.account(), scene.account()
    for owner in (account, other):
        phone = await scene.enrol(owner)
        assert await logs_in(scene, phone) == f"{owner.jid}/orchard"


async def test_4422_04_an_authzid_needs_the_credentials_and_the_right_to_it(scene: Scene):
    account, other = scene.account(), scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    # The right without the credentials, and the credentials without the right.
    assert await condition_of(logs_in(scene, stranger, account.jid)) == "invalid-mechanism"
    assert await condition_of(logs_in(scene, phone, other.jid)) == "invalid-authzid"
    assert await logs_in(scene, phone, account.jid) == f"{account.jid}/orchard"


async def test_4422_05_without_credentials_or_an_identity_the_login_fails(scene: Scene):
    account = scene.account()
    for certificate in (None, scene.certificate(), scene.certificate(account)):
        async with await scene.open(certificate=certificate) as stream:
            for authzid in ("", account.jid):
                assert await condition_of(stream.external(authzid)) == "invalid-mechanism"
            await stream.scram(account.username, account.password)
            await stream.bind()


async def test_4422_06_a_response_counts_once(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        assert await condition_of(stream.external(other.jid)) == "invalid-authzid"
        # A second response inside the same attempt.
        answer = await stream.respond(account.jid.encode())
        assert await condition_of(stream.finish_authentication(answer)) == "not-authorized"
        await stream.send(f"<abort xmlns='{SASL}'/>")
        assert await condition_of(stream.finish_authentication(await stream.read())) == "aborted"
        await stream.external()
        await stream.bind()


# --- between the offer and the login, and after a failure ----------------------------------------


async def test_178_05_a_certificate_that_expires_between_offer_and_login_is_credentials_expired(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(account, not_after=SHORT_LIFE))
    async with await scene.open(certificate=phone) as early, await scene.certificate_session(account, phone) as living:
        assert "EXTERNAL" in early.mechanisms
        await expiry_of(phone)
        for authzid in (None, account.jid):
            assert await condition_of(early.external(authzid)) == "credentials-expired"
        assert not await is_offered(scene, phone)
        # Who is in stays in: an expiry takes nothing back.
        await living.ping()
        await early.scram(account.username, account.password)
        await early.bind()


@pytest.mark.parametrize("how", ["disabled", "revoked"])
async def test_178_05_a_certificate_that_is_taken_away_between_offer_and_login_is_not_authorized(scene: Scene, direct_tls: bool, how: str):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as early, await scene.password_session(account) as desk:
        assert "EXTERNAL" in early.mechanisms
        await (desk.disable if how == "disabled" else desk.revoke)("phone")
        for authzid in (None, account.jid):
            assert await condition_of(early.external(authzid)) == "not-authorized"
        await early.scram(account.username, account.password)
        await early.bind()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "PLAIN"])
async def test_178_11_after_a_failed_external_the_same_stream_logs_in_by_password(scene: Scene, direct_tls: bool, mechanism: str):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls, tls=TLS_1_2) as stream:
        for _ in range(3):
            assert await condition_of(stream.external(other.jid)) == "invalid-authzid"
        if mechanism == "PLAIN":
            await stream.plain(account.username, account.password)
        else:
            await stream.scram(account.username, account.password, binding=stream.tls_unique if "PLUS" in mechanism else None)
        await stream.bind()
        # It logged in with its password: it may change it.
        change = f"<query xmlns='jabber:iq:register'><username>{account.username}</username><password>another one</password></query>"
        await stream.iq("set", change, to=account.host)


async def test_178_11_after_a_failed_password_the_same_stream_logs_in_by_external(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
        assert await condition_of(stream.scram(account.username, "wrong")) == "not-authorized"
        assert await condition_of(stream.plain(account.username, "wrong")) == "not-authorized"
        await stream.external()
        assert await stream.bind("orchard") == f"{account.jid}/orchard"


async def test_178_11_an_exchange_that_was_begun_may_be_left_for_another(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        assert local_name(await stream.start_authentication("SCRAM-SHA-1", f"n,,n={account.username},r=abc".encode())) == "challenge"
        assert local_name(await stream.start_authentication("EXTERNAL", None)) == "challenge"
        await stream.scram(account.username, account.password)
        await stream.bind()


# --- passwords, channel binding and strangers: the same with and without us ---------------------

OURS, BARE = "shakespeare.lit", "denmark.lit"
OUR_GUESTS, BARE_GUESTS = "guests.lit", "strangers.lit"


@pytest.fixture(scope="module")
def mixed_rig(version: str) -> Iterator[Rig]:
    """One host of each kind with our module, and one without."""
    enabled = 'modules_enabled = { "saslcertd" }'
    anonymous = 'authentication = "anonymous"'
    hosts = [
        Host(OURS, enabled), Host(BARE, declared=False),
        Host(OUR_GUESTS, f"{anonymous}\n{enabled}", declared=False), Host(BARE_GUESTS, anonymous, declared=False),
    ]
    with Rig(version, Config(hosts=hosts, saslcertd=False)) as rig:
        rig.start()
        rig.wait_attached(OURS)
        yield rig


@pytest.fixture
def mixed(mixed_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(mixed_rig, tmp_path, request, mixed_rig.log_positions()) as scene:
        yield scene


async def test_178_05_what_else_is_offered_is_the_same_with_and_without_us(mixed: Scene, direct_tls: bool):
    account = mixed.account(host=OURS)
    phone, stranger = await mixed.enrol(account), mixed.certificate(account)
    for tls in (TLS_1_2, TLS_1_3):
        for ours, bare in ((OURS, BARE), (OUR_GUESTS, BARE_GUESTS)):
            async with await mixed.open(bare, direct_tls=direct_tls, tls=tls) as stream:
                usual, bindings = sorted(stream.mechanisms), stream.channel_bindings
            assert usual and "EXTERNAL" not in usual
            for certificate in (None, stranger, phone):
                async with await mixed.open(ours, direct_tls=direct_tls, tls=tls, certificate=certificate) as stream:
                    added = ["EXTERNAL"] if certificate is phone and ours == OURS else []
                    assert sorted(stream.mechanisms) == sorted(usual + added)
                    assert stream.channel_bindings == bindings


async def test_178_05_a_stranger_is_let_in_by_an_anonymous_host_with_and_without_us(mixed: Scene, direct_tls: bool):
    certificate = mixed.certificate(f"anybody@{OUR_GUESTS}")
    for host in (OUR_GUESTS, BARE_GUESTS):
        async with await mixed.open(host, certificate=certificate, direct_tls=direct_tls) as stream:
            assert stream.mechanisms == ["ANONYMOUS"]
            assert await condition_of(stream.external()) == "invalid-mechanism"
            await stream.authenticate("ANONYMOUS", b"")
            await stream.bind()


async def test_178_05_channel_binding_of_tls_1_2_works_with_and_without_us(mixed: Scene, direct_tls: bool):
    for host in (OURS, BARE):
        account = mixed.account(host=host)
        phone = await mixed.enrol(account) if host == OURS else mixed.certificate(account)
        for certificate in (None, phone):
            how = {"certificate": certificate, "direct_tls": direct_tls, "tls": TLS_1_2}
            async with await mixed.open(host, **how) as stream:
                with pytest.raises(Refused):
                    await stream.scram(account.username, account.password, binding=("tls-unique", b"of another connection"))
            async with await mixed.open(host, **how) as stream:
                assert "SCRAM-SHA-1-PLUS" in stream.mechanisms
                await stream.scram(account.username, account.password, binding=stream.tls_unique)
                await stream.bind()


@asynccontextmanager
async def exporting_stream(scene: Scene, host: str, certificate: ClientCertificate | None) -> AsyncIterator[tuple[Stream, tuple[str, bytes]]]:
    """A stream over TLS 1.3 with its channel binding (RFC 9266), which Python's own TLS can't tell: openssl's does."""
    server = scene.server(host)
    present = ["-cert", str(certificate.cert_file), "-key", str(certificate.key_file)] if certificate else []
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"{server.address}:{server.direct_tls_port}", "-servername", host, "-verify_return_error",
        "-CAfile", str(server.ca_file), "-tls1_3", "-nocommands", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32", *present,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdin and process.stdout
        async with asyncio.timeout(20):
            told = await process.stdout.readuntil(b"Keying material: ")
            exported = bytes.fromhex((await process.stdout.readline()).decode())
            assert await process.stdout.readline() == b"---\n", told
        stream = Stream(server, process.stdout, process.stdin)
        await stream.restart()
        yield stream, ("tls-exporter", exported)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_178_05_channel_binding_of_tls_1_3_works_with_and_without_us(mixed: Scene, version: str):
    for host in (OURS, BARE):
        account = mixed.account(host=host)
        phone = await mixed.enrol(account) if host == OURS else mixed.certificate(account)
        for certificate in (None, phone):
            async with exporting_stream(mixed, host, certificate) as (stream, binding):
                if version == "0.12":
                    # It knows no channel binding for TLS 1.3.
                    assert "SCRAM-SHA-1-PLUS" not in stream.mechanisms
                    continue
                if certificate and host == OURS:
                    assert await condition_of(stream.external("somebody@else.lit")) == "invalid-authzid"
                await stream.scram(account.username, account.password, binding=binding)
                await stream.bind()


# --- XEP-0257: what it says of logins ------------------------------------------------------------


async def test_257_05_a_certificate_may_be_used_as_soon_as_it_is_uploaded(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        for name in ("phone", "laptop", "tablet"):
            certificate = scene.certificate(account)
            assert not await is_offered(scene, certificate)
            await desk.append(name, certificate.base64)
            assert await logs_in(scene, certificate) == f"{account.jid}/orchard"


async def test_257_14_an_expired_certificate_is_refused_at_the_upload_and_at_the_login(scene: Scene):
    account = scene.account()
    gone = scene.certificate(account, not_before=datetime.timedelta(days=-2), not_after=datetime.timedelta(days=-1))
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused, match="^not-acceptable"):
            await desk.append("gone", gone.base64)
        assert await desk.certificates() == {}
    assert await condition_of(logs_in(scene, gone)) == "invalid-mechanism"


async def test_257_15_certificates_of_unknown_authorities_and_self_signed_ones_are_accepted(scene: Scene):
    account = scene.account()
    authority = scene.certificate(common_name="Nobody's authority", is_ca=True)
    intermediate = scene.certificate(common_name="Nobody's second authority", is_ca=True, issuer=authority)
    leaf = scene.certificate(account, issuer=intermediate)
    presented = [
        await scene.enrol(account, "self-signed"),
        await scene.enrol(account, "made by openssl's default", scene.certificate(account, is_ca=True)),
        await scene.enrol(account, "unknown authority", scene.certificate(account, issuer=authority)),
        certs.with_chain(await scene.enrol(account, "with its chain", leaf), [intermediate, authority]),
    ]
    for certificate in presented:
        assert await logs_in(scene, certificate) == f"{account.jid}/orchard"
    # Its authority being known here makes no other certificate of it welcome.
    assert not await is_offered(scene, scene.certificate(account, issuer=authority))


def ia5_string(text: str) -> bytes:
    return bytes([0x16, len(text)]) + text.encode("ascii")


async def test_257_16_the_address_must_be_an_xmppaddr(scene: Scene):
    account = scene.account()
    elsewhere: dict[str, Callable[[], ClientCertificate]] = {
        "nowhere": lambda: scene.certificate(),
        "in the common name": lambda: scene.certificate(common_name=account.jid),
        "an e-mail address": lambda: scene.certificate(emails=[account.jid]),
        "an xmppAddr that is no UTF8String": lambda: scene.certificate(account, encode_address=ia5_string),
        "somebody else's": lambda: scene.certificate(f"nobody@{DOMAIN}", common_name=account.jid, emails=[account.jid]),
    }
    async with await scene.password_session(account) as desk:
        for where, make in elsewhere.items():
            with pytest.raises(Refused, match="^not-acceptable"):
                await desk.append(where, make().base64)
        beside = scene.certificate(account, common_name="somebody@else.lit", emails=["somebody@else.lit"])
        await desk.append("xmppAddr", beside.base64)
        assert list(await desk.certificates()) == ["xmppAddr"]
    assert await logs_in(scene, beside) == f"{account.jid}/orchard"


async def test_257_17_a_full_address_allows_its_resource_only(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(f"{account.jid}/Balcony"))
    for authzid in (None, account.jid, f"{account.jid}/Balcony"):
        for wish in ("orchard", None, "Balcony"):
            async with await scene.open(certificate=phone) as stream:
                await stream.external(authzid)
                assert await stream.bind(wish) == f"{account.jid}/Balcony", (authzid, wish)
    for authzid in (f"{account.jid}/balcony", f"{account.jid}/orchard"):
        assert await condition_of(logs_in(scene, phone, authzid)) == "invalid-authzid"


async def test_257_17_of_several_full_addresses_the_authzid_chooses_one(scene: Scene):
    account, other = scene.account(), scene.account()
    several = scene.certificate(f"{account.jid}/phone", f"{account.jid}/laptop", f"{other.jid}/desk")
    await scene.enrol(account, "several", several)
    await scene.enrol(other, "several", several)
    expected = {
        f"{account.jid}/phone": f"{account.jid}/phone",
        f"{account.jid}/laptop": f"{account.jid}/laptop",
        other.jid: f"{other.jid}/desk",
        # Which of its two resources is not said.
        account.jid: None,
        f"{account.jid}/desk": None,
        "": None,
    }
    for authzid, bound in expected.items():
        if bound:
            assert await logs_in(scene, several, authzid) == bound
        else:
            assert await condition_of(logs_in(scene, several, authzid)) == "invalid-authzid", authzid


async def test_257_19_the_rest_is_as_xep_0178_has_it(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls, claims=account.jid) as stream:
        assert "EXTERNAL" in stream.mechanisms
        answer = await stream.start_authentication("EXTERNAL", "=")
        assert local_name(answer) == "success"
        await stream.finish_authentication(answer)
        assert await stream.bind("balcony") == f"{account.jid}/balcony"
        assert list(await stream.certificates()) == ["phone"]


REGISTER = "jabber:iq:register"


async def test_257_22_a_certificate_session_may_not_change_the_password_or_remove_the_account(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    change = f"<username>{account.username}</username><password>stolen</password>"
    form = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:register:changepassword</value></field>"
        f"<field var='username'><value>{account.username}</value></field><field var='password'><value>stolen</value></field></x>"
    )
    async with await scene.certificate_session(account, phone) as stream:
        for what in (change, change + form, form, "<remove/>"):
            for to in (None, account.jid, account.host):
                with pytest.raises(Refused, match="^not-authorized") as refusal:
                    await stream.iq("set", f"<query xmlns='{REGISTER}'>{what}</query>", to=to)
                assert refusal.value.type == "auth"
        await stream.ping()
    async with await scene.password_session(account):
        pass


async def test_257_22_nor_one_that_took_over_a_password_session(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    desk = await scene.password_session(account, "desk")
    token = await desk.enable_resumption()
    desk.drop()
    async with await scene.open(certificate=phone) as stream:
        await stream.external()
        await stream.resume(token)
        with pytest.raises(Refused, match="^not-authorized"):
            await stream.iq("set", f"<query xmlns='{REGISTER}'><remove/></query>")


@pytest.mark.parametrize("addressed_to", ["self", "host"])
async def test_257_22_a_password_session_may_even_when_it_presented_a_certificate(scene: Scene, addressed_to: str):
    account = scene.account()
    phone = await scene.enrol(account)
    to = None if addressed_to == "self" else account.host
    async with await scene.password_session(account, certificate=phone) as stream:
        await stream.iq("set", f"<query xmlns='{REGISTER}'><username>{account.username}</username><password>new</password></query>", to=to)
    changed = Account(account.username, account.host, "new")
    async with await scene.password_session(changed, certificate=phone) as stream:
        with pytest.raises((StreamEnded, Refused)) as ended:
            await stream.iq("set", f"<query xmlns='{REGISTER}'><remove/></query>", to=to)
            await stream.ping()
        assert not isinstance(ended.value, Refused), ended.value
    assert not await is_offered(scene, phone)
