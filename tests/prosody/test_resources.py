"""A certificate whose address names a resource binds that one and no other (XEP-0257, 257-17 and 257-18), whatever the
client asks for and whatever `conflict_resolve` says."""

import pytest

from connection import Refused, local_name
from scene import Account, Scene

POLICIES = ["random.lit", "increment.lit", "kick-new.lit", "kick-old.lit"]


@pytest.fixture(params=POLICIES, ids=lambda host: host.removesuffix(".lit"))
def account(settings: Scene, request: pytest.FixtureRequest) -> Account:
    """An account of a host for each value of `conflict_resolve`."""
    return settings.account(host=request.param)


async def test_257_17_a_full_address_binds_its_resource_whatever_the_client_asks_for(settings: Scene, account: Account):
    phone = await settings.enrol(account, certificate=settings.certificate(f"{account.jid}/orchard"))
    for wish in ("balcony", None, "orchard", "Orchard"):
        async with await settings.certificate_session(account, phone, wish) as stream:
            assert stream.jid == f"{account.jid}/orchard"


async def test_257_17_a_resource_is_prepared_before_it_is_bound(scene: Scene):
    account = scene.account()
    # Full-width letters and a ligature: resourceprep makes plain ones of them.
    phone = await scene.enrol(account, certificate=scene.certificate(f"{account.jid}/\uff4frch\uff41rd of\ufb01ce"))
    async with await scene.certificate_session(account, phone, "balcony") as first:
        assert first.jid == f"{account.jid}/orchard office"
        async with await scene.certificate_session(account, phone, "balcony") as second:
            assert second.jid == first.jid
            assert (await first.wait_closed(5)).condition == "conflict"


async def test_257_18_a_session_of_the_same_certificate_is_replaced(settings: Scene, account: Account):
    phone = await settings.enrol(account, certificate=settings.certificate(f"{account.jid}/orchard"))
    async with await settings.certificate_session(account, phone) as old, await settings.certificate_session(account, phone) as new:
        assert new.jid == f"{account.jid}/orchard"
        assert (await old.wait_closed(5)).condition == "conflict"
        await new.ping()


async def test_257_18_whoever_has_that_resource_is_replaced(settings: Scene, account: Account):
    phone = await settings.enrol(account, certificate=settings.certificate(f"{account.jid}/orchard"))
    laptop = await settings.enrol(account, "laptop")
    async with (
        await settings.password_session(account, "orchard") as by_password,
        await settings.password_session(account, "balcony") as elsewhere,
        await settings.certificate_session(account, phone) as new,
    ):
        assert new.jid == f"{account.jid}/orchard"
        assert (await by_password.wait_closed(5)).condition == "conflict"
        await elsewhere.ping()
    async with (
        await settings.certificate_session(account, laptop, "orchard") as by_certificate,
        await settings.certificate_session(account, phone) as new,
    ):
        assert new.jid == f"{account.jid}/orchard"
        assert (await by_certificate.wait_closed(5)).condition == "conflict"
        await new.ping()


async def test_257_18_a_hibernating_session_of_that_resource_is_replaced_and_does_not_come_back(settings: Scene, account: Account):
    phone = await settings.enrol(account, certificate=settings.certificate(f"{account.jid}/orchard"))
    async with await settings.password_session(account, "orchard") as asleep:
        token = await asleep.enable_resumption()
        asleep.drop()
        async with await settings.certificate_session(account, phone) as new, await settings.open(account.host) as late:
            assert new.jid == f"{account.jid}/orchard"
            await late.scram(account.username, account.password)
            with pytest.raises(Refused, match="^item-not-found"):
                await late.resume(token)
            await new.ping()


@pytest.mark.parametrize("namespace", ["urn:xmpp:sm:2", "urn:xmpp:sm:3"])
async def test_257_17_a_session_of_another_resource_can_not_be_resumed(scene: Scene, namespace: str):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(f"{account.jid}/orchard"))
    async with await scene.password_session(account, "balcony") as other, await scene.open(certificate=phone) as stream:
        token = await other.enable_resumption()
        other.drop()
        await stream.external()
        with pytest.raises(Refused, match="^item-not-found") as refusal:
            await stream.resume(token, namespace=namespace)
        assert local_name(refusal.value.element) == "failed"
        # The stream goes on, and the session waits for one that may have it.
        assert await stream.bind("balcony") == f"{account.jid}/orchard"
        async with await scene.open() as owner:
            await owner.scram(account.username, account.password)
            await owner.resume(token)
            await owner.ping()
        await stream.ping()


async def test_257_17_a_session_of_its_own_resource_can_be_resumed(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(f"{account.jid}/orchard"))
    async with await scene.certificate_session(account, phone) as first, await scene.password_session(account) as desk:
        token = await first.enable_resumption()
        first.drop()
        async with await scene.open(certificate=phone) as second:
            await second.external()
            await second.resume(token)
            await second.ping()
            assert (await desk.certificates())["phone"].users == ("orchard",)


async def test_257_17_a_certificate_without_a_resource_may_have_any(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account, "balcony") as other:
        token = await other.enable_resumption()
        other.drop()
        async with await scene.open(certificate=phone) as stream:
            await stream.external()
            await stream.resume(token)
            await stream.ping()
    async with await scene.certificate_session(account, phone, "garden") as stream:
        assert stream.jid == f"{account.jid}/garden"
