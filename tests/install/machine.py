"""A Debian of its own in a folder: its own processes, mounts, /run, and (unless it is to reach a mirror) network.

    with Machine(folder) as machine:
        machine.run("apt-get check")
        machine.file("/etc/hosts").write_text(...)

Nothing in it runs that was not started here: there is no systemd, as in a container. It ends with this process, however
that ends. Needs root. Must not know what is installed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from processes import RigError, wait_until

FIRST_PROCESS = Path(__file__).with_name("first_process.py")
#: apt and dpkg on a slow disk.
COMMAND_LIMIT_SECONDS = 300
#: With a network, apt may need what the machine around us says about proxies.
HANDED_IN = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Machine:
    """A context manager. `folder` is its root; what happens in it stays, unless `scratch`: then it is forgotten.

    `binds`: folders and files of the outside, and where they are seen inside."""

    def __init__(self, folder: Path, *, scratch: bool = True, network: bool = False, binds: Iterable[tuple[Path, str]] = ()):
        self.folder = folder
        self.scratch = scratch
        self.network = network
        self.binds = list(binds)
        self.background: list[subprocess.Popen[bytes]] = []
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        if network:
            self.binds.append((Path("/etc/resolv.conf"), "/etc/resolv.conf"))
            self.environment |= {name: os.environ[name] for name in HANDED_IN if name in os.environ}

    def __enter__(self) -> Machine:
        self.work = tempfile.TemporaryDirectory(prefix="saslcertd-install-")
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if self.network else ["--net"])]
        words += [sys.executable, "-B", str(FIRST_PROCESS), str(self.folder), self.work.name]
        words += [*(["--scratch"] if self.scratch else []), *([] if self.network else ["--loopback"])]
        for source, target in self.binds:
            words += ["--bind", str(source), target]
        # It ends when this pipe does, and with it everything inside.
        self.first = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.first.stdout
        line = self.first.stdout.readline()
        if not line:
            self.first.wait()
            self.work.cleanup()
            raise RigError(f"no machine could be made of {self.folder}: it takes root, and a kernel with overlay")
        self.pid = int(line)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.first.stdin
        self.first.stdin.close()
        self.first.wait()
        for process in self.background:
            # One whose child was stopped has stopped, too.
            process.send_signal(signal.SIGCONT)
            process.wait()
        self.work.cleanup()

    def file(self, path: str) -> Path:
        """A path inside, as it is called outside. An absolute link in it leads astray."""
        return Path(f"/proc/{self.pid}/root{path}")

    def _inside(self, line: str) -> list[str]:
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root", "--wd"]
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in self.environment.items()), "sh", "-c", line]

    def attempt(self, line: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Has root's shell run `line`, which reads `given`, and may fail."""
        return subprocess.run(self._inside(line), input=given, capture_output=True, text=True, timeout=COMMAND_LIMIT_SECONDS, check=False)

    def run(self, line: str, given: str = "") -> str:
        """As `attempt`, but must succeed; both its outputs."""
        done = self.attempt(line, given)
        if done.returncode != 0:
            raise RigError(f"{line}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def start(self, line: str, output: Path) -> subprocess.Popen[bytes]:
        """Has root's shell run `line` in the background."""
        with output.open("ab") as out:
            process = subprocess.Popen(self._inside(line), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        self.background.append(process)
        return process

    def processes(self, name: str) -> list[int]:
        """Those of this name, by their numbers inside."""
        found = []
        for entry in self.file("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "comm").read_text().strip() == name:
                    found.append(int(entry.name))
            except OSError:
                # It has just ended.
                continue
        return found

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends every process of this name; returns when they are gone."""
        for pid in self.processes(name):
            self.run(f"kill -{how.name.removeprefix('SIG')} {pid}")
        wait_until(f"{name} has ended", lambda: not self.processes(name))
