"""A private PostgreSQL in a throw-away folder, on a Unix socket, and standbys of it.

It refuses root: it runs as the user of Debian's package then.

Needs only Python's standard library. Must not know what is kept in it.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from processes import PATIENCE, Identity, RigError, Service, finish, tail, wait_until

#: What is asked of a server that others follow: it acknowledges what a standby has on its disk.
SYNCHRONOUS = ("synchronous_standby_names=*",)


def programs() -> Path:
    """The folder of Debian's newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not found:
        raise RigError("PostgreSQL is missing: run tests/prosody/fetch.sh test")
    return found[-1]


class PostgreSql(Service):
    """One server; `settings`: more of its options, each NAME=VALUE."""

    def __init__(self, folder: Path, *settings: str):
        self.folder = folder
        self.folder.mkdir()
        super().__init__("postgres", folder / "output.log")
        self.identity = Identity("postgres") if os.geteuid() == 0 else Identity()
        self.identity.own(folder)
        self.data = folder / "data"
        self.settings = settings

    def _run(self, program: str, *words: str) -> str:
        return finish([*self.identity.prefix(), str(programs() / program), *words], program)

    def make(self) -> None:
        self._run("initdb", "--pgdata", str(self.data), "--auth", "trust", "--username", "postgres", "--encoding", "UTF8", "--locale", "C")

    def follow(self, primary: PostgreSql) -> None:
        """Copies `primary`, which runs, and follows it from then on."""
        connection = f"host={primary.folder} user=postgres application_name={self.folder.name}"
        self._run("pg_basebackup", "--pgdata", str(self.data), "--dbname", connection, "--checkpoint", "fast", "--write-recovery-conf")

    def start(self) -> None:
        """Returns when it answers."""
        options = [f"unix_socket_directories={self.folder}", "listen_addresses=", "max_connections=200", *self.settings]
        words = [word for option in options for word in ("-c", option)]
        self.spawn([*self.identity.prefix(), str(programs() / "postgres"), "-D", str(self.data), *words])
        wait_until("PostgreSQL answers", self.answers, diagnosis=lambda: tail(self.output))

    def answers(self) -> bool:
        self.require_running()
        try:
            self.run("SELECT")
        except RigError:
            return False
        return True

    def run(self, *statements: str, database: str = "postgres") -> str:
        """The rows of these statements, a line each."""
        words = [word for statement in statements for word in ("--command", statement)]
        connection = f"host={self.folder} dbname={database} user=postgres"
        return finish([str(programs() / "psql"), "--no-psqlrc", "--tuples-only", "--no-align", "--dbname", connection, *words], "psql")

    def promote(self) -> None:
        """Returns when it takes changes."""
        self.run("SELECT pg_promote()")
        wait_until("it takes changes", lambda: self.run("SELECT pg_is_in_recovery()").strip() == "f", PATIENCE)

    def crash(self) -> None:
        """All of its processes end at once, as those of a machine without power do; its files stay as they are."""
        # Its children notice that it is gone, and end.
        if self.is_running():
            os.kill(self.pid, signal.SIGQUIT)
            assert self.process is not None
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)
