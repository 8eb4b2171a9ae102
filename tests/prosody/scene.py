"""A rig with accounts, certificates and clients: what the tests speak in.

    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.open(certificate=phone) as stream: ...
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import certs
from certs import ClientCertificate
from connection import Server
from daemon import Daemon
from prosody import Prosody
from raw import Stream
from rig import Rig

DOMAIN = "shakespeare.lit"
PASSWORD = "to be, or not"


#: Long enough to enrol a certificate and to open streams with it on a slow machine.
SHORT_LIFE = datetime.timedelta(seconds=8)

TLS_VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}

T = TypeVar("T")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Account:
    username: str
    host: str = DOMAIN
    password: str = PASSWORD

    @property
    def jid(self) -> str:
        return f"{self.username}@{self.host}"


class Scene:
    """What a test sees of a running rig."""

    def __init__(self, rig: Rig, folder: Path):
        self.rig = rig
        self.folder = folder

    @property
    def daemon(self) -> Daemon:
        return self.rig.daemon

    @property
    def prosody(self) -> Prosody:
        return self.rig.prosody

    def server(self, domain: str = DOMAIN) -> Server:
        return Server(domain, self.prosody.starttls_port, self.prosody.direct_tls_port, self.prosody.ca_file)

    def account(self, username: str | None = None, host: str = DOMAIN) -> Account:
        """A new account; its name is unique unless it is given.

        One with a name may have had it before, or it matters to the test: an admin makes it, with prosodyctl. The others, some
        hundreds, are made in the running server."""
        account = Account(username or f"player{next(_numbers)}", host)
        if username:
            self.prosody.register(account.username, account.host, account.password)
        else:
            self.prosody.register_many([account.username], account.host, account.password)
        return account

    def certificate(self, *addresses: str | Account, **options: Any) -> ClientCertificate:
        """A certificate that nobody has enrolled yet."""
        names = [one.jid if isinstance(one, Account) else one for one in addresses]
        return certs.make(self.folder, names, **options)

    async def open(self, domain: str = DOMAIN, **options: Any) -> Stream:
        """An encrypted stream on which nobody has logged in."""
        return await Stream.open(self.server(domain), **options)

    async def password_session(self, account: Account, resource: str | None = None, **options: Any) -> Stream:
        """A session that logged in with its password."""
        stream = await self.open(account.host, **options)
        try:
            await stream.scram(account.username, account.password)
            await stream.bind(resource)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def certificate_session(
        self, account: Account, certificate: ClientCertificate, resource: str | None = None, **options: Any
    ) -> Stream:
        """A session that logged in with `certificate`; raw.Refused if the server does not want it."""
        stream = await self.open(account.host, certificate=certificate, **options)
        try:
            await stream.external()
            await stream.bind(resource)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def enrol(
        self, account: Account, name: str = "phone", certificate: ClientCertificate | None = None, **options: Any
    ) -> ClientCertificate:
        """Uploads a certificate for `account` over a password session, and returns it."""
        certificate = certificate or self.certificate(account, **options)
        async with await self.password_session(account) as stream:
            await stream.append(name, certificate.base64)
        return certificate

    def records(self, account: Account) -> list[dict[str, Any]]:
        """The account's certificates as the daemon has them, over all pages."""
        found: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.daemon.ask("certificate.list", {"account": account.jid, "after": after})
            found += page["certificates"]
            after = page["next"]
            if after is None:
                return found


class Bystander:
    """Somebody else, who goes on while something bad happens: an open session that pings, and new logins with a
    password, and with a certificate if there is one. Leaving the block raises what went wrong for them."""

    def __init__(self, scene: Scene, account: Account, certificate: ClientCertificate | None = None):
        self.scene = scene
        self.account = account
        self.certificate = certificate
        # Far above what a stanza takes (milliseconds), but below what it takes when Prosody as a whole waits for the daemon.
        self.patience = float(scene.rig.config.timeout) * 2 / 3
        self.rounds = 0
        self.slowest: dict[str, float] = {}

    async def __aenter__(self) -> Bystander:
        self._session = await self.scene.password_session(self.account, "bystander")
        self._done = asyncio.Event()
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        try:
            if kind is None:
                await self._task
                late = {what: f"{seconds:.2f} s" for what, seconds in self.slowest.items() if seconds > self.patience}
                assert not late, f"a bystander had to wait: {late}"
            else:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            await self._session.close()

    async def _live(self) -> None:
        while True:
            last_round = self._done.is_set()
            await self._timed("ping", self._session.ping())
            await self._timed("login with a password", self._visit(None))
            if self.certificate:
                await self._timed("login with a certificate", self._visit(self.certificate))
            self.rounds += 1
            if last_round:
                return
            await asyncio.sleep(0.02)

    async def _visit(self, certificate: ClientCertificate | None) -> None:
        if certificate:
            stream = await self.scene.certificate_session(self.account, certificate)
        else:
            stream = await self.scene.password_session(self.account)
        await stream.close()

    async def _timed(self, what: str, action: Awaitable[None]) -> None:
        start = time.monotonic()
        await action
        self.slowest[what] = max(self.slowest.get(what, 0.0), time.monotonic() - start)


async def expiry_of(certificate: ClientCertificate) -> None:
    """Returns when the clock says that `certificate` has expired."""
    # Its last second counts.
    await moment(certificate.not_after + 1)


async def moment(when: float) -> None:
    """Returns when the clock says `when`, in seconds since the epoch."""
    while time.time() < when:
        await asyncio.sleep(0.02)


async def eventually(what: str, probe: Callable[[], Awaitable[T]], timeout: float = 20.0) -> T:
    """The first true result of the coroutine function `probe`."""
    deadline = time.monotonic() + timeout
    while True:
        result = await probe()
        if result:
            return result
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {what}"
        await asyncio.sleep(0.02)
