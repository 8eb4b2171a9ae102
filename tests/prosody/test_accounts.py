"""Whose certificate it is, when accounts come, go, and come back under the same name."""

from collections.abc import Awaitable, Callable

import pytest

from certs import ClientCertificate
from connection import Refused, StreamEnded
from scene import DOMAIN, Account, Scene


async def opens_nothing(scene: Scene, certificate: ClientCertificate, host: str = DOMAIN) -> None:
    """Neither offered nor, when it is chosen all the same, accepted; with any authzid."""
    async with await scene.open(host, certificate=certificate) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        for authzid in (None, "somebody@" + host):
            with pytest.raises(Refused, match="^invalid-mechanism"):
                await stream.external(authzid)


async def inherits_nothing(scene: Scene, heir: Account, certificate: ClientCertificate) -> None:
    """The account of the same name that is there now has no certificates, and may add this one as if it were new."""
    await opens_nothing(scene, certificate, heir.host)
    async with await scene.password_session(heir) as desk:
        assert await desk.certificates() == {}
        with pytest.raises(Refused, match="^item-not-found"):
            await desk.disable("phone")
        await desk.append("phone", certificate.base64)
        assert list(await desk.certificates()) == ["phone"]
    async with await scene.certificate_session(heir, certificate):
        pass


def delete(scene: Scene, account: Account) -> None:
    """In the running server."""
    scene.prosody.shell(f'user:delete("{account.jid}")')


async def test_an_account_that_never_existed_gets_nobody_in(scene: Scene):
    account = scene.account()
    nobody = Account("nobody-of-this-name")
    both = scene.certificate(account, nobody)
    await opens_nothing(scene, scene.certificate(nobody))
    await scene.enrol(account, certificate=both)
    async with await scene.open(certificate=both) as stream:
        with pytest.raises(Refused, match="^not-authorized"):
            await stream.external(nobody.jid)
        await stream.external(account.jid)
        await stream.bind()


async def test_a_deleted_account_gets_nobody_in_and_its_sessions_end(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as living, await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.mechanisms
        delete(scene, account)
        await living.wait_closed(5)
        # Offered while the account was there.
        for authzid in (None, account.jid):
            with pytest.raises(Refused, match="^not-authorized"):
                await early.external(authzid)
    await opens_nothing(scene, phone)


async def test_of_two_owners_the_one_that_is_left_goes_on(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    delete(scene, account)
    async with await scene.open(certificate=both) as stream:
        assert "EXTERNAL" in stream.mechanisms
        with pytest.raises(Refused, match="^not-authorized"):
            await stream.external(account.jid)
        await stream.external(other.jid)
        await stream.bind()


async def test_a_second_owner_comes_in_though_the_first_was_offered_before(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    await scene.enrol(account, "ours", both)
    async with await scene.open(certificate=both) as stream:
        await stream.external(account.jid)
        await stream.bind()
    await scene.enrol(other, "ours", both)
    for owner in (other, account):
        async with await scene.open(certificate=both) as stream:
            await stream.external(owner.jid)
            await stream.bind()


async def test_an_account_deleted_in_the_server_leaves_nothing_to_the_next(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    delete(scene, account)
    await inherits_nothing(scene, scene.account(account.username), phone)


async def test_an_account_removed_by_its_user_leaves_nothing_to_the_next(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account) as desk:
        with pytest.raises(StreamEnded):
            await desk.iq("set", "<query xmlns='jabber:iq:register'><remove/></query>")
            await desk.ping()
    await opens_nothing(scene, phone)
    await inherits_nothing(scene, scene.account(account.username), phone)


# On 0.12 both work in prosodyctl's own process, and the server hears nothing; on 13 the first goes through the server.
BY_PROSODYCTL: dict[str, Callable[[Scene, Account], object]] = {
    "deluser": lambda scene, account: scene.prosody.control("deluser", account.jid),
    "unregister": lambda scene, account: scene.prosody.control("unregister", account.username, account.host),
}


@pytest.mark.parametrize("remove", BY_PROSODYCTL.values(), ids=BY_PROSODYCTL.keys())
async def test_an_account_deleted_by_prosodyctl_leaves_nothing_to_the_next(scene: Scene, remove: Callable[[Scene, Account], object]):
    account = scene.account()
    phone = await scene.enrol(account)
    remove(scene, account)
    heir = scene.account(account.username)
    await inherits_nothing(scene, heir, phone)


async def test_a_stream_that_was_offered_the_old_account_does_not_open_the_new_one(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.mechanisms
        scene.prosody.control("unregister", account.username, account.host)
        heir = scene.account(account.username)
        with pytest.raises(Refused, match="^not-authorized"):
            await early.external()
        await early.scram(heir.username, heir.password)
        await early.bind()


async def test_a_session_left_over_from_the_old_account_may_not_manage_certificates_of_the_new(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as leftover:
        # In a process of its own: the server hears nothing and leaves the session open.
        scene.prosody.control("unregister", account.username, account.host)
        heir = scene.account(account.username)
        for change in (leftover.append("mine", scene.certificate(account).base64), leftover.append("again", phone.base64)):
            with pytest.raises(Refused, match="^forbidden"):
                await change
    async with await scene.password_session(heir) as desk:
        assert await desk.certificates() == {}


async def test_a_revocation_does_not_follow_to_a_later_account(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account) as desk:
        await desk.revoke("phone")
    delete(scene, account)
    heir = scene.account(account.username)
    await inherits_nothing(scene, heir, phone)


async def while_away(scene: Scene, change: Callable[[], object]) -> None:
    assert scene.daemon.stop() == 0
    change()
    scene.daemon.start()
    scene.rig.wait_attached()


async def test_an_account_deleted_while_the_daemon_was_away_leaves_nothing_to_the_next(own_scene):
    scene = own_scene()
    in_the_server, by_prosodyctl, twice = scene.account(), scene.account(), scene.account()
    phones = {account: await scene.enrol(account) for account in (in_the_server, by_prosodyctl, twice)}

    def change() -> None:
        delete(scene, in_the_server)
        scene.prosody.control("unregister", by_prosodyctl.username, by_prosodyctl.host)
        for _ in range(2):
            delete(scene, twice)
            scene.account(twice.username)
        scene.account(in_the_server.username)
        scene.account(by_prosodyctl.username)

    await while_away(scene, change)
    for account, phone in phones.items():
        await inherits_nothing(scene, account, phone)
    # And it is the daemon's memory that counts, not what it was told: once more, from the disk.
    await while_away(scene, lambda: None)
    for account, phone in phones.items():
        async with await scene.certificate_session(account, phone):
            pass


async def test_an_account_that_stays_keeps_its_certificates_whoever_restarts(own_scene):
    scene = own_scene()
    account = scene.account()
    phone = await scene.enrol(account)
    await while_away(scene, lambda: None)
    async with await scene.certificate_session(account, phone):
        pass
    assert scene.prosody.stop() == 0
    scene.prosody.start()
    scene.rig.wait_attached()
    async with await scene.certificate_session(account, phone):
        pass


async def test_a_new_password_takes_no_certificate_away(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    scene.prosody.shell(f'user:password("{account.jid}", "another one")')
    async with await scene.certificate_session(account, phone):
        pass
    # `register` on an existing account is how some set a new password; the account stays the same.
    scene.prosody.register(account.username, account.host, "a third one")
    async with await scene.certificate_session(account, phone):
        pass


def can_disable(scene: Scene) -> bool:
    """Prosody 0.12 knows no disabled accounts."""
    return scene.prosody.version != "0.12"


async def disabled_by_the_admin(scene: Scene, account: Account, then: Callable[[], Awaitable[None]]) -> None:
    scene.prosody.shell(f'user:disable("{account.jid}")')
    await then()
    scene.prosody.shell(f'user:enable("{account.jid}")')


async def test_a_disabled_account_gets_nobody_in_until_it_is_enabled_again(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    if not can_disable(scene):
        with pytest.raises(Exception, match="disable"):
            scene.prosody.shell(f'user:disable("{account.jid}")')
        return
    async with await scene.certificate_session(account, phone) as living, await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.mechanisms

        async def then() -> None:
            await living.wait_closed(5)
            for authzid in (None, account.jid):
                with pytest.raises(Refused, match="^account-disabled"):
                    await early.external(authzid)
            await opens_nothing(scene, phone)

        await disabled_by_the_admin(scene, account, then)
        await early.external()
        await early.bind()
    async with await scene.certificate_session(account, phone):
        pass


async def test_of_two_owners_a_disabled_one_is_told_and_the_other_goes_on(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    if not can_disable(scene):
        async with await scene.open(certificate=both) as stream:
            await stream.external(account.jid)
        return

    async def then() -> None:
        async with await scene.open(certificate=both) as stream:
            with pytest.raises(Refused, match="^account-disabled"):
                await stream.external(account.jid)
            await stream.external(other.jid)
            await stream.bind()

    await disabled_by_the_admin(scene, account, then)


async def test_certificates_that_an_administrator_brings_go_to_the_account_that_is_there_now(scene: Scene):
    account, nobody = scene.account(), Account("nobody-of-this-name")

    def bring(owner: Account, certificate: ClientCertificate) -> dict:
        certificates = [{"name": "brought", "certificate": certificate.base64, "may_manage": True}]
        params = {"account": owner.jid, "incarnation": None, "login": None, "certificates": certificates, "apply": True}
        return scene.daemon.ask("account.import", params)

    brought = scene.certificate(account)
    assert [one["verdict"] for one in bring(account, brought)["certificates"]] == ["taken"]
    async with await scene.certificate_session(account, brought):
        pass
    # The same account as the one that adds a certificate by itself.
    await scene.enrol(account, "phone")
    async with await scene.password_session(account) as desk:
        assert list(await desk.certificates()) == ["brought", "phone"]
    assert bring(nobody, scene.certificate(nobody))["certificates"][0]["verdict"] == "refused"
    delete(scene, account)
    await inherits_nothing(scene, scene.account(account.username), brought)
