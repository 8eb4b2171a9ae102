"""What is revoked is out (XEP-0257, 257-12): every session that logged in with that key for that account and no other,
whatever state it is in, and whenever the server hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import certs
from certs import ClientCertificate
from connection import Refused, StreamEnded
from namespaces import CLIENT, PING, SASLCERT, SMACKS
from prosody import Config, Host, lua_string
from raw import Stream
from relay import relay
from scene import DOMAIN, Account, Scene

REVOKED = "not-authorized"


async def assert_out(*streams: Stream) -> None:
    """The next thing that each of them hears is that it is out."""
    for stream in streams:
        with pytest.raises(StreamEnded) as ended:
            while (heard := await stream.read(5)).tag.startswith(f"{{{SMACKS}}}"):
                pass
            raise AssertionError(ET.tostring(heard))
        assert (ended.value.condition, ended.value.text) == (REVOKED, "This client certificate has been revoked")


async def resumed_by(scene: Scene, account: Account, token: str, certificate: ClientCertificate | None = None) -> Stream:
    """A new stream that logged in, by `certificate` or the password, and took over the session of `token`."""
    stream = await scene.open(account.host, certificate=certificate)
    if certificate:
        await stream.external()
    else:
        await stream.scram(account.username, account.password)
    await stream.resume(token)
    return stream


async def cannot_resume(scene: Scene, account: Account, token: str) -> None:
    with pytest.raises(Refused, match="^item-not-found"):
        await resumed_by(scene, account, token)


async def cannot_log_in(scene: Scene, certificate: ClientCertificate, authzid: str | None = None) -> None:
    async with await scene.open(certificate=certificate) as stream:
        with pytest.raises(Refused):
            await stream.external(authzid)


def tagged_sessions(scene: Scene, *accounts: Account) -> int:
    """How many sessions of `accounts` Prosody itself has that logged in with a certificate: with a connection, or bound."""
    answer = scene.prosody.shell(
        f"> local seen, count, wanted = {{}}, 0, {{ {', '.join(f'[{lua_string(account.jid)}] = true' for account in accounts)} }}; "
        "local function look(session) local tag = session.saslcert; "
        "if tag and wanted[tag.account] and not seen[session] then seen[session] = true; count = count + 1; end end; "
        'for _, session in pairs(prosody.hosts["shakespeare.lit"].modules.saslcertd.module:shared("/*/c2s/sessions")) do look(session); end; '
        "for _, session in pairs(prosody.full_sessions) do look(session); end; return count"
    )
    found = re.search(r"Result: (\d+)", answer)
    assert found, answer
    return int(found[1])


# --- whose sessions ------------------------------------------------------------------------------


async def test_257_12_every_session_that_logged_in_with_the_certificate_is_closed_and_no_other(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    async with (
        await scene.password_session(account) as desk,
        await scene.password_session(account, certificate=phone, direct_tls=direct_tls) as only_presented,
        await scene.certificate_session(account, laptop) as spared,
        await scene.certificate_session(account, phone, direct_tls=direct_tls) as first,
        await scene.certificate_session(account, phone, direct_tls=direct_tls) as second,
        await scene.open(certificate=phone, direct_tls=direct_tls) as unbound,
        await scene.open(certificate=phone, direct_tls=direct_tls) as not_yet,
        await scene.open(certificate=phone, direct_tls=direct_tls) as challenged,
    ):
        await unbound.external()
        await challenged.start_authentication("EXTERNAL", None)
        await desk.revoke("phone")
        await assert_out(first, second, unbound)
        assert list(await desk.certificates()) == ["laptop"]
        for stream in (spared, only_presented):
            await stream.ping()
        for attempt in (not_yet.external(), challenged.respond(b"")):
            with pytest.raises(Refused, match="^not-authorized"):
                answer = await attempt
                await challenged.finish_authentication(answer)  # type: ignore[arg-type]
        # The streams may still log in by other means.
        await not_yet.scram(account.username, account.password)
        await not_yet.bind()
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as late:
            assert "EXTERNAL" not in late.mechanisms


async def test_257_12_a_hibernating_session_is_closed_and_does_not_come_back(scene: Scene):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    async with (
        await scene.password_session(account) as desk,
        await scene.certificate_session(account, phone, "orchard") as asleep,
        await scene.certificate_session(account, phone, "garden") as awake,
        await scene.certificate_session(account, laptop, "balcony") as spared,
    ):
        of_asleep, of_awake, of_spared = [await stream.enable_resumption() for stream in (asleep, awake, spared)]
        asleep.drop()
        spared.drop()
        await desk.revoke("phone")
        await assert_out(awake)
        for token in (of_asleep, of_awake):
            await cannot_resume(scene, account, token)
        assert (await desk.certificates())["laptop"].users == ("balcony",)
        async with await resumed_by(scene, account, of_spared, laptop) as again:
            await again.ping()


async def test_257_12_the_login_counts_and_not_the_session_that_it_resumed(scene: Scene):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    desk = await scene.password_session(account)

    # Logged in with the phone, resumed by the laptop: the phone's no longer.
    async with await scene.certificate_session(account, phone, "orchard") as first:
        of_phone = await first.enable_resumption()
        first.drop()
    # Logged in with a password, resumed by the phone: the phone's now.
    async with await scene.password_session(account, "garden") as first:
        of_password = await first.enable_resumption()
        first.drop()
    # Logged in with the phone, resumed with the password: nobody's.
    async with await scene.certificate_session(account, phone, "balcony") as first:
        to_password = await first.enable_resumption()
        first.drop()
    async with (
        await resumed_by(scene, account, of_phone, laptop) as by_laptop,
        await resumed_by(scene, account, of_password, phone) as by_phone,
        await resumed_by(scene, account, to_password) as by_password,
    ):
        users = {name: item.users for name, item in (await desk.certificates()).items()}
        assert users == {"phone": ("garden",), "laptop": ("orchard",)}
        await desk.revoke("phone")
        await assert_out(by_phone)
        await cannot_resume(scene, account, of_password)
        await by_laptop.ping()
        await by_password.ping()
        # And once more, asleep.
        by_laptop.drop()
        await desk.revoke("laptop")
        await cannot_resume(scene, account, of_phone)
        await by_password.ping()
    await desk.close()


async def test_257_12_a_session_of_another_account_with_the_same_certificate_lives_on(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    sessions = []
    for owner in (account, other):
        stream = await scene.open(certificate=both)
        await stream.external(owner.jid)
        await stream.bind()
        sessions.append(stream)
    mine, theirs = sessions
    async with mine, theirs, await scene.password_session(account) as desk:
        await desk.revoke("ours")
        await assert_out(mine)
        await theirs.ping()
        assert list(await theirs.certificates()) == ["ours"]
        async with await scene.open(certificate=both) as stream:
            await stream.external(other.jid)
            await stream.bind()
        await cannot_log_in(scene, both, account.jid)


async def test_257_12_the_key_is_revoked_with_all_of_its_certificates(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    renewed = await scene.enrol(account, "renewed", certs.same_key(scene.folder, [account.jid], phone))
    later = certs.same_key(scene.folder, [account.jid], phone)
    async with (
        await scene.password_session(account) as desk,
        await scene.certificate_session(account, phone) as of_disabled,
        await scene.certificate_session(account, renewed) as of_renewed,
    ):
        await desk.disable("phone")
        await of_disabled.ping()
        await desk.revoke("renewed")
        await assert_out(of_disabled, of_renewed)
        for certificate in (phone, renewed, later):
            for name in ("phone", "another name"):
                with pytest.raises(Refused, match="^not-acceptable") as refusal:
                    await desk.append(name, certificate.base64)
                assert "revoked" in (refusal.value.element.findtext("{urn:ietf:params:xml:ns:xmpp-stanzas}text") or "")
            await cannot_log_in(scene, certificate)
        assert await desk.certificates() == {}
        # A new key is welcome, under the old name.
        fresh = scene.certificate(account)
        await desk.append("phone", fresh.base64)
        async with await scene.certificate_session(account, fresh):
            pass


async def test_257_12_nobody_can_revoke_the_key_of_another_account(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account, "phone")
    # A certificate is public: anybody can make one with the key that is in it, and no proof of having it is asked for.
    forged = certs.of_somebody_elses_key(scene.folder, [other.jid], phone)
    assert forged.key_id == phone.key_id
    async with await scene.certificate_session(account, phone) as living, await scene.password_session(other) as desk:
        await desk.append("stolen", forged.base64)
        await desk.revoke("stolen")
        await living.ping()
        async with await scene.certificate_session(account, phone) as another:
            await another.ping()
        async with await scene.password_session(account) as own:
            assert list(await own.certificates()) == ["phone"]
            await own.append("renewed", certs.same_key(scene.folder, [account.jid], phone).base64)


# --- in which order ------------------------------------------------------------------------------


async def test_257_12_who_revokes_their_own_certificate_is_answered_first_and_never_again(scene: Scene, direct_tls: bool):
    account, other = scene.account(), scene.account()
    async with await scene.password_session(other) as friend:
        await friend.send("<presence/>")
        for number in range(5):
            phone = await scene.enrol(account, f"phone {number}")
            async with await scene.certificate_session(account, phone, direct_tls=direct_tls) as stream:
                # All of it in one packet: what stands behind the revocation comes too late.
                late = "".join(f"<iq type='get' id='late{count}' to='{account.host}'><ping xmlns='{PING}'/></iq>" for count in range(5))
                late += f"<message to='{other.jid}'><body>too late</body></message>"
                await stream.send(f"<iq type='set' id='revoke'><revoke xmlns='{SASLCERT}'><name>phone {number}</name></revoke></iq>{late}")
                answers = []
                with pytest.raises(StreamEnded) as ended:
                    while True:
                        answers.append(await stream.read(5))
                assert [(answer.tag, answer.get("id"), answer.get("type")) for answer in answers] == [(f"{{{CLIENT}}}iq", "revoke", "result")]
                assert ended.value.condition == REVOKED
        await friend.ping()
        assert [one for one in friend.unclaimed if one.tag == f"{{{CLIENT}}}message"] == []


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
async def test_257_12_no_stanza_of_a_revoked_session_is_answered_after_the_answer_to_the_revocation(scene: Scene, busy: bool):
    account = scene.account()
    desk = await scene.password_session(account)
    listers = []
    if busy:
        # Much that the daemon answers at the same time: its answer and the closing may reach the server in pieces.
        for number in range(6):
            await desk.append(f"large {number}", scene.certificate(account, padding=8000).base64)
        listers = [await scene.password_session(account) for _ in range(4)]
    for number in range(15):
        phone = scene.certificate(account)
        await desk.append(f"phone {number}", phone.base64)
        async with await scene.certificate_session(account, phone) as stream, await scene.open(certificate=phone) as unbound:
            await unbound.external()
            lists = [asyncio.create_task(lister.certificates()) for lister in listers]
            # It is in the middle of asking.
            await stream.send("".join(query("before", count, account.host) for count in range(20)))
            await desk.revoke(f"phone {number}")
            for sent in ("".join(query("after", count, account.host) for count in range(20)), "</stream:stream>"):
                try:
                    await stream.send(sent)
                    await unbound.send(query("after", 0, account.host))
                except OSError:
                    break
            for ended in (stream, unbound):
                answered = []
                with pytest.raises(StreamEnded):
                    while True:
                        answered.append((await ended.read(5)).get("id") or "")
                assert [answer for answer in answered if answer.startswith("after")] == []
            await asyncio.gather(*lists)
    for stream in (desk, *listers):
        await stream.close()


@contextlib.asynccontextmanager
async def slow_closing(path: Path, daemon: Path) -> AsyncIterator[asyncio.Event]:
    """Listens at `path` for a daemon whose every sessions.close, and what follows it, is a long time coming: it
    comes when the event is set."""
    released = asyncio.Event()

    async def hold(line: bytes) -> None:
        if b'"sessions.close"' in line:
            await released.wait()

    async with relay(path, daemon, to_prosody=hold):
        try:
            yield released
        finally:
            released.set()


@pytest.mark.parametrize("by_itself", [False, True], ids=["by-another", "by-itself"])
async def test_257_12_who_reads_the_answer_finds_the_session_closed(own_scene, tmp_path_factory: pytest.TempPathFactory, by_itself: bool):
    # Short enough for a socket.
    path = tmp_path_factory.mktemp("s") / "s"
    scene = own_scene(Config(hosts=[Host(DOMAIN, declared=False)], extra=f"saslcertd_socket = {lua_string(path)}"))
    account = scene.account()
    async with slow_closing(path, scene.daemon.socket) as released:
        await asyncio.to_thread(scene.rig.wait_attached, DOMAIN)
        phone = await scene.enrol(account, "phone")
        async with await scene.certificate_session(account, phone) as stream, await scene.password_session(account) as desk:
            if by_itself:
                revoke = f"<iq type='set' id='revoke'><revoke xmlns='{SASLCERT}'><name>phone</name></revoke></iq>"
                await stream.send(revoke + query("after", 0, account.host))
                assert (await stream.read()).get("id") == "revoke"
            else:
                await desk.revoke("phone")
            await assert_out(stream)
            await desk.ping()
        assert not released.is_set()


def query(when: str, count: int, host: str) -> str:
    return f"<iq type='get' id='{when}{count}' to='{host}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"


#: How often, and how many logins each time.
ROUNDS, LOGINS = 100, 24


@pytest.mark.timeout(900)
async def test_257_12_logins_that_race_a_revocation_lose_or_are_closed(scene: Scene):
    account = scene.account()
    chance = random.Random(257)
    admitted, refused, both = 0, 0, 0
    async with await scene.password_session(account) as desk:
        await desk.send("<presence/>")

        async def log_in(stream: Stream, binds: bool) -> bool:
            """Whether it was admitted; either way it is over when this returns."""
            try:
                await stream.external()
            except Refused as refusal:
                assert refusal.condition == "not-authorized"
                return False
            except (StreamEnded, ConnectionError):
                # Between the success and the features of the new stream.
                return True
            if binds:
                with contextlib.suppress(StreamEnded, ConnectionError):
                    await stream.bind()
            # What is sent to a closed connection may cost us the stream's last words.
            assert (await stream.wait_closed(5)).condition in (REVOKED, None)
            return True

        for number in range(ROUNDS):
            name = f"phone {number}"
            phone = scene.certificate(account)
            await desk.append(name, phone.base64)
            log_begins = scene.rig.log_positions()[1]
            streams = await asyncio.gather(*(scene.open(certificate=phone, direct_tls=True) for _ in range(LOGINS)))
            assert all("EXTERNAL" in stream.mechanisms for stream in streams)
            first = chance.randrange(LOGINS + 1)
            # Every other one stays as it is after the login.
            attempts = [log_in(stream, position % 2 == 0) for position, stream in enumerate(streams)]
            logins = [asyncio.create_task(attempt) for attempt in attempts[:first]]
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            revocation = asyncio.create_task(desk.revoke(name))
            await asyncio.sleep(0)
            logins += [asyncio.create_task(attempt) for attempt in attempts[first:]]
            await revocation
            outcomes = await asyncio.gather(*logins)
            for stream in streams:
                await stream.close()

            # By the daemon's log: nobody is let in behind the revocation. Who comes while it is on its way to the disk may be refused.
            decisions = decisions_of(scene, phone, log_begins)
            assert decisions.count("revoked") == 1
            at = decisions.index("revoked")
            assert set(decisions[at + 1 :]) <= {"login: no"}, decisions
            assert (decisions.count("login: yes"), decisions.count("login: no")) == (outcomes.count(True), outcomes.count(False))
            admitted += outcomes.count(True)
            refused += outcomes.count(False)
            both += len(set(decisions)) == 3
            desk.unclaimed.clear()

        assert admitted + refused == ROUNDS * LOGINS
        assert admitted > LOGINS and refused > LOGINS and both > ROUNDS // 10, (admitted, refused, both)
        assert tagged_sessions(scene, account) == 0
        assert await desk.certificates() == {}


def decisions_of(scene: Scene, certificate: ClientCertificate, since: int) -> list[str]:
    found = []
    for line in scene.daemon.read_log(since).splitlines():
        if certificate.fingerprint not in line:
            continue
        if "external.login: yes" in line:
            found.append("login: yes")
        elif "external.login: no" in line:
            assert 'reason="key-revoked"' in line or 'reason="cert-unknown"' in line, line
            found.append("login: no")
        elif "certificate.revoke: yes" in line:
            found.append("revoked")
    return found


# --- while the server was away -------------------------------------------------------------------


async def test_257_12_the_administrator_revokes_live_unbound_and_hibernating_sessions(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with (
        await scene.certificate_session(account, phone, "orchard") as living,
        await scene.certificate_session(account, phone, "garden") as asleep,
        await scene.open(certificate=phone) as unbound,
    ):
        token = await asleep.enable_resumption()
        asleep.drop()
        await unbound.external()
        assert tagged_sessions(scene, account) == 3
        revoked = scene.daemon.command("cert", "revoke", account.jid, "phone")
        assert revoked.returncode == 0, revoked.stderr
        await assert_out(living, unbound)
        await cannot_resume(scene, account, token)
        assert tagged_sessions(scene, account) == 0


@pytest.mark.parametrize("how", ["the daemon restarts", "the daemon is killed"])
async def test_257_12_what_was_revoked_while_the_server_was_disconnected_takes_effect_when_it_is_back(own_scene, how: str):
    scene = own_scene()
    account, other = scene.account(), scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    of_other = await scene.enrol(other, "phone")
    async with (
        await scene.certificate_session(account, phone, "orchard") as living,
        await scene.certificate_session(account, phone, "garden") as asleep,
        await scene.open(certificate=phone) as unbound,
        await scene.open(certificate=phone) as waiting,
        await scene.certificate_session(account, laptop) as spared,
        await scene.certificate_session(other, of_other) as bystander,
        await scene.password_session(account, certificate=phone) as only_presented,
    ):
        token = await asleep.enable_resumption()
        asleep.drop()
        await unbound.external()
        # It can't come back before the revocation is done.
        scene.prosody.freeze()
        try:
            if how == "the daemon restarts":
                assert scene.daemon.stop() == 0
            else:
                scene.daemon.kill()
            scene.daemon.start()
            assert not scene.daemon.has_host(account.host)
            revoked = scene.daemon.command("cert", "revoke", account.jid, "phone")
            assert revoked.returncode == 0, revoked.stderr
        finally:
            scene.prosody.thaw()
        await assert_out(living, unbound)
        with pytest.raises(Refused, match="^not-authorized"):
            await waiting.external()
        scene.rig.wait_attached()
        await cannot_resume(scene, account, token)
        for stream in (spared, bystander, only_presented):
            await stream.ping()
        assert tagged_sessions(scene, account, other) == 2
        assert list(await spared.certificates()) == ["laptop"]


async def test_257_12_what_was_revoked_while_the_server_was_frozen_takes_effect_when_it_wakes(own_scene):
    scene = own_scene()
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with (
        await scene.certificate_session(account, phone) as living,
        await scene.open(certificate=phone) as waiting,
        await scene.password_session(account) as desk,
    ):
        scene.prosody.freeze()
        try:
            # What it will read first when it wakes.
            await waiting.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
            revoked = scene.daemon.command("cert", "revoke", account.jid, "phone")
            assert revoked.returncode == 0, revoked.stderr
        finally:
            scene.prosody.thaw()
        await assert_out(living)
        with pytest.raises(Refused, match="^not-authorized"):
            await waiting.finish_authentication(await waiting.read())
        await desk.ping()
        assert tagged_sessions(scene, account) == 0
