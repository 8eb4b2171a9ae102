"""fetch.sh says what is missing, and how to get it, before it gets anything else.

It runs in a folder of its own, as on either Debian, by root or by somebody, with a PATH where Rust is too old, and where what would
fetch something only writes down that it was called.
"""

import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import REPOSITORY

DEBIANS = {"12": "bookworm", "13": "trixie"}
OLDEST_RUST = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["rust-version"]
FETCHERS = ("apt-get", "curl", "dpkg", "dpkg-deb", "mmdebstrap", "pip")


@dataclass(frozen=True)
class Fetching:
    """A run of fetch.sh: what it said, in order, what it called to get something, and what it left in target/."""

    status: int
    said: str
    calls: list[str]
    left: list[str]


def fetch(folder: Path, what: str, *programs: str, debian: str, uid: int = 0) -> Fetching:
    """`fetch.sh what` on that Debian, by that user; each of `programs` is in the PATH, and succeeds."""
    here, path, calls, release = (folder / name for name in ("repository/tests/prosody", "bin", "calls", "os-release"))
    here.mkdir(parents=True)
    path.mkdir()
    for file in ("tests/prosody/fetch.sh", "Cargo.toml"):
        shutil.copy(REPOSITORY / file, folder / "repository" / file)
    release.write_text(f'ID=debian\nVERSION_ID="{debian}"\nVERSION_CODENAME={DEBIANS[debian]}\n')
    stubs = {name: f'echo "{name} $*" >>{calls}; exit 1' for name in FETCHERS}
    stubs |= {"id": f"echo {uid}", "rustc": "echo 'rustc 1.63.0'", "cargo": "echo 'cargo 1.63.0'"} | dict.fromkeys(programs, "exit 0")
    for name, line in stubs.items():
        (path / name).write_text(f"#!/bin/sh\n{line}\n")
        (path / name).chmod(0o755)
    done = subprocess.run(
        [here / "fetch.sh", what],
        env={"PATH": f"{path}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "FETCH_OS_RELEASE": str(release)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    target = folder / "repository" / "target"
    left = sorted(str(file.relative_to(target)) for file in target.rglob("*"))
    return Fetching(done.returncode, done.stdout, calls.read_text().splitlines() if calls.exists() else [], left)


@pytest.mark.parametrize("what", ["demo", "test"])
def test_on_debian_12_without_a_new_rust_the_lines_that_get_one_are_said(tmp_path: Path, what: str):
    done = fetch(tmp_path, what, debian="12")
    assert done.status != 0
    first, *lines = done.said.splitlines()
    assert first.startswith(f"fetch: Rust {OLDEST_RUST} or newer is needed, which Debian 12 does not have; here is 1.63.0. Type these")
    assert [line.split()[0] for line in lines] == ["apt-get", "curl", "."]
    assert "https://sh.rustup.rs" in lines[1]
    assert (done.calls, done.left) == ([], ["prosody", "prosody/.lock"])


@pytest.mark.parametrize("what, packages", [("demo", "cargo rustc"), ("test", "cargo rustc rust-clippy rustfmt")])
def test_on_debian_13_root_gets_debians_rust_before_anything_else(tmp_path: Path, what: str, packages: str):
    done = fetch(tmp_path, what, debian="13")
    assert done.status != 0
    first, *_, last = done.said.splitlines()
    assert first == "fetch: installing Rust of Debian's trixie-backports"
    assert last == f"fetch: could not get {packages} from trixie-backports; is there a Debian mirror in this machine's apt sources?"
    assert done.calls
    assert all(call.startswith("apt-get ") and "prosody" not in call.split() for call in done.calls), done.calls
    assert done.left == ["prosody", "prosody/.lock"]


@pytest.mark.parametrize("what", ["demo", "test"])
def test_on_debian_13_everybody_else_hears_what_root_has_to_type(tmp_path: Path, what: str):
    done = fetch(tmp_path, what, debian="13", uid=1000)
    assert done.status != 0
    assert done.said == f"fetch: Rust {OLDEST_RUST} or newer is needed; here is 1.63.0. As root, 'make fetch-{what}' installs Debian's\n"
    assert (done.calls, done.left) == ([], ["prosody", "prosody/.lock"])


@pytest.mark.parametrize("debian", DEBIANS)
@pytest.mark.parametrize("what", ["demo", "test"])
def test_where_rustup_is_its_line_is_said_and_nothing_is_fetched(tmp_path: Path, what: str, debian: str):
    done = fetch(tmp_path, what, "rustup", debian=debian)
    assert done.status != 0
    assert done.said.startswith(f"fetch: Rust {OLDEST_RUST} or newer is needed, with clippy and rustfmt; here is 1.63.0. Type: rustup toolchain install")
    assert (done.calls, done.left) == ([], ["prosody", "prosody/.lock"])
