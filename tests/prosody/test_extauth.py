"""Other servers: a real ejabberd, configured as docs/operations.md says, asks the daemon through `saslcertd extauth`.

The daemon, ejabberd and the admin each under their own uid.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from connection import Refused, StreamEnded
from daemon import Daemon, Database, saslcertd_binary
from ejabberd import UNPACKED, Ejabberd
from logs import PANIC, trouble_in
from processes import REPOSITORY, Identity, clean_environment, wait_until
from raw import Stream
from slix import LoginFailed, session

ROME = "rome.lit"
# Accounts that every Debian has. The group is what lets ejabberd reach the socket; it gives no right by itself.
DAEMON = Identity("daemon", "nogroup")
SERVER = Identity("www-data", "nogroup")

REGISTER = "jabber:iq:register"

_numbers = itertools.count(1)


@dataclass
class Rome:
    """What a test sees of both."""

    folder: Path
    daemon: Daemon
    ejabberd: Ejabberd

    def saslcertd(self, *words: str, stdin: str = "") -> str:
        """What a command of the admin's prints."""
        done = subprocess.run(
            [str(self.daemon.binary), "--socket", str(self.daemon.socket), *words],
            input=stdin, capture_output=True, text=True, timeout=60, env=clean_environment(), check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def account(self, password: str) -> str:
        """A new account's username."""
        username = f"citizen{next(_numbers)}"
        self.saslcertd("account", "create", f"{username}@{ROME}", "--password-file", "-", stdin=password + "\n")
        return username

    def usernames(self) -> list[str]:
        return re.findall(r'"username":"([^"]*)"', self.saslcertd("account", "list", ROME, "--json"))

    async def log_in(self, username: str, password: str, direct_tls: bool = False) -> Stream:
        """A session of `raw`; Refused if ejabberd does not want it."""
        stream = await Stream.open(self.ejabberd.server(), direct_tls=direct_tls)
        try:
            assert "PLAIN" in stream.mechanisms
            await stream.plain(username, password)
            await stream.bind()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def admits(self, username: str, password: str, direct_tls: bool = False) -> bool:
        try:
            stream = await self.log_in(username, password, direct_tls)
        except Refused as refused:
            assert refused.condition == "not-authorized"
            return False
        await stream.close()
        return True

    async def set_password(self, username: str, password: str, session: Stream | None = None) -> None:
        """As a user does it: in a session, or by a registration."""
        stream = session or await Stream.open(self.ejabberd.server())
        try:
            fields = f"<username>{username}</username><password>{password}</password>"
            await stream.iq("set", f"<query xmlns='{REGISTER}'>{fields}</query>", to=ROME)
        finally:
            if stream is not session:
                await stream.close()


def documented_lines() -> str:
    """What docs/operations.md tells to write into ejabberd.yml."""
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    section = page.partition("\n## ejabberd and other servers\n")[2].partition("\n## ")[0]
    lines = re.search(r"(?m)((?:^    .*\n)*^    auth_method:.*\n(?:^    .*\n)*)", section)
    assert lines, "docs/operations.md does not say what ejabberd needs"
    return re.sub(r"(?m)^    ", "", lines[1])


@contextlib.contextmanager
def running(database: Database | None = None) -> Iterator[Rome]:
    """A daemon, and an ejabberd that asks it. `database`: of this store, which is there."""
    assert UNPACKED.is_dir(), "ejabberd is missing: run tests/prosody/fetch.sh test"
    folder = Path(tempfile.mkdtemp(prefix="saslcertd-", dir="/tmp"))
    folder.chmod(0o755)
    services: list[Daemon | Ejabberd] = []
    try:
        binary = DAEMON.runnable(saslcertd_binary(), folder)
        daemon = Daemon(folder, SERVER, DAEMON, binary, database)
        services.append(daemon)
        daemon.init()
        daemon.start()
        lines = documented_lines()
        config = lines.replace("/usr/local/bin/saslcertd", f"{binary} --socket {daemon.socket}")
        assert config != lines
        ejabberd = Ejabberd(folder, ROME, config, SERVER)
        services.append(ejabberd)
        ejabberd.start()
        # Its script says at once that it serves the host. Another daemon may have said so in a database that they share.
        wait_until(
            "its script is there",
            lambda: any(one["software"] == "saslcertd extauth" for one in daemon.ask("status")["connections"]),
        )
        wait_until("the host is declared", lambda: any(one["host"] == ROME for one in daemon.ask("status")["hosts"]))
        yield Rome(folder, daemon, ejabberd)
    finally:
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_rome() -> Iterator[Rome]:
    with running() as rome:
        yield rome


@pytest.fixture
def rome(shared_rome: Rome) -> Iterator[Rome]:
    """Both run at the end, and the daemon's log tells of no fault."""
    start = shared_rome.daemon.output.stat().st_size
    yield shared_rome
    shared_rome.ejabberd.require_running()
    shared_rome.daemon.require_running()
    log = shared_rome.daemon.output.read_bytes()[start:].decode()
    assert not trouble_in(log, PANIC, [])


async def test_the_right_password_logs_in_and_a_wrong_one_does_not(rome: Rome, direct_tls: bool):
    for password in ["et tu?", "a:b::", ":", "pässwörd 密码", "x" * 1000]:
        username = rome.account(password)
        assert await rome.admits(username, password, direct_tls)
        for wrong in [password + "x", password[:-1] or "x", "x\n" + password, f"{password}\nauth:{username}:{ROME}:{password}"]:
            assert not await rome.admits(username, wrong, direct_tls), wrong
        assert not await rome.admits("nobody", password, direct_tls)
        assert await rome.admits(username, password, direct_tls)


async def test_a_client_that_we_did_not_write_logs_in(rome: Rome, direct_tls: bool):
    username = rome.account("not: that I loved Caesar less")
    server, jid = rome.ejabberd.server(), f"{username}@{ROME}"
    async with session(server, jid, password="not: that I loved Caesar less", direct_tls=direct_tls) as client:
        assert client.boundjid.bare == jid
        await client.get_roster()
    with pytest.raises(LoginFailed) as failed:
        async with session(server, jid, password="but that I loved Rome more", direct_tls=direct_tls):
            pass
    assert failed.value.conditions == ["not-authorized"]


async def test_many_at_a_time_get_each_their_own_answer(rome: Rome):
    usernames = [rome.account(f"secret of {number}") for number in range(10)]

    async def one(number: int, username: str) -> None:
        for turn in range(4):
            is_right = (number + turn) % 2 == 0
            assert await rome.admits(username, f"secret of {number if is_right else number + 1}") is is_right

    await asyncio.gather(*(one(number, username) for number, username in enumerate(usernames)))


async def test_a_password_that_the_admin_changed_counts_at_once(rome: Rome):
    username = rome.account("old")
    assert await rome.admits(username, "old")
    rome.saslcertd("account", "passwd", f"{username}@{ROME}", "--password-file", "-", stdin="new\n")
    assert not await rome.admits(username, "old")
    assert await rome.admits(username, "new")
    rome.saslcertd("account", "disable", f"{username}@{ROME}")
    assert not await rome.admits(username, "new")
    rome.saslcertd("account", "enable", f"{username}@{ROME}")
    assert await rome.admits(username, "new")


async def test_a_user_registers_changes_the_password_and_leaves(rome: Rome):
    username = f"citizen{next(_numbers)}"
    await rome.set_password(username, "first: one")
    assert username in rome.usernames()
    async with await rome.log_in(username, "first: one") as stream:
        await rome.set_password(username, "second: one", stream)
        assert not await rome.admits(username, "first: one")
        assert await rome.admits(username, "second: one")
        # ejabberd may close the stream before its result.
        with contextlib.suppress(StreamEnded):
            await stream.iq("set", f"<query xmlns='{REGISTER}'><remove/></query>", to=ROME)
        wait_until("the account is gone", lambda: username not in rome.usernames())
    assert not await rome.admits(username, "second: one")


async def test_without_the_daemon_nobody_logs_in_and_ejabberd_recovers_by_itself(rome: Rome):
    username = rome.account("et tu?")
    async with await rome.log_in(username, "et tu?") as bystander:
        rome.daemon.stop()
        assert not await rome.admits(username, "et tu?")
        assert not await rome.admits(username, "wrong")
        why = "saslcertd extauth: answering no: saslcertd is not running"
        wait_until("the script has said why", lambda: why in rome.ejabberd.output.read_text())
        await bystander.ping(5)
        rome.daemon.start()
        assert await rome.admits(username, "et tu?")
        assert not await rome.admits(username, "wrong")
        await bystander.ping(5)


async def test_the_script_runs_as_a_server_and_tells_nobody_the_passwords(rome: Rome):
    assert {one["role"] for one in rome.daemon.ask("status")["connections"] if one["software"] == "saslcertd extauth"} == {"server"}
    username = rome.account("a secret of Brutus")
    assert await rome.admits(username, "a secret of Brutus")
    said = rome.daemon.read_log()
    assert f"account.verify: yes account={username}@{ROME}" in said
    assert "a secret of" not in said
    assert "a secret of" not in rome.ejabberd.output.read_text()


def test_what_another_user_runs_is_not_in_our_folder_which_may_be_closed_to_it(rome: Rome):
    for service in (rome.daemon, rome.ejabberd):
        inside = {path for path in service.programs() if path.is_relative_to(REPOSITORY)}
        assert not inside and {path for path in service.programs() if path.is_relative_to(rome.folder)}, service.name


@pytest.mark.parametrize(
    ("stranger", "advice"),
    [(Identity("nobody", "nogroup"), "--server-user"), (Identity("games", "games"), "let its group into the folder")],
    ids=["other-user", "other-group"],
)
def test_a_user_whom_the_daemon_does_not_know_gets_no_and_learns_what_is_missing(rome: Rome, stranger: Identity, advice: str):
    username = rome.account("et tu?")
    done = subprocess.run(
        [*stranger.prefix(), str(rome.daemon.binary), "extauth", "--host", ROME, "--socket", str(rome.daemon.socket)],
        input=f"isuser:{username}:{ROME}\nauth:{username}:{ROME}:et tu?\n",
        capture_output=True, text=True, timeout=60, env=clean_environment(), cwd="/", check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n0\n")
    assert advice in done.stderr
