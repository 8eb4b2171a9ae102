"""mod_client_certs, Prosody's older module for certificates, enabled by mistake beside ours: ours withdraws, says so and
what to remove, and nothing crashes. As Debian ships it, it does not load on either version of Prosody, and leaves half of
its handlers behind; with one word mended, as in its newer versions, it does."""

from pathlib import Path

import pytest

from connection import Refused
from namespaces import SASLCERT
from prosody import COMMUNITY_MODULES, GLUE, USUAL_MODULES, Config, Host, lua_list
from scene import DOMAIN, Account, Scene

#: What we say.
WITHDRAWS = r"mod_client_certs is enabled too.*withdraws"
#: What it says of every client without a certificate, and how Prosody reports that it does not load.
ITS_OWN = (r"\terror\tNo Client Certificate", r"Error initializing module 'client_certs'", r"stack traceback:")


def words_of_withdrawal(scene: Scene) -> list[str]:
    return [line for line in scene.prosody.read_log().splitlines() if "withdraws" in line]


def assert_it_says_what_to_remove(scene: Scene, host: str = DOMAIN, times: int = 1) -> None:
    lines = words_of_withdrawal(scene)
    assert len(lines) == times, lines
    for line in lines:
        assert f"{host}:saslcertd\terror\t" in line and 'remove "client_certs" from modules_enabled' in line


def config_of(folder: Path, enabled: list[str], hosts: list[Host] | None = None) -> Config:
    """Our module only if it is named. Prosody finds both that below `folder` and ours."""
    paths = f"plugin_paths = {lua_list([GLUE, folder])}"
    return Config(hosts=hosts or [Host(DOMAIN, declared=False)], saslcertd=False, modules=[*USUAL_MODULES, *enabled], extra=paths)


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    """A folder with a mod_client_certs that loads."""
    source = (COMMUNITY_MODULES / "mod_client_certs" / "mod_client_certs.lua").read_text()
    # Newer ones have another word there, and load.
    text = source.replace('adhoc_handler, "user")', 'adhoc_handler, "local_user")')
    folder = tmp_path / "plugins"
    (folder / "mod_client_certs").mkdir(parents=True)
    (folder / "mod_client_certs" / "mod_client_certs.lua").write_text(text)
    return folder


async def assert_we_are_away_and_passwords_work(scene: Scene, account: Account) -> None:
    stranger = scene.certificate(account)
    for certificate in (None, stranger):
        async with await scene.password_session(account, certificate=certificate) as stream:
            await stream.ping()
            await stream.certificates()
            assert SASLCERT not in await stream.features_of(account.jid)
    # Without a certificate the other module would crash.
    async with await scene.open(account.host, certificate=stranger) as stream:
        with pytest.raises(Refused):
            await stream.external()
        await stream.scram(account.username, account.password)
        await stream.bind()
    assert scene.records(account) == []


async def assert_we_are_back(scene: Scene, account: Account) -> None:
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone), await scene.password_session(account) as desk:
        assert SASLCERT in await desk.features_of(account.host)
        assert SASLCERT in await desk.features_of(account.jid)
        await desk.revoke("phone")


@pytest.mark.provokes(WITHDRAWS, *ITS_OWN)
async def test_enabled_in_the_configuration_as_debian_ships_it_ours_withdraws(own_scene):
    scene = own_scene(Config(modules=[*USUAL_MODULES, "client_certs"]))
    assert_it_says_what_to_remove(scene)
    await assert_we_are_away_and_passwords_work(scene, scene.account())
    # As told: removed, and Prosody restarted.
    scene.prosody.stop()
    scene.prosody.config.modules.remove("client_certs")
    at = scene.prosody.log_position()
    scene.prosody.start()
    scene.rig.wait_attached()
    await assert_we_are_back(scene, scene.account())
    scene.rig.check_logs((at, 0))


@pytest.mark.provokes(WITHDRAWS, *ITS_OWN)
async def test_enabled_on_one_host_only_ours_withdraws_there_and_nowhere_else(own_scene, mended: Path):
    hosts = [Host(DOMAIN, 'modules_enabled = { "client_certs" }', declared=False), Host("denmark.lit")]
    scene = own_scene(config_of(mended, ["saslcertd"], hosts))
    scene.rig.wait_attached("denmark.lit")
    assert_it_says_what_to_remove(scene)
    await assert_we_are_back(scene, scene.account(host="denmark.lit"))
    async with await scene.password_session(scene.account()) as stream:
        assert SASLCERT not in await stream.features_of((stream.jid or "").partition("/")[0])


@pytest.mark.provokes(WITHDRAWS, *ITS_OWN)
async def test_loaded_before_ours_ours_withdraws(own_scene, mended: Path):
    scene = own_scene(config_of(mended, ["client_certs"]))
    account = scene.account()
    assert words_of_withdrawal(scene) == []
    scene.prosody.shell(f'module:load("saslcertd", "{DOMAIN}")')
    assert_it_says_what_to_remove(scene)
    await assert_we_are_away_and_passwords_work(scene, account)
    scene.prosody.shell(f'module:unload("client_certs", "{DOMAIN}")')
    scene.prosody.shell(f'module:reload("saslcertd", "{DOMAIN}")')
    assert_it_says_what_to_remove(scene, times=2)


@pytest.mark.provokes(WITHDRAWS, *ITS_OWN)
async def test_loaded_after_ours_ours_withdraws_until_it_is_unloaded(own_scene, mended: Path):
    scene = own_scene(config_of(mended, ["saslcertd"]))
    scene.rig.wait_attached(DOMAIN)
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone) as living, await scene.open(certificate=phone) as waiting:
        assert "EXTERNAL" in waiting.mechanisms
        scene.prosody.shell(f'module:load("client_certs", "{DOMAIN}")')
        assert_it_says_what_to_remove(scene)
        with pytest.raises(Refused):
            await waiting.external()
        await assert_we_are_away_and_passwords_work(scene, other)
        # What is revoked is out, also now.
        await living.ping()
        revoked = scene.daemon.command("cert", "revoke", account.jid, "phone")
        assert revoked.returncode == 0, revoked.stderr
        assert (await living.wait_closed(5)).condition == "not-authorized"
    scene.prosody.shell(f'module:unload("client_certs", "{DOMAIN}")')
    await assert_we_are_back(scene, other)
    scene.prosody.shell(f'module:load("client_certs", "{DOMAIN}")')
    assert_it_says_what_to_remove(scene, times=2)


def test_the_module_is_the_one_that_debian_ships():
    """Everything above needs it; a missing one would fail with less clear words."""
    assert (COMMUNITY_MODULES / "mod_client_certs" / "mod_client_certs.lua").is_file(), "run tests/prosody/fetch.sh test"
