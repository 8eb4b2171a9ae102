"""Fixtures: Debian roots in which the package was installed, and machines that start from them.

A root is made once for each Prosody and never changed afterwards: each test sees it as it was then.
"""

from __future__ import annotations

import filecmp
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatserver import ChatServer
from logs import PANIC, TRACEBACK, trouble_in
from machine import Machine
from processes import TARGET

FOLDER = TARGET / "install"
BASE = FOLDER / "base.tar"
ARCHIVES = FOLDER / "archives"

#: What apt is told to take Prosody from.
PROSODYS = {"0.12": "", "13.0": "bookworm-backports"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reuse", action="store_true", help="take the roots that the last run with --reuse has left, if they hold this package")


def pytest_configure() -> None:
    # Being asked to end is no reason to leave folders behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def package() -> Path:
    """The package that `make deb` has made last."""
    packages = list((TARGET / "debian").glob("saslcertd_*.deb"))
    assert packages, "there is no package: make deb"
    return max(packages, key=lambda path: path.stat().st_mtime)


@dataclass(frozen=True)
class Installed:
    """A root with the package in it, and what apt said."""

    folder: Path
    said: str


@pytest.fixture(scope="session", params=PROSODYS)
def installed(request: pytest.FixtureRequest, package: Path) -> Iterator[Installed]:
    folder, said = FOLDER / f"root-{request.param}", FOLDER / f"root-{request.param}.said"
    reuse = request.config.getoption("--reuse")
    if not (reuse and said.exists() and filecmp.cmp(package, folder / "root" / package.name, shallow=False)):
        remove(folder, said)
        try:
            said.write_text(install(folder, package, PROSODYS[request.param]))
        except BaseException:
            remove(folder, said)
            raise
    yield Installed(folder, said.read_text())
    if not reuse:
        remove(folder, said)


def remove(folder: Path, said: Path) -> None:
    said.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def install(folder: Path, package: Path, suite: str) -> str:
    """A clean Debian, and in it what the documentation says. What apt said about the package."""
    folder.mkdir(parents=True)
    ARCHIVES.mkdir(exist_ok=True)
    subprocess.run(["tar", "-C", str(folder), "-xf", str(BASE)], check=True)
    with Machine(folder, scratch=False, network=True, binds=[(ARCHIVES, "/var/cache/apt/archives")]) as machine:
        # As containers have it: no package starts a service.
        policy = machine.file("/usr/sbin/policy-rc.d")
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        shutil.copy(package, machine.file("/root"))
        machine.run("apt-get update")
        if suite:
            machine.run(f"apt install -y -t {suite} prosody")
        said = machine.run(f"cd /root && apt install -y ./{package.name}")
        # For one test; it has no network.
        machine.run(f"apt-get install -y --download-only {f'-t {suite}' if suite else ''} prosody-modules")
    return said


@pytest.fixture
def machine(installed: Installed) -> Iterator[Machine]:
    """A machine on which the package was installed, and nothing else was done."""
    with Machine(installed.folder, binds=[(ARCHIVES, "/var/cache/apt/archives")]) as machine:
        yield machine


@pytest.fixture
def server(machine: Machine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ChatServer]:
    """On that machine, a Prosody that is set up and was not started; at the end no log may tell of a fault."""
    server = ChatServer(machine, tmp_path)
    server.set_up_prosody()
    yield server
    allowed = [pattern for mark in request.node.iter_markers("provokes") for pattern in mark.args]
    logs = [(TRACEBACK, machine.file("/var/log/prosody/prosody.log")), (PANIC, tmp_path / "saslcertd.output")]
    for pattern, log in logs:
        assert trouble_in(log.read_text(errors="replace"), pattern, allowed) == [], log.name


@pytest.fixture
def running(server: ChatServer) -> ChatServer:
    """All is well, and a user has enrolled a phone."""
    server.enable()
    server.start_daemon()
    server.start_prosody()
    server.wait_ready()
    server.enroll("phone")
    return server


@pytest.fixture
def well(running: ChatServer) -> ChatServer:
    """A server of which doctor finds nothing to say, and on which a phone logs in."""
    running.assert_well()
    running.assert_logs_in("phone")
    return running


@pytest.fixture
def repacked(package: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes the package anew with another version."""

    def repack(version: str) -> Path:
        unpacked, result = tmp_path / "unpacked", tmp_path / f"saslcertd_{version}_amd64.deb"
        subprocess.run(["dpkg-deb", "-R", str(package), str(unpacked)], check=True)
        control = unpacked / "DEBIAN/control"
        lines = [f"Version: {version}" if line.startswith("Version:") else line for line in control.read_text().splitlines()]
        control.write_text("\n".join(lines) + "\n")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(unpacked), str(result)], check=True, capture_output=True)
        shutil.rmtree(unpacked)
        return result

    return repack
