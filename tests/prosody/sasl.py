"""Logging in: SASL (RFC 6120) and SASL2 (XEP-0388), step by step, or at once.

Must not know what a session is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from connection import Connection, Refused, condition_of
from namespaces import SASL, SASL2, STREAM


@dataclass
class Login(Connection):
    """A connection on which somebody may log in."""

    #: Who is logged in, if the server said so.
    jid: str | None = None
    _unclaimed: list[ET.Element] = field(default_factory=list)

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
