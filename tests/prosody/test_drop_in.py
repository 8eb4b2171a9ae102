"""An admin enables one module and has it working; the users' clients are ones that we did not write."""

import asyncio

import pytest

import certs
import slix
from scene import DOMAIN, TLS_VERSIONS, Scene


#: Every two of a key, a version of TLS and a way to it meet once.
WAYS = [
    ("rsa-2048", "TLS 1.2", False), ("p256", "TLS 1.2", True), ("ed25519", "TLS 1.2", False),
    ("rsa-2048", "TLS 1.3", True), ("p256", "TLS 1.3", False), ("ed25519", "TLS 1.3", True),
]  # fmt: skip


@pytest.mark.parametrize(("key", "tls", "direct_tls"), WAYS)
async def test_enabling_one_module_lets_slixmpp_upload_a_certificate_and_log_in_with_it(
    shipped: Scene, key: str, tls: str, direct_tls: bool
):
    account, how = shipped.account(), {"direct_tls": direct_tls, "tls": TLS_VERSIONS[tls]}
    phone = shipped.certificate(account, key=key)

    with pytest.raises(slix.LoginFailed):
        async with slix.session(shipped.server(), account.jid, certificate=phone, **how):
            pass
    async with slix.session(shipped.server(), account.jid, password=account.password, **how) as client:
        await client.plugin["xep_0257"].add_cert("phone", phone.base64)
    async with slix.session(shipped.server(), f"{account.jid}/orchard", certificate=phone, **how) as client:
        assert client.boundjid.full == f"{account.jid}/orchard"
        assert await client.plugin["xep_0257"].get_certs() == {("phone", phone.base64, ("orchard",))}


async def test_the_openssl_recipe_yields_a_certificate_that_logs_in(shipped: Scene, direct_tls: bool):
    hamlet = shipped.account("hamlet")
    phone = certs.by_the_openssl_recipe(shipped.folder)
    async with slix.session(shipped.server(), hamlet.jid, password=hamlet.password) as client:
        await client.plugin["xep_0257"].add_cert("by hand", phone.base64)
    async with slix.session(shipped.server(), hamlet.jid, certificate=phone, direct_tls=direct_tls) as client:
        assert client.boundjid.bare == f"hamlet@{DOMAIN}"
        await client.plugin["xep_0257"].revoke_cert("by hand")


async def test_revoking_with_slixmpp_ends_the_other_session_and_refuses_the_next_login(shipped: Scene, direct_tls: bool):
    account = shipped.account()
    phone = await shipped.enrol(account)
    ended = asyncio.get_running_loop().create_future()
    async with slix.session(shipped.server(), account.jid, certificate=phone, direct_tls=direct_tls) as lost:
        lost.add_event_handler("stream_error", lambda error: ended.set_result(error["condition"]))
        async with slix.session(shipped.server(), account.jid, password=account.password) as client:
            await client.plugin["xep_0257"].revoke_cert("phone")
            assert await asyncio.wait_for(ended, 5) == "not-authorized"
            assert await client.plugin["xep_0257"].get_certs() == set()
    with pytest.raises(slix.LoginFailed):
        async with slix.session(shipped.server(), account.jid, certificate=phone, direct_tls=direct_tls):
            pass


async def test_passwords_alone_work_as_before(shipped: Scene, direct_tls: bool):
    account = shipped.account()
    async with slix.session(shipped.server(), account.jid, password=account.password, direct_tls=direct_tls) as client:
        assert await client.plugin["xep_0257"].get_certs() == set()
