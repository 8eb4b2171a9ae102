"""Admins reload, unload, deactivate and disable in the middle of logins: nothing falls, and afterwards all is as before."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from certs import ClientCertificate
from conftest import SASL2_MODULES, SASL2_VERSION
from connection import Refused, StreamEnded
from namespaces import BIND2, SASL, SASL2, SASLCERT
from processes import freeze
from prosody import USUAL_MODULES, Config, Host
from raw import Stream
from rome import ROME
from scene import DOMAIN, Account, Scene, eventually
from test_client_certs import ITS_OWN, WITHDRAWS

IN_DAEMON = 'authentication = "saslcertd"\nsaslcertd_guess_delay_max = 0'
OURS_HERE = 'modules_enabled = { "saslcertd" }'
#: What ends an attempt in a storm.
ENDED = (Refused, StreamEnded, OSError, AssertionError)

#: The ways to enable our module: the configuration, and the host that the storm is about.
WAYS: dict[str, tuple[Config, str]] = {
    "globally": (Config(hosts=[Host(DOMAIN), Host("denmark.lit")]), DOMAIN),
    "in one host": (Config(hosts=[Host(DOMAIN, OURS_HERE), Host("denmark.lit", declared=False)], saslcertd=False), DOMAIN),
    "by the auth module": (Config(hosts=[Host(ROME, IN_DAEMON), Host("denmark.lit", declared=False)], saslcertd=False), ROME),
    "beside mod_client_certs": (Config(hosts=[Host(DOMAIN)], modules=[*USUAL_MODULES, "client_certs"]), DOMAIN),
}


@dataclass(frozen=True)
class Gust:
    """What an admin does while everybody waits for the daemon, and what brings it back after that."""

    meanwhile: list[str]
    afterwards: list[str]


def gusts(host: str, version: str, account: str) -> list[Gust]:
    auth = "auth_saslcertd" if host == ROME else "auth_internal_hashed"
    ours, theirs = f'"saslcertd", "{host}"', f'"{auth}", "{host}"'
    # The one brings the other along.
    load = [f"module:load({theirs})"] if host == ROME else [f"module:load({ours})"]
    # Prosody 0.12 disables nobody; and who lives in the daemon can't be disabled while it hangs.
    disable = [Gust([f'user:disable("{account}")'], [f'user:enable("{account}")'])] if version != "0.12" and host != ROME else []
    return [
        *disable,
        Gust([f"module:reload({ours})"], []),
        Gust(['module:reload("saslcertd")'], []),
        Gust([f"module:reload({theirs})"], []),
        Gust([f"module:unload({ours})"], load),
        Gust([f"module:unload({ours})", *load], []),
        Gust([f"module:unload({theirs})"], [f"module:load({theirs})"]),
        Gust([f'host:deactivate("{host}")'], [f'host:activate("{host}")']),
        Gust([f'host:deactivate("{host}")', f'host:activate("{host}")'], []),
        Gust(["config:reload()"], []),
        Gust([f'module:reload("saslauth", "{host}")', 'module:reload("saslcertd")', "config:reload()"], []),
    ]


async def crowd(scene: Scene, account: Account, phone: ClientCertificate, is_ours: bool) -> list[asyncio.Task[None]]:
    """Clients at every place where the daemon is asked; those that are logged in have sent their questions when this returns."""

    async def attempt(what: Callable[[], Awaitable[object]]) -> None:
        with contextlib.suppress(*ENDED):
            await what()

    async def by_certificate() -> None:
        async with await scene.open(account.host, certificate=phone, timeout=8) as stream:
            await stream.external()
            await stream.bind()

    async def by_sasl2() -> None:
        async with await scene.open(account.host, certificate=phone, timeout=8) as stream:
            if stream.sasl2_mechanisms:
                await stream.external2(inline=f"<bind xmlns='{BIND2}'><tag>a client</tag></bind>")

    async def by_password() -> None:
        async with await scene.password_session(account, certificate=phone, timeout=8) as stream:
            if is_ours:
                await stream.append("another", scene.certificate(account).base64)

    async def answered(stream: Stream) -> None:
        async with stream:
            await stream.read()

    async def say(stream: Stream, text: str) -> asyncio.Task[None]:
        await stream.send(text)
        return asyncio.create_task(attempt(lambda: answered(stream)))

    def auth(mechanism: str, initial: str) -> str:
        return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{base64.b64encode(initial.encode()).decode() or '='}</auth>"

    tasks = []
    for direct_tls in (False, True):
        streams = [await scene.open(account.host, certificate=phone, direct_tls=direct_tls, timeout=8) for _ in range(3)]
        if "EXTERNAL" in streams[0].sasl2_mechanisms and direct_tls:
            tasks.append(lambda stream=streams[0]: say(stream, f"<authenticate xmlns='{SASL2}' mechanism='EXTERNAL'/>"))
        elif "EXTERNAL" in streams[0].mechanisms:
            tasks.append(lambda stream=streams[0]: say(stream, auth("EXTERNAL", "")))
        tasks.append(lambda stream=streams[1]: say(stream, auth("PLAIN", f"\0{account.username}\0{account.password}")))
        tasks.append(lambda stream=streams[2]: say(stream, auth("PLAIN", f"\0{account.username}\0wrong")))
    # The rival would answer these.
    for request in ("<items xmlns='{}'/>", "<revoke xmlns='{}'><name>none</name></revoke>") if is_ours else ():
        kind = "get" if "items" in request else "set"
        session = await scene.password_session(account, timeout=8)
        text = f"<iq type='{kind}' id='{kind}'>{request.format(SASLCERT)}</iq>"
        tasks.append(lambda stream=session, text=text: say(stream, text))
    unbound = await scene.open(account.host, timeout=8)
    await unbound.plain(account.username, account.password)
    tasks.append(lambda: say(unbound, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"))
    freeze(scene.daemon.pid)
    running = [await one() for one in tasks]
    return running + [asyncio.create_task(attempt(what)) for what in (by_certificate, by_sasl2, by_password)]


@pytest.mark.provokes(WITHDRAWS, *ITS_OWN)
@pytest.mark.parametrize("way", WAYS)
async def test_nothing_falls_in_a_storm_and_afterwards_all_is_as_before(own_scene, version: str, way: str):
    config, host = WAYS[way]
    if way == "globally" and version == SASL2_VERSION:
        config = replace(config, modules=[*config.modules, *SASL2_MODULES])
    scene = own_scene(replace(config, hosts=list(config.hosts)))
    scene.rig.wait_attached(host)
    account = scene.account(host=host)
    is_ours = "client_certs" not in config.modules
    phone = await scene.enrol(account) if is_ours else scene.certificate(account)

    async def works() -> bool:
        try:
            async with await scene.password_session(account):
                pass
            if is_ours:
                async with await scene.certificate_session(account, phone):
                    pass
        except ENDED:
            return False
        return True

    # Beside the rival ours does next to nothing.
    for gust in gusts(host, version, account.jid)[:: 1 if is_ours else 3]:
        await eventually(f"logins work before {gust}", works)
        try:
            clients = await crowd(scene, account, phone, is_ours)
            for line in gust.meanwhile:
                await asyncio.to_thread(scene.prosody.shell, line)
        finally:
            os.kill(scene.daemon.pid, signal.SIGCONT)
        await asyncio.gather(*clients)
        for line in gust.afterwards:
            scene.prosody.shell(line)
    await eventually("logins work as before", works)
