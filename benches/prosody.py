"""What logins cost a real Prosody, with the daemon and without, and how long a crowd takes to come back after a restart.

Prints a line of JSON for each round. main.rs starts it, and names the XMPP client by $BENCH_CLIENT; parts: `logins`, `return`.

Needs only Python's standard library, and the rig of the tests. Must not compare what it measures.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests" / "prosody"
sys.path.insert(0, str(TESTS))

from processes import RigError, clean_environment, finish, wait_until
from prosody import COMMUNITY_MODULES, GLUE, USUAL_MODULES, Config, Host, lua_list, lua_string
from rig import Rig

DOMAIN, PASSWORD = "shakespeare.lit", "to be, or not"
CLIENT = os.environ.get("BENCH_CLIENT", "")

#: As the server of a crowd is set up: Nagle off, room for all who connect at once; and the log as an admin has it.
SETTINGS = """
network_settings = {{ nagle = false; tcp_backlog = 4096 }}
log = {{ info = {log} }}
"""
#: What mod_saslcertd sets by itself: clients are asked for a certificate.
ASK_FOR_CERTIFICATES = """
ssl = { verify = { "peer", "client_once" }; verifyext = { "lsec_continue", "lsec_ignore_purpose" } }
"""
#: saslcertd_timeout, as it is where nobody has set it, in seconds.
TIMEOUT = 2.0


@dataclass(frozen=True)
class Kind:
    """A way to log in: how its Prosody is set up, and what the client does."""

    mechanism: str
    rig: Rig


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def emit(version: str, measure: str, values: dict[str, float]) -> None:
    print(json.dumps({"version": version, "measure": measure, "values": values}), flush=True)


def make_rig(stack: contextlib.ExitStack, version: str, **options: Any) -> Rig:
    """A rig that has not been started; its Prosody logs from info on."""
    extra = options.pop("extra", "")
    config = Config(hosts=[Host(DOMAIN, declared=False)], timeout=TIMEOUT, **options)
    rig = stack.enter_context(Rig(version, config))
    config.extra = SETTINGS.format(log=lua_string(rig.prosody.log)) + extra
    return rig


def mended_client_certs(folder: Path) -> Path:
    """A mod_client_certs that loads: Debian's, with the word that newer ones have."""
    source = (COMMUNITY_MODULES / "mod_client_certs" / "mod_client_certs.lua").read_text()
    module = folder / "plugins" / "mod_client_certs" / "mod_client_certs.lua"
    module.parent.mkdir(parents=True)
    module.write_text(source.replace('adhoc_handler, "user")', 'adhoc_handler, "local_user")'))
    return module.parents[1]


class Stage:
    """The Prosodys of one version, one for each way to log in, with the same accounts; and the daemon."""

    def __init__(self, stack: contextlib.ExitStack, version: str, clients: int):
        self.version = version
        self.plain = make_rig(stack, version, saslcertd=False)
        self.identities_file = self.plain.folder / "identities"
        self.identities_file.write_text(finish([CLIENT, "identities", str(clients), DOMAIN], "making certificates"))
        self.identities = [json.loads(line) for line in self.identities_file.read_text().splitlines()]
        self.plain.prosody.start()
        say(f"Prosody {version}: {clients} accounts")
        names = [one["username"] for one in self.identities]
        for first in range(0, clients, 50):
            self.plain.prosody.register_many(names[first : first + 50], DOMAIN, PASSWORD)
        self.ours = make_rig(stack, version)
        self.start(self.ours)
        wait_until(f"Prosody has declared {DOMAIN}", lambda: self.ours.daemon.has_host(DOMAIN))
        for one in self.identities:
            enrolment = {"account": f"{one['username']}@{DOMAIN}", "name": "bench", "certificate": one["certificate"], "may_manage": True}
            self.ours.daemon.ask("certificate.append", enrolment)

    def start(self, rig: Rig) -> None:
        """Starts `rig` with the accounts that there are. The daemon is started where our module is to ask it."""
        shutil.copytree(self.plain.prosody.folder / "data", rig.prosody.folder / "data", dirs_exist_ok=True)
        if rig.config.saslcertd:
            rig.daemon.init()
            rig.daemon.start()
        rig.prosody.start()

    def kinds(self, stack: contextlib.ExitStack) -> dict[str, Kind]:
        """All ways to log in, the first account's certificate enrolled in each."""
        der = base64.b64decode(self.identities[0]["certificate"])
        username = self.identities[0]["username"]
        extra = (
            f"{ASK_FOR_CERTIFICATES}plugin_paths = {lua_list([GLUE, HERE / 'modules'])}\n"
            f"bench_floor_fingerprint = {lua_string(hashlib.sha256(der).hexdigest())}\nbench_floor_username = {lua_string(username)}\n"
        )
        floor = make_rig(stack, self.version, saslcertd=False, modules=[*USUAL_MODULES, "bench_floor"], extra=extra)
        self.start(floor)
        older = make_rig(stack, self.version, saslcertd=False, modules=[*USUAL_MODULES, "client_certs"])
        older.config.extra += ASK_FOR_CERTIFICATES + f"plugin_paths = {lua_list([GLUE, mended_client_certs(older.folder)])}\n"
        self.start(older)
        older.prosody.shell(
            f'> local x509 = require "ssl.x509".load({lua_string(ssl.DER_cert_to_PEM_cert(der))}); '
            f'local one = {{ name = "bench", pem = x509:pem(), digest = x509:digest("sha1"), x509cert = "" }}; '
            f'assert(require "util.datamanager".store({lua_string(username)}, {lua_string(DOMAIN)}, "client_certs", {{ bench = one }}))'
        )
        return {
            "ours": Kind("EXTERNAL", self.ours),
            "floor": Kind("EXTERNAL", floor),
            "client_certs": Kind("EXTERNAL", older),
            "scram": Kind("SCRAM-SHA-1", self.plain),
            "plain": Kind("PLAIN", self.plain),
        }

    def client(self, what: str, rig: Rig, mechanism: str, count: int) -> str:
        """Lets clients log in, and returns what they say."""
        prosody = rig.prosody
        # As most clients come; a crowd by the shorter way.
        tls, port = ("starttls", prosody.starttls_port) if what == "log-in" else ("direct", prosody.direct_tls_port)
        words = [tls, str(port), DOMAIN, str(prosody.ca_file), str(self.identities_file), mechanism, PASSWORD, str(count)]
        done = subprocess.run(
            [CLIENT, what, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=clean_environment(), check=False
        )
        if done.returncode != 0:
            raise RigError(f"{mechanism} with Prosody {self.version}: {done.stderr.strip()}")
        return done.stdout


def cpu_ms(pid: int) -> float:
    """User and system time of a process until now, those of its threads that have ended included."""
    # Linux' clock of a process, as clock_getcpuclockid(3) names it: /proc/PID/stat counts in hundredths of a second.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


def measure_logins(stage: Stage, logins: int, rounds: int) -> None:
    with contextlib.ExitStack() as stack:
        kinds = stage.kinds(stack)
        for kind in kinds.values():
            stage.client("log-in", kind.rig, kind.mechanism, 20)
        for number in range(rounds):
            say(f"Prosody {stage.version}: {logins} logins of each kind, round {number + 1} of {rounds}")
            values: dict[str, float] = {}
            for name, kind in kinds.items():
                pids = [kind.rig.prosody.pid] + ([kind.rig.daemon.pid] if name == "ours" else [])
                before = [cpu_ms(pid) for pid in pids]
                stage.client("log-in", kind.rig, kind.mechanism, logins)
                spent = [(cpu_ms(pid) - start) / logins for pid, start in zip(pids, before, strict=True)]
                values[name] = sum(spent)
                if name == "ours":
                    values["daemon"] = spent[1]
            emit(stage.version, "cpu", values)


def measure_return(stage: Stage, clients: int, rounds: int) -> None:
    kinds = {"ours": Kind("EXTERNAL", stage.ours), "scram": Kind("SCRAM-SHA-1", stage.plain)}
    for number in range(rounds):
        say(f"Prosody {stage.version}: {clients} clients come back, round {number + 1} of {rounds}")
        values: dict[str, float] = {}
        for name, kind in kinds.items():
            kind.rig.prosody.stop()
            kind.rig.prosody.start()
            said = json.loads(stage.client("come-back", kind.rig, kind.mechanism, clients))
            for reason, times in said["refusals"].items():
                say(f"{kind.mechanism}: clients were sent away {times} times, and came back: {reason}")
            values[name] = said["seconds"]
        emit(stage.version, "return", values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--logins", "--login-rounds", "--clients", "--return-rounds"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("parts", nargs="+", choices=["logins", "return"])
    args = parser.parse_args()
    # A connection each, in the client and in Prosody.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for version in finish([str(TESTS / "fetch.sh"), "prosodys"], "fetch.sh").split():
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, version, args.clients)
            if "logins" in args.parts:
                measure_logins(stage, args.logins, args.login_rounds)
            if "return" in args.parts:
                measure_return(stage, args.clients, args.return_rounds)


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"prosody.py: {error}")
