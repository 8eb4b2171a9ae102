"""saslcertd with a store and a socket of its own: the process, and what it answers.

With `SASLCERTD_TEST_POSTGRESQL` (`tests/with-postgresql` sets it) the store is in a database there, else in a folder.

Needs only Python's standard library. Must not know Prosody.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from pathlib import Path
from typing import Any

from processes import PATIENCE, TARGET, Identity, RigError, Service, clean_environment, finish, tail, wait_until


def saslcertd_binary() -> Path:
    """The binary under test: `$SASLCERTD_BINARY`, or the debug build."""
    binary = Path(os.environ.get("SASLCERTD_BINARY") or TARGET / "debug" / "saslcertd").resolve()
    if not os.access(binary, os.X_OK):
        raise RigError(f"{binary} is missing: run 'cargo build' first")
    return binary


class Database:
    """A store in a database of its own, for one daemon or several."""

    def __init__(self, server: str, *standbys: str):
        self.server = server
        self.standbys = standbys
        self.name = f"rig_{secrets.token_hex(8)}"

    def connection(self, user: str) -> str:
        hosts = ",".join([self.server, *self.standbys])
        return f"host={hosts} dbname={self.name} user={user} target_session_attrs=read-write"

    def run(self, *statements: str, database: str = "postgres") -> str:
        words = [word for statement in statements for word in ("--command", statement)]
        return finish(
            ["psql", "--host", self.server, "--username", "postgres", "--dbname", database, "--tuples-only", "--no-align", *words],
            "psql",
        )

    def make(self, binary: Path) -> str:
        self.run(f"CREATE DATABASE {self.name}")
        made = [str(binary), "init", "--database", self.connection("postgres"), "--role", "saslcertd"]
        return finish(made, "saslcertd init")

    def drop(self) -> None:
        self.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


class Daemon(Service):
    """saslcertd, its store and its socket."""

    def __init__(
        self,
        folder: Path,
        server_user: Identity,
        identity: Identity = Identity(),
        binary: Path | None = None,
        database: Database | None = None,
    ):
        super().__init__("saslcertd", folder / "saslcertd.log")
        self.binary = binary or saslcertd_binary()
        server = os.environ.get("SASLCERTD_TEST_POSTGRESQL")
        #: Somebody else's, who makes and drops it; or our own.
        self.database = database
        self.own_database = Database(server) if server and not database else None
        self.identity = identity
        self.server_user = server_user
        self.data = folder / "store"
        self.run = folder / "run"
        self.socket = self.run / "saslcertd.sock"
        self.run.mkdir()
        # Only the daemon may write here; Prosody's group may look in.
        self.run.chmod(0o750)
        self.identity.own(self.run)
        if identity.user is not None:
            folder_of_store = folder / "state"
            folder_of_store.mkdir(mode=0o700)
            self.identity.own(folder_of_store)
            self.data = folder_of_store / "store"

    def init(self) -> str:
        if self.own_database:
            return self.own_database.make(self.binary)
        if self.database:
            return ""
        command = [*self.identity.prefix(), str(self.binary), "init", "--data-dir", str(self.data)]
        return finish(command, "saslcertd init")

    def start(self) -> None:
        """Returns when the daemon answers."""
        database = self.database or self.own_database
        self.spawn([
            *self.identity.prefix(), str(self.binary), "serve", *(["--database", database.connection("saslcertd")] if database else []),
            "--data-dir", str(self.data), "--socket", str(self.socket), "--server-user", self.server_user.name(),
        ])
        wait_until("saslcertd answers on its socket", self._answers, diagnosis=lambda: tail(self.output))

    def _answers(self) -> bool:
        self.require_running()
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
        except OSError:
            return False
        return True

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        """A connection of our own, before any hello."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(str(self.socket))
        return connection

    def ask(self, method: str, params: dict[str, Any] | None = None, software: str = "rig") -> Any:
        """One question over a connection of its own: the result, or a RigError with the daemon's error."""
        with self.connect() as connection, connection.makefile("rwb") as stream:
            answer: dict[str, Any] = {}
            hello = {"protocol": 2, "software": software, "hosts": [], "waits_ms": 2000}
            for number, (name, arguments) in enumerate([("session.hello", hello), (method, params or {})]):
                stream.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": name, "params": arguments}).encode() + b"\n")
                stream.flush()
                answer = {}
                while answer.get("id") != number or "method" in answer:
                    line = stream.readline()
                    if not line:
                        raise RigError(f"{name}: the daemon closed the connection{tail(self.output)}")
                    answer = json.loads(line)
            if "error" in answer:
                raise RigError(f"{method}: {answer['error']}")
            return answer["result"]

    def written(self, since: int = 0) -> str:
        """What stands in its log now, from byte `since` on."""
        with self.output.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def read_log(self, since: int = 0) -> str:
        """What it has logged until now, from byte `since` on. A thread of its own writes it, and not at once."""
        mark = f"reader of the log {secrets.token_hex(8)}"
        self.ask("status", software=mark)

        def up_to_the_mark() -> str | None:
            before, found, _ = self.written(since).partition(mark)
            return before if found else None

        return wait_until("the daemon's log", up_to_the_mark, diagnosis=lambda: tail(self.output))

    def has_host(self, host: str) -> bool:
        """Whether a Prosody that is connected now has declared `host`, and the daemon accepts its options."""
        try:
            hosts = self.ask("status")["hosts"]
        except (OSError, RigError):
            return False
        return any(known["host"] == host and known["attached"] and known["ready"] for known in hosts)

    def command(self, *words: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Runs `saslcertd WORDS` against this daemon."""
        return subprocess.run(
            [str(self.binary), "--socket", str(self.socket), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=clean_environment(), check=False,
        )
