"""`saslcertd account` on a terminal: passwords are asked for without echo, and a deletion is confirmed."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon import Daemon
from processes import Identity, clean_environment, wait_until

BRUTUS = "brutus@rome.lit"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, Identity())
    daemon.init()
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def on_terminal(daemon: Daemon, words: list[str], typed: list[tuple[str, str]], is_secret: bool = True) -> tuple[int, str]:
    """Types each line when its prompt is shown, and not before the terminal's echo is as it must be. The exit status, and what
    the terminal has shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(daemon.binary, [str(daemon.binary), "--socket", str(daemon.socket), "account", *words], clean_environment())
    shown = b""
    os.set_blocking(terminal, False)

    def read() -> bool:
        """Whether the command has ended."""
        nonlocal shown
        try:
            shown += os.read(terminal, 4096)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    def is_asked(prompt: str) -> Callable[[], bool]:
        return lambda: read() or (prompt.encode() in shown and bool(termios.tcgetattr(terminal)[3] & termios.ECHO) is not is_secret)

    try:
        for prompt, line in typed:
            wait_until(f"the prompt {prompt!r}", is_asked(prompt), diagnosis=shown.decode)
            os.write(terminal, line.encode() + b"\n")
        wait_until("the command ends", read, diagnosis=shown.decode)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()
    finally:
        os.close(terminal)


def verifies(daemon: Daemon, password: str) -> bool:
    try:
        daemon.ask("account.verify", {"account": BRUTUS, "password": password, "address": None})
    except Exception as error:
        assert "password-wrong" in str(error)
        return False
    return True


def test_a_new_password_is_asked_for_twice_and_never_shown(daemon: Daemon):
    new, again = f"Password of {BRUTUS} (new): ", f"Password of {BRUTUS} (again): "
    create = ["create", BRUTUS, "--new-host"]
    status, shown = on_terminal(daemon, create, [(new, "et tu?"), (again, "et two?")])
    assert status != 0 and "not the same" in shown, shown
    assert daemon.ask("account.exists", {"account": BRUTUS})["exists"] is False

    status, shown = on_terminal(daemon, create, [(new, "et tu?"), (again, "et tu?")])
    assert (status, "was created" in shown) == (0, True), shown
    assert "et t" not in shown
    assert verifies(daemon, "et tu?")

    status, shown = on_terminal(daemon, ["passwd", BRUTUS], [(new, "密码:"), (again, "密码:")])
    assert (status, "密码" in shown) == (0, False), shown
    assert verifies(daemon, "密码:") and not verifies(daemon, "et tu?")


def test_nothing_is_asked_when_it_could_not_be_done_anyway(daemon: Daemon):
    host = {"host": "rome.lit", "accounts": "daemon", "options": {}}
    for words, expected in [(["create", BRUTUS], "is not declared"), (["passwd", BRUTUS], "there is no account")]:
        status, shown = on_terminal(daemon, words, [])
        assert status != 0 and expected in shown and "Password" not in shown, shown
        daemon.ask("session.hello", {"protocol": 2, "software": "test", "sessions": False, "hosts": [host]})


def test_a_deletion_wants_yes(daemon: Daemon):
    prompt = f"Delete {BRUTUS}, its password and its certificates? Type yes: "
    made = [(f"Password of {BRUTUS} ({which}): ", "et tu?") for which in ("new", "again")]
    assert on_terminal(daemon, ["create", BRUTUS, "--new-host"], made)[0] == 0
    for answer in ["", "y", "no"]:
        status, shown = on_terminal(daemon, ["delete", BRUTUS], [(prompt, answer)], is_secret=False)
        assert status != 0 and "nothing was deleted" in shown, shown
    assert verifies(daemon, "et tu?")
    status, shown = on_terminal(daemon, ["delete", BRUTUS], [(prompt, "yes")], is_secret=False)
    assert (status, "was deleted, and 0 certificates with it" in shown) == (0, True), shown
    assert daemon.ask("account.exists", {"account": BRUTUS})["exists"] is False
