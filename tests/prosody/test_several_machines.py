"""Several daemons on one database, each with a Prosody of its own: what is enrolled at one logs in at the other, and behind the answer to a
revocation nobody comes in anywhere, and no session is left."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rome
from conftest import observed
from connection import Refused, StreamEnded
from daemon import Database
from postgresql import SYNCHRONOUS, PostgreSql
from processes import wait_until
from rig import Rig
from rome import ROME
from scene import Account, Scene


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
    scene.daemon.ask("account.create", {"account": account.jid, "password": account.password})
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


async def test_a_password_that_is_changed_here_is_changed_there(machines: Machines):
    account = account_at(machines.here, "cassius")
    async with await machines.there.password_session(account):
        pass
    machines.here.daemon.ask("account.set-password", {"account": account.jid, "password": "another"})
    with pytest.raises(Refused):
        async with await machines.there.password_session(account):
            pass
    async with await machines.there.password_session(Account(account.username, ROME, "another")):
        pass
