"""fetch.sh says what is missing, and how to get it, before it gets anything else.

It runs in a folder of its own, with a PATH where Rust is too old, and where what would fetch something only writes down that it
was called.
"""

import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import REPOSITORY

DEBIAN = dict(line.rstrip().split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)["VERSION_ID"].strip('"')
OLDEST_RUST = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["rust-version"]
FETCHERS = ("apt-get", "curl", "dpkg", "dpkg-deb", "mmdebstrap", "pip")


@dataclass(frozen=True)
class Fetching:
    """A run of fetch.sh: what it said, what it called to get something, and what it left in target/."""

    status: int
    said: str
    calls: list[str]
    left: list[str]


def fetch(folder: Path, what: str, *programs: str) -> Fetching:
    here, path, calls = folder / "repository" / "tests" / "prosody", folder / "bin", folder / "calls"
    here.mkdir(parents=True)
    path.mkdir()
    for file in ("tests/prosody/fetch.sh", "Cargo.toml"):
        shutil.copy(REPOSITORY / file, folder / "repository" / file)
    stubs = {name: f'echo "{name} $*" >>{calls}; exit 1' for name in FETCHERS}
    stubs |= {"rustc": "echo 'rustc 1.63.0'", "cargo": "echo 'cargo 1.63.0'"} | dict.fromkeys(programs, "exit 0")
    for name, line in stubs.items():
        (path / name).write_text(f"#!/bin/sh\n{line}\n")
        (path / name).chmod(0o755)
    done = subprocess.run(
        [here / "fetch.sh", what],
        env={"PATH": f"{path}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    target = folder / "repository" / "target"
    left = sorted(str(file.relative_to(target)) for file in target.rglob("*"))
    return Fetching(done.returncode, done.stderr + done.stdout, calls.read_text().splitlines() if calls.exists() else [], left)


@pytest.mark.parametrize("what", ["demo", "test"])
def test_without_a_new_rust_nothing_else_is_fetched(tmp_path: Path, what: str):
    done = fetch(tmp_path, what)
    assert done.status != 0
    assert done.left == ["prosody", "prosody/.lock"]
    if DEBIAN == "12":
        first, *lines = done.said.splitlines()
        assert first.startswith(f"fetch: Rust {OLDEST_RUST} or newer is needed, which Debian 12 does not have; here is 1.63.0. Type these")
        assert [line.split()[0] for line in lines] == ["apt-get", "curl", "."]
        assert "https://sh.rustup.rs" in lines[1]
        assert done.calls == []
    else:
        # Debian's own is what it asks for first, and when that can't be had, last.
        assert "fetch: installing Rust of Debian's trixie-backports" in done.said
        assert "could not get cargo rustc" in done.said.splitlines()[-1]
        assert all(call.startswith("apt-get ") and "prosody" not in call.split() for call in done.calls), done.calls


@pytest.mark.parametrize("what", ["demo", "test"])
def test_where_rustup_is_its_line_is_said_and_nothing_is_fetched(tmp_path: Path, what: str):
    done = fetch(tmp_path, what, "rustup")
    assert done.status != 0
    assert done.said.startswith(f"fetch: Rust {OLDEST_RUST} or newer is needed, with clippy and rustfmt; here is 1.63.0. Type: rustup toolchain install")
    assert (done.calls, done.left) == ([], ["prosody", "prosody/.lock"])
