"""Sessions of slixmpp, a client library that we did not write: its own certificate login, its own XEP-0257.

    async with session(server, "hamlet@shakespeare.lit", password="secret") as client:
        await client.plugin["xep_0257"].add_cert("phone", certificate.base64)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError

from certs import ClientCertificate
from connection import Server


class LoginFailed(Exception):
    """slixmpp could not log in. `conditions`: what the server answered to each attempt."""

    def __init__(self, conditions: list[str], reason: str):
        super().__init__(f"{reason}; the server said {conditions or 'nothing'}")
        self.conditions = conditions


@asynccontextmanager
async def session(
    server: Server,
    jid: str,
    *,
    password: str | None = None,
    certificate: ClientCertificate | None = None,
    direct_tls: bool = False,
    tls: ssl.TLSVersion | None = None,
    register: bool = False,
    timeout: float = 20.0,
) -> AsyncIterator[ClientXMPP]:
    """Logs in, with a password or with a certificate alone; LoginFailed if the server does not want it. `register`: creates
    the account first."""
    client = ClientXMPP(jid, password or "", plugin_config={"feature_mechanisms": {"use_mech": "EXTERNAL"}} if not password else {})
    client.ca_certs = server.ca_file
    client.enable_direct_tls, client.enable_starttls = direct_tls, not direct_tls
    if certificate:
        client.certfile, client.keyfile = str(certificate.cert_file), str(certificate.key_file)
    if tls:
        client.ssl_context.minimum_version = client.ssl_context.maximum_version = tls
    for plugin in ("xep_0030", "xep_0199", "xep_0257"):
        client.register_plugin(plugin)
    client.register_plugin("xep_0077", {"create_account": register})

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[str | None] = loop.create_future()
    conditions: list[str] = []

    def settle(reason: str | None) -> None:
        if not outcome.done():
            outcome.set_result(reason)

    async def create_account(_: object) -> None:
        iq = client.Iq()
        iq["type"] = "set"
        iq["register"]["username"], iq["register"]["password"] = client.boundjid.user, password
        try:
            await iq.send()
        except IqError as error:
            conditions.append(error.condition)
            settle("the account was not created")

    client.add_event_handler("register", create_account)
    client.add_event_handler("session_start", lambda _: settle(None))
    client.add_event_handler("failed_auth", lambda failure: conditions.append(failure["condition"]))
    client.add_event_handler("no_auth", lambda _: settle("no mechanism that fits was offered"))
    client.add_event_handler("failed_all_auth", lambda _: settle("every mechanism failed"))
    client.add_event_handler("connection_failed", lambda error: settle(f"no connection: {error}"))
    client.add_event_handler("disconnected", lambda reason: settle(f"disconnected: {reason}"))
    client.connect(server.address, server.direct_tls_port if direct_tls else server.starttls_port)
    try:
        reason = await asyncio.wait_for(outcome, timeout)
        if reason is not None:
            raise LoginFailed(conditions, reason)
        yield client
    finally:
        client.cancel_connection_attempt()
        if client.is_connected():
            await client.disconnect(wait=1.0)
        else:
            client.abort()
        # slixmpp leaves the task that empties its queue behind.
        leftover = client._run_out_filters
        if leftover is not None:
            leftover.cancel()
            await asyncio.gather(leftover, return_exceptions=True)
