"""An admin reloads modules or the configuration of a running Prosody; nobody has to log in again."""

from collections.abc import Callable

import pytest

from connection import Refused
from namespaces import SASLCERT
from processes import wait_until
from prosody import Config, Host
from scene import DOMAIN, Account, Scene, eventually

RELOADS: dict[str, Callable[[Scene], None]] = {
    "the module": lambda scene: scene.prosody.reload_module("saslcertd"),
    "the module on one host": lambda scene: scene.prosody.reload_module("saslcertd", DOMAIN),
    "the auth module": lambda scene: scene.prosody.reload_module("auth_internal_hashed", DOMAIN),
    "mod_saslauth": lambda scene: scene.prosody.reload_module("saslauth", DOMAIN),
    "mod_tls": lambda scene: scene.prosody.reload_module("tls", DOMAIN),
    "mod_c2s": lambda scene: scene.prosody.reload_module("c2s"),
    "the configuration": lambda scene: scene.prosody.reload_config(),
    "everything": lambda scene: [reload(scene) for name, reload in RELOADS.items() if name != "everything"],
}


async def is_enrolled(scene: Scene, account: Account, name: str) -> bool:
    """Does the account's list take one more certificate now?"""
    try:
        await scene.enrol(account, name)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("reload", RELOADS.values(), ids=RELOADS.keys())
async def test_after_a_reload_certificates_work_as_before(own_scene, reload):
    scene = own_scene()
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    async with await scene.certificate_session(account, phone, "before") as before, await scene.password_session(account) as desk:
        for _ in range(2):
            reload(scene)
        scene.rig.wait_attached()

        async def is_offered() -> bool:
            async with await scene.open(certificate=phone) as stream:
                return "EXTERNAL" in stream.mechanisms

        await eventually("EXTERNAL is offered again", is_offered)
        for direct_tls in (False, True):
            async with await scene.open(certificate=laptop, direct_tls=direct_tls) as stream:
                assert stream.mechanisms.count("EXTERNAL") == 1
                await stream.external()
                await stream.bind()
                assert SASLCERT in await stream.features_of(DOMAIN)
        await before.ping()
        await scene.enrol(account, "tablet")
        async with await scene.certificate_session(account, phone, "after") as after:
            assert sorted((await desk.certificates())["phone"].users) == ["after", "before"]
            await desk.revoke("phone")
            assert (await before.wait_closed(5)).condition == "not-authorized"
            assert (await after.wait_closed(5)).condition == "not-authorized"


async def test_a_config_reload_brings_new_options_to_the_daemon(own_scene):
    scene = own_scene(Config(hosts=[Host(DOMAIN, "saslcertd_max_certs = 1")]))
    account = scene.account()
    await scene.enrol(account, "phone")
    with pytest.raises(Refused):
        await scene.enrol(account, "laptop")
    scene.rig.config.hosts[0] = Host(DOMAIN, "saslcertd_max_certs = 2")
    scene.prosody.write_config()
    scene.prosody.reload_config()

    await eventually("the new limit holds", lambda: is_enrolled(scene, account, "laptop"))


@pytest.mark.provokes("saslcertd_trust")
async def test_a_wrong_option_is_named_in_the_log_and_that_host_gets_no_external(own_scene):
    scene = own_scene(Config(hosts=[Host(DOMAIN), Host("denmark.lit")]))
    account, dane = scene.account(), scene.account(host="denmark.lit")
    phone, other = await scene.enrol(account), await scene.enrol(dane)
    scene.rig.config.hosts[1] = Host("denmark.lit", 'saslcertd_trust = "everyone"')
    scene.prosody.write_config()
    scene.prosody.reload_config()

    async def is_withdrawn() -> bool:
        async with await scene.open("denmark.lit", certificate=other) as stream:
            return "EXTERNAL" not in stream.mechanisms

    await eventually("EXTERNAL is withdrawn on the host with the wrong option", is_withdrawn)
    wait_until("Prosody has said which option", lambda: "saslcertd_trust" in scene.prosody.read_log())
    async with await scene.password_session(dane), await scene.certificate_session(account, phone):
        pass


@pytest.mark.provokes("prosody.cfg.lua", "[Rr]eload")
async def test_a_configuration_that_cannot_be_read_changes_nothing(own_scene):
    """From 13.0.6 on Prosody has an event of its own for that."""
    scene = own_scene(Config(hosts=[Host(DOMAIN, "saslcertd_max_certs = 1")]))
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone) as session:
        good = scene.prosody.config_file.read_text()
        scene.prosody.config_file.write_text(good.replace("max_certs = 1", "max_certs = 2") + "\nthis is no Lua (\n")
        failed = scene.prosody.converse("shell", "config:reload()")
        assert "prosody.cfg.lua" in failed.stdout + failed.stderr, failed
        await session.ping()
        async with await scene.certificate_session(account, phone):
            pass
        with pytest.raises(Refused):
            await scene.enrol(account, "laptop")

        scene.prosody.config_file.write_text(good.replace("max_certs = 1", "max_certs = 2"))
        scene.prosody.reload_config()

        await eventually("the mended configuration counts", lambda: is_enrolled(scene, account, "laptop"))
