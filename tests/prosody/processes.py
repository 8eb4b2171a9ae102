"""Processes of the tests: as whom they run, how they start, end and stand still, and how an event is awaited.

Nothing here sleeps for a fixed time: every wait polls for its event, with a deadline. Whatever happens to the process of the tests,
the kernel ends its children.

Needs only Python's standard library. Must not know which programs they are.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "target"

#: Slow machines are not broken ones: how long anything that should happen may take, in seconds.
PATIENCE = 20.0

#: Where `free_ports` looks: below those that the kernel gives to outgoing connections.
PORTS = range(15000, 32000)

T = TypeVar("T")


class RigError(Exception):
    """The rig could not do what it was asked for; the message says why, with the end of the log that tells."""


def wait_until(what: str, probe: Callable[[], T], timeout: float = PATIENCE, diagnosis: Callable[[], str] | None = None) -> T:
    """The first true answer of `probe`; a RigError that names `what` when there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise RigError(f"waited {timeout:g} s in vain: {what}{diagnosis() if diagnosis else ''}")
        time.sleep(0.01)


def freeze(pid: int) -> None:
    """Stops a process, and waits until none of its threads runs any more: the signal alone says nothing of when."""

    def stopped() -> bool:
        # proc(5): the state stands behind the name, which may hold parentheses.
        try:
            states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread has just ended
        return bool(states) and all(state == "T" for state in states)

    os.kill(pid, signal.SIGSTOP)
    wait_until(f"the threads of process {pid} stand still", stopped)


def keep_to_own_ports(number: int, count: int) -> None:
    """Of `count` processes that look for ports at the same time, this is `number`, from 0 on: none takes what another has found
    free and not opened yet."""
    global PORTS
    PORTS = PORTS[number::count]


# Some are written into a configuration long before anybody listens on them.
_dealt: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Loopback ports of `PORTS` that nobody listens on, and that were not dealt before."""
    ports: list[int] = []
    held = []
    try:
        while len(ports) < count:
            port = random.SystemRandom().choice([port for port in PORTS if port not in _dealt])
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
                continue
            held.append(candidate)
            ports.append(port)
            _dealt.add(port)
    finally:
        for candidate in held:
            candidate.close()
    return ports


def tail(path: Path, lines: int = 30) -> str:
    """The end of a log, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"\n({error})"
    return f"\n--- the end of {path.name}:\n" + "\n".join(text.splitlines()[-lines:])


@dataclass(frozen=True)
class Identity:
    """As whom a process runs (`None`: as whoever runs the tests), and whether it may outlive us."""

    user: str | None = None
    group: str | None = None
    outlives_us: bool = False

    def prefix(self) -> list[str]:
        """What stands before a command. The child dies with us, even when we are killed, unless it may outlive us."""
        words = ["setpriv", "--pdeathsig", "clear" if self.outlives_us else "KILL"]
        if self.user is not None:
            words += ["--reuid", self.user, "--regid", self.group or self.user, "--clear-groups"]
        return words

    def name(self) -> str:
        return self.user or pwd.getpwuid(os.geteuid()).pw_name

    def own(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user, self.group or self.user)

    def runnable(self, source: Path, folder: Path) -> Path:
        """Where this user finds `source`, a file or a folder: in `folder`, where the user can go, if it is another than ours.
        Nobody else may be let into the folders above our repository."""
        if self.user is None:
            return source
        copy = folder / source.name
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            shutil.copy(source, copy)
        return copy


def clean_environment() -> dict[str, str]:
    """Ours, without what would change the meaning of a command line."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SASLCERTD_", "RUST_LOG", "LUA_"))}


def finish(command: list[str], what: str, timeout: float = PATIENCE) -> str:
    """Runs a command that must succeed, and returns what it printed."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=clean_environment(), check=False
    )
    if done.returncode != 0:
        raise RigError(f"{what} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Service:
    """One process in the background whose output goes to a file."""

    def __init__(self, name: str, output: Path):
        self.name = name
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RigError(f"{self.name} was not started")
        return self.process.pid

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def spawn(self, command: list[str], **options: Any) -> None:
        if self.is_running():
            raise RigError(f"{self.name} is running already")
        # The kernel ends a child with the thread that made it.
        assert threading.current_thread() is threading.main_thread()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=clean_environment(),
                **options,
            )

    def programs(self) -> set[Path]:
        """The programs and libraries that it and its children have loaded."""
        loaded = set()
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with contextlib.suppress(OSError):  # It may have ended.
                if os.getsid(int(maps.parent.name)) == self.pid:
                    loaded |= {Path(path) for path in re.findall(r" r-xp .* (/.*)$", maps.read_text(), re.MULTILINE)}
        return loaded

    def require_running(self) -> None:
        if not self.is_running():
            status = self.process.returncode if self.process else "never started"
            raise RigError(f"{self.name} has ended (status {status}){tail(self.output)}")

    def stop(self, timeout: float = PATIENCE) -> int | None:
        """Asks it to end, and makes it end if it does not. Its exit status, or None if it was not running."""
        if self.process is None:
            return None
        if self.is_running():
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        status = self.process.returncode
        self.process = None
        return status

    def freeze(self) -> None:
        freeze(self.pid)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
