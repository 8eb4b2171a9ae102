"""A connection to an XMPP server, from TCP to the elements of a stream; whatever is sent goes out as it is.

Every wait has a deadline (`Connection.timeout`). Must not know what the elements mean, but for STARTTLS and the end of a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from certs import ClientCertificate
from namespaces import CLIENT, STREAM, STREAMS, TLS

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class StreamEnded(Exception):
    """The server closed the stream or the connection. `condition`: of its stream error, or None."""

    def __init__(self, condition: str | None, text: str | None = None):
        super().__init__(f"the server ended the stream: {condition or 'without an error'} {text or ''}".strip())
        self.condition = condition
        self.text = text


class Refused(Exception):
    """The server said no: a SASL failure, or a stanza error. `condition` names it."""

    def __init__(self, condition: str, element: ET.Element):
        super().__init__(f"{condition}: {ET.tostring(element, 'unicode')}")
        self.condition = condition
        self.element = element
        self.type = element.get("type")


@dataclass(frozen=True)
class Server:
    """Where to connect, and whose certificate to expect there."""

    domain: str
    starttls_port: int
    direct_tls_port: int
    ca_file: Path
    address: str = "127.0.0.1"


def local_name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def condition_of(parent: ET.Element, namespace: str) -> str:
    """The first child that is a condition, not its text."""
    for child in parent:
        if child.tag.startswith(f"{{{namespace}}}") and local_name(child) != "text":
            return local_name(child)
    return "no condition"


@dataclass
class Connection:
    """One connection, and the stream on it."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    timeout: float = 20.0
    features: ET.Element = field(default_factory=lambda: ET.Element("none"))
    #: What the stream's headers say it comes from.
    claims: str | None = None
    _parser: ET.XMLPullParser = field(default_factory=lambda: ET.XMLPullParser(("start", "end")))
    _depth: int = 0
    _root: ET.Element | None = None
    _events: list[ET.Element | StreamEnded] = field(default_factory=list)
    _ahead: bytes = b""

    # --- opening

    @classmethod
    async def open(
        cls,
        server: Server,
        *,
        direct_tls: bool = False,
        certificate: ClientCertificate | None = None,
        tls: ssl.TLSVersion | None = None,
        timeout: float = 20.0,
        claims: str | None = None,
    ) -> Self:
        """Connects, encrypts, and returns a stream whose features have been read. `tls`: that version and no other;
        `claims`: the `from` of its headers."""
        port = server.direct_tls_port if direct_tls else server.starttls_port
        context = client_context(server, certificate, tls)
        options: dict[str, Any] = {"ssl": context, "server_hostname": server.domain} if direct_tls else {}
        reader, writer = await asyncio.wait_for(asyncio.open_connection(server.address, port, limit=2**24, **options), timeout)
        stream = cls(server, reader, writer, timeout)
        stream.claims = claims
        try:
            await stream.restart()
            if not direct_tls:
                await stream.starttls(context)
        except BaseException:
            await stream.close()
            raise
        return stream

    @classmethod
    async def open_unencrypted(cls, server: Server, *, timeout: float = 20.0) -> Self:
        """Connects, and returns a stream on which STARTTLS was not asked for."""
        reader, writer = await asyncio.wait_for(asyncio.open_connection(server.address, server.starttls_port, limit=2**24), timeout)
        stream = cls(server, reader, writer, timeout)
        try:
            await stream.restart()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def starttls(self, context: ssl.SSLContext) -> None:
        await self.send(f"<starttls xmlns='{TLS}'/>")
        answer = await self.read()
        if answer.tag != f"{{{TLS}}}proceed":
            raise Refused("starttls", answer)
        await asyncio.wait_for(self.writer.start_tls(context, server_hostname=self.server.domain), self.timeout)
        await self.restart()

    async def restart(self) -> None:
        """Sends a stream header and reads the features."""
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth, self._root = 0, None
        sender = f" from={quoteattr(self.claims)}" if self.claims else ""
        await self.send(
            f"<?xml version='1.0'?><stream:stream to={quoteattr(self.server.domain)}{sender} version='1.0' xml:lang='en' "
            f"xmlns='{CLIENT}' xmlns:stream='{STREAM}'>"
        )
        self.features = await self.read()

    # --- bytes and elements

    async def send(self, data: str | bytes) -> None:
        """Sends. Of a server that has closed the next `read` tells, with what it said before."""
        self.writer.write(data.encode() if isinstance(data, str) else data)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(self.writer.drain(), self.timeout)

    async def read(self, timeout: float | None = None) -> ET.Element:
        """The next element below the stream's root; StreamEnded after the last; TimeoutError when none comes."""
        async with asyncio.timeout(timeout or self.timeout):
            while not self._events:
                await self._feed()
        event = self._events.pop(0)
        if isinstance(event, StreamEnded):
            self._events.insert(0, event)
            raise event
        return event

    async def _feed(self) -> None:
        try:
            if self._ahead and self._depth == 0:
                data, self._ahead = self._ahead, b""
            else:
                data = await self.reader.read(65536)
        except (ConnectionError, ssl.SSLError) as error:
            self._events.append(StreamEnded(None, str(error)))
            return
        if not data:
            self._events.append(StreamEnded(None))
            return
        data, declaration, rest = data.partition(b"<?xml")
        if declaration and not data and self._depth == 0:
            data = declaration + rest
        elif declaration:
            # The server began the next stream, to close it with an error, before we did.
            self._ahead = declaration + rest
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                if self._depth == 0:
                    self._root = element
                self._depth += 1
                continue
            self._depth -= 1
            if self._depth == 0:
                self._events.append(StreamEnded(None))
            elif self._depth == 1:
                if element.tag == f"{{{STREAM}}}error":
                    text = element.findtext(f"{{{STREAMS}}}text")
                    self._events.append(StreamEnded(condition_of(element, STREAMS), text))
                else:
                    self._events.append(element)
                if self._root is not None:
                    self._root.remove(element)

    async def wait_closed(self, timeout: float | None = None) -> StreamEnded:
        """Reads until the server ends the stream, and returns how it did."""
        while True:
            try:
                await self.read(timeout)
            except StreamEnded as ended:
                return ended

    async def close(self) -> None:
        """Says good-bye if it still can, and drops the connection."""
        try:
            self.writer.write(b"</stream:stream>")
            self.writer.close()
            await asyncio.wait_for(self.writer.wait_closed(), 1)
        except (OSError, ssl.SSLError, TimeoutError, RuntimeError):
            pass

    def drop(self) -> None:
        """Loses the connection without a word."""
        self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def client_context(server: Server, certificate: ClientCertificate | None, tls: ssl.TLSVersion | None) -> ssl.SSLContext:
    """A TLS context that verifies the server and presents `certificate`, whatever its chain."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    if certificate:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if tls:
        context.minimum_version = context.maximum_version = tls
    return context
