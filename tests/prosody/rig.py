"""A saslcertd and a private Prosody in a throw-away folder, on free loopback ports.

    with Rig("0.12") as rig:
        rig.start()
        rig.prosody.register("hamlet", "shakespeare.lit", "secret")
        ...                                   # connect to rig.prosody.starttls_port
        rig.check_logs()

Whatever happens, leaving the block ends both processes and removes the folder; should this process be
killed, the kernel ends them. Nothing here sleeps for a fixed time: every wait polls for its event, with a deadline.

Needs only Python's standard library, because the demo runs on it, too. Must not know what is tested.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "target"
GLUE = REPOSITORY / "prosody-glue"
#: Modules of the Prosody community that fetch.sh unpacks; in no `plugin_paths` but of a Config that enables one.
COMMUNITY_MODULES = TARGET / "prosody" / "modules"

#: A system of its own that Prosody runs in, instead of a folder in target/prosody: see versions.sh.
PROSODY_ROOT = Path(os.environ["PROSODY_ROOT"]) if "PROSODY_ROOT" in os.environ else None

#: Slow machines are not broken ones: how long anything that should happen may take, in seconds.
PATIENCE = 20.0

#: saslcertd_timeout in tests, in seconds: how long Prosody waits for the daemon at most. A client waits less.
DAEMON_TIMEOUT = 24.0
#: The same where the daemon hangs, and clients wait for what they hear then.
HANGING_TIMEOUT = 6.0

#: Prosody's own choice of modules for a new server, less those that talk to other servers or slow a client down.
USUAL_MODULES = (
    "roster saslauth tls disco blocklist bookmarks carbons pep private smacks vcard4 vcard_legacy "
    "csi_simple ping register time uptime version admin_adhoc admin_shell posix"
).split()

T = TypeVar("T")


class RigError(Exception):
    """The rig could not do what it was asked for; the message says why, with the end of the log that tells."""


def saslcertd_binary() -> Path:
    """The binary under test: `$SASLCERTD_BINARY`, or the debug build."""
    binary = Path(os.environ.get("SASLCERTD_BINARY") or TARGET / "debug" / "saslcertd").resolve()
    if not os.access(binary, os.X_OK):
        raise RigError(f"{binary} is missing: run 'cargo build' first")
    return binary


def wait_until(what: str, probe: Callable[[], T], timeout: float = PATIENCE, diagnosis: Callable[[], str] | None = None) -> T:
    """The first true answer of `probe`; a RigError that names `what` when there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise RigError(f"waited {timeout:g} s in vain: {what}{diagnosis() if diagnosis else ''}")
        time.sleep(0.01)


def freeze(pid: int) -> None:
    """Stops a process, and waits until none of its threads runs any more: the signal alone says nothing of when."""

    def stopped() -> bool:
        # proc(5): the state stands behind the name, which may hold parentheses.
        try:
            states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread has just ended
        return bool(states) and all(state == "T" for state in states)

    os.kill(pid, signal.SIGSTOP)
    wait_until(f"the threads of process {pid} stand still", stopped)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, below those that the kernel gives to outgoing connections."""
    ports: list[int] = []
    held = []
    try:
        while len(ports) < count:
            candidate = socket.socket()
            port = random.SystemRandom().randrange(15000, 32000)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
                continue
            held.append(candidate)
            ports.append(port)
    finally:
        for candidate in held:
            candidate.close()
    return ports


def tail(path: Path, lines: int = 30) -> str:
    """The end of a log, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"\n({error})"
    return f"\n--- the end of {path.name}:\n" + "\n".join(text.splitlines()[-lines:])


# --- processes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """As whom a process runs (`None`: as whoever runs the tests), and whether it may outlive us."""

    user: str | None = None
    group: str | None = None
    outlives_us: bool = False

    def prefix(self) -> list[str]:
        """What stands before a command. The child dies with us, even when we are killed, unless it may outlive us."""
        words = ["setpriv", "--pdeathsig", "clear" if self.outlives_us else "KILL"]
        if self.user is not None:
            words += ["--reuid", self.user, "--regid", self.group or self.user, "--clear-groups"]
        return words

    def name(self) -> str:
        return self.user or pwd.getpwuid(os.geteuid()).pw_name

    def own(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user, self.group or self.user)

    def runnable(self, source: Path, folder: Path) -> Path:
        """Where this user finds `source`, a file or a folder: in `folder`, where the user can go, if it is another than ours.
        Nobody else may be let into the folders above our repository."""
        if self.user is None:
            return source
        copy = folder / source.name
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            shutil.copy(source, copy)
        return copy


def clean_environment() -> dict[str, str]:
    """Ours, without what would change the meaning of a command line."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SASLCERTD_", "RUST_LOG", "LUA_"))}


class Service:
    """One process in the background whose output goes to a file."""

    def __init__(self, name: str, output: Path):
        self.name = name
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RigError(f"{self.name} was not started")
        return self.process.pid

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def spawn(self, command: list[str], **options: Any) -> None:
        if self.is_running():
            raise RigError(f"{self.name} is running already")
        # The kernel ends a child with the thread that made it.
        assert threading.current_thread() is threading.main_thread()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=clean_environment(),
                **options,
            )

    def programs(self) -> set[Path]:
        """The programs and libraries that it and its children have loaded."""
        loaded = set()
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with contextlib.suppress(OSError):  # It may have ended.
                if os.getsid(int(maps.parent.name)) == self.pid:
                    loaded |= {Path(path) for path in re.findall(r" r-xp .* (/.*)$", maps.read_text(), re.MULTILINE)}
        return loaded

    def require_running(self) -> None:
        if not self.is_running():
            status = self.process.returncode if self.process else "never started"
            raise RigError(f"{self.name} has ended (status {status}){tail(self.output)}")

    def stop(self, timeout: float = PATIENCE) -> int | None:
        """Asks it to end, and makes it end if it does not. Its exit status, or None if it was not running."""
        if self.process is None:
            return None
        if self.is_running():
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        status = self.process.returncode
        self.process = None
        return status

    def freeze(self) -> None:
        freeze(self.pid)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


# --- the daemon ----------------------------------------------------------------------------------


class Daemon(Service):
    """saslcertd, its store and its socket."""

    def __init__(self, folder: Path, server_user: Identity, identity: Identity = Identity(), binary: Path | None = None):
        super().__init__("saslcertd", folder / "saslcertd.log")
        self.binary = binary or saslcertd_binary()
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
        command = [*self.identity.prefix(), str(self.binary), "init", "--data-dir", str(self.data)]
        return finish(command, "saslcertd init")

    def start(self) -> None:
        """Returns when the daemon answers."""
        self.spawn([
            *self.identity.prefix(), str(self.binary), "serve",
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
            hello = {"protocol": 1, "software": software, "hosts": []}
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

    def read_log(self, since: int = 0) -> str:
        """What it has logged until now, from byte `since` on. A thread of its own writes it, and not at once."""
        mark = f"reader of the log {secrets.token_hex(8)}"
        self.ask("status", software=mark)

        def up_to_the_mark() -> str | None:
            before, found, _ = self.output.read_bytes()[since:].decode(errors="replace").partition(mark)
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


def finish(command: list[str], what: str, timeout: float = PATIENCE) -> str:
    """Runs a command that must succeed, and returns what it printed."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=clean_environment(), check=False
    )
    if done.returncode != 0:
        raise RigError(f"{what} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


# --- Prosody -------------------------------------------------------------------------------------


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
    """What prosody.cfg.lua says. `extra` is global; `saslcertd` enables our module everywhere."""

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
        self.ca_file = self.folder / "ca.pem"
        self.starttls_port, self.direct_tls_port = 0, 0
        unpacked = PROSODY_ROOT or TARGET / "prosody" / version
        if not (unpacked / "usr/bin/prosody").exists():
            raise RigError(f"Prosody {version} is missing: run tests/prosody/fetch.sh test")
        self.unpacked = unpacked if PROSODY_ROOT else identity.runnable(unpacked, self.folder)
        self.glue = identity.runnable(GLUE, self.folder)
        self.community_modules = identity.runnable(COMMUNITY_MODULES, self.folder)
        (self.folder / "data").mkdir()
        make_server_certificates(self.folder, self.ca_file, [host.name for host in config.hosts])
        if identity.user is not None:
            for path in [self.folder, *self.folder.glob("*"), *(self.folder / "certs").glob("*")]:
                identity.own(path)

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
admin_socket = {lua_string(self.folder / "admin.sock")}
log = {{ debug = {lua_string(self.log)} }}
certificates = {lua_string(self.folder / "certs")}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {self.starttls_port} }}
c2s_direct_tls_ports = {{ {self.direct_tls_port} }}
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
            self.starttls_port, self.direct_tls_port = free_ports(2)
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
                admin.connect(str(self.folder / "admin.sock"))
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
        return self.control("shell", command)

    def register(self, username: str, host: str, password: str) -> None:
        self.control("register", username, host, password)

    def register_many(self, usernames: Iterable[str], host: str, password: str) -> None:
        """As `register`, in one go and through the running server."""
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

    def log_position(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0


def make_server_certificates(folder: Path, ca_file: Path, domains: list[str]) -> None:
    """A certificate authority of its own for this rig, and a server certificate for each domain, where Prosody looks."""
    certs = folder / "certs"
    certs.mkdir()
    config = folder / "openssl.cnf"
    config.write_text(
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = saslcertd\n"
        "[authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n"
        "[server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth\n"
        "subjectAltName = " + ", ".join(f"DNS:{domain}" for domain in domains) + "\n"
    )
    authority_key, server, server_key = folder / "ca.key", folder / "server.pem", folder / "server.key"

    def make(section: str, key_file: Path, cert_file: Path, *signed_by: str) -> None:
        command = ["openssl", "req", "-x509", "-config", str(config), "-days", "30", "-nodes", "-extensions", section, *signed_by]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key_file), "-out", str(cert_file)]
        command += ["-subj", f"/CN=saslcertd test {section}"]
        finish(command, f"making the certificate of the test {section}")

    make("authority", authority_key, ca_file)
    make("server", server_key, server, "-CA", str(ca_file), "-CAkey", str(authority_key))
    for domain in domains:
        shutil.copy(server, certs / f"{domain}.crt")
        shutil.copy(server_key, certs / f"{domain}.key")
    authority_key.unlink()


# --- both ----------------------------------------------------------------------------------------

#: What a healthy Prosody never logs, at whatever level.
TRACEBACK = re.compile(r"traceback|attempt to \w+ (a|an|local|global|field|upvalue|nil)\b|Top-level error|bad argument #\d", re.IGNORECASE)
ERROR_LINE = re.compile(r"^\w{3} \d\d \d\d:\d\d:\d\d \S+\terror\t", re.MULTILINE)
#: From the signal to the next start.
STOPPING = re.compile(r"\tReceived SIGTERM\n.*?(?=\tHello and welcome to Prosody|\Z)", re.DOTALL)
#: What Prosody (0.12.3 mostly) logs while it stops, with or without our module: clients come, speak and hang up on connections
#: and sessions that it has closed. None of the lines of such a traceback may be ours.
PROSODYS_OWN = re.compile(
    r"^(?:.*\tTop-level error, please report:\n)?"
    r".*\b(?:mod_c2s|net/server_epoll)\.lua:\d+: attempt to (?:index|call) a nil value .*\n"
    r"(?:.*\terror\t\n)?(?:\t(?!.*mod_(?:auth_)?saslcertd).*\n)*(?!\t)",
    re.MULTILINE,
)
PANIC = re.compile(r"panicked at|\bERROR\b|RUST_BACKTRACE")


def without_prosodys_own(log: str) -> str:
    """A log of Prosody's without the faults that are known to be its own."""
    return STOPPING.sub(lambda part: PROSODYS_OWN.sub("", part[0]), log)


def trouble_in(text: str, pattern: re.Pattern[str], allowed: Iterable[str]) -> list[str]:
    """The lines of a log that match `pattern` and none of the regular expressions `allowed`."""
    excused = [re.compile(one) for one in allowed]
    return [line for line in text.splitlines() if pattern.search(line) and not any(one.search(line) for one in excused)]


class Rig:
    """Both, in a folder of their own. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        version: str,
        config: Config | None = None,
        prosody_identity: Identity = Identity(),
        daemon_identity: Identity = Identity(),
    ):
        self._left = False
        self.folder = Path(tempfile.mkdtemp(prefix="saslcertd-", dir="/tmp"))
        self.folder.chmod(0o755)
        atexit.register(self.close)
        try:
            binary = daemon_identity.runnable(saslcertd_binary(), self.folder)
            self.config = config or Config()
            self.daemon = Daemon(self.folder, prosody_identity, daemon_identity, binary)
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
            daemon = self.daemon.output.read_bytes()[since[1] :].decode(errors="replace")
            found += trouble_in(daemon, PANIC, allowed)
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
        shutil.rmtree(self.folder, ignore_errors=True)
