"""The page for devices: Debian's Chromium over https, and both Prosodys. Pictures of each step are in target/pictures."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import certs
import slix
from browser import Page, browser_for
from certs import ClientCertificate
from conftest import PROSODY_VERSIONS, observed
from connection import Refused
from devices import (
    DESK, LANGUAGES, MODULES, NOT_HTTPS, PASSWORD_OF_FILE, PHONE, SMALL, address, button, complaint, elsewhere, eventually_complains, has_icon, is_for_everybody,
    is_well, log_in, make, names, out_of, picture, restart, saved, tab_to, try_login, words_of,
)
from namespaces import CLIENT
from processes import TARGET, clean_environment, finish, free_ports, wait_until
from prosody import PAGE_MODULE, Config, Host, lua_string
from rig import Rig
from scene import DOMAIN, Account, Scene, eventually
from test_clients import run_strophe_login, strophe_login  # noqa: F401
from test_doctor import doctor

NO_SCRAM = '{ "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS" }'
HOSTS = [
    Host(DOMAIN),
    Host("few.lit", 'saslcertd_manage_with = "password"\nsaslcertd_max_certs = 1\nsaslcertd_max_validity_days = 30\nsaslcertd_devices_name = "Few & Far <b>"'),
    # Its accounts live in the daemon.
    Host("rome.lit", 'authentication = "saslcertd"\nsaslcertd_guess_delay_max = 0\nsaslcertd_min_rsa_bits = 3072'),
]


@pytest.fixture(scope="session")
def page_rig(version: str) -> Iterator[Rig]:
    """One daemon and one Prosody with the page."""
    with Rig(version, Config(hosts=HOSTS, modules=MODULES)) as rig:
        rig.start()
        rig.check_logs()
        yield rig


@pytest.fixture
def stage(page_rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(page_rig, tmp_path, request, page_rig.log_positions()) as scene:
        yield scene


# --- the whole way


async def test_a_phone_gets_its_key_in_a_minute_and_is_cut_off_at_once(stage: Scene, strophe_login: Path):  # noqa: F811
    account = stage.account()
    async with browser_for(stage) as browser, await stage.password_session(account) as reader:
        await reader.send("<presence/>")
        page = await browser.open(**PHONE)
        await page.goto(address(stage))
        await button(page, "Log in").wait_for()
        await picture(page, stage, "1-login")
        await log_in(page, stage, account)
        assert await page.get_by_text("No device has a key yet.").count() == 1
        await picture(page, stage, "2-empty")

        await button(page, "Add this phone").click()
        assert await page.get_by_label("Name of the device").input_value() == "Android phone"
        await picture(page, stage, "3-add")
        password = await make(page)
        assert PASSWORD_OF_FILE.match(password)
        await picture(page, stage, "4-made")
        await button(page, "Copy").click()
        await page.get_by_text("Copied").wait_for()
        assert await page.evaluate("navigator.clipboard.readText()") == password
        file = await saved(page, "Save the file", stage.folder)
        assert file.name == f"{account.jid}.Android-phone.p12"
        assert 'certificate "Android phone"' in (await reader.message()).findtext(f"{{{CLIENT}}}body", "")
        await button(page, "Done").click()
        await page.get_by_role("heading", name="Android phone").wait_for()

        # Everybody who opens such files finds the same in it.
        certificate = out_of(file, password, stage.folder)
        [record] = stage.records(account)
        assert certificate.fingerprint == record["fingerprint"] and record["may_manage"]
        listing = finish(["keytool", "-list", "-v", "-keystore", str(file), "-storetype", "PKCS12", "-storepass", password], "keytool")
        assert "PrivateKeyEntry" in listing
        assert certificate.fingerprint == re.search(r"SHA256: ([0-9A-F:]+)", listing)[1].replace(":", "").lower()  # type: ignore[index]
        bound, _ = await run_strophe_login(strophe_login, stage, [str(file), "-", account.jid], PKCS12_PASSWORD=password)
        assert bound and bound.startswith(account.jid)

        async with slix.session(stage.server(), account.jid, certificate=certificate):
            # Nobody touches the page, and it knows.
            await page.get_by_text("Online now").wait_for()
            await shows_what_the_admin_sees(page, stage, account)
            await picture(page, stage, "5-online")
        await page.get_by_text("Online now").wait_for(state="detached")

        async with await stage.certificate_session(account, certificate) as phone:
            await page.get_by_text("Online now").wait_for()
            await button(page, "Sign out Android phone").click()
            await page.get_by_role("heading", name="Sign out “Android phone”?").wait_for()
            await picture(page, stage, "6-revoke")
            await button(page, "Cancel").click()
            await phone.ping()
            await button(page, "Sign out Android phone").click()
            await button(page, "Sign out").click()
            assert (await phone.wait_closed()).condition == "not-authorized"
        await page.get_by_text("No device has a key yet.").wait_for()
        with pytest.raises(Refused):
            await stage.certificate_session(account, certificate)
        await button(page, "Log out").click()
        await button(page, "Log in").wait_for()
        assert await page.get_by_label("Password").input_value() == ""
        await is_well(page, stage)


async def shows_what_the_admin_sees(page: Page, scene: Scene, account: Account) -> None:
    """The page's rows, against `saslcertd cert list --json`."""
    done = scene.daemon.command("cert", "list", account.jid, "--json")
    listed = json.loads(done.stdout)["certificates"]
    assert await names(page) == [one["shown"]["name"] for one in listed]
    rows = page.locator(".device")
    for number, record in enumerate(listed):
        row = rows.nth(number)
        text = await row.inner_text()
        facts = dict(zip(await row.locator("dt").all_text_contents(), await row.locator("dd").all_text_contents()))
        moment = "d MMM y, HH:mm"
        assert ("Online now" in text) == bool(record["resources"]), text
        assert facts["May manage others"] == ("yes" if record["may_manage"] else "no")
        for fact, at, options in (
            ("Added", record["added"]["at"], moment), ("Expires", record["not_after"], "day"), ("Last login", record["last_use"] and record["last_use"]["at"], moment),
        ):
            if at is None:
                assert facts[fact] == "none yet"
                continue
            style = "{dateStyle: 'medium'}" if options == "day" else "{dateStyle: 'medium', timeStyle: 'short'}"
            said = await page.evaluate(f"new Intl.DateTimeFormat('en-GB', {style}).format({at}000)")
            assert facts[fact].startswith(said), (facts, said)
        if record["last_use"]:
            assert facts["Last login"].endswith(f", from {record['last_use']['address']}")


async def test_the_list_says_who_added_what_and_follows_other_sessions(stage: Scene):
    account = stage.account()
    phone = await stage.enrol(account, "phone")
    async with browser_for(stage) as browser:
        page = await browser.open(**DESK)
        await log_in(page, stage, account)
        assert await names(page) == ["phone"]
        async with await stage.certificate_session(account, phone, "orchard") as stream:
            tablet, watch = stage.certificate(account), stage.certificate(account)
            await stream.append("tablet", tablet.base64)
            await stream.append("w\u202eatch", watch.base64, may_manage=False)
            await page.locator(".device").nth(2).wait_for()
            # A name can't turn the direction of what stands around it.
            assert await names(page) == ["phone", "tablet", "w\\u{202e}atch"]
            text = await page.locator(".device").nth(1).inner_text()
            assert "by “phone”" in text
            admin = stage.certificate(account)
            assert stage.daemon.command("cert", "add", account.jid, "desk", str(admin.cert_file)).returncode == 0
            await page.locator(".device").nth(3).wait_for()
            assert "by an administrator" in await page.locator(".device").nth(3).inner_text()
            await eventually("the login is in the list", lambda: contains(page, "127.0.0.1"))
            await shows_what_the_admin_sees(page, account=account, scene=stage)
            await picture(page, stage, "7-list")
        stage.daemon.command("cert", "revoke", account.jid, "phone")
        await page.get_by_role("heading", name="phone").wait_for(state="detached")
        assert "by a device that is gone" in await page.locator(".device").nth(0).inner_text()
        await is_well(page, stage)


async def contains(page: Page, text: str) -> bool:
    return text in await page.locator(".devices").inner_text()


async def test_every_other_device_is_signed_out_by_one_question(stage: Scene):
    account = stage.account()
    certificates = {name: await stage.enrol(account, name) for name in ("phone", "laptop", "tablet")}
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        sessions = {name: await stage.certificate_session(account, one) for name, one in certificates.items()}
        await button(page, "Sign every other device out").click()
        await page.get_by_role("radio", name="laptop").check()
        await picture(page, stage, "8-others")
        await button(page, "Sign all others out").click()
        for name in ("phone", "tablet"):
            assert (await sessions[name].wait_closed()).condition == "not-authorized"
        await sessions["laptop"].ping()
        await page.get_by_text("Only “laptop” is left.").wait_for()
        assert await names(page) == ["laptop"]
        assert await button(page, "Sign every other device out").count() == 0
        for session in sessions.values():
            await session.close()
        await is_well(page, stage)


async def test_the_device_that_was_chosen_stays_though_the_list_changes_behind_the_question(stage: Scene):
    account = stage.account()
    for name in ("phone", "laptop", "tablet"):
        await stage.enrol(account, name)
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        await button(page, "Sign every other device out").click()
        await page.get_by_role("radio", name="laptop").check()
        assert stage.daemon.command("cert", "revoke", account.jid, "phone").returncode == 0
        await page.locator(".device").nth(2).wait_for(state="detached")
        await button(page, "Sign all others out").click()
        await page.get_by_text("Only “laptop” is left.").wait_for()
        assert [record["name"] for record in stage.records(account)] == ["laptop"]
        await is_well(page, stage)


@pytest.mark.parametrize(
    ("app", "form", "host"),
    [
        ("Conversations", "3des", DOMAIN), ("Snikket", "3des", DOMAIN), ("Swift", "aes", DOMAIN), ("Spark", "pem", "rome.lit"), ("poezio", "pem", DOMAIN),
        ("Another app", "aes", DOMAIN),
    ],
)
async def test_each_app_gets_the_form_that_it_opens(stage: Scene, app: str, form: str, host: str):
    account = stage.account(host=host)
    async with browser_for(stage) as browser:
        page = await browser.open(**DESK)
        await log_in(page, stage, account)
        await button(page, "Add another device").click()
        await page.get_by_label("For which app?").select_option(label=app)
        assert await page.get_by_label("In which form?").is_visible() == (app == "Another app")
        if app == "Another app":
            await page.get_by_label("In which form?").select_option(form)
        await page.get_by_label("It may add devices").uncheck()
        password = await make(page, "gadget ☂")
        file = await saved(page, "Save the file", stage.folder)
        if form == "pem":
            certificate = ClientCertificate(file, file, out_of_pem(file))
            # Spark reads no other key; and the host's rules hold.
            key = finish(["openssl", "pkey", "-in", str(file), "-noout", "-text"], "openssl")
            assert ("(3072 bit" if app == "Spark" else "NIST CURVE: P-256") in key
            assert file.read_text().startswith("-----BEGIN PRIVATE KEY-----")
        else:
            said = said_by_openssl(file, password)
            assert ("PBES2, PBKDF2, AES-256-CBC" if form == "aes" else "pbeWithSHA1And3-KeyTripleDES-CBC") in said
            assert ("MAC: sha256" if form == "aes" else "MAC: sha1") in said
            certificate = out_of(file, password, stage.folder)
            # The other form of the same key is at hand.
            await page.get_by_text("Take it in another form").click()
            pem = await saved(page, "Save as text file (.pem)", stage.folder)
            assert out_of_pem(pem) == certificate.der
        async with slix.session(stage.server(host), account.jid, certificate=certificate) as client:
            assert client.boundjid.bare == account.jid
        [record] = stage.records(account)
        assert (record["name"], record["may_manage"]) == ("gadget ☂", False)
        await is_well(page, stage, host)


def out_of_pem(file: Path) -> bytes:
    assert "PRIVATE KEY" in file.read_text()
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def said_by_openssl(file: Path, password: str) -> str:
    done = subprocess.run(
        ["openssl", "pkcs12", "-in", str(file), "-passin", f"pass:{password}", "-info", "-noout"],
        capture_output=True, text=True, env=clean_environment(), check=True,
    )
    return done.stderr


# --- what is refused


async def test_each_refused_login_says_why_and_what_helps(stage: Scene):
    account = stage.account()
    # SASLprep and SCRAM's escapes are seen to.
    odd = Account("ham=let,2", DOMAIN, "I\u00adX \u2168 ünï")
    stage.prosody.register_many([odd.username], odd.host, "IX IX ünï")
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        for jid, password, said in [
            (account.jid, "", "Fill in both fields."),
            ("", "secret", "Fill in both fields."),
            (account.jid, "wrong", "The address or the password is wrong."),
            (f"nobody@{DOMAIN}", "wrong", "The address or the password is wrong."),
            ("hamlet@denmark.lit", "secret", f"addresses that end with @{DOMAIN}"),
            ("ham let", "secret", "No address has such a form."),
            ("a@b@c", "secret", "No address has such a form."),
            (account.jid, "bell\x07", "No password has such characters."),
        ]:
            await try_login(page, stage, jid, password)
            assert said in await complaint(page), said
        await picture(page, stage, "9-refused")
        # Its own address without the host will do, whatever the case.
        await try_login(page, stage, f" {account.username.upper()} ", account.password)
        await button(page, "Log out").wait_for()
        assert await page.get_by_text(account.jid).count() == 1
        await try_login(page, stage, odd.jid, odd.password)
        await button(page, "Log out").wait_for()
        await is_well(page, stage)


async def test_a_refused_change_is_said_in_words(stage: Scene):
    account = stage.account(host="few.lit")
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        # The name is text and nothing else.
        assert await page.locator("#brand").inner_text() == "Few & Far <b>"
        await button(page, "Add this phone").click()
        await make(page, "one")
        [record] = stage.records(account)
        assert record["not_after"] - record["not_before"] == 30 * 24 * 3600
        await button(page, "Done").click()
        # The file was not saved.
        await page.get_by_text("Leave without the file?").wait_for()
        await button(page, "Back to the file").click()
        await page.get_by_role("heading", name="has its key").wait_for()
        await button(page, "Done").click()
        await button(page, "Leave without it").click()
        await button(page, "Add another device").click()
        await page.get_by_label("Name of the device").fill("")
        await button(page, "Make the key").click()
        assert "Give it a name." in await complaint(page)
        await page.get_by_label("Name of the device").fill("two")
        await button(page, "Make the key").click()
        assert "There is no room for another device." in await eventually_complains(page, "room")
        await page.get_by_label("Name of the device").fill("one")
        await button(page, "Make the key").click()
        assert "There is a device of this name already." in await eventually_complains(page, "already")
        await is_well(page, stage, "few.lit")


async def test_a_session_that_may_not_add_devices_is_told_so(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=[Host(DOMAIN, 'saslcertd_manage_with = "password"')], modules=MODULES))
    account = scene.account()
    async with browser_for(scene) as browser:
        page = await browser.open(**SMALL)
        await page.goto(address(scene))
        await button(page, "Log in").wait_for()
        await has_icon(page)
        # Nobody has seen how this session logged in: it may be by a password, and it may be not.
        await asyncio.to_thread(scene.prosody.shell, f'module:unload("saslcertd", "{DOMAIN}")')
        await page.get_by_label("Address").fill(account.jid)
        await page.get_by_label("Password").fill(account.password)
        await button(page, "Log in").click()
        assert "devices can’t be managed by their owners" in await complaint(page)
        await asyncio.to_thread(scene.prosody.shell, f'module:load("saslcertd", "{DOMAIN}")')
        scene.rig.wait_attached()
        await page.get_by_text("No device has a key yet.").wait_for()
        await button(page, "Add this phone").click()
        await button(page, "Make the key").click()
        said = await complaint(page)
        assert "This session may not change your devices." in said and "Log in once more with your password" in said
        await is_for_everybody(page)
        await picture(page, scene, "13-forbidden")
        assert scene.records(account) == []
        await is_well(page, scene)


async def test_a_refused_change_is_said_until_the_next_one(stage: Scene):
    account = stage.account()
    await stage.enrol(account, "phone")
    await stage.enrol(account, "tablet")
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        await button(page, "Sign out phone").click()
        assert stage.daemon.command("cert", "revoke", account.jid, "phone").returncode == 0
        await button(page, "Sign out").click()
        assert "This device is not in the list any more." in await complaint(page)
        # The list is looked at again, and that goes well.
        await stage.enrol(account, "watch")
        await page.get_by_role("heading", name="watch").wait_for()
        assert "This device is not in the list any more." in await complaint(page)
        await button(page, "Sign out tablet").click()
        await button(page, "Sign out").click()
        await page.get_by_text("“tablet” is signed out.").wait_for()
        assert await page.get_by_role("alert").count() == 0
        await is_well(page, stage)


async def test_the_daemon_and_the_server_may_be_away(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS, modules=MODULES, timeout=2))
    account, roman = scene.account(), scene.account(host="rome.lit")
    async with browser_for(scene) as browser:
        page, waiting = await browser.open(**PHONE), await browser.open(**PHONE)
        await log_in(page, scene, account)
        await button(page, "Add this phone").click()
        assert scene.daemon.stop() == 0
        scene.rig.wait_away()
        await button(page, "Make the key").click()
        assert "can’t be asked at the moment" in await complaint(page)
        await try_login(waiting, scene, roman.jid, roman.password, "rome.lit")
        assert "can’t check logins at the moment" in await complaint(waiting)
        scene.daemon.start()
        scene.rig.wait_attached()
        await button(page, "Make the key").click()
        await page.get_by_role("heading", name="has its key").wait_for()
        password = await page.locator("#password").text_content()
        await waiting.goto(address(scene))
        await button(waiting, "Log in").wait_for()
        scene.prosody.stop()
        # What was just made is nowhere else: it stays.
        await page.get_by_text(re.compile("The connection is gone.|The server ended this session.")).wait_for()
        assert await page.locator("#password").text_content() == password
        await waiting.get_by_label("Address").fill(account.jid)
        await waiting.get_by_label("Password").fill(account.password)
        await button(waiting, "Log in").click()
        assert "The server does not answer." in await complaint(waiting)
        await waiting.get_by_label("Password").fill("")
        scene.prosody.start()


async def test_a_list_that_nobody_has_seen_is_not_called_empty(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES, timeout=2))
    account = scene.account()
    async with browser_for(scene) as browser:
        page = await browser.open(**PHONE)
        assert scene.daemon.stop() == 0
        scene.rig.wait_away()
        await log_in(page, scene, account)
        assert "can’t be asked at the moment" in await complaint(page)
        assert await page.get_by_text("No device has a key yet.").count() == 0
        # A screen reader reads a new alert out. This one is not replaced by its like.
        await page.evaluate("document.querySelector('[role=alert]').id = 'first'")
        start = scene.prosody.log_position()

        async def has_asked_again() -> bool:
            return scene.prosody.read_log(start).count("type='get'") >= 2

        await eventually("it asks a second time, so the first was answered", has_asked_again)
        assert await page.locator("#first").count() == 1
        scene.daemon.start()
        scene.rig.wait_attached()
        await page.get_by_text("No device has a key yet.").wait_for()
        assert await page.get_by_role("alert").count() == 0


async def test_a_key_whose_answer_was_lost_is_not_lost(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES, timeout=2))
    account = scene.account()
    async with browser_for(scene) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, scene, account)
        await button(page, "Add this phone").click()
        scene.daemon.freeze()
        await button(page, "Make the key").click()
        assert "can’t be asked at the moment" in await complaint(page)
        scene.daemon.thaw()
        scene.rig.wait_attached()

        async def is_there() -> bool:
            return len(await asyncio.to_thread(scene.records, account)) == 1

        await eventually("what nobody waited for was done", is_there)
        password = await make(page)
        file = await saved(page, "Save the file", scene.folder)
        [record] = scene.records(account)
        assert out_of(file, password, scene.folder).fingerprint == record["fingerprint"]


async def test_nobody_leaves_a_key_that_is_not_saved_by_accident(stage: Scene):
    account = stage.account()
    may_leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        await button(page, "Add this phone").click()
        password = await make(page)
        assert not await page.evaluate(may_leave)
        for _ in range(2):
            await page.evaluate("history.back()")
            await page.get_by_text("Leave without the file?").wait_for()
            await button(page, "Back to the file").click()
            await page.locator("dialog").wait_for(state="detached")
            assert await page.locator("#password").text_content() == password
        await saved(page, "Save the file", stage.folder)
        assert await page.evaluate(may_leave)
        await page.evaluate("history.back()")
        await page.get_by_role("heading", name="Android phone").wait_for()
        assert await page.evaluate(may_leave)
        await is_well(page, stage)


async def test_owners_of_an_iphone_hear_first_that_no_app_takes_a_key(stage: Scene):
    account = stage.account()
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE | {"user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"})
        await log_in(page, stage, account)
        await button(page, "Add this phone").click()
        await page.get_by_text("No app for iPhone or iPad can log in with a key yet.").wait_for()
        await button(page, "Cancel").click()
        await button(page, "Add another device").click()
        await page.get_by_label("Name of the device").wait_for()
        assert await page.get_by_text("No app for iPhone or iPad can log in with a key yet.").count() == 0
        await is_well(page, stage)


async def test_a_session_that_the_server_ends_is_over_on_the_page(stage: Scene):
    account = stage.account(host="rome.lit")
    await stage.enrol(account, "phone")
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        # A question that nobody has answered would lie over the login, and its yes do nothing.
        await page.get_by_role("button", name=re.compile("^Sign out ")).click()
        await page.locator("dialog").wait_for()
        assert stage.daemon.command("account", "disable", account.jid).returncode == 0
        assert "The server ended this session." in await complaint(page)
        await page.locator("dialog").wait_for(state="detached")
        await page.get_by_label("Password").fill(account.password)
        await button(page, "Log in").click()
        assert "The address or the password is wrong." in await eventually_complains(page, "wrong")
        await is_well(page, stage, "rome.lit")


# --- who else gets nothing


async def test_every_answer_forbids_what_the_page_does_not_need(stage: Scene):
    headers = await fetch(stage, "/devices/")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
        "connect-src": f"'self' wss://{DOMAIN}:{stage.prosody.https_port}/xmpp-websocket",
        "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
    }
    for path in ("/devices/", "/devices/page.js", "/devices/style.css", "/devices/settings.json"):
        headers = await fetch(stage, path)
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control-")], headers
    for path in ("/devices/../mod_saslcertd_devices.lua", "/devices/%2e%2e/mod_saslcertd_devices.lua", "/devices/nothing", "/devices/logo"):
        assert (await fetch(stage, path))["status"] in ("400", "404"), path
    assert not [name for name in await fetch(stage, "/devices/", "OPTIONS") if name.startswith("access-control-")]


async def fetch(scene: Scene, path: str, method: str = "GET", host: str = DOMAIN) -> dict[str, str]:
    """Status and headers of an answer."""
    context = ssl.create_default_context(cafile=str(scene.prosody.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.prosody.https_port, ssl=context, server_hostname=host)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://elsewhere.lit\r\nConnection: close\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    status, *lines = head.strip().split("\r\n")
    return {"status": status.split()[1]} | {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def test_a_page_of_another_origin_gets_nothing(stage: Scene):
    account = stage.account()
    where = address(stage)
    async with browser_for(stage) as browser, elsewhere(f"<iframe src='{where}/'></iframe>") as foreign:
        page = await browser.open(**DESK)
        await log_in(page, stage, account)
        await page.goto(foreign)
        for path in ("/", "/settings.json", "/page.js"):
            got = await page.evaluate(f"fetch('{where}{path}', {{credentials: 'include'}}).then(() => 'read', () => 'refused')")
            assert got == "refused", path
        script = "new Promise(done => {{ const s = document.createElement('script'); s.onload = () => done('run'); s.onerror = () => done('refused'); s.src = '{}'; document.head.append(s) }})"
        assert await page.evaluate(script.format(f"{where}/page.js")) == "refused"
        # In a frame there is nothing of it, and a socket from there is a stranger's: it has to log in.
        assert await page.evaluate("frames.length") == 1
        framed = await eventually("the frame was refused", lambda: refused_frames(page))
        assert framed
        offered = await page.evaluate(
            f"""new Promise(done => {{
                const socket = new WebSocket('wss://{DOMAIN}:{stage.prosody.https_port}/xmpp-websocket', 'xmpp');
                socket.onopen = () => socket.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{DOMAIN}' version='1.0'/>");
                socket.onmessage = event => event.data.includes('mechanisms') && done(event.data);
            }})"""
        )
        assert "SCRAM-SHA-1" in offered and "EXTERNAL" not in offered


async def refused_frames(page: Page) -> bool:
    return any("frame-ancestors" in line for line in (await page.heard())["console"])


# --- for everybody


def test_a_slow_line_is_enough():
    page = TARGET / "devices" / "page"
    loaded = [file for file in page.iterdir() if file.name != "licences.txt"]
    assert sum(len(gzip.compress(file.read_bytes())) for file in loaded) < 60_000
    # All that it loads is its own.
    named = re.findall(r'(?:href|src)="([^"]+)"', (page / "index.html").read_text())
    assert {file.name for file in loaded} == {"index.html", *named}


#: The options that are wider than what shows the one that is chosen; beside that a browser has its arrow. One list may be hidden yet.
CUT_OPTIONS = """(() => {
    const select = document.querySelector("select"), style = getComputedStyle(select), pen = document.createElement("canvas").getContext("2d");
    const room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 24;
    pen.font = style.font;
    return [...document.querySelectorAll("option")].map(option => option.text).filter(text => pen.measureText(text).width > room);
})()"""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("version", PROSODY_VERSIONS[-1:], scope="session")
async def test_it_fits_small_screens_and_screen_readers_in_each_language(stage: Scene, language: str):
    account = stage.account()
    say = words_of(language)
    phone = await stage.enrol(account, "a rather long name of a device that somebody has given to it, without mercy")
    await stage.enrol(account, "tablet")
    async with browser_for(stage) as browser, await stage.certificate_session(account, phone):
        page = await browser.open(**SMALL | {"locale": language})

        async def check(name: str) -> None:
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                await is_for_everybody(page)
                await picture(page, stage, f"small-{language}-{scheme}-{name}")
            assert await page.evaluate("document.documentElement.lang") == language

        await page.goto(address(stage))
        await page.get_by_role("button", name=say("login.button")).click()
        await page.get_by_role("alert").wait_for()
        await check("login")
        await page.get_by_label(say("login.address")).fill(account.jid)
        await page.get_by_label(say("login.password")).fill(account.password)
        await page.get_by_role("button", name=say("login.button")).click()
        await page.get_by_text(say("list.online")).wait_for()
        await check("list")
        await button(page, say("list.revokeLabel", name="tablet")).click()
        await page.get_by_role("dialog").wait_for()
        await check("revoke")
        await button(page, say("cancel")).click()
        await button(page, say("list.others")).click()
        await page.get_by_role("dialog").wait_for()
        # However much it says, it begins with the question.
        assert await page.evaluate("document.querySelector('dialog').scrollTop") == 0
        await check("others")
        await button(page, say("cancel")).click()
        await button(page, say("list.addPhone")).click()
        await page.locator("summary").click()
        await check("add")
        assert await page.evaluate(CUT_OPTIONS) == []
        await button(page, say("add.button")).click()
        await page.locator("#password").wait_for()
        await page.locator("summary").click()
        await check("made")
        await is_well(page, stage)


async def test_a_keyboard_is_enough(stage: Scene):
    account = stage.account()
    async with browser_for(stage) as browser:
        page = await browser.open(**DESK)
        await page.goto(address(stage))
        await button(page, "Log in").wait_for()

        await tab_to(page, "Address")
        await page.type(account.jid)
        await tab_to(page, "Password")
        await page.type(account.password)
        await page.press("Enter")
        await button(page, "Log out").wait_for()
        await tab_to(page, "Add this computer")
        await page.press("Enter")
        # The first field has the focus, and its text is there to be replaced.
        await page.get_by_label("Name of the device").wait_for()
        await page.press("Control+A")
        await page.type("laptop")
        await page.press("Enter")
        await page.get_by_role("heading", name="“laptop” has its key").wait_for()
        await tab_to(page, "Save the file")
        await page.press("Enter")
        await tab_to(page, "Done")
        await page.press("Enter")
        await page.get_by_role("heading", name="laptop").wait_for()
        await tab_to(page, "Sign out laptop")
        await page.press("Enter")
        await page.get_by_role("dialog").wait_for()
        # Back is what has the focus: Enter alone revokes nothing.
        await page.press("Enter")
        assert await names(page) == ["laptop"]
        await page.press("Enter")
        await page.get_by_role("dialog").wait_for()
        await page.press("Tab")
        await page.press("Enter")
        await page.get_by_text("No device has a key yet.").wait_for()
        await is_well(page, stage)


# --- hosts of other kinds, proxies, options


@pytest.mark.provokes(NOT_HTTPS)
async def test_without_https_no_key_is_made_and_the_log_says_why(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES, extra="https_ports = { }"))
    where = f"http://{DOMAIN}:{scene.prosody.http_port}/devices"
    assert f"{where} is not https" in log_behind_the_page(scene)
    async with browser_for(scene) as browser:
        page = await browser.open(**SMALL)
        await page.goto(where)
        assert "No keys are made here." in await complaint(page)
        assert await page.get_by_label("Password").count() == 0
        await is_for_everybody(page)
        await picture(page, scene, "10-not-secure")
    assert "over a connection that is not secure" in scene.prosody.read_log()


def log_behind_the_page(scene: Scene) -> str:
    """The log from the line on which the page's address stands, when the daemon has answered what was declared with it."""

    def answered() -> str | None:
        log = scene.prosody.read_log().partition("Users give their devices keys at ")[2]
        return log if re.findall(r"saslcertd\s+debug\s+(Declaring|Declared)\b", log)[-1:] == ["Declared"] else None

    return wait_until("the daemon knows of the page", answered)


@pytest.mark.parametrize(("settings", "why"), [
    ("", None),
    ('trusted_proxies = { "127.0.0.0/8" }', None),
    ('trusted_proxies = { "192.0.2.7" }', "trusted_proxies has no address of this machine"),
    ('trusted_proxies = { "192.0.2.7" }; consider_websocket_secure = true', None),
    ('trusted_proxies = { "192.0.2.7" }; http_interfaces = { "*" }', None),
    ('trusted_proxies = { }; http_interfaces = { "*" }', "trusted_proxies is empty"),
    # As it is by default, Prosody speaks https itself.
    ('https_ports = { PORT }; trusted_proxies = { "192.0.2.7" }', "unless the proxy connects to one of https_ports"),
    ("https_ports = { PORT }", None),
    # Prosody 0.12 does not know it.
    ("http_legacy_x_forwarded = false", "http_legacy_x_forwarded is off"),
])
async def test_that_no_proxy_is_believed_is_said_before_somebody_opens_the_page(own_scene: Callable[..., Scene], settings: str, why: str | None):
    where = f"https://{DOMAIN}/"
    # A number among a test's parameters would give it another name in each process.
    settings = settings.replace("PORT", str(free_ports(1)[0]))
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES, extra=f'https_ports = {{ }}\nhttp_external_url = "{where}"\n{settings}'))
    log = await asyncio.to_thread(log_behind_the_page, scene)
    if "legacy" in settings and scene.prosody.version == PROSODY_VERSIONS[0]:
        why = None
    said = [line for line in log.splitlines() if f"At {where}devices nobody can manage certificates" in line]
    assert [why is not None and why in line and "warn" in line for line in said] == [True] * (why is not None), log


@pytest.mark.provokes(NOT_HTTPS)
async def test_doctor_sees_the_page_as_a_browser_does(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES))
    where = address(scene)
    # On Prosody's own port.
    [well] = page_findings(scene)
    assert (well["level"], well["mend"]) == ("ok", None) and where in well["message"], well
    # Something else answers there.
    await asyncio.to_thread(scene.prosody.shell, f'module:unload("{PAGE_MODULE}", "{DOMAIN}")')
    [gone] = page_findings(scene)
    assert gone["level"] == "problem" and "404" in gone["message"], gone
    # A proxy that is to do https, and does not yet.
    port = free_ports(1)[0]
    scene.rig.config.extra = f'http_external_url = "https://{DOMAIN}:{port}/"'
    restart(scene)
    [alone] = await asyncio.to_thread(page_findings, scene)
    assert alone["level"] == "problem" and "can't be reached" in alone["message"] and "xmpp-websocket" in alone["mend"]["proxy"], alone
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(scene.prosody.folder / "server.pem", scene.prosody.folder / "server.key")
    async with https_proxy(port, context, scene.prosody.http_port, b""):
        [silent] = await asyncio.to_thread(page_findings, scene)
        assert "X-Forwarded-Proto: https" in silent["mend"]["proxy"], silent
    async with https_proxy(port, context, scene.prosody.http_port, b"X-Forwarded-Proto: https\r\n"):
        [well] = await asyncio.to_thread(page_findings, scene)
        assert well["level"] == "ok" and "http_external_url" in well["message"], well
    async with https_proxy(port, context, scene.prosody.http_port, b"X-Forwarded-Proto: https\r\n", deaf=True):
        [deaf] = await asyncio.to_thread(page_findings, scene)
        assert "the WebSocket does not come through" in deaf["message"] and "Upgrade: websocket" in deaf["mend"]["proxy"], deaf
    scene.rig.config.extra = "https_ports = { }"
    restart(scene)
    [plain] = page_findings(scene)
    assert plain["level"] == "problem" and plain["mend"]["edit"]["add"] == "https_ports = { 5281 }", plain


def page_findings(scene: Scene) -> list[dict[str, Any]]:
    return doctor(scene).of("page")


async def test_behind_a_proxy_that_says_so_certificates_are_managed(own_scene: Callable[..., Scene]):
    # The rig's https port is the proxy's: it has the server's certificate, and hands on what comes in.
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES, extra="https_ports = { }"))
    account = scene.account()
    port = free_ports(1)[0]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(scene.prosody.folder / "server.pem", scene.prosody.folder / "server.key")
    scene.rig.config.extra += f'\nhttp_external_url = "https://{DOMAIN}:{port}/"'
    restart(scene)
    own = scene.prosody.read_log()
    assert f"keys at https://{DOMAIN}:{port}/devices" in own
    says = {"yes": b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n", "no": b""}
    async with browser_for(scene) as browser:
        for proxy, headers in says.items():
            async with https_proxy(port, context, scene.prosody.http_port, headers):
                page = await browser.open(**PHONE)
                await page.goto(f"https://{DOMAIN}:{port}/devices")
                if proxy == "no":
                    assert "No keys are made here." in await complaint(page)
                    continue
                await page.get_by_label("Address").fill(account.jid)
                await page.get_by_label("Password").fill(account.password)
                await button(page, "Log in").click()
                await button(page, "Add this phone").click()
                await make(page)
                assert scene.records(account)[0]["added"]["by"] == "password"
    assert "X-Forwarded-Proto" in scene.prosody.read_log()


@asynccontextmanager
async def https_proxy(
    port: int, context: ssl.SSLContext, behind: int, headers: bytes, deaf: bool = False, silent: bool = False,
) -> AsyncIterator[None]:
    """Ends https, and puts these headers into the first request of each connection: there is one on each. `deaf`: it hands no
    WebSocket on. `silent`: it accepts one itself, and never says a word on it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind)

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            line, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            if deaf and b"websocket" in line:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            if silent and b"websocket" in line:
                writer.write(accepted(rest))
                while await reader.read(65536):
                    pass
                return
            # So that the next request gets the headers, too.
            closing = b"" if b"websocket" in line else b"Connection: close\r\n"
            inner_writer.write(line + b"\r\n" + headers + closing + rest)
            await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer), return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            inner_writer.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        server.close()


def accepted(headers: bytes) -> bytes:
    """The answer to a WebSocket's first request. Source: RFC 6455, 4.2.2; RFC 7395, 3.1."""
    key = re.search(rb"(?i)\r\nSec-WebSocket-Key: *(\S+)", b"\r\n" + headers)
    assert key
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: xmpp\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


async def test_nobody_waits_for_ever_for_a_server_that_is_silent(own_scene: Callable[..., Scene]):
    port = free_ports(1)[0]
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES, extra=f'http_external_url = "https://{DOMAIN}:{port}/"'))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(scene.prosody.folder / "server.pem", scene.prosody.folder / "server.key")
    async with browser_for(scene) as browser, https_proxy(
        port, context, scene.prosody.http_port, b"X-Forwarded-Proto: https\r\n", silent=True,
    ):
        page = await browser.open(**PHONE)
        # The page's patience passes twenty times as fast.
        await page.add_init_script(content="const real = setTimeout; window.setTimeout = (what, ms, ...rest) => real(what, ms / 20, ...rest);")
        await page.goto(f"https://{DOMAIN}:{port}/devices")
        await page.get_by_label("Address").fill("hamlet")
        await page.get_by_label("Password").fill("secret")
        await button(page, "Log in").click()
        assert "The server does not answer." in await complaint(page)
        # It can be tried again.
        await button(page, "Log in").wait_for()
        assert await button(page, "Log in").is_enabled()


async def test_what_a_host_does_not_do_is_said(own_scene: Callable[..., Scene], tmp_path: Path):
    authorities = certs.make(tmp_path, [], is_ca=True).cert_file
    logo = tmp_path / "logo.SVG"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><circle cx="20" cy="20" r="18" fill="#2457c5"/></svg>')
    hosts = [
        Host(DOMAIN, f'saslcertd_devices_name = "The Globe"\nsaslcertd_devices_logo = {lua_string(logo)}'),
        Host("ca.lit", f'saslcertd_trust = "ca"\nsaslcertd_ca_file = {lua_string(authorities)}'),
        Host("plain.lit", f"disable_sasl_mechanisms = {NO_SCRAM}"),
        # It offers jabber:iq:auth, too, which has the password in the clear.
        Host("legacy.lit", f'disable_sasl_mechanisms = {NO_SCRAM}\nmodules_enabled = {{ "legacyauth" }}'),
        Host("guests.lit", 'authentication = "anonymous"', declared=False),
    ]
    scene = own_scene(Config(hosts=hosts, modules=MODULES))
    async with browser_for(scene) as browser:
        page = await browser.open(**SMALL)
        await page.goto(address(scene))
        await page.get_by_text("The Globe").wait_for()
        # It has come, and is a picture.
        assert await page.evaluate("document.querySelector('#brand img').decode().then(() => true)")
        await picture(page, scene, "11-brand")
        await is_well(page, scene)
        for host in ("legacy.lit", "plain.lit"):
            plain = scene.account(host=host)
            await try_login(page, scene, plain.jid, plain.password, host)
            assert "This server would hear your password in the clear." in await complaint(page)
        await is_for_everybody(page)
        await picture(page, scene, "12-plain")
        unlisted = scene.account(host="ca.lit")
        await log_in(page, scene, unlisted)
        assert "devices can’t be managed by their owners" in await complaint(page)
        assert await page.get_by_text("No device has a key yet.").count() == 0
        assert await button(page, "Add this phone").count() == 0
        await is_for_everybody(page)
        listed = scene.account()
        await log_in(page, scene, listed)
        await page.get_by_text("No device has a key yet.").wait_for()
        await is_for_everybody(page)
    log = scene.prosody.read_log()
    assert "mechanism='PLAIN'" not in log and "jabber:iq:auth" not in log
    guests = await fetch(scene, "/devices/", host="guests.lit")
    assert guests["status"] == "404"


async def test_the_module_goes_and_comes_back(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=MODULES))
    await asyncio.to_thread(scene.prosody.shell, f'module:unload("{PAGE_MODULE}", "{DOMAIN}")')
    assert (await fetch(scene, "/devices/"))["status"] == "404"
    await asyncio.to_thread(scene.prosody.shell, f'module:load("{PAGE_MODULE}", "{DOMAIN}")')
    assert (await fetch(scene, "/devices/"))["status"] == "200"
    await asyncio.to_thread(scene.prosody.reload_module, PAGE_MODULE, DOMAIN)
    assert (await fetch(scene, "/devices/"))["status"] == "200"
