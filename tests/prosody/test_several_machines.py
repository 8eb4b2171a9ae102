"""Several daemons on one database, each with a Prosody or an ejabberd of its own: what is enrolled at one logs in at the other, and behind the answer to a
revocation nobody comes in anywhere, and no session is left."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rome
import slix
import test_extauth
from certs import ClientCertificate
from conftest import observed
from connection import Refused, StreamEnded
from daemon import Daemon, Database, saslcertd_binary
from namespaces import CLIENT
from postgresql import SYNCHRONOUS, PostgreSql
from processes import Identity, RigError, tail, wait_until
from rig import Rig
from rome import ROME
from raw import Stream
from scene import Account, Scene
from test_revocation import tagged_sessions


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder where PostgreSQL's user can go."""
    with tempfile.TemporaryDirectory(prefix="saslcertd-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def server(place: Path) -> Iterator[PostgreSql]:
    with contextlib.closing(PostgreSql(place / "first")) as server:
        server.make()
        server.start()
        server.run("CREATE ROLE saslcertd LOGIN")
        yield server


@contextlib.contextmanager
def with_standby(place: Path, *settings: str) -> Iterator[tuple[PostgreSql, PostgreSql]]:
    """A server, and a standby of it; both run."""
    with contextlib.closing(PostgreSql(place / "first", *settings)) as first, contextlib.closing(PostgreSql(place / "second")) as second:
        first.make()
        first.start()
        first.run("SET synchronous_commit = local", "CREATE ROLE saslcertd LOGIN")
        second.follow(first)
        second.start()
        yield first, second


@contextlib.contextmanager
def daemons(database: Database, folder: Path, count: int) -> Iterator[list[Daemon]]:
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(count):
            own = folder / str(number)
            own.mkdir()
            daemon = Daemon(own, Identity(), database=database)
            if not started:
                database.make(daemon.binary)
            daemon.start()
            stack.callback(daemon.stop)
            started.append(daemon)
        yield started


@dataclass(frozen=True)
class Machines:
    """Two of them."""

    here: Scene
    there: Scene
    database: Database


@pytest.fixture
def machines(server: PostgreSql, version: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    with two_machines(Database(str(server.folder)), version, tmp_path, request) as machines:
        yield machines


@contextlib.contextmanager
def two_machines(database: Database, version: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    with contextlib.ExitStack() as stack:
        rigs = [stack.enter_context(Rig(version, rome.config(), database=database)) for _ in range(2)]
        database.make(rigs[0].daemon.binary)
        scenes = []
        for rig in rigs:
            rig.start()
            scenes.append(stack.enter_context(observed(rig, folder, request)))
        yield Machines(scenes[0], scenes[1], database)


def account_at(scene: Scene, name: str) -> Account:
    account = Account(name, ROME)
    scene.daemon.ask("account.create", {"account": account.jid, "password": account.password, "caller": "server"})
    return account


async def assert_out(scene: Scene, account: Account, certificate: object) -> None:
    with pytest.raises(Refused):
        async with await scene.certificate_session(account, certificate):  # type: ignore[arg-type]
            pass


async def test_what_is_enrolled_here_logs_in_there_and_what_is_revoked_here_is_out_there_behind_the_answer(machines: Machines):
    here, there = machines.here, machines.there
    account = account_at(here, "brutus")
    phone = await here.enrol(account)
    async with await there.certificate_session(account, phone) as session, await there.password_session(account) as spared:
        revoked = await asyncio.to_thread(here.daemon.command, "cert", "revoke", account.jid, "phone")
        assert revoked.returncode == 0, revoked
        with pytest.raises(StreamEnded) as ended:
            await session.read(5)
        assert ended.value.condition == "not-authorized"
        await spared.ping()
    for scene in (here, there):
        await assert_out(scene, account, phone)


async def test_an_account_hears_at_the_other_machine_what_is_revoked_here_where_no_prosody_is(machines: Machines):
    here, there = machines.here, machines.there
    account = account_at(here, "portia")
    await here.enrol(account, "phone")
    here.prosody.stop()
    async with await there.password_session(account) as session:
        await session.send("<presence/>")
        revoked = await asyncio.to_thread(here.daemon.command, "cert", "revoke", account.jid, "phone")
        assert revoked.returncode == 0, revoked
        text = (await session.message()).findtext(f"{{{CLIENT}}}body", "")
        assert text.startswith('The certificate "phone" was revoked by the server\'s administrator'), text
    here.prosody.start()
    here.rig.wait_attached()


async def come_in(scene: Scene, account: Account, certificate: ClientCertificate, is_in: asyncio.Event, is_out: asyncio.Event) -> list[Stream]:
    """Logs in again and again until a try that began when `is_out` fails. The sessions that it got."""
    sessions = []
    while True:
        was_out = is_out.is_set()
        try:
            session = await scene.certificate_session(account, certificate)
        except (Refused, StreamEnded):
            # Before that, it is out in the middle of the login.
            if was_out:
                return sessions
            continue
        sessions.append(session)
        is_in.set()
        assert not was_out, "it came in behind the answer"


async def hears_that_it_is_out(session: Stream) -> None:
    async with session:
        with pytest.raises(StreamEnded) as ended:
            heard = await session.read(5)
            raise AssertionError(heard)
        assert (ended.value.condition, ended.value.text) == ("not-authorized", "This client certificate has been revoked")


async def test_logins_there_that_race_revocations_here_leave_no_session_behind_the_answer(machines: Machines):
    """32 accounts, four at a time; at each of them logins that never pause, and a session of a client that we did not write."""
    here, there = machines.here, machines.there
    accounts = [await asyncio.to_thread(account_at, here, f"conspirator{number}") for number in range(32)]

    async def one(account: Account) -> int:
        phone = await here.enrol(account)
        is_in, is_out, is_gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        async with slix.session(there.server(ROME), account.jid, certificate=phone) as other, asyncio.TaskGroup() as tasks:
            other.add_event_handler("disconnected", lambda _: is_gone.set())
            racers = [tasks.create_task(come_in(there, account, phone, is_in, is_out)) for _ in range(3)]
            await is_in.wait()
            revoked = await asyncio.to_thread(here.daemon.command, "cert", "revoke", account.jid, "phone")
            assert revoked.returncode == 0, revoked
            is_out.set()
            sessions = [session for racer in racers for session in await racer]
            await asyncio.gather(*map(hears_that_it_is_out, sessions))
            await asyncio.wait_for(is_gone.wait(), 5)
        return len(sessions)

    came_in = 0
    for first in range(0, len(accounts), 4):
        came_in += sum(await asyncio.gather(*map(one, accounts[first : first + 4])))
    assert came_in >= len(accounts)
    for scene in (here, there):
        assert tagged_sessions(scene, *accounts) == 0


async def test_a_password_that_is_changed_here_is_changed_there(machines: Machines):
    account = account_at(machines.here, "cassius")
    async with await machines.there.password_session(account):
        pass
    machines.here.daemon.ask("account.set_password", {"account": account.jid, "password": "another"})
    with pytest.raises(Refused):
        async with await machines.there.password_session(account):
            pass
    async with await machines.there.password_session(Account(account.username, ROME, "another")):
        pass


async def test_what_one_ejabberd_changes_counts_at_the_other(server: PostgreSql):
    """Each with a daemon of its own, whose script it asks."""
    database = Database(str(server.folder))
    database.make(saslcertd_binary())
    with test_extauth.running(database) as here, test_extauth.running(database) as there:
        username = here.account("made here")
        assert await there.admits(username, "made here")
        async with await there.log_in(username, "made here") as session:
            await there.set_password(username, "set by its user", session)
        for one in (here, there):
            assert not await one.admits(username, "made here")
            assert await one.admits(username, "set by its user")
        there.saslcertd("account", "passwd", f"{username}@{ROME}", "--password-file", "-", stdin="set by the admin\n")
        assert await here.admits(username, "set by the admin")
        assert not await here.admits(username, "set by its user")
        here.saslcertd("account", "disable", f"{username}@{ROME}")
        for one in (here, there):
            assert not await one.admits(username, "set by the admin")
        there.saslcertd("account", "enable", f"{username}@{ROME}")
        assert await here.admits(username, "set by the admin")
        await here.set_password("newcomer", "registered here")
        assert await there.admits("newcomer", "registered here")
        here.saslcertd("account", "delete", "--yes", f"newcomer@{ROME}")
        assert not await there.admits("newcomer", "registered here")
        assert here.usernames() == there.usernames() == [username]


def test_a_synchronous_standby_that_is_promoted_has_all_that_was_answered(place: Path, tmp_path: Path):
    with with_standby(place, *SYNCHRONOUS) as (first, second):
        database = Database(str(first.folder), str(second.folder))
        with daemons(database, tmp_path, 2) as (here, there):
            standbys = here.ask("status")["store"]["shared"]["standbys"]
            # The daemon's role may see the setting, and not who is there.
            assert (standbys["names"], standbys["there"]) == ("*", None)
            assert "GRANT pg_monitor TO " in standbys["problem"]
            first.run("GRANT pg_monitor TO saslcertd")
            standbys = here.ask("status")["store"]["shared"]["standbys"]
            assert standbys == {"names": "*", "there": 1, "problem": None}
            made = [f"player{number}@{ROME}" for number in range(40)]
            deleted = []
            for jid in made:
                here.ask("session.hello", {"protocol": 2, "software": "test", "hosts": [HERE], "waits_ms": 2000})
                here.ask("account.create", {"account": jid, "password": "a", "caller": "server"})
            ended = threading.Timer(0.5, first.crash)
            ended.start()
            # Until the server is gone, and no further.
            for jid in made:
                try:
                    here.ask("account.delete", {"account": jid})
                except RigError:
                    break
                deleted.append(jid)
            ended.join()
            second.promote()
            for daemon in (here, there):
                wait_until("the daemon answers", lambda daemon=daemon: is_answered(daemon), diagnosis=lambda daemon=daemon: tail(daemon.output))
                there_are = {jid for jid in made if daemon.ask("account.exists", {"account": jid})["exists"]}
                assert there_are.isdisjoint(deleted)
                # One change may be made without having been answered.
                assert len(there_are) >= len(made) - len(deleted) - 1
            if len(deleted) < len(made):
                here.ask("account.delete", {"account": made[-1]})
                assert not there.ask("account.exists", {"account": made[-1]})["exists"]


def test_a_standby_that_lacks_what_was_answered_is_refused_in_words(place: Path, tmp_path: Path):
    with with_standby(place) as (first, second):
        database = Database(str(first.folder), str(second.folder))
        with daemons(database, tmp_path, 1) as (daemon,):
            wait_until("the standby has the store", lambda: is_there(second, database))
            second.crash()
            daemon.ask("session.hello", {"protocol": 2, "software": "test", "hosts": [HERE], "waits_ms": 2000})
            daemon.ask("account.create", {"account": f"brutus@{ROME}", "password": "a", "caller": "server"})
            first.crash()
            second.start()
            second.promote()
            wait_until("the daemon ends", lambda: not daemon.is_running())
            assert "has gone back to an older state" in daemon.written()
            assert "--accept-rollback" in daemon.written()


HERE = {"host": ROME, "accounts": "daemon", "options": {"saslcertd_scram_iterations": 4096}}


def is_answered(daemon: Daemon) -> bool:
    try:
        daemon.ask("account.exists", {"account": f"nobody@{ROME}"})
    except RigError:
        return False
    return True


def is_there(server: PostgreSql, database: Database) -> bool:
    try:
        return bool(server.run("SELECT * FROM saslcertd.head", database=database.name).strip())
    except RigError:
        return False
