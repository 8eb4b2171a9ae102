"""Which hosts get what: our module on all of them, on one, and beside other ways to log in."""

import pytest

from connection import Refused
from namespaces import SASLCERT
from prosody import Config, Host
from scene import Account, Scene


async def test_enabled_in_one_host_only_the_others_are_as_without_us(own_scene):
    hosts = [Host("shakespeare.lit", 'modules_enabled = { "saslcertd" }'), Host("denmark.lit")]
    scene = own_scene(Config(hosts=hosts, saslcertd=False))
    scene.rig.wait_attached("shakespeare.lit")
    account, dane = scene.account(), scene.account(host="denmark.lit")
    phone = await scene.enrol(account)
    both = scene.certificate(account, dane)
    await scene.enrol(account, "both", both)
    async with await scene.certificate_session(account, phone), await scene.certificate_session(account, both):
        pass
    async with await scene.open("denmark.lit", certificate=both) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external()
    async with await scene.password_session(dane) as stream:
        assert SASLCERT not in await stream.features_of("denmark.lit")
        with pytest.raises(Refused, match="^service-unavailable"):
            await stream.certificates()
    assert not scene.daemon.has_host("denmark.lit")


async def test_a_certificate_enrolled_on_one_host_opens_no_other(scene: Scene):
    account, dane = scene.account("twin"), scene.account("twin", "denmark.lit")
    both = scene.certificate(account, dane)
    await scene.enrol(account, "both", both)
    async with await scene.open("denmark.lit", certificate=both) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external()
    async with await scene.certificate_session(account, both):
        pass


async def test_an_anonymous_host_is_undisturbed(scene: Scene, direct_tls: bool):
    stranger = scene.certificate(Account("anybody", "guests.lit"))
    for certificate in (None, stranger):
        async with await scene.open("guests.lit", certificate=certificate, direct_tls=direct_tls) as stream:
            assert stream.mechanisms == ["ANONYMOUS"]
            await stream.authenticate("ANONYMOUS", b"")
            assert (await stream.bind()).partition("@")[2].startswith("guests.lit/")
            await stream.ping()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "PLAIN"])
async def test_passwords_work_with_and_without_a_certificate_in_tls(scene: Scene, direct_tls: bool, mechanism: str):
    account = scene.account()
    phone = await scene.enrol(account)
    for certificate in (None, phone, scene.certificate(account), scene.certificate()):
        async with await scene.open(certificate=certificate, direct_tls=direct_tls) as stream:
            assert mechanism in stream.mechanisms
            with pytest.raises(Refused, match="^not-authorized"):
                await stream.plain(account.username, "a wrong password")
            if mechanism == "PLAIN":
                await stream.plain(account.username, account.password)
            else:
                await stream.scram(account.username, account.password)
            await stream.bind()


async def test_a_certificate_of_an_account_that_is_gone_logs_nobody_in(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    scene.prosody.shell(f'user:delete("{account.jid}")')
    async with await scene.open(certificate=phone) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external()


async def test_a_later_account_of_the_same_name_inherits_no_certificate(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    scene.prosody.control("deluser", account.jid)
    scene.account(account.username)
    async with await scene.open(certificate=phone) as stream:
        assert "EXTERNAL" not in stream.mechanisms
        with pytest.raises(Refused):
            await stream.external()
    async with await scene.password_session(account) as stream:
        assert await stream.certificates() == {}
        await stream.append("phone", phone.base64)
    async with await scene.certificate_session(account, phone):
        pass
