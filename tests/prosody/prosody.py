"""A private Prosody: its configuration, its process, and its commands.

Needs only Python's standard library. Must not know what is tested.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import admin_socket
from daemon import Daemon
from processes import PATIENCE, REPOSITORY, TARGET, Identity, RigError, Service, clean_environment, finish, free_ports, tail, wait_until
from server_certificates import make_server_certificates

GLUE = REPOSITORY / "prosody-glue"
#: Modules of the Prosody community that fetch.sh unpacks; in no `plugin_paths` but of a Config that enables one.
COMMUNITY_MODULES = TARGET / "prosody" / "modules"

#: The page for devices, as `make page` builds it, and the module that serves it from its own folder.
PAGE = TARGET / "devices" / "page"
PAGE_MODULE = "saslcertd_devices"

#: A system of its own that Prosody runs in, instead of a folder in target/prosody: see versions.sh.
PROSODY_ROOT = Path(os.environ["PROSODY_ROOT"]) if "PROSODY_ROOT" in os.environ else None

#: saslcertd_timeout in tests, in seconds: how long Prosody waits for the daemon at most. A client waits less.
DAEMON_TIMEOUT = 24.0
#: The same where the daemon hangs, and clients wait for what they hear then.
HANGING_TIMEOUT = 6.0

#: Prosody's own choice of modules for a new server, less those that talk to other servers or slow a client down.
USUAL_MODULES = (
    "roster saslauth tls disco blocklist bookmarks carbons pep private smacks vcard4 vcard_legacy "
    "csi_simple ping register time uptime version admin_adhoc admin_shell posix"
).split()


def lua_string(text: str | Path) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def lua_list(words: Iterable[str | Path]) -> str:
    return "{ " + ", ".join(lua_string(word) for word in words) + " }"


@dataclass(frozen=True)
class Host:
    """One VirtualHost: its name, the lines of configuration below it, and whether the daemon is to know of it."""

    name: str
    config: str = ""
    declared: bool = True


@dataclass
class Config:
    """What prosody.cfg.lua says. `extra` is global; `saslcertd` enables our module everywhere. With PAGE_MODULE among its modules it
    listens for https, too."""

    hosts: list[Host] = field(default_factory=lambda: [Host("shakespeare.lit")])
    saslcertd: bool = True
    modules: list[str] = field(default_factory=lambda: list(USUAL_MODULES))
    extra: str = ""
    #: saslcertd_timeout, in Lua.
    timeout: float | str = DAEMON_TIMEOUT
    #: The configuration file that the Prosody package ships, and nothing changed in it but what must be, and `timeout`. With its
    #: default too it is tried by `make test-install`.
    as_shipped: bool = False


class Prosody(Service):
    """A private Prosody of one of the versions that were unpacked into target/prosody."""

    def __init__(self, version: str, folder: Path, daemon: Daemon, config: Config, identity: Identity = Identity()):
        self.folder = folder / "prosody"
        self.folder.mkdir()
        super().__init__(f"Prosody {version}", self.folder / "output.log")
        self.version = version
        self.identity = identity
        self.daemon = daemon
        self.config = config
        self.log = self.folder / "prosody.log"
        self.config_file = self.folder / "prosody.cfg.lua"
        self.admin_socket = self.folder / "admin.sock"
        self.ca_file = self.folder / "ca.pem"
        self.starttls_port, self.direct_tls_port, self.https_port, self.http_port = 0, 0, 0, 0
        unpacked = PROSODY_ROOT or TARGET / "prosody" / version
        if not (unpacked / "usr/bin/prosody").exists():
            raise RigError(f"Prosody {version} is missing: run tests/prosody/fetch.sh test")
        self.unpacked = unpacked if PROSODY_ROOT else identity.runnable(unpacked, self.folder)
        self.glue = identity.runnable(GLUE, self.folder)
        self.has_page = PAGE_MODULE in config.modules
        if self.has_page:
            self._put_page_together()
        self.community_modules = identity.runnable(COMMUNITY_MODULES, self.folder)
        (self.folder / "data").mkdir()
        make_server_certificates(self.folder, self.ca_file, [host.name for host in config.hosts])
        if identity.user is not None:
            for path in [self.folder, *self.folder.glob("*"), *(self.folder / "certs").glob("*")]:
                identity.own(path)

    def _put_page_together(self) -> None:
        """The module with its files beside it, as it is installed."""
        if not (PAGE / "index.html").exists():
            raise RigError(f"{PAGE} is missing: run make page")
        folder = self.folder / "plugins" / f"mod_{PAGE_MODULE}"
        folder.mkdir(parents=True)
        for file in (GLUE / f"mod_{PAGE_MODULE}").glob("*.lua"):
            (folder / file.name).symlink_to(file)
        (folder / "page").symlink_to(PAGE)

    # What is in the file. Written anew for each start, with new ports.

    def write_config(self) -> None:
        config = self.config
        modules = list(config.modules) + (["saslcertd"] if config.saslcertd else [])
        if config.as_shipped:
            text = self._shipped_config()
        else:
            # A system of its own has all of them where Prosody looks.
            wants_community = not PROSODY_ROOT and any((self.community_modules / f"mod_{module}").is_dir() for module in modules)
            paths = [self.glue, self.community_modules] if wants_community else [self.glue]
            if self.has_page:
                paths.insert(0, self.folder / "plugins")
            text = f"plugin_paths = {lua_list(paths)}\nmodules_enabled = {lua_list(modules)}\n"
        text += self._rig_config() + config.extra + "\n"
        for host in config.hosts:
            text += f"\nVirtualHost {lua_string(host.name)}\n{host.config}\n"
        self.config_file.write_text(text)

    def _shipped_config(self) -> str:
        text = (self.unpacked / "etc/prosody/prosody.cfg.lua").read_text()
        before_hosts, found, _ = text.partition('\nVirtualHost "localhost"')
        text, paths = re.subn(r"(?m)^(-- )?plugin_paths = .*$", f"plugin_paths = {lua_list([self.glue])}", before_hosts)
        text, modules = re.subn(r"(?m)^modules_enabled = \{$", 'modules_enabled = { "saslcertd";', text)
        if not found or (paths, modules) != (1, 1):
            raise RigError("the configuration that Prosody's package ships no longer has the shape that the rig expects")
        return text

    def _rig_config(self) -> str:
        """What a Prosody in a folder needs, beside others, and nothing that changes how it treats a client.

        But for saslcertd_timeout: a machine that is busy for the 2 seconds of its default is no fault of ours."""
        return f"""
run_as_root = true
data_path = {lua_string(self.folder / "data")}
pidfile = {lua_string(self.folder / "prosody.pid")}
admin_socket = {lua_string(self.admin_socket)}
log = {{ debug = {lua_string(self.log)} }}
certificates = {lua_string(self.folder / "certs")}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {self.starttls_port} }}
c2s_direct_tls_ports = {{ {self.direct_tls_port} }}
https_ports = {{ {self.https_port} }}
http_ports = {{ {self.http_port} }}
modules_disabled = {{ "s2s" }}
network_settings = {{ nagle = false }}
saslcertd_socket = {lua_string(self.daemon.socket)}
saslcertd_timeout = {self.config.timeout}
"""

    def _launcher(self, name: str) -> list[str]:
        if PROSODY_ROOT:
            return ["chroot", str(PROSODY_ROOT), *self.identity.prefix(), f"/usr/bin/{name}", "--config", str(self.config_file)]
        return [*self.identity.prefix(), str(self.unpacked / "usr/bin" / name), "--config", str(self.config_file)]

    # Its life.

    def start(self) -> None:
        """Returns when it accepts connections on both ports and on its admin socket."""
        for _ in range(5):
            self.starttls_port, self.direct_tls_port, self.https_port, self.http_port = free_ports(4)
            self.write_config()
            at = len(self.log.read_text()) if self.log.exists() else 0
            self.spawn([*self._launcher("prosody"), "-F"], cwd=self.folder)
            started = wait_until("Prosody listens", lambda: self._is_up(at), diagnosis=lambda: tail(self.log) + tail(self.output))
            if started == "up":
                return
            # Somebody was faster: take other ports, and forget that log.
            self.stop()
            self.log.unlink()
        raise RigError(f"Prosody did not get its ports{tail(self.log)}")

    def _is_up(self, log_position: int) -> str | None:
        self.require_running()
        if self.log.exists() and re.search(r"Failed to open server port|[Aa]ddress already in use", self.read_log(log_position)):
            return "port taken"
        try:
            for port in (self.starttls_port, self.direct_tls_port):
                socket.create_connection(("127.0.0.1", port), 1).close()
            with socket.socket(socket.AF_UNIX) as admin:
                admin.connect(str(self.admin_socket))
        except OSError:
            return None
        return "up"

    def control(self, *words: str) -> str:
        """Runs `prosodyctl WORDS`, as Prosody's user."""
        return finish([*self._launcher("prosodyctl"), *words], "prosodyctl " + " ".join(words))

    def converse(self, *words: str, answers: str = "") -> subprocess.CompletedProcess[str]:
        """Runs `prosodyctl WORDS`, gives it `answers` to read, and lets it fail."""
        return subprocess.run(
            [*self._launcher("prosodyctl"), *words],
            input=answers, capture_output=True, text=True, timeout=PATIENCE, env=clean_environment(), check=False,
        )

    def shell(self, command: str) -> str:
        """Runs a command in the running server's shell; one that starts with `>` is Lua."""
        return admin_socket.run(self.admin_socket, command)

    def register(self, username: str, host: str, password: str) -> None:
        """Makes an account, or sets its password, as an admin does: by a process of its own."""
        self.control("register", username, host, password)

    def register_many(self, usernames: Iterable[str], host: str, password: str) -> None:
        """Makes accounts in one go, in the running server."""
        names = lua_list(usernames)
        self.shell(
            f"> for _, name in ipairs({names}) do "
            f'assert(require "core.usermanager".create_user(name, {lua_string(password)}, {lua_string(host)})) end'
        )

    def reload_module(self, module: str, host: str | None = None) -> None:
        self.shell(f"module:reload({lua_string(module)}" + (f", {lua_string(host)})" if host else ")"))

    def reload_config(self) -> None:
        self.shell("config:reload()")

    def read_log(self, start: int = 0) -> str:
        with self.log.open(errors="replace") as log:
            log.seek(start)
            return log.read()

    def has_declared(self) -> bool:
        """Whether the daemon has answered what our module declared last."""
        said = re.findall(r"saslcertd\s+debug\s+(Declaring|Declared)\b", self.read_log())
        return said[-1:] == ["Declared"]

    def misses_daemon(self) -> bool:
        """Whether our module has lost the daemon, and has not found it since."""
        said = re.findall(r"saslcertd\s+(?:info|warn)\s+(Connected to saslcertd at|saslcertd at \S+ is away)", self.read_log())
        return said[-1:] != [] and said[-1].endswith("is away")

    def log_position(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0
