"""Prosody's admin shell, over its socket: what `prosodyctl shell` says to it, without a process for each line.

Needs only Python's standard library. Must not know which commands there are.
"""

from __future__ import annotations

import socket
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from processes import PATIENCE, RigError

ADMIN = "xmpp:prosody.im/admin"
HEADER = f"<?xml version='1.0'?><stream:stream xmlns='{ADMIN}' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"


def run(path: Path, line: str, timeout: float = PATIENCE) -> str:
    """Types `line` into the shell behind this socket, and returns what it printed.

    RigError when it calls something an error, or hangs up."""
    printed, failed = [], False
    # A Prosody of before 13.0 takes no notice of `repl`: that nobody is there to answer questions.
    question = f"<repl-input width='132' repl='0'>{escape(line)}</repl-input>"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall((HEADER + question).encode())
        parser = ET.XMLPullParser(("end",))
        while data := connection.recv(65536):
            parser.feed(data)
            for _, element in parser.read_events():
                kind = element.tag.removeprefix(f"{{{ADMIN}}}")
                if kind not in ("repl-output", "repl-result"):
                    continue
                failed |= element.get("type") == "error"
                printed.append((element.text or "") + ("" if element.get("eol") == "0" else "\n"))
                if kind == "repl-result":
                    if failed:
                        raise RigError(f"Prosody's shell: {line}\n{''.join(printed)}")
                    return "".join(printed)
    raise RigError(f"Prosody's shell has hung up: {line}\n{''.join(printed)}")
