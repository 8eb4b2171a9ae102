"""An XMPP client without manners: it sends what a test tells it to, at any step, and hands over what comes back.

    async with await Stream.open(server, direct_tls=True, certificate=phone) as stream:
        assert "EXTERNAL" in stream.mechanisms
        outcome = await stream.authenticate("EXTERNAL", b"")
        await stream.bind("balcony")

Every wait has a deadline (`Stream.timeout`). Must not know anything of saslcertd.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from connection import Refused, condition_of
from namespaces import BIND, CLIENT, DISCO_INFO, PING, REGISTER, SASLCERT, SMACKS, STANZAS
from sasl import Login


@dataclass
class Stream(Login):
    """One connection, from TCP to whatever the test makes of it."""

    # A resumed session gets answers to what another stream asked, too.
    _id: int = field(default_factory=lambda: secrets.randbelow(10**9))

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
