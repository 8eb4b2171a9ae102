"""nginx, Caddy and HAProxy before Prosody's web server, with the lines that docs/devices.md has for each.

Of the lines nothing is changed but ports, addresses and the certificate's file, which must be. Must not know what is tested.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from processes import REPOSITORY, TARGET, Identity, RigError, Service, tail, wait_until

UNPACKED = TARGET / "proxies"
DOCUMENT = REPOSITORY / "docs" / "devices.md"


class Proxy(Service):
    """One of them, which ends https at `port` and hands on to Prosody's `http_port`. `folder` has server.pem and server.key."""

    def __init__(self, name: str, folder: Path, port: int, http_port: int):
        self.folder = folder / name
        self.folder.mkdir()
        super().__init__(name, self.folder / "output.log")
        if not (UNPACKED / "complete").exists():
            raise RigError(f"{name} is missing: run tests/prosody/fetch.sh test")
        self.port = port
        self.http_port = http_port
        self.certificate, self.key = folder / "server.pem", folder / "server.key"

    def start(self) -> None:
        """Returns when it accepts connections."""
        command = PROXIES[self.name](self)
        self.spawn([*Identity().prefix(), *command], cwd=self.folder)
        wait_until(f"{self.name} listens", self._is_up, diagnosis=lambda: tail(self.output))

    def _is_up(self) -> bool:
        self.require_running()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def lines(self, **changes: str) -> str:
        """What the document says for it, each of `changes` made as often as it can be, and at least once."""
        text = documented(self.name)
        for before, after in {"127.0.0.1:5280": f"127.0.0.1:{self.http_port}", **changes}.items():
            if before not in text:
                raise RigError(f"{DOCUMENT.name} says nothing of {before} for {self.name}")
            text = text.replace(before, after)
        return text

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        return file


def documented(name: str) -> str:
    """The block of lines behind the sentence that begins with this proxy's name."""
    lines = DOCUMENT.read_text().splitlines()
    start = next((number for number, line in enumerate(lines) if line.lower().startswith(name) and line.endswith(":")), None)
    if start is None:
        raise RigError(f"{DOCUMENT} has no lines for {name}")
    block = []
    for line in lines[start + 2 :]:
        if line and not line.startswith("    "):
            break
        block.append(line)
    return "\n".join(block)


def nginx(proxy: Proxy) -> list[str]:
    folders = "\n".join(f"{kind}_temp_path {proxy.folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = proxy.write("nginx.conf", f"""
daemon off;
master_process off;
pid {proxy.folder}/pid;
events {{ }}
http {{
{folders}
access_log off;
server {{
listen 127.0.0.1:{proxy.port} ssl;
ssl_certificate {proxy.certificate};
ssl_certificate_key {proxy.key};
{proxy.lines()}
}}
}}
""")
    return [str(UNPACKED / "usr/sbin/nginx"), "-e", "stderr", "-p", str(proxy.folder), "-c", str(config)]


def caddy(proxy: Proxy) -> list[str]:
    # Its ports, and no certificate from outside.
    site = "shakespeare.lit {"
    lines = proxy.lines(**{site: f"{site}\ntls {proxy.certificate} {proxy.key}"})
    config = proxy.write("Caddyfile", f"""
{{
admin off
auto_https disable_redirects
default_bind 127.0.0.1
https_port {proxy.port}
storage file_system {proxy.folder}
}}
{lines}
""")
    environment = [f"{name}={proxy.folder}" for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")]
    return ["env", *environment, str(UNPACKED / "usr/bin/caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]


def haproxy(proxy: Proxy) -> list[str]:
    both = proxy.write("both.pem", proxy.certificate.read_text() + proxy.key.read_text())
    lines = proxy.lines(**{":443": f"127.0.0.1:{proxy.port}", "/etc/haproxy/shakespeare.lit.pem": str(both)})
    # Debian's own configuration has these, too.
    config = proxy.write("haproxy.cfg", f"""
defaults
    timeout connect 5s
    timeout client 50s
    timeout server 50s
{lines}
""")
    return [str(UNPACKED / "usr/sbin/haproxy"), "-db", "-f", str(config)]


#: Each writes its configuration, and says the command that runs it.
PROXIES: dict[str, Callable[[Proxy], list[str]]] = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}
