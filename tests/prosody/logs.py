"""What the logs of Prosody and the daemon tell of faults.

Must not know where the logs are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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
