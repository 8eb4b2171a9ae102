"""Fixtures: rigs of both Prosody versions, shared where a test leaves them as it found them.

A rig that can't be had fails the tests, it never skips them. After each test the logs are read: whatever tells of a fault
and was not announced by `@pytest.mark.provokes` fails that test.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rome
from processes import Identity, finish, keep_to_own_ports
from prosody import USUAL_MODULES, Config, Host
from rig import Rig
from scene import DOMAIN, Scene

#: Folders below target/prosody/, the oldest Prosody first.
PROSODY_VERSIONS = (os.environ.get("PROSODY_VERSIONS") or finish([str(Path(__file__).with_name("fetch.sh")), "prosodys"], "fetch.sh")).split()


def pytest_configure() -> None:
    # pytest-xdist runs tests in several processes: gw0, gw1 …
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        keep_to_own_ports(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    signal.signal(signal.SIGTERM, interrupt)


def interrupt(*_: object) -> None:
    """Being asked to end is no reason to leave folders behind: neither for us, nor for the processes that xdist has started."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for children in Path("/proc/self/task").glob("*/children"):
            for child in children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGTERM)
    raise KeyboardInterrupt


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests, each in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session", params=PROSODY_VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[False, True], ids=["starttls", "direct-tls"])
def direct_tls(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="session")
def shared_rig(version: str) -> Iterator[Rig]:
    """One daemon and one Prosody for all tests that leave no trace but their own accounts."""
    guests = Host("guests.lit", 'authentication = "anonymous"', declared=False)
    # Its users may have certificates that name nobody.
    arden = Host("arden.lit", "saslcertd_require_address = false")
    config = Config(hosts=[Host(DOMAIN), Host("denmark.lit"), arden, guests])
    with Rig(version, config) as rig:
        rig.start()
        rig.check_logs()
        yield rig


@pytest.fixture(scope="session")
def shipped_rig(version: str) -> Iterator[Rig]:
    """A Prosody with the configuration that its package ships; only `plugin_paths` and `modules_enabled` were changed."""
    with Rig(version, Config(as_shipped=True)) as rig:
        rig.start()
        rig.check_logs()
        yield rig


#: A host for each setting that changes what its sessions may do.
SETTINGS = {
    "random.lit": 'conflict_resolve = "random"',
    "increment.lit": 'conflict_resolve = "increment"',
    "kick-new.lit": 'conflict_resolve = "kick_new"',
    "kick-old.lit": 'conflict_resolve = "kick_old"',
    "few.lit": "saslcertd_max_certs = 2",
    "passwords.lit": 'saslcertd_manage_with = "password"',
    "plain.lit": "c2s_require_encryption = false; allow_unencrypted_plain_auth = true",
}


@pytest.fixture(scope="session")
def settings_rig(version: str) -> Iterator[Rig]:
    """One daemon and one Prosody with a host for each of `SETTINGS`."""
    with Rig(version, Config(hosts=[Host(name, config) for name, config in SETTINGS.items()])) as rig:
        rig.start()
        rig.check_logs()
        yield rig


#: mod_sasl2 of the community does not work over TLS on 0.12.
SASL2_VERSION = PROSODY_VERSIONS[-1]
SASL2_MODULES = ["sasl2", "sasl2_bind2", "sasl2_sm", "sasl2_fast", "sasl_ssdp"]


@pytest.fixture(scope="session")
def sasl2_rig() -> Iterator[Rig]:
    """One daemon and one Prosody with SASL2 and what belongs to it."""
    rome_host = Host(rome.ROME, 'authentication = "saslcertd"\nsaslcertd_guess_delay_max = 0')
    config = Config(hosts=[Host(DOMAIN), Host("denmark.lit"), rome_host], modules=[*USUAL_MODULES, *SASL2_MODULES])
    with Rig(SASL2_VERSION, config) as rig:
        rig.start()
        rig.check_logs()
        yield rig


@pytest.fixture(scope="session")
def rome_rig(version: str) -> Iterator[Rig]:
    """One daemon and one Prosody with a host whose accounts live in the daemon, beside one whose accounts do not."""
    with Rig(version, rome.config()) as rig:
        rig.start()
        rig.check_logs()
        yield rig


@contextlib.contextmanager
def observed(rig: Rig, folder: Path, request: pytest.FixtureRequest, since: tuple[int, int] = (0, 0)) -> Iterator[Scene]:
    """The rig as a scene; at the end it must run, and its logs must be clean, those before `since` aside."""
    yield Scene(rig, folder)
    allowed = [pattern for mark in request.node.iter_markers("provokes") for pattern in mark.args]
    rig.prosody.require_running()
    rig.check_logs(since, allowed)


@pytest.fixture
def scene(shared_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(shared_rig, tmp_path, request, shared_rig.log_positions()) as scene:
        yield scene


@pytest.fixture
def settings(settings_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(settings_rig, tmp_path, request, settings_rig.log_positions()) as scene:
        yield scene


@pytest.fixture
def with_sasl2(sasl2_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(sasl2_rig, tmp_path, request, sasl2_rig.log_positions()) as scene:
        yield scene


@pytest.fixture
def in_rome(rome_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(rome_rig, tmp_path, request, rome_rig.log_positions()) as scene:
        yield scene


@pytest.fixture
def shipped(shipped_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(shipped_rig, tmp_path, request, shipped_rig.log_positions()) as scene:
        yield scene


@pytest.fixture
def own_scene(version: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Scene]]:
    """Makes a scene that no other test sees: `own_scene()`, with a Config and identities if need be."""
    with contextlib.ExitStack() as stack:

        def make(config: Config | None = None, prosody_identity: Identity = Identity(), daemon_identity: Identity = Identity()) -> Scene:
            rig = stack.enter_context(Rig(version, config, prosody_identity, daemon_identity))
            rig.start()
            return stack.enter_context(observed(rig, tmp_path, request))

        yield make
