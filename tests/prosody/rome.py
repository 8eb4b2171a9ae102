"""A host whose accounts live in the daemon, and what happens there: registrations, mail, and a component next door.

    scene = own_scene(rome.config())
    brutus = scene.account(host=ROME)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from connection import Refused, condition_of
from namespaces import CLIENT, SASL
from processes import free_ports
from prosody import DAEMON_TIMEOUT, USUAL_MODULES, Config, Host
from raw import Stream
from scene import DOMAIN, Account, Scene

ROME = "rome.lit"
#: May use the commands of administrators.
ADMIN = "caesar"
#: An external component, which asks Prosody things where Prosody can't wait for an answer.
BRIDGE, BRIDGE_SECRET = "bridge.rome.lit", "the die is cast"

MODULES = [*USUAL_MODULES, "offline", "invites", "invites_register"]
COMPONENT = "jabber:component:accept"


def config(options: str = "saslcertd_guess_delay_max = 0", *, enabled: bool = True, timeout: float = DAEMON_TIMEOUT) -> Config:
    """`ROME` in the daemon with `options`, and `DOMAIN` with its accounts in Prosody. `enabled`: mod_saslcertd is in `modules_enabled`."""
    (port,) = free_ports(1)
    extra = (
        f'admins = {{ "{ADMIN}@{ROME}" }}\nallow_registration = true\nregistration_invite_only = false\n'
        f'component_ports = {{ {port} }}\ncomponent_interfaces = {{ "127.0.0.1" }}\n'
    )
    bridge = f'Component "{BRIDGE}"\ncomponent_secret = "{BRIDGE_SECRET}"'
    hosts = [Host(DOMAIN, declared=enabled), Host(ROME, f'authentication = "saslcertd"\n{options}\n{bridge}')]
    return Config(hosts=hosts, modules=MODULES, extra=extra, saslcertd=enabled, timeout=timeout)


async def outcome(attempt: Awaitable[object]) -> tuple[str, str | None]:
    """Condition and text of an attempt that fails."""
    try:
        await attempt
    except Refused as refusal:
        texts = [child.text for child in refusal.element if child.tag.endswith("}text")]
        return refusal.condition, texts[0] if texts else None
    return "success", None


async def first_challenge(stream: Stream, username: str, digest: str) -> dict[str, str]:
    """What the server tells a stranger about this name: salt and iterations."""
    answer = await stream.start_authentication(f"SCRAM-{digest}", f"n,,n={username},r=nonce".encode())
    if answer.tag != f"{{{SASL}}}challenge":
        raise Refused(condition_of(answer, SASL), answer)
    told = dict(part.split("=", 1) for part in base64.b64decode(answer.text or "").decode().split(","))
    assert told.pop("r").startswith("nonce")
    return told


def message(to: str, text: str, sender: str | None = None) -> str:
    origin = f" from={quoteattr(sender)}" if sender else ""
    return f"<message type='chat' to={quoteattr(to)}{origin}><body>{escape(text)}</body></message>"


async def mail(scene: Scene, account: Account, count: int) -> list[str]:
    """Logs in, goes online, and returns the bodies of the messages that waited."""
    async with await scene.password_session(account) as stream:
        await stream.send("<presence/>")
        return [(await stream.message()).findtext(f"{{{CLIENT}}}body", "") for _ in range(count)]


async def bounces_of(stream: Stream) -> list[str]:
    """The conditions of what came back so far: everything that was sent before has been handled."""
    await stream.ping()
    returned = [one for one in stream.unclaimed if one.tag == f"{{{CLIENT}}}message" and one.get("type") == "error"]
    stream.unclaimed[:] = [one for one in stream.unclaimed if one not in returned]
    return [condition_of(one.find(f"{{{CLIENT}}}error"), "urn:ietf:params:xml:ns:xmpp-stanzas") for one in returned]


class Bridge:
    """The external component, connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer
        self.parser = ET.XMLPullParser(("start", "end"))
        self.depth = 0

    async def read(self) -> ET.Element:
        async with asyncio.timeout(20):
            while True:
                for event, element in self.parser.read_events():
                    self.depth += 1 if event == "start" else -1
                    if event == "start" and self.depth == 1 or event == "end" and self.depth == 1:
                        return element
                data = await self.reader.read(65536)
                assert data, "the server closed the component's connection"
                self.parser.feed(data)

    async def bounces_of(self, *messages: str) -> list[str]:
        """Sends, and returns the conditions of what came back before the answer to a ping."""
        ping = f"<iq type='get' id='last' from='{BRIDGE}' to='{ROME}'><ping xmlns='urn:xmpp:ping'/></iq>"
        self.writer.write("".join([*messages, ping]).encode())
        conditions = []
        while True:
            element = await self.read()
            if element.get("id") == "last":
                return conditions
            error = element.find(f"{{{COMPONENT}}}error")
            assert error is not None, ET.tostring(element)
            conditions.append(condition_of(error, "urn:ietf:params:xml:ns:xmpp-stanzas"))


@asynccontextmanager
async def bridge(scene: Scene) -> AsyncIterator[Bridge]:
    port = int(scene.rig.config.extra.partition("component_ports = {")[2].partition("}")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    component = Bridge(reader, writer)
    try:
        writer.write(
            f"<stream:stream xmlns='{COMPONENT}' xmlns:stream='http://etherx.jabber.org/streams' to='{BRIDGE}'>".encode()
        )
        header = await component.read()
        digest = hashlib.sha1(f"{header.get('id')}{BRIDGE_SECRET}".encode()).hexdigest()
        writer.write(f"<handshake>{digest}</handshake>".encode())
        answer = await component.read()
        assert answer.tag.endswith("handshake"), ET.tostring(answer)
        yield component
    finally:
        writer.close()
