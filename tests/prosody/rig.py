"""A saslcertd and a private Prosody in a throw-away folder, on free loopback ports.

    with Rig("0.12") as rig:
        rig.start()
        rig.prosody.register("hamlet", "shakespeare.lit", "secret")
        ...                                   # connect to rig.prosody.starttls_port
        rig.check_logs()

Whatever happens, leaving the block ends both processes and removes the folder; should this process be
killed, the kernel ends them.

Needs only Python's standard library, because the demo runs on it, too. Must not know what is tested.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from daemon import Daemon, Database, saslcertd_binary
from logs import ERROR_LINE, PANIC, TRACEBACK, trouble_in, without_prosodys_own
from processes import Identity, tail, wait_until
from prosody import Config, Prosody


class Rig:
    """Both, in a folder of their own. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        version: str,
        config: Config | None = None,
        prosody_identity: Identity = Identity(),
        daemon_identity: Identity = Identity(),
        database: Database | None = None,
    ):
        self._left = False
        self.folder = Path(tempfile.mkdtemp(prefix="saslcertd-", dir="/tmp"))
        self.folder.chmod(0o755)
        atexit.register(self.close)
        try:
            binary = daemon_identity.runnable(saslcertd_binary(), self.folder)
            self.config = config or Config()
            self.daemon = Daemon(self.folder, prosody_identity, daemon_identity, binary, database)
            self.prosody = Prosody(version, self.folder, self.daemon, self.config, prosody_identity)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns when both run and Prosody has told the daemon of its hosts."""
        self.daemon.init()
        self.daemon.start()
        self.prosody.start()
        if self.config.saslcertd:
            self.wait_attached()

    def wait_attached(self, *hosts: str) -> None:
        """Returns when the daemon knows these hosts of Prosody (if none is named, all that it is to know), over a
        connection that lives, and Prosody has its answer."""
        expected = hosts or [host.name for host in self.config.hosts if host.declared]
        for host in expected:
            wait_until(
                f"Prosody has declared {host} to the daemon",
                lambda host=host: self.daemon.has_host(host),
                diagnosis=lambda: tail(self.prosody.log) + tail(self.daemon.output),
            )
        if expected:
            wait_until("Prosody has the daemon's answer", self.prosody.has_declared, diagnosis=lambda: tail(self.prosody.log))

    def wait_away(self) -> None:
        """Returns when Prosody knows that the daemon is away: until then what it asks is not answered, and may have been carried out."""
        wait_until("Prosody knows that the daemon is away", self.prosody.misses_daemon, diagnosis=lambda: tail(self.prosody.log))

    def log_positions(self) -> tuple[int, int]:
        daemon = self.daemon.output
        return self.prosody.log_position(), daemon.stat().st_size if daemon.exists() else 0

    def check_logs(self, since: tuple[int, int] = (0, 0), allowed: Iterable[str] = ()) -> None:
        """Raises an AssertionError with each line that tells of a fault and matches nothing in `allowed`."""
        allowed = list(allowed)
        prosody = self.prosody.read_log(since[0]) if self.prosody.log.exists() else ""
        prosody = without_prosodys_own(prosody)
        found = trouble_in(prosody, TRACEBACK, allowed) + trouble_in(prosody, ERROR_LINE, allowed)
        if self.prosody.output.exists():
            found += trouble_in(self.prosody.output.read_text(errors="replace"), TRACEBACK, allowed)
        if self.daemon.output.exists():
            found += trouble_in(self.daemon.written(since[1]), PANIC, allowed)
        if found:
            raise AssertionError("the logs tell of faults:\n" + "\n".join(dict.fromkeys(found)))

    def leave(self) -> None:
        """Lets both run on, and the folder stay."""
        atexit.unregister(self.close)
        self._left = True

    def close(self) -> None:
        """Ends both and removes the folder, unless they were left. May be called twice."""
        if self._left:
            return
        atexit.unregister(self.close)
        for service in ("prosody", "daemon"):
            if hasattr(self, service):
                getattr(self, service).stop()
        if self.daemon.own_database:
            self.daemon.own_database.drop()
        shutil.rmtree(self.folder, ignore_errors=True)
