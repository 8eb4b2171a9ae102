"""What an admin does on a Machine where the package was installed, and what a user does with it.

The admin's words stand here once; what is expected of them stands in the tests.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import Machine
from mending import PROBLEM, Report, edited
from processes import tail, wait_until
from server_certificates import make_server_certificates

DOMAIN, USERNAME, PASSWORD = "shakespeare.lit", "hamlet", "to be, or not"
JID = f"{USERNAME}@{DOMAIN}"
CONFIG = "/etc/prosody/prosody.cfg.lua"
SOCKET = "/run/saslcertd/saslcertd.sock"
STORE = "/var/lib/saslcertd"
PORT, HTTPS_PORT = 5222, 5281
#: Nobody can look names up inside.
SERVER = f"127.0.0.1:{PORT}"
CA_FILE = "/root/ca.pem"

#: Where Debian's Prosody looks first of all, unless plugin_paths says otherwise.
MODULES = "/usr/lib/prosody/modules"
#: What starts a service where systemd does, and is not there where it doesn't.
SYSTEMDS = ("systemctl", "timedatectl")

#: As Debian ships it, and with our module.
ENABLED = ("modules_enabled = {\n", 'modules_enabled = {\n\t\t"saslcertd";\n')


@dataclass
class ChatServer:
    """Prosody and saslcertd on a Machine. `folder` is for logs, outside."""

    machine: Machine
    folder: Path

    # The admin.

    def set_up_prosody(self) -> None:
        """A domain with a certificate, and an account: what a Prosody has before anybody thinks of saslcertd."""
        certificates = self.folder / "server"
        certificates.mkdir()
        make_server_certificates(certificates, certificates / "ca.pem", [DOMAIN])
        inside = self.machine.file("/root/certificates")
        inside.mkdir()
        for name in (f"{DOMAIN}.crt", f"{DOMAIN}.key"):
            (inside / name).write_bytes((certificates / "certs" / name).read_bytes())
        self.machine.file(CA_FILE).write_bytes((certificates / "ca.pem").read_bytes())
        self.machine.file("/etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.0.1 {DOMAIN}\n")
        # A host named localhost remains, in a file of its own.
        self.change('VirtualHost "localhost"\n', f'VirtualHost "{DOMAIN}"\n')
        self.machine.run("prosodyctl --root cert import /root/certificates")
        self.machine.run(f'prosodyctl register {USERNAME} {DOMAIN} "{PASSWORD}"')
        # What its unit does, and nobody else without systemd.
        self.machine.run("install -d -m 755 -o prosody -g prosody /run/prosody")

    def change(self, old: str, new: str) -> None:
        """Changes Prosody's configuration in one place."""
        config = self.machine.file(CONFIG)
        text = config.read_text()
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        config.write_text(text.replace(old, new))

    def enable(self) -> None:
        """The line that the whole installation takes."""
        self.change(*ENABLED)

    def enable_page(self) -> None:
        """The same, and the page for devices."""
        self.change(ENABLED[0], ENABLED[1] + '\t\t"saslcertd_devices";\n')

    def fetch(self, path: str, *options: str) -> tuple[str, str]:
        """A file that Prosody serves over https: the head and the body of the answer. curl is the outside's, in the network inside."""
        enter = ["nsenter", "--target", str(self.machine.pid), "--net"]
        words = ["curl", "--silent", "--show-error", "--include", "--http1.1", "--cacert", str(self.machine.file(CA_FILE)), *options]
        address = ["--connect-to", f"::127.0.0.1:{HTTPS_PORT}", f"https://{DOMAIN}:{HTTPS_PORT}/{path}"]
        done = subprocess.run([*enter, *words, *address], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        return head, body

    def set_globally(self, *lines: str) -> None:
        host = f'VirtualHost "{DOMAIN}"\n'
        self.change(host, "".join(f"{line}\n" for line in lines) + host)

    def set_in_place(self, option: str, value: str) -> None:
        """Another value of a global option that the configuration has, in its line."""
        config = self.machine.file(CONFIG)
        text, changes = re.subn(rf"(?m)^{option} = .*$", f"{option} = {value}", config.read_text())
        assert changes == 1, f"{option} is there {changes} times"
        config.write_text(text)

    def start_prosody(self) -> None:
        self.machine.start("exec setpriv --reuid prosody --regid prosody --init-groups prosody -F", self.folder / "prosody.output")
        wait_until("Prosody listens", self._listens, diagnosis=lambda: tail(self.folder / "prosody.output"))

    def restart_prosody(self, listening: bool = True) -> None:
        # Prosody 13.0 wants to be forced where systemd is installed, and its `restart` can't be.
        self.machine.run("prosodyctl stop --force && prosodyctl start --force")
        if listening:
            wait_until("Prosody listens", self._listens)

    def _listens(self) -> bool:
        # As the kernel writes them: the port, and that it is being listened on.
        port, listening = f":{PORT:04X}", "0A"
        tables = [self.machine.file(f"/proc/1/net/{name}") for name in ("tcp", "tcp6")]
        lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
        return any(words[1].endswith(port) and words[3] == listening for words in lines)

    def start_daemon(self, line: str | None = None) -> None:
        """As the documentation says, or with another line for root's shell. Returns when it answers."""
        self.machine.start(line or documented_start(self.machine), self.folder / "saslcertd.output")
        wait_until("saslcertd answers", lambda: self.status() is not None, diagnosis=lambda: tail(self.folder / "saslcertd.output"))

    def stop_daemon(self) -> None:
        self.machine.end("saslcertd")

    def status(self) -> dict[str, Any] | None:
        done = self.machine.attempt("saslcertd --json status")
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return None

    def is_ready(self) -> bool:
        """Prosody has declared its host to the daemon, which accepts it, and clients get in."""
        status = self.status()
        hosts = status["hosts"] if status else []
        return self._listens() and any(one["host"] == DOMAIN and one["attached"] and one["ready"] for one in hosts)

    def wait_ready(self) -> None:
        logs = (self.machine.file("/var/log/prosody/prosody.log"), self.folder / "saslcertd.output")
        wait_until("Prosody has declared its host", self.is_ready, diagnosis=lambda: "".join(map(tail, logs)))

    # Doctor, and doing what it says.

    def doctor(self) -> Report:
        return Report(self.machine.attempt(f"saslcertd --json doctor --server {SERVER}"))

    def follow(self, mend: dict[str, Any], folder: str = "/") -> None:
        """Does what doctor printed, in that folder, and nothing else. A daemon that it starts goes on in the background."""
        if "edit" in mend:
            config = self.machine.file(mend["edit"]["file"])
            before = config.read_text()
            after = edited(before, mend["edit"])
            assert after != before, f"there is nothing to change: {mend}"
            config.write_text(after)
            self.machine.run(mend["edit"]["then"])
        elif re.search(r"\bsaslcertd serve\b", mend["run"]):
            self.start_daemon(mend["run"])
        else:
            self.machine.run(f"cd {folder}\n{mend['run']}")

    def assert_well(self) -> None:
        # The host that Debian brings has no certificate.
        self.doctor().assert_well(besides="localhost")

    def others_files(self) -> dict[str, str]:
        """Whose each file is, and who may what with it; of the system's, what stands in it, too. Less the data of daemon and Prosody."""
        listed = self.machine.run(r"find / /run -xdev -printf '%p\t%U:%G %m\t%y\t%s %T@\n'")
        found = {}
        for line in listed.splitlines():
            path, rights, kind, content = line.split("\t")
            if not path.startswith((STORE, "/run/saslcertd", "/run/prosody/", "/var/lib/prosody/")):
                is_systems = kind == "f" and path.startswith(("/etc/", "/usr/")) and path != CONFIG
                found[path] = f"{rights} {kind} {content if is_systems else ''}"
        return found

    # A user.

    def try_to_enroll(self, name: str) -> subprocess.CompletedProcess[str]:
        line = f"saslcertd enroll {JID} --name {name} --out /root/{name} --password-file - --server {SERVER} --ca-file {CA_FILE}"
        return self.machine.attempt(line, PASSWORD + "\n")

    def enroll(self, name: str) -> None:
        done = self.try_to_enroll(name)
        assert done.returncode == 0, done.stdout + done.stderr

    def login(self, name: str) -> subprocess.CompletedProcess[str]:
        stem = f"/root/{name}/{JID}.{name}"
        return self.machine.attempt(f"saslcertd --json login {JID} --cert {stem}.crt --key {stem}.key --server {SERVER} --ca-file {CA_FILE}")

    def assert_logs_in(self, name: str) -> None:
        done = self.login(name)
        assert done.returncode == 0, done.stdout + done.stderr


def problem_of(server: ChatServer, check: str, *words: str) -> dict[str, Any]:
    """The problem that doctor names first; it must be of this check, and say these words."""
    report = server.doctor()
    assert report.status == PROBLEM, report
    problem = report.first_problem()
    assert problem["check"] == check and all(word in problem["message"] for word in words), report
    assert not any(word in str(finding["mend"]) for finding in report.findings for word in SYSTEMDS), report
    return problem


def assert_mended(server: ChatServer, phone: str = "phone") -> None:
    server.wait_ready()
    server.assert_well()
    server.assert_logs_in(phone)


def mend(server: ChatServer, *problems: tuple[str, ...], but: tuple[str, ...] = (), folder: str = "/") -> None:
    """Follows doctor, in that folder, through these problems, each a check and words, until all is well.

    Nothing of others is touched on the way, `but` what lies below these."""
    before = server.others_files()
    for check, *words in problems:
        server.follow(problem_of(server, check, *words)["mend"], folder)
    assert_mended(server)
    after = server.others_files()
    touched = {path: (was, after.get(path)) for path, was in before.items() if after.get(path) != was}
    wrong = {path: change for path, change in touched.items() if not path.startswith(but or ("\0",))}
    assert wrong == {}, wrong


def documented_start(machine: Machine) -> str:
    """The script for supervisors in the installed docs/operations.md, "Without systemd"."""
    text = machine.file("/usr/share/doc/saslcertd/docs/operations.md").read_text()
    section = text.partition("\n## Without systemd\n")[2].partition("\n## ")[0]
    [script] = re.findall(r"(?m)^    #!/bin/sh\n(?:^    .*\n)+", section)
    return re.sub(r"(?m)^    ", "", script)
