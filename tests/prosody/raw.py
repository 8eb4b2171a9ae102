"""An XMPP client without manners: it sends what a test tells it to, at any step, and hands over what comes back.

    async with await Stream.open(server, direct_tls=True, certificate=phone) as stream:
        assert "EXTERNAL" in stream.mechanisms
        outcome = await stream.authenticate("EXTERNAL", b"")
        await stream.bind("balcony")

Every wait has a deadline (`Stream.timeout`). Must not know anything of saslcertd.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from certs import ClientCertificate

CLIENT = "jabber:client"
STREAM = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAMS = "urn:ietf:params:xml:ns:xmpp-streams"
SASL2 = "urn:xmpp:sasl:2"
BIND2 = "urn:xmpp:bind:0"
FAST = "urn:xmpp:fast:0"
SASLCERT = "urn:xmpp:saslcert:1"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
PING = "urn:xmpp:ping"
SMACKS = "urn:xmpp:sm:3"
REGISTER = "jabber:iq:register"

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
class Stream:
    """One connection, from TCP to whatever the test makes of it."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    timeout: float = 20.0
    features: ET.Element = field(default_factory=lambda: ET.Element("none"))
    jid: str | None = None
    #: What the stream's headers say it comes from.
    claims: str | None = None
    _parser: ET.XMLPullParser = field(default_factory=lambda: ET.XMLPullParser(("start", "end")))
    _depth: int = 0
    _root: ET.Element | None = None
    _events: list[ET.Element | StreamEnded] = field(default_factory=list)
    _unclaimed: list[ET.Element] = field(default_factory=list)
    _ahead: bytes = b""
    # A resumed session gets answers to what another stream asked, too.
    _id: int = field(default_factory=lambda: secrets.randbelow(10**9))

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
    ) -> Stream:
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
    async def open_unencrypted(cls, server: Server, *, timeout: float = 20.0) -> Stream:
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
        self.writer.write(data.encode() if isinstance(data, str) else data)
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

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # --- SASL

    @property
    def mechanisms(self) -> list[str]:
        return [one.text or "" for one in self.features.iterfind(f"{{{SASL}}}mechanisms/{{{SASL}}}mechanism")]

    @property
    def channel_bindings(self) -> set[str]:
        """The types that the server advertises (XEP-0440)."""
        namespace = "{urn:xmpp:sasl-cb:0}"
        return {one.get("type", "") for one in self.features.iterfind(f"{namespace}sasl-channel-binding/{namespace}channel-binding")}

    @property
    def tls_unique(self) -> tuple[str, bytes]:
        """The channel binding of TLS 1.2, for `scram`."""
        return "tls-unique", self.writer.get_extra_info("ssl_object").get_channel_binding("tls-unique")

    @property
    def tls_version(self) -> str | None:
        tls = self.writer.get_extra_info("ssl_object")
        return tls.version() if tls else None

    async def start_authentication(self, mechanism: str, initial: bytes | str | None) -> ET.Element:
        """Sends `<auth/>` and returns the answer. `initial`: None for no response at all, bytes to be encoded
        (none of them as "="), or a string that goes out as it is."""
        if initial is None:
            payload = ""
        elif isinstance(initial, bytes):
            payload = base64.b64encode(initial).decode() or "="
        else:
            payload = initial
        await self.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{payload}</auth>")
        return await self.read()

    async def respond(self, response: bytes | str) -> ET.Element:
        payload = base64.b64encode(response).decode() if isinstance(response, bytes) else response
        await self.send(f"<response xmlns='{SASL}'>{payload}</response>")
        return await self.read()

    async def finish_authentication(self, answer: ET.Element) -> None:
        """Restarts the stream after success; Refused with the SASL condition otherwise."""
        if answer.tag != f"{{{SASL}}}success":
            raise Refused(condition_of(answer, SASL), answer)
        await self.restart()

    async def authenticate(self, mechanism: str, initial: bytes | str | None = b"") -> None:
        await self.finish_authentication(await self.start_authentication(mechanism, initial))

    async def external(self, authzid: str | None = None) -> None:
        """Logs in with the certificate that was presented."""
        await self.authenticate("EXTERNAL", (authzid or "").encode())

    async def plain(self, username: str, password: str) -> None:
        await self.authenticate("PLAIN", f"\0{username}\0{password}".encode())

    async def scram(
        self,
        username: str,
        password: str,
        digest: str = "sha1",
        binding: tuple[str, bytes] | None = None,
        before_proof: Callable[[], object] | None = None,
    ) -> None:
        """Logs in with SCRAM, and checks that the server knows the password, too.

        `binding`: type and data of a channel binding, for the -PLUS mechanism; `before_proof`: called between the steps.
        """
        header = f"p={binding[0]},," if binding else "n,,"
        channel = base64.b64encode(header.encode() + (binding[1] if binding else b"")).decode()
        mechanism = {"sha1": "SCRAM-SHA-1", "sha256": "SCRAM-SHA-256"}[digest] + ("-PLUS" if binding else "")
        nonce = secrets.token_hex(12)
        first = f"n={username.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        challenge = await self.start_authentication(mechanism, f"{header}{first}".encode())
        if challenge.tag != f"{{{SASL}}}challenge":
            raise Refused(condition_of(challenge, SASL), challenge)
        server_first = base64.b64decode(challenge.text or "").decode()
        given = dict(part.split("=", 1) for part in server_first.split(","))
        assert given["r"].startswith(nonce), "the server did not repeat our nonce"
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), base64.b64decode(given["s"]), int(given["i"]))

        def sign(key: bytes, message: bytes) -> bytes:
            return hmac.digest(key, message, digest)

        final = f"c={channel},r={given['r']}"
        message = f"{first},{server_first},{final}".encode()
        client_key = sign(salted, b"Client Key")
        signature = sign(hashlib.new(digest, client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if before_proof:
            before_proof()
        answer = await self.respond(f"{final},p={base64.b64encode(proof).decode()}".encode())
        if answer.tag == f"{{{SASL}}}success":
            expected = base64.b64encode(sign(sign(salted, b"Server Key"), message)).decode()
            assert base64.b64decode(answer.text or "").decode() == f"v={expected}", "the server does not know the password"
        await self.finish_authentication(answer)

    # --- SASL2 (XEP-0388)

    @property
    def sasl2_mechanisms(self) -> list[str]:
        return [one.text or "" for one in self.features.iterfind(f"{{{SASL2}}}authentication/{{{SASL2}}}mechanism")]

    async def start_authentication2(self, mechanism: str, initial: bytes | str | None, inline: str = "") -> ET.Element:
        """Sends `<authenticate/>` and returns the answer. `initial` as in `start_authentication`, but that no bytes
        are an empty element; `inline`: what stands beside it, a `<bind/>` say."""
        if initial is None:
            response = ""
        else:
            text = base64.b64encode(initial).decode() if isinstance(initial, bytes) else initial
            response = f"<initial-response>{text}</initial-response>"
        await self.send(f"<authenticate xmlns='{SASL2}' mechanism='{mechanism}'>{response}{inline}</authenticate>")
        return await self.read()

    async def respond2(self, response: bytes | str) -> ET.Element:
        text = base64.b64encode(response).decode() if isinstance(response, bytes) else response
        await self.send(f"<response xmlns='{SASL2}'>{text}</response>")
        return await self.read()

    async def finish_authentication2(self, answer: ET.Element) -> ET.Element:
        """Reads the features that follow success, and returns the success; Refused with the SASL condition otherwise.
        What the server says of a resumed session may come before them and is left in `unclaimed`."""
        if answer.tag != f"{{{SASL2}}}success":
            raise Refused(condition_of(answer, SASL), answer)
        identity = answer.findtext(f"{{{SASL2}}}authorization-identifier", "")
        self.jid = identity if "/" in identity else None
        while True:
            element = await self.read()
            if element.tag == f"{{{STREAM}}}features":
                self.features = element
                return answer
            self._unclaimed.append(element)

    async def authenticate2(self, mechanism: str, initial: bytes | str | None = b"", inline: str = "") -> ET.Element:
        return await self.finish_authentication2(await self.start_authentication2(mechanism, initial, inline))

    async def external2(self, authzid: str | None = None, inline: str = "") -> ET.Element:
        """Logs in with the certificate that was presented; the `<success/>`."""
        return await self.authenticate2("EXTERNAL", (authzid or "").encode(), inline)

    async def plain2(self, username: str, password: str, inline: str = "") -> ET.Element:
        return await self.authenticate2("PLAIN", f"\0{username}\0{password}".encode(), inline)

    # --- stanzas

    async def bind(self, resource: str | None = None) -> str:
        """Binds a resource and returns the full JID that the server gave."""
        wish = f"<resource>{escape(resource)}</resource>" if resource else ""
        result = await self.iq("set", f"<bind xmlns='{BIND}'>{wish}</bind>")
        self.jid = result.findtext(f"{{{BIND}}}bind/{{{BIND}}}jid")
        assert self.jid, ET.tostring(result)
        return self.jid

    async def iq(self, kind: str, payload: str, to: str | None = None, timeout: float | None = None) -> ET.Element:
        """Asks, and returns the result; Refused with the stanza's condition for an error.

        What comes in between is kept for `unclaimed`; questions to us are answered with an error, as they must be.
        """
        self._id += 1
        number = f"q{self._id}"
        address = f" to={quoteattr(to)}" if to else ""
        await self.send(f"<iq type='{kind}' id='{number}'{address}>{payload}</iq>")
        async with asyncio.timeout(timeout or self.timeout):
            while True:
                element = await self.read()
                if element.tag == f"{{{CLIENT}}}iq" and element.get("id") == number and element.get("type") in ("result", "error"):
                    break
                self._unclaimed.append(element)
        if element.get("type") == "error":
            error = element.find(f"{{{CLIENT}}}error")
            assert error is not None, ET.tostring(element)
            raise Refused(condition_of(error, STANZAS), error)
        return element

    @property
    def unclaimed(self) -> list[ET.Element]:
        """Elements that nobody waited for."""
        return self._unclaimed

    async def message(self, timeout: float | None = None) -> ET.Element:
        """The next message, also one that came while something else was waited for."""
        while True:
            for element in self._unclaimed:
                if element.tag == f"{{{CLIENT}}}message":
                    self._unclaimed.remove(element)
                    return element
            self._unclaimed.append(await self.read(timeout))

    async def ping(self, timeout: float | None = None) -> None:
        """Whether the server still answers stanzas of this session."""
        await self.iq("get", f"<ping xmlns='{PING}'/>", to=self.server.domain, timeout=timeout)

    async def features_of(self, jid: str) -> set[str]:
        """The features that service discovery lists for `jid`."""
        result = await self.iq("get", f"<query xmlns='{DISCO_INFO}'/>", to=jid)
        return {one.get("var", "") for one in result.iterfind(f".//{{{DISCO_INFO}}}feature")}

    # --- in-band registration (XEP-0077)

    async def register(self, username: str, password: str) -> None:
        """Creates an account, before any login."""
        fields = f"<username>{escape(username)}</username><password>{escape(password)}</password>"
        await self.iq("set", f"<query xmlns='{REGISTER}'>{fields}</query>")

    async def change_password(self, username: str, password: str) -> None:
        """Changes the password of the account that is logged in."""
        await self.register(username, password)

    async def remove_account(self) -> None:
        """Removes the account that is logged in; the server ends the stream."""
        await self.iq("set", f"<query xmlns='{REGISTER}'><remove/></query>")

    # --- stream management (XEP-0198)

    async def enable_resumption(self) -> str:
        """Turns it on for a bound session, and returns what `resume` needs."""
        await self.send(f"<enable xmlns='{SMACKS}' resume='true'/>")
        enabled = await self.read()
        token = enabled.get("id")
        assert enabled.tag == f"{{{SMACKS}}}enabled" and token, ET.tostring(enabled)
        return token

    async def resume(self, token: str, handled: int = 0, namespace: str = SMACKS) -> None:
        """Takes over the session that `token` is for; Refused with the condition otherwise."""
        await self.send(f"<resume xmlns='{namespace}' h='{handled}' previd={quoteattr(token)}/>")
        answer = await self.read()
        if answer.tag != f"{{{namespace}}}resumed":
            raise Refused(condition_of(answer, STANZAS), answer)

    # --- XEP-0257

    async def append(self, name: str, certificate: str, *, may_manage: bool = True, timeout: float | None = None) -> None:
        """Uploads a certificate, given as the text that goes into the element."""
        less = "" if may_manage else "<no-cert-management/>"
        payload = f"<append xmlns='{SASLCERT}'><name>{escape(name)}</name><x509cert>{certificate}</x509cert>{less}</append>"
        await self.iq("set", payload, timeout=timeout)

    async def certificates(self) -> dict[str, Item]:
        """The account's own list, by name, in the server's order."""
        result = await self.iq("get", f"<items xmlns='{SASLCERT}'/>")
        items = [Item.of(element) for element in result.iterfind(f"{{{SASLCERT}}}items/{{{SASLCERT}}}item")]
        return {item.name: item for item in items}

    async def disable(self, name: str) -> None:
        await self.iq("set", f"<disable xmlns='{SASLCERT}'><name>{escape(name)}</name></disable>")

    async def revoke(self, name: str) -> None:
        await self.iq("set", f"<revoke xmlns='{SASLCERT}'><name>{escape(name)}</name></revoke>")


@dataclass(frozen=True)
class Item:
    """One certificate in the list of XEP-0257."""

    name: str
    certificate: str
    users: tuple[str, ...]

    @classmethod
    def of(cls, element: ET.Element) -> Item:
        return cls(
            element.findtext(f"{{{SASLCERT}}}name", ""),
            element.findtext(f"{{{SASLCERT}}}x509cert", ""),
            tuple(one.text or "" for one in element.iterfind(f"{{{SASLCERT}}}users/{{{SASLCERT}}}resource")),
        )


def client_context(server: Server, certificate: ClientCertificate | None, tls: ssl.TLSVersion | None) -> ssl.SSLContext:
    """A TLS context that verifies the server and presents `certificate`, whatever its chain."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    if certificate:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if tls:
        context.minimum_version = context.maximum_version = tls
    return context
