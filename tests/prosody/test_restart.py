"""The daemon is started anew while people log in: its socket stays, so nobody notices.

systemd keeps the socket in life; here systemd-socket-activate makes it, and a loop that starts the daemon again when it
has ended keeps it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import observed
from connection import Refused
from daemon import Daemon
from processes import freeze, tail, wait_until
from prosody import Config
from rig import Rig
from scene import Scene

#: Starts the service that is to find a socket at descriptor 3, again and again; writes down in a folder whom it started,
#: and how that ended. The inner shell becomes the daemon, so that LISTEN_PID is right.
KEEPER = """
export folder=$1
shift
while :; do
	setpriv --pdeathsig KILL sh -c '
		echo $$ >"$folder/pid.new"; mv "$folder/pid.new" "$folder/pid"
		LISTEN_PID=$$ exec "$0" "$@"' "$@"
	echo $? >>"$folder/ends"
done
"""


class ActivatedDaemon(Daemon):
    """A daemon whose socket outlives it."""

    def __init__(self, plain: Daemon):
        # A rig makes a plain one, and its folders.
        vars(self).update(vars(plain))
        self.folder = self.run.parent / "keeper"
        self.folder.mkdir()

    def start(self) -> None:
        serve = [str(self.binary), "serve", "--data-dir", str(self.data), "--socket", str(self.socket)]
        serve += ["--server-user", self.server_user.name()]
        keeper = ["sh", "-c", KEEPER, "keeper", str(self.folder), *serve]
        self.spawn([*self.identity.prefix(), "systemd-socket-activate", "--listen", str(self.socket), "--", *keeper])
        # The first connection starts the first daemon.
        wait_until("saslcertd answers on its socket", self._answers, diagnosis=lambda: tail(self.output))
        wait_until("the first daemon", lambda: self.daemon_pid() is not None, diagnosis=lambda: tail(self.output))

    def daemon_pid(self) -> int | None:
        file = self.folder / "pid"
        return int(file.read_text()) if file.exists() else None

    def present_pid(self) -> int:
        pid = self.daemon_pid()
        assert pid is not None
        return pid

    def send(self, how: signal.Signals) -> None:
        """Sends a signal to the present daemon."""
        os.kill(self.present_pid(), how)

    def ends(self) -> list[int]:
        """How each one ended: exit status, or 128 and the signal."""
        file = self.folder / "ends"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture
def activated_scene(version: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    # The daemon of the tests starts slowly on a busy machine; what counts is that its start loses nothing.
    with Rig(version, Config(timeout=60)) as rig:
        rig.daemon = rig.prosody.daemon = ActivatedDaemon(rig.daemon)
        rig.start()
        with observed(rig, tmp_path, request) as scene:
            yield scene


def daemon_of(scene: Scene) -> ActivatedDaemon:
    assert isinstance(scene.daemon, ActivatedDaemon)
    return scene.daemon


async def until(what: str, probe: Callable[[], bool], timeout: float = 20.0) -> None:
    try:
        async with asyncio.timeout(timeout):
            while not probe():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited {timeout:g} s in vain: {what}") from None


async def test_of_100_logins_during_restarts_none_fails_but_for_its_certificate(activated_scene: Scene, direct_tls: bool):
    scene, daemon = activated_scene, daemon_of(activated_scene)
    accounts = [scene.account() for _ in range(4)]
    phones = {account: await scene.enrol(account) for account in accounts}
    logins, numbers = [], iter(range(100))

    async def walk(turn: int) -> None:
        account = accounts[turn]
        stranger = scene.certificate(account)
        for number in numbers:
            if number % 10 == 9:
                with pytest.raises(Refused, match="^invalid-mechanism"):
                    await scene.certificate_session(account, stranger, direct_tls=direct_tls)
            else:
                async with await scene.certificate_session(account, phones[account], direct_tls=direct_tls) as stream:
                    assert stream.jid and stream.jid.startswith(account.jid + "/")
            logins.append(number)

    async def restart() -> None:
        for how, at in zip(itertools.cycle([signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]), range(5, 100, 10)):
            await until(f"login {at}", lambda at=at: len(logins) >= at)
            before = len(daemon.ends())
            daemon.send(how)
            await until("the end", lambda before=before: len(daemon.ends()) > before)

    await asyncio.gather(restart(), *(walk(turn) for turn in range(len(accounts))))
    assert sorted(logins) == list(range(100))
    assert sorted(daemon.ends()) == [0] * 7 + [128 + signal.SIGKILL] * 3


async def test_a_login_that_waits_when_its_daemon_dies_is_answered_by_the_next(activated_scene: Scene, direct_tls: bool):
    scene, daemon = activated_scene, daemon_of(activated_scene)
    account, bystander = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(bystander) as other:
        for _ in range(3):
            async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
                assert "EXTERNAL" in stream.mechanisms
                freeze(daemon.present_pid())
                login = asyncio.create_task(stream.external())
                # Prosody reads in turns: when it has answered what came later, the question is written.
                for _ in range(3):
                    await other.ping()
                assert not login.done()
                daemon.send(signal.SIGKILL)
                await login
                await stream.bind()
    assert daemon.ends() == [128 + signal.SIGKILL] * 3
