"""More set-ups that somebody broke: what the daemon is started with, its store, and the place of its socket."""

from __future__ import annotations

import re
import signal

import pytest

from chatserver import SOCKET, STORE, ChatServer, assert_mended, mend
from processes import wait_until

STOPPED = ("daemon", "isn't running", SOCKET)
#: What would take a folder away from those who rely on it.
RIGHTS = ("chmod", "chown", "chgrp")


@pytest.mark.parametrize("folder", ["/tmp", "/run/prosody", "/var/lib/prosody"])
def test_a_socket_in_a_folder_that_others_rely_on(well: ChatServer, folder: str):
    well.stop_daemon()
    well.set_globally(f'saslcertd_socket = "{folder}/saslcertd.sock"')
    well.machine.run("prosodyctl reload --force")
    assert not any(word in str(finding["mend"]) for finding in well.doctor().findings for word in RIGHTS)
    mend(well, ("folder", folder), STOPPED)


@pytest.mark.parametrize(
    ("damage", "check", "words"),
    [
        (f"chown root {STORE}/sled/db", "store", f"{STORE}/sled/db belongs to root"),
        (f"chown root {STORE}/SEQUENCE", "store", f"{STORE}/SEQUENCE belongs to root"),
        (f"cp -r {STORE} /root/copy && rm -r {STORE} && cp -r /root/copy {STORE} && chmod 700 {STORE}", "store", "belongs to root"),
        (f"mount --bind {STORE} {STORE} && mount -o remount,ro,bind {STORE}", "store", "Read-only file system"),
        ("rm -rf /run/saslcertd && mkdir -m 755 /run/saslcertd", "folder", "/run/saslcertd belongs to root"),
        ("chmod g+w /run/saslcertd", "folder", "/run/saslcertd can be written by others"),
        (f"rm -f {SOCKET} && echo precious >{SOCKET}", "folder", f"{SOCKET} exists and is not a socket"),
    ],
    ids=["root's file", "root's mark", "root's copy", "read-only", "root's folder", "open folder", "a file"],
)
def test_what_keeps_the_daemon_from_starting(well: ChatServer, damage: str, check: str, words: str):
    well.stop_daemon()
    well.machine.run(damage)
    refused = well.machine.attempt("saslcertd serve")
    assert refused.returncode == 1 and words in refused.stderr, refused
    mend(well, (check, words), STOPPED)
    assert well.machine.run(f"find {STORE} /run/saslcertd -user root -not -name '*.aside'") == ""
    if "precious" in damage:
        assert well.machine.file(f"{SOCKET}.aside").read_text() == "precious\n"


def test_the_line_of_status(well: ChatServer):
    well.stop_daemon()
    said = well.machine.attempt("saslcertd status").stderr
    [line] = re.findall(r"start it with: ([^;)]+)", said)
    well.start_daemon(line)
    [pid] = well.machine.processes("saslcertd")
    assert well.machine.run(f"stat -c %U /proc/{pid}").strip() == "saslcertd"
    assert_mended(well)
    assert well.machine.run(f"find {STORE} /run/saslcertd -user root") == ""


def test_a_daemon_that_was_killed(well: ChatServer):
    """Its socket is still there."""
    well.machine.end("saslcertd", signal.SIGKILL)
    assert well.machine.file(SOCKET).is_socket()
    mend(well, STOPPED)


@pytest.mark.provokes("a question took too long")
def test_a_daemon_that_hangs(well: ChatServer):
    well.stop_daemon()
    # Below a shell, which sees its end; what runs a line inside stops together with it.
    well.start_daemon("saslcertd serve & wait")
    assert_mended(well)
    [pid] = well.machine.processes("saslcertd")
    well.machine.run(f"kill -STOP {pid}")
    mend(well, ("daemon", "does not answer"))
    assert well.machine.processes("saslcertd") != [pid]


@pytest.mark.provokes("refused: neither")
def test_a_daemon_that_was_told_of_another_server(well: ChatServer):
    well.stop_daemon()
    well.start_daemon("saslcertd serve --server-user games")
    # Its socket was for the other one.
    well.machine.run(f"chgrp prosody {SOCKET}")
    mend(well, ("role", "prosody", "--server-user games"))


def test_a_prosody_that_looks_elsewhere(well: ChatServer):
    well.set_globally('saslcertd_socket = "/run/saslcertd/saslcert.sock"')
    well.restart_prosody()
    wait_until("the host is not declared", lambda: not well.is_ready())
    mend(well, ("socket", "/run/saslcertd/saslcert.sock", SOCKET))
