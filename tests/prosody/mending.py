"""What `saslcertd --json doctor` reports, and Prosody's configuration after what it says was done.

Pure: text and JSON in, text out. Must not know where Prosody runs.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

OK, WARNING, PROBLEM = 0, 1, 2


class Report:
    """What doctor found."""

    def __init__(self, done: subprocess.CompletedProcess[str]):
        assert done.stderr == "", done.stderr
        self.status = done.returncode
        report = json.loads(done.stdout)
        self.worst: str = report["worst"]
        self.findings: list[dict[str, Any]] = report["findings"]

    def of(self, check: str) -> list[dict[str, Any]]:
        return [finding for finding in self.findings if finding["check"] == check]

    def bad(self) -> list[dict[str, Any]]:
        return [finding for finding in self.findings if finding["level"] in ("warning", "problem")]

    def first_problem(self) -> dict[str, Any]:
        return next(finding for finding in self.findings if finding["level"] == "problem")

    def assert_well(self, besides: str | None = None) -> None:
        """Nothing is wrong, and nothing was left out but what names `besides`."""
        assert self.bad() == [] and self.status == OK, self
        skipped = [one["message"] for one in self.findings if one["level"] != "ok"]
        assert [message for message in skipped if besides is None or besides not in message] == [], self

    def __repr__(self) -> str:
        return "\n".join(f"{one['level']} {one['check']}: {one['message']} -> {one['mend']}" for one in self.findings)


def edited(text: str, edit: dict[str, Any]) -> str:
    """The configuration `text` after what doctor printed was done to it."""
    parts = re.split(r"(?m)^(?=VirtualHost )", text)
    number = 0
    if edit["host"] is not None:
        [number] = [n for n, part in enumerate(parts) if part.startswith(f'VirtualHost "{edit["host"]}"')]
    parts[number] = changed_section(parts[number], edit)
    return "".join(parts)


def changed_section(section: str, edit: dict[str, Any]) -> str:
    within, line, what = edit["within"], edit.get("add"), edit.get("remove")
    if within is not None and line is not None:
        return re.sub(rf"(?m)^(\s*{within}\s*=\s*\{{)", lambda found: f"{found[1]} {line} ", section, count=1)
    if within is not None:
        table = re.search(rf"(?ms)^\s*{within}\s*=\s*\{{.*?\}}", section)
        assert table, f"{within} is not in this section"
        return section[: table.start()] + re.sub(rf"{re.escape(what)}\s*[,;]?", "", table[0]) + section[table.end() :]
    option = (line or what).split(" =")[0]
    without = re.sub(rf"(?m)^\s*{option}\s*=.*\n", "", section)
    return without + f"\n{line}\n" if line else without
