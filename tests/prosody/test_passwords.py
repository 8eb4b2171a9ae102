"""Logging in with a password that the daemon knows: every mechanism, what a stranger learns, and what guessing costs."""

import asyncio
import base64
import hashlib
import hmac
import time

import pytest

import rome
import slix
from connection import Refused, StreamEnded, condition_of
from namespaces import SASL
from rome import ROME, first_challenge, outcome
from scene import TLS_VERSIONS, Account, Scene, eventually
from test_conformance_login import exporting_stream

MECHANISMS = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]
DIGESTS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
#: More failures than are free, and what the first one beyond them waits, in seconds.
FREE_FAILURES, FIRST_DELAY = 10, 0.5


async def log_in(scene: Scene, account: Account, password: str, mechanism: str, **options: object) -> None:
    async with await scene.open(account.host, **options) as stream:
        if mechanism == "PLAIN":
            await stream.plain(account.username, password)
        else:
            await stream.scram(account.username, password, DIGESTS[mechanism])
        await stream.bind()
        await stream.ping()


# --- every mechanism


# The mechanisms know nothing of TLS, but for channel binding, which has tests of its own below.
@pytest.mark.parametrize(("mechanism", "tls", "direct_tls"), [
    ("PLAIN", "TLS 1.2", False), ("SCRAM-SHA-1", "TLS 1.2", True), ("SCRAM-SHA-256", "TLS 1.3", False), ("PLAIN", "TLS 1.3", True),
])  # fmt: skip
async def test_a_password_logs_in_and_a_wrong_one_does_not(in_rome: Scene, mechanism: str, tls: str, direct_tls: bool):
    account, how = in_rome.account(host=ROME), {"direct_tls": direct_tls, "tls": TLS_VERSIONS[tls]}
    await log_in(in_rome, account, account.password, mechanism, **how)
    condition, text = await outcome(log_in(in_rome, account, "another", mechanism, **how))
    assert condition == "not-authorized" and text
    # The same stream may try again.
    async with await in_rome.open(ROME, **how) as stream:
        for attempt in (stream.plain("nobody", "x"), stream.scram(account.username, "x"), stream.scram("nobody", "x", "sha256")):
            assert (await outcome(attempt))[0] == "not-authorized"
        if mechanism == "PLAIN":
            await stream.plain(account.username, account.password)
        else:
            await stream.scram(account.username, account.password, DIGESTS[mechanism])
        await stream.bind()


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
async def test_channel_binding_of_tls_1_2(in_rome: Scene, digest: str, direct_tls: bool):
    account = in_rome.account(host=ROME)
    how = {"direct_tls": direct_tls, "tls": TLS_VERSIONS["TLS 1.2"]}
    async with await in_rome.open(ROME, **how) as stream:
        assert {"SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"} <= set(stream.mechanisms)
        with pytest.raises(Refused):
            await stream.scram(account.username, account.password, digest, ("tls-unique", b"of another connection"))
        # The next attempt on this stream still knows what it is bound to.
        with pytest.raises(Refused, match="^not-authorized"):
            await stream.scram(account.username, "another", digest, stream.tls_unique)
        await stream.scram(account.username, account.password, digest, stream.tls_unique)
        await stream.bind()


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
async def test_channel_binding_of_tls_1_3(in_rome: Scene, version: str, digest: str):
    account = in_rome.account(host=ROME)
    async with exporting_stream(in_rome, ROME, None) as (stream, binding):
        if version == "0.12":
            # It knows none.
            assert not [one for one in stream.mechanisms if one.endswith("-PLUS")]
            return
        assert {"SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"} <= set(stream.mechanisms)
        with pytest.raises(Refused, match="^not-authorized"):
            await stream.scram(account.username, "another", digest, binding)
        await stream.scram(account.username, account.password, digest, binding)
        await stream.bind()


@pytest.mark.parametrize("password", ["pass phrase", "Pässword", "ａｂｃ", "p\u00adq", "ѕесret 密码 🔑", "=,=3D,r=x,p=y", "x" * 1023])
async def test_a_password_of_any_letters_logs_in_by_any_mechanism(in_rome: Scene, password: str):
    account = in_rome.account(host=ROME)
    prepared = {"ａｂｃ": "abc", "p\u00adq": "pq"}.get(password, password)
    async with await in_rome.password_session(account, "desk") as desk:
        await desk.change_password(account.username, password)
    for mechanism in MECHANISMS:
        await log_in(in_rome, account, prepared, mechanism)


async def test_a_user_name_may_be_written_in_any_case_and_with_reserved_characters(in_rome: Scene):
    account = in_rome.account(f"a=b,c{time.time_ns()}", host=ROME)
    for mechanism in MECHANISMS:
        await log_in(in_rome, Account(account.username.upper(), ROME), account.password, mechanism)


async def test_the_accounts_of_the_other_host_are_its_own(in_rome: Scene):
    roman, dane = in_rome.account(host=ROME), in_rome.account()
    for account, host in ((roman, dane.host), (dane, ROME)):
        assert (await outcome(log_in(in_rome, Account(account.username, host), account.password, "PLAIN")))[0] == "not-authorized"
    await log_in(in_rome, dane, dane.password, "PLAIN")


async def test_only_hashes_that_every_account_has_are_offered(own_scene):
    scene = own_scene(rome.config())
    old = Account("old", ROME, "only SHA-1")
    login = {
        "enabled": True, "created": 1767225600, "password_changed": 1767225600, "password": None,
        "scram": [scram_of(old.password, "sha1")],
    }
    scene.daemon.ask("account.import", {"account": old.jid, "incarnation": None, "login": login, "certificates": [], "apply": True})

    async def offered() -> set[str]:
        async with await scene.open(ROME) as stream:
            return {one for one in stream.mechanisms if not one.endswith("-PLUS")}

    async def sha_256_is_gone() -> bool:
        return await offered() == {"PLAIN", "SCRAM-SHA-1"}

    await eventually("SCRAM-SHA-256 is no longer offered", sha_256_is_gone)
    await log_in(scene, old, old.password, "SCRAM-SHA-1")
    # With the password itself the daemon makes what the account lacks.
    await log_in(scene, old, old.password, "PLAIN")

    async def all_are_there() -> bool:
        return await offered() == {*MECHANISMS}

    await eventually("SCRAM-SHA-256 is offered again", all_are_there)
    await log_in(scene, old, old.password, "SCRAM-SHA-256")


def scram_of(password: str, digest: str) -> dict[str, object]:
    salt, iterations = b"of the old server", 4096
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    stored = hashlib.new(digest, hmac.digest(salted, b"Client Key", digest)).digest()

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return {
        "hash": {"sha1": "SHA-1", "sha256": "SHA-256"}[digest], "salt": text(salt), "iterations": iterations,
        "stored_key": text(stored), "server_key": text(hmac.digest(salted, b"Server Key", digest)),
    }


# --- the whole life of an account


async def test_register_log_in_change_upload_log_in_by_certificate_delete(in_rome: Scene, direct_tls: bool):
    account = Account(f"portia{time.time_ns()}", ROME, "swallowed fire")
    how = {"direct_tls": direct_tls}
    async with await in_rome.open(ROME, **how) as stream:
        await stream.register(account.username, account.password)
        # The name is taken.
        with pytest.raises(Refused, match="^conflict"):
            await stream.register(account.username, "mine")
        await stream.plain(account.username, account.password)
        await stream.bind("desk")
        phone = in_rome.certificate(account)
        await stream.append("phone", phone.base64)
        await stream.change_password(account.username, "another")
        # The session that changed it goes on.
        await stream.ping()
    for mechanism in MECHANISMS:
        assert (await outcome(log_in(in_rome, account, account.password, mechanism, **how)))[0] == "not-authorized"
        await log_in(in_rome, account, "another", mechanism, **how)
    async with await in_rome.open(ROME, certificate=phone, **how) as stream:
        assert "EXTERNAL" in stream.mechanisms
        await stream.external()
        await stream.bind()
        assert list(await stream.certificates()) == ["phone"]
        # Who stole the device must not take the account.
        for change in (stream.change_password(account.username, "mine"), stream.remove_account()):
            with pytest.raises(Refused, match="^not-authorized"):
                await change
    async with await in_rome.open(ROME, **how) as stream:
        await stream.scram(account.username, "another")
        await stream.bind()
        with pytest.raises(StreamEnded):
            await stream.remove_account()
            await stream.wait_closed(5)
            raise StreamEnded(None)
    for mechanism in MECHANISMS:
        assert (await outcome(log_in(in_rome, account, "another", mechanism, **how)))[0] == "not-authorized"
    async with await in_rome.open(ROME, certificate=phone, **how) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external(account.jid)
        # And whoever gets the name gets nothing else.
        await stream.register(account.username, "the next one")
        await stream.plain(account.username, "the next one")
        await stream.bind()
        assert await stream.certificates() == {}


async def test_the_same_with_a_client_that_people_use(in_rome: Scene, direct_tls: bool):
    account = Account(f"titinius{time.time_ns()}", ROME, "mistook")
    server, how = in_rome.server(ROME), {"direct_tls": direct_tls}
    async with slix.session(server, account.jid, password=account.password, register=True, **how) as client:
        phone = in_rome.certificate(account)
        await client.plugin["xep_0257"].add_cert("phone", phone.base64)
        await client.plugin["xep_0077"].change_password("another")
    with pytest.raises(slix.LoginFailed) as failed:
        async with slix.session(server, account.jid, password=account.password, **how):
            pass
    assert set(failed.value.conditions) == {"not-authorized"}
    async with slix.session(server, account.jid, certificate=phone, **how) as client:
        assert {name for name, _, _ in await client.plugin["xep_0257"].get_certs()} == {"phone"}
    async with slix.session(server, account.jid, password="another", **how) as client:
        gone = asyncio.get_running_loop().create_future()
        client.add_event_handler("disconnected", lambda _: gone.done() or gone.set_result(None))
        client.plugin["xep_0077"].cancel_registration()
        await asyncio.wait_for(gone, 10)
    for way in ({"password": "another"}, {"certificate": phone}):
        with pytest.raises(slix.LoginFailed):
            async with slix.session(server, account.jid, **way, **how):
                pass


# --- what a stranger learns


async def test_unknown_disabled_and_wrong_look_the_same(in_rome: Scene):
    account, disabled = in_rome.account(host=ROME), in_rome.account(host=ROME)
    in_rome.daemon.ask("account.disable", {"account": disabled.jid})
    nobody = Account(f"nobody{time.time_ns()}", ROME)
    for mechanism in MECHANISMS:
        said = set()
        for who in (account, disabled, nobody):
            said.add(await outcome(log_in(in_rome, who, "a wrong one", mechanism)))
        # Not even with the right password.
        said.add(await outcome(log_in(in_rome, disabled, disabled.password, mechanism)))
        assert len(said) == 1, said
        assert said.pop()[0] == "not-authorized"


@pytest.mark.parametrize("digest", ["SHA-1", "SHA-256"])
async def test_the_salt_of_a_name_is_always_the_same(in_rome: Scene, digest: str):
    account, disabled = in_rome.account(host=ROME), in_rome.account(host=ROME)
    in_rome.daemon.ask("account.disable", {"account": disabled.jid})
    nobody = Account(f"nobody{time.time_ns()}", ROME)
    told = []
    for _ in range(2):
        for who in (account, disabled, nobody):
            async with await in_rome.open(ROME) as stream:
                told.append(await first_challenge(stream, who.username, digest))
    assert told[:3] == told[3:]
    assert len({one["s"] for one in told}) == 3
    assert len({one["i"] for one in told}) == 1
    assert len({len(one["s"]) for one in told}) == 1


IMPOSSIBLE = ["x" * 1023, "a b", "a@b", "a/b", "ａ／ｂ", "\u0001", "=2", "🙂" * 200]


async def test_a_name_that_no_account_can_have_is_refused_and_leaves_no_trace(in_rome: Scene):
    for username in IMPOSSIBLE:
        async with await in_rome.open(ROME) as stream:
            refusals = {(await outcome(stream.plain(username, "x")))[0]}
            for digest in ("sha1", "sha256"):
                refusals.add((await outcome(stream.scram(username, "x", digest)))[0])
            assert refusals <= {"not-authorized", "malformed-request"}, username


async def test_a_response_that_makes_no_sense_is_refused_and_leaves_no_trace(in_rome: Scene):
    account = in_rome.account(host=ROME)
    first = f"n,,n={account.username},r=nonce".encode()
    proofs = ["c=biws,r={r},p=!!", "c=biws,r={r},p=", "c=biws,r={r},p=YQ==", "c=biws,r={r}", "c=!!,r={r},p=YQ==", "c=biws,r=x,p=YQ=="]
    finals = [*proofs, "\0", "x" * 4000]
    async with await in_rome.open(ROME) as stream:
        for final in finals:
            answer = await stream.start_authentication("SCRAM-SHA-1", first)
            nonce = base64.b64decode(answer.text or "").decode().partition(",")[0].removeprefix("r=")
            refused = condition_of(await stream.respond(final.format(r=nonce).encode()), SASL)
            assert refused in ("malformed-request", "not-authorized"), final
        for initial in (b"", b"\0", b"\0a\0", b"n,,", b"p=tls-unique,,n=,r=b", b"\xff\xfe", None):
            for mechanism in MECHANISMS:
                refused = condition_of(await stream.start_authentication(mechanism, initial), SASL)
                assert refused in ("malformed-request", "not-authorized"), (mechanism, initial)
        await stream.scram(account.username, account.password)
        await stream.bind()


# --- guessing


async def slowed_down(own_scene, seconds: str = "2") -> tuple[Scene, Account]:
    """A host whose next failures of this account wait as long as they ever will."""
    scene = own_scene(rome.config(f"saslcertd_guess_delay_max = {seconds}"))
    account = scene.account(host=ROME)
    for _ in range(FREE_FAILURES + 4):
        scene.daemon.ask("account.failed", {"account": account.jid, "address": "127.0.0.1"})
    return scene, account


async def timed(attempt) -> float:
    start = time.monotonic()
    await outcome(attempt)
    return time.monotonic() - start


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_the_eleventh_failure_waits_and_the_first_ten_do_not(own_scene, mechanism: str):
    scene = own_scene(rome.config("saslcertd_guess_delay_max = 2"))
    account = scene.account(host=ROME)
    free = [await timed(log_in(scene, account, "a guess", mechanism)) for _ in range(FREE_FAILURES)]
    eleventh = await timed(log_in(scene, account, "a guess", mechanism))
    assert eleventh >= FIRST_DELAY
    # On a busy machine some of them may take long for other reasons.
    assert min(free) < eleventh


async def test_nobody_is_locked_out_however_many_passwords_were_wrong(own_scene):
    scene, account = await slowed_down(own_scene)
    start = time.monotonic()
    await log_in(scene, account, account.password, "SCRAM-SHA-1")
    assert time.monotonic() - start >= FIRST_DELAY


async def test_certificates_and_open_sessions_are_never_delayed(own_scene):
    scene, account = await slowed_down(own_scene, "60")
    # Brought by an administrator: an upload would need a login with the password, which waits.
    phone = scene.certificate(account)
    scene.daemon.ask(
        "account.import",
        {
            "account": account.jid, "incarnation": None, "login": None, "apply": True,
            "certificates": [{"name": "phone", "certificate": phone.base64, "may_manage": True}],
        },
    )
    guess = asyncio.create_task(outcome(log_in(scene, account, "a guess", "PLAIN")))
    try:
        async with await scene.certificate_session(account, phone) as session:
            await session.ping()
        assert not guess.done()
    finally:
        guess.cancel()
        await asyncio.gather(guess, return_exceptions=True)


async def test_who_leaves_while_he_waits_leaves_no_trace(own_scene, version: str):
    scene, account = await slowed_down(own_scene, "20")
    at = scene.prosody.log_position()
    for password in ("a guess", account.password):
        stream = await scene.open(ROME)
        payload = base64.b64encode(f"\0{account.username}\0{password}".encode()).decode()
        await stream.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{payload}</auth>")
        await eventually("the answer is there and waits", lambda: waits(scene))
        stream.drop()
        await eventually("nobody waits any more", lambda: waits(scene, 0))
    assert "Authenticated as" not in scene.prosody.read_log(at)


async def waits(scene: Scene, count: int = 1) -> bool:
    """Whether so many logins wait for their delay."""
    told = scene.prosody.shell(
        '> local n, m = 0, require "core.modulemanager".get_module("*", "saslcertd").module; '
        'for _ in pairs(m:shared("/*/saslcertd/api").waiting) do n = n + 1; end return n'
    )
    return f"Result: {count}\n" in told + "\n"


@pytest.mark.parametrize("change", ["disable", "delete", "set_password"])
async def test_a_login_that_waits_is_in_vain_when_its_account_is_changed_meanwhile(own_scene, change: str):
    scene, account = await slowed_down(own_scene, "20")
    async with await scene.open(ROME) as stream:
        attempt = asyncio.create_task(stream.plain(account.username, account.password))
        await eventually("the answer is there and waits", lambda: waits(scene))
        params = {"account": account.jid, **({"password": "another"} if change == "set_password" else {})}
        scene.daemon.ask(f"account.{change}", params)
        with pytest.raises((StreamEnded, Refused)):
            await asyncio.wait_for(attempt, 10)
