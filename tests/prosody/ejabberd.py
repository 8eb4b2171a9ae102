"""A private ejabberd in a throw-away folder, on free loopback ports, whose passwords an external program knows.

Unlike Prosody it is one process of Erlang's virtual machine; no node name, so nothing of Erlang's listens.

Must not know what is tested.
"""

from __future__ import annotations

import socket
from pathlib import Path

from connection import Server
from processes import TARGET, Identity, RigError, Service, free_ports, tail, wait_until
from server_certificates import make_server_certificates

UNPACKED = TARGET / "ejabberd"


class Ejabberd(Service):
    """An ejabberd for one host; `config`: more lines of its ejabberd.yml."""

    def __init__(self, folder: Path, host: str, config: str, identity: Identity = Identity()):
        self.folder = folder / "ejabberd"
        self.folder.mkdir()
        super().__init__("ejabberd", self.folder / "output.log")
        self.host = host
        self.config = config
        self.identity = identity
        self.ca_file = self.folder / "ca.pem"
        self.ports = (0, 0)
        if not (UNPACKED / "complete").exists():
            raise RigError("ejabberd is missing: run tests/prosody/fetch.sh test")
        self.unpacked = identity.runnable(UNPACKED, self.folder)
        (self.folder / "spool").mkdir()
        make_server_certificates(self.folder, self.ca_file, [host])
        for path in [self.folder, *self.folder.glob("*"), *(self.folder / "certs").glob("*")]:
            identity.own(path)

    def server(self) -> Server:
        return Server(self.host, *self.ports, self.ca_file)

    def _write_config(self) -> Path:
        starttls, direct_tls = self.ports
        file = self.folder / "ejabberd.yml"
        file.write_text(f"""\
hosts: ["{self.host}"]
certfiles:
  - {self.folder}/certs/{self.host}.crt
  - {self.folder}/certs/{self.host}.key
ca_file: {self.ca_file}
listen:
  - {{port: {starttls}, ip: "127.0.0.1", module: ejabberd_c2s, starttls_required: true}}
  - {{port: {direct_tls}, ip: "127.0.0.1", module: ejabberd_c2s, tls: true}}
registration_timeout: infinity
access_rules: {{register: {{allow: all}}}}
modules: {{mod_ping: {{}}, mod_register: {{ip_access: all}}, mod_roster: {{}}}}
{self.config}
""")
        return file

    def start(self) -> None:
        """Returns when it accepts connections on both ports."""
        starttls, direct_tls = free_ports(2)
        self.ports = starttls, direct_tls
        erlang = self.unpacked / "usr/lib/erlang"
        runtime = next(erlang.glob("erts-*")) / "bin"
        environment = {
            "ROOTDIR": erlang,
            "BINDIR": runtime,
            "EMU": "beam",
            "PROGNAME": "erl",
            "HOME": self.folder,
            "ERL_LIBS": next((self.unpacked / "usr/lib").glob("*/ejabberd-*")).parent,
            "ERL_CRASH_DUMP": self.folder / "crash.dump",
            "EJABBERD_CONFIG_PATH": self._write_config(),
            "EJABBERD_LOG_PATH": self.folder / "ejabberd.log",
        }
        settings = [f"{name}={value}" for name, value in environment.items()]
        command = [*self.identity.prefix(), "env", *settings, str(runtime / "erlexec"), "-noinput"]
        # In a string of Erlang's.
        self.spawn([*command, "-mnesia", "dir", f'"{self.folder}/spool"', "-s", "ejabberd"], cwd=self.folder)
        wait_until("ejabberd listens", self._is_up, diagnosis=lambda: tail(self.output))

    def _is_up(self) -> bool:
        self.require_running()
        try:
            for port in self.ports:
                socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True
