"""The demo: somebody gets a key for their device, logs in with it, loses the device, and is safe.

Starts a saslcertd and a Prosody of its own in a throw-away folder, on loopback only, and does with them what an
admin and a user would do, each step with the command that does it. Exit status 0: everything went as told.
With `KEEP=1` in the environment both run on, and it prints how to use them and how to stop them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from processes import TARGET, Identity, RigError, clean_environment
from prosody import PAGE_MODULE, USUAL_MODULES, Config, Host
from rig import Rig

DOMAIN, USERNAME, NAME = "shakespeare.lit", "hamlet", "my-phone"
JID = f"{USERNAME}@{DOMAIN}"
PASSWORD = "to be, or not"
#: The page for devices is for browsers on this machine, which do not know the host's name.
CONFIG = Config(hosts=[Host(DOMAIN, 'http_host = "localhost"')], modules=[*USUAL_MODULES, PAGE_MODULE])


class DemoFailed(Exception):
    """A step did not go as it should."""


class Teller:
    """Prints what is done and what came of it."""

    def __init__(self) -> None:
        self.step = 0
        self.bold, self.dim, self.plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")

    def begin(self, title: str, explanation: str = "") -> None:
        self.step += 1
        print(f"\n{self.bold}{self.step}. {title}{self.plain}", flush=True)
        self.say(explanation)

    def say(self, text: str) -> None:
        if text:
            print(textwrap.fill(" ".join(text.split()), 96, initial_indent="   ", subsequent_indent="   "), flush=True)

    def command(self, words: list[str]) -> None:
        print(f"\n   {self.bold}$ {shlex.join(words)}{self.plain}", flush=True)

    def output(self, text: str) -> None:
        for line in text.strip().splitlines():
            print(f"   {self.dim}| {line}{self.plain}", flush=True)


def run(tell: Teller, rig: Rig, *words: str | Path, expected: int = 0) -> str:
    """Runs saslcertd before the reader's eyes, in the rig's folder, with short names for what lies there.

    DemoFailed when its exit status is another than it should be."""
    shown = ["saslcertd", *(str(word.relative_to(rig.folder)) if isinstance(word, Path) else word for word in words)]
    tell.command(shown)
    try:
        done = subprocess.run(
            [str(rig.daemon.binary), *shown[1:]], cwd=rig.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, env=clean_environment(), check=False,
        )
    except subprocess.TimeoutExpired as timeout:
        raise DemoFailed("the command did not end within a minute") from timeout
    tell.output(done.stdout)
    if done.returncode != expected:
        raise DemoFailed(f"the exit status is {done.returncode}, and should be {expected}")
    return done.stdout


def which_prosody() -> str:
    """The oldest of the Prosodys that were unpacked: Debian's own."""
    unpacked = sorted(path.name for path in (TARGET / "prosody").glob("[0-9]*"))
    if not unpacked:
        raise RigError("there is no Prosody in target/prosody: run tests/prosody/fetch.sh demo")
    return unpacked[0]


def certificate_and_key(folder: Path) -> tuple[Path, Path]:
    """The two PEM files that `enroll` wrote."""
    texts = {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    keys = [path for path, text in texts.items() if b"PRIVATE KEY-----" in text]
    certificates = [path for path, text in texts.items() if b"BEGIN CERTIFICATE-----" in text and path not in keys]
    if len(keys) != 1 or len(certificates) != 1:
        raise DemoFailed(f"expected one certificate and one key in {folder}, found {[path.name for path in texts]}")
    if keys[0].stat().st_mode & 0o077:
        raise DemoFailed(f"{keys[0]} can be read by others")
    return certificates[0], keys[0]


def play(tell: Teller, rig: Rig) -> list[str | Path]:
    """The whole story. Returns the words of the command that logs in."""
    device = rig.folder / "phone"
    device.mkdir(mode=0o700)
    password_file = device / "password"
    password_file.write_text(PASSWORD + "\n")
    password_file.chmod(0o600)

    tell.begin(
        "A chat server, and saslcertd beside it",
        f"""Prosody is a server for XMPP, the chat protocol; this one is private, speaks only to this machine, and calls itself
        {DOMAIN}. saslcertd runs beside it and knows which device may log in as whom. Prosody's configuration has two lines
        for it: where its module lies (plugin_paths), and its name (modules_enabled). Passwords work as always.""",
    )
    rig.start()
    tell.say(f"""Both are running: Prosody {rig.prosody.version} on port {rig.prosody.starttls_port}, saslcertd on a local socket.
        All files lie in {rig.folder}, and the commands below are run there.""")

    tell.begin("An account", f"{JID} is a user like any other, with a password.")
    rig.prosody.register(USERNAME, DOMAIN, PASSWORD)
    tell.say("Prosody has created it.")

    how: list[str | Path] = ["--server", f"127.0.0.1:{rig.prosody.starttls_port}", "--ca-file", rig.prosody.ca_file]
    tell.begin(
        "Hamlet gives his phone a key of its own",
        """The phone makes a secret key, which never leaves it, and a certificate: a public card that says "whoever holds this
        key is Hamlet's phone". It logs in with the password one last time and leaves the card with the server.""",
    )
    run(tell, rig, "enroll", JID, "--name", NAME, "--out", device, "--password-file", password_file, *how)
    certificate, key = certificate_and_key(device)
    password_file.unlink()
    tell.say("The password is not needed any more; the phone's copy of it is deleted.")

    login: list[str | Path] = ["login", JID, "--cert", certificate, "--key", key, *how]
    tell.begin(
        "The phone logs in, without a password",
        """While the encrypted connection is made, the phone proves that it holds the key. saslcertd finds the card in Hamlet's
        list and says: yes, this is Hamlet. (The name of this way to log in is SASL EXTERNAL.)""",
    )
    run(tell, rig, *login)

    tell.begin("The admin looks at Hamlet's devices")
    if NAME not in run(tell, rig, "--socket", rig.daemon.socket, "cert", "list", JID):
        raise DemoFailed(f"'{NAME}' is not in the list")

    tell.begin("The phone is lost", "The admin cuts it off. Hamlet's other devices and his password are not touched.")
    run(tell, rig, "--socket", rig.daemon.socket, "cert", "revoke", JID, NAME)

    tell.begin("A stranger finds the phone and tries it", "The same command as before. It has to fail now, and that is the point:")
    run(tell, rig, *login, expected=1)
    tell.say("The server said no. The key is worthless from the moment it was revoked.")

    tell.begin(
        "Hamlet's next phone has no shell",
        f"""He opens a page in its browser, logs in, and saves a key in a file for his app: {page_of(rig)} is where this server
        has it. 'make demo KEEP=1' leaves it there. If he has forgotten his password, the admin gives him a link to that page,
        which needs none:""",
    )
    if f"{page_of(rig)}#" not in run(tell, rig, "--socket", rig.daemon.socket, "link", "create", JID):
        raise DemoFailed("the link does not lead to the page")
    return login


def page_of(rig: Rig) -> str:
    """Where the page for devices is, as Prosody's log says it."""
    found = re.search(r"Users give their devices keys at (\S+)", rig.prosody.read_log())
    if not found:
        raise DemoFailed("Prosody does not say where the page for devices is")
    return found[1]


def tell_how_to_go_on(rig: Rig, login: list[str | Path]) -> None:
    """For KEEP=1: says where everything lies, and writes the script that ends it."""
    stop = rig.folder / "stop"
    folder = shlex.quote(str(rig.folder))
    stop.write_text(
        f"#!/bin/sh\n# Ends the demo's two processes, if they are still those, and removes its folder.\n"
        f"for pid in {rig.prosody.pid} {rig.daemon.pid}; do\n"
        f'\tgrep -qsF {folder} "/proc/$pid/cmdline" && kill "$pid" &&\n'
        f'\t\twhile kill -0 "$pid" 2>/dev/null; do sleep 0.1; done\ndone\n'
        f"rm -rf {folder}\n"
    )
    stop.chmod(0o755)
    binary, ca = str(rig.daemon.binary), rig.prosody.ca_file
    laptop = rig.folder / "laptop"
    how = f"--server 127.0.0.1:{rig.prosody.starttls_port} --ca-file {ca}"
    print(f"""
Both run on, because of KEEP=1.

   account             {JID}
   password            {PASSWORD}
   server              127.0.0.1, port {rig.prosody.starttls_port} (STARTTLS) or {rig.prosody.direct_tls_port} (direct TLS), certificate for {DOMAIN}
   its authority       {ca}
   page for devices    {page_of(rig)} (your browser does not know that authority, and asks)
   the revoked phone   {rig.folder / "phone"}
   logs                {rig.prosody.log}
                       {rig.daemon.output}

Give another device a key:

   mkdir {laptop}
   echo '{PASSWORD}' | {binary} enroll {JID} --name laptop --out {laptop} --password-file - {how}

Log in with it:

   {shlex.join([binary, *map(str, login)]).replace(str(rig.folder / "phone"), str(laptop)).replace(NAME, "laptop")}

Make a link to the page that needs no password:

   {binary} --socket {rig.daemon.socket} link create {JID}

What the admin sees:

   {binary} --socket {rig.daemon.socket} status
   {binary} --socket {rig.daemon.socket} cert list {JID}

Stop it, and remove all of it:

   {stop}
""", flush=True)


def main() -> int:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    # So that a kill cleans up, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    identity = Identity(outlives_us=keep)
    tell, started = Teller(), time.monotonic()
    try:
        with Rig(which_prosody(), CONFIG, identity, identity) as rig:
            try:
                login = play(tell, rig)
                rig.check_logs()
            except (DemoFailed, RigError, AssertionError) as error:
                print(f"\nThe demo failed: {error}", file=sys.stderr)
                print(f"\n--- saslcertd's log:\n{rig.daemon.output.read_text()[-4000:] if rig.daemon.output.exists() else '(none)'}", file=sys.stderr)
                return 1
            print(f"\nAll went as it should, in {time.monotonic() - started:.1f} seconds.", flush=True)
            if keep:
                tell_how_to_go_on(rig, login)
                rig.leave()
            else:
                print("The demo's server, its keys and its folder are removed again. 'make demo KEEP=1' leaves them.", flush=True)
    except RigError as error:
        print(f"The demo could not start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
