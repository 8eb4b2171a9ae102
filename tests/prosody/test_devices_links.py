"""Links to the page for devices that need no password: opened and redeemed in Debian's Chromium, against both Prosodys."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import slix
from browser import Page, browser_for
from certs import ClientCertificate
from conftest import PROSODY_VERSIONS, observed
from connection import Refused
from devices import (
    DESK, LANGUAGES, MODULES, PHONE, SMALL, address, button, complaint, elsewhere, is_for_everybody, is_well, log_in, names, out_of, picture, saved,
    tab_to, words_of,
)
from namespaces import CLIENT
from processes import finish
from prosody import Config, Host
from rig import Rig
from scene import DOMAIN, PASSWORD, Account, Scene, eventually, moment

#: What the page says of every link that can't be redeemed.
NO_LINK = "This link does not work."
#: What the browser says of an answer that is a refusal.
REFUSED = "Failed to load resource: the server responded with a status of"

HOSTS = [
    Host(DOMAIN, 'saslcertd_links = "self"'),
    Host("few.lit", "saslcertd_max_certs = 1\nsaslcertd_max_validity_days = 30"),
    # Its accounts live in the daemon.
    Host("rome.lit", 'authentication = "saslcertd"'),
    Host("off.lit", 'saslcertd_links = "off"'),
]


@pytest.fixture(scope="session")
def link_rig(version: str) -> Iterator[Rig]:
    """One daemon and one Prosody with the page; wrong links are not slowed down."""
    extra = "saslcertd_guess_delay_max = 0"
    with Rig(version, Config(hosts=HOSTS, modules=MODULES, extra=extra)) as rig:
        rig.start()
        rig.check_logs()
        yield rig


@pytest.fixture(scope="session")
def short_lived(link_rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A link that lives as short as one can: it expires while others are tried."""
    scene = Scene(link_rig, tmp_path_factory.mktemp("links"))
    return create(scene, scene.account(), "--expires", "1m")


@pytest.fixture
def stage(link_rig: Rig, short_lived: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(link_rig, tmp_path, request, link_rig.log_positions()) as scene:
        yield scene


def create(scene: Scene, account: Account, *options: str) -> dict[str, Any]:
    """A new link, as an administrator makes it."""
    done = scene.daemon.command("link", "create", account.jid, *options, "--json")
    assert done.returncode == 0, done.stderr
    link = json.loads(done.stdout)
    assert re.fullmatch(re.escape(address(scene, account.host)) + "#[A-Za-z0-9_-]{22}", link["url"]), "the page is where Prosody serves it"
    return link


def waiting(scene: Scene, account: Account) -> list[str]:
    """The ids of the links of an account that can be redeemed."""
    return [link["id"] for link in json.loads(scene.daemon.command("link", "list", account.jid, "--json").stdout)["links"]]


def in_no_log(scene: Scene, url: str) -> None:
    """Nobody reads the secret of this link in a log."""
    secret = url.partition("#")[2]
    assert secret and secret not in scene.prosody.read_log() + scene.daemon.read_log()


async def opened(page: Page, url: str) -> None:
    """Opens a link, and waits until the page has heard of it. Its secret does not stay in the address bar; the browser's history keeps it."""
    await page.goto("about:blank")
    await page.goto(url)
    await page.locator("h1").wait_for()
    await looked(page)
    assert "#" not in await page.evaluate("location.href")


async def looked(page: Page) -> None:
    """The server has answered what this link is, or that it is none."""
    await page.locator("#view > [role=status]").wait_for(state="detached")


async def redeem(page: Page, label: str = "Make the key") -> str:
    """Taps the button. Returns the password of the file."""
    await button(page, label).click()
    await page.get_by_role("heading", name="has its key").wait_for()
    return await page.locator("#password").text_content()


async def taken(page: Page, scene: Scene, label: str = "Make the key") -> ClientCertificate:
    """Redeems a link, and takes the certificate out of the file."""
    password = await redeem(page, label)
    file = await saved(page, "Save the file", scene.folder)
    return out_of(file, password, scene.folder)


async def is_in(scene: Scene, account: Account, certificate: ClientCertificate) -> None:
    async with slix.session(scene.server(account.host), account.jid, certificate=certificate) as client:
        assert client.boundjid.bare == account.jid


# --- each kind


async def test_a_link_gives_a_phone_its_key_and_nothing_before_the_tap(stage: Scene):
    account = stage.account()
    link = create(stage, account, "--name", "Yorick’s phone")
    async with browser_for(stage) as browser, await stage.password_session(account) as reader:
        await reader.send("<presence/>")
        page = await browser.open(**PHONE)
        await opened(page, link["url"])
        await page.get_by_role("heading", name=f"A key for {account.jid}").wait_for()
        expires = await page.evaluate(f"new Intl.DateTimeFormat('en-GB', {{dateStyle: 'medium', timeStyle: 'short'}}).format({link['expires']}000)")
        assert expires in await page.locator("#view").inner_text()
        assert await page.get_by_label("Name of the device").input_value() == "Yorick’s phone"
        await picture(page, stage, "14-link-add")
        # Whoever looks at it has changed nothing.
        assert stage.records(account) == [] and waiting(stage, account) == [link["id"]]

        certificate = await taken(page, stage)
        await picture(page, stage, "15-link-made")
        [record] = stage.records(account)
        assert (record["name"], record["fingerprint"]) == ("Yorick’s phone", certificate.fingerprint)
        assert 'certificate "Yorick’s phone"' in (await reader.message()).findtext(f"{{{CLIENT}}}body", "")
        await is_in(stage, account, certificate)
        await button(page, "Done").click()
        await page.get_by_role("heading", name="This device is ready").wait_for()
        await picture(page, stage, "16-link-end")
        await is_well(page, stage)

        await opened(page, link["url"])
        assert NO_LINK in await complaint(page)
        await button(page, "Log in with a password").click()
        await page.get_by_label("Password").wait_for()
        in_no_log(stage, link["url"])
        # A link that is opened where the page is open already counts, too.
        second = create(stage, account)
        await page.evaluate(f"location.hash = '{second['url'].partition('#')[2]}'")
        await page.get_by_role("heading", name=f"A key for {account.jid}").wait_for()
        assert "#" not in await page.evaluate("location.href")
        # The name is the browser's proposal now.
        assert await page.get_by_label("Name of the device").input_value() == "Android phone"


@pytest.mark.parametrize("host", [DOMAIN, "rome.lit"])
async def test_a_link_makes_an_account_without_a_password(stage: Scene, host: str):
    account = Account(f"new{secrets.token_hex(4)}", host, "")
    link = create(stage, account, "--kind", "new")
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await opened(page, link["url"])
        await page.get_by_role("heading", name=f"Your new account {account.jid}").wait_for()
        assert await button(page, "Make the key").count() == 0
        await picture(page, stage, "17-link-new")
        certificate = await taken(page, stage, "Make my account")
        await is_in(stage, account, certificate)
        with pytest.raises(slix.LoginFailed):
            async with slix.session(stage.server(host), account.jid, password=PASSWORD):
                pass
        await button(page, "Done").click()
        await page.get_by_text(f"ask whoever runs {host}").wait_for()
        assert await button(page, "Log in with a password").count() == 0
        await is_well(page, stage, host)


@pytest.mark.parametrize("host", [DOMAIN, "rome.lit"])
async def test_a_link_replaces_every_device_that_was_lost(stage: Scene, host: str):
    account = stage.account(host=host)
    lost = {name: await stage.enrol(account, name) for name in ("phone", "laptop")}
    link = create(stage, account, "--kind", "replace")
    async with browser_for(stage) as browser:
        sessions = [await stage.certificate_session(account, certificate) for certificate in lost.values()]
        page = await browser.open(**PHONE)
        await opened(page, link["url"])
        await page.get_by_text("the devices that use them are cut off at once. Whoever knows the account’s password can still log in").wait_for()
        await picture(page, stage, "18-link-replace")
        for session in sessions:
            await session.ping()
        certificate = await taken(page, stage, "Sign all others out and make the key")
        for session in sessions:
            assert (await session.wait_closed()).condition == "not-authorized"
            await session.close()
        for one in lost.values():
            with pytest.raises(Refused):
                await stage.certificate_session(account, one)
        await is_in(stage, account, certificate)
        assert [record["fingerprint"] for record in stage.records(account)] == [certificate.fingerprint]
        await is_well(page, stage, host)


# --- what is refused


async def test_a_link_that_can_not_be_redeemed_has_one_answer(stage: Scene, short_lived: dict[str, Any]):
    account = stage.account()
    used, revoked, gone = create(stage, account), create(stage, account), create(stage, doomed := stage.account())
    assert stage.daemon.command("link", "revoke", revoked["id"]).returncode == 0
    finish_off(stage, doomed)
    stranger = f"{address(stage)}#{secrets.token_urlsafe(16)}"
    async with browser_for(stage) as browser:
        page = await browser.open(**SMALL)
        await opened(page, used["url"])
        await redeem(page)
        await saved(page, "Save the file", stage.folder)
        said = set()
        await moment(short_lived["expires"])
        for url in (
            used["url"], revoked["url"], short_lived["url"], gone["url"], stranger, used["url"][:-1],
            f"{address(stage, 'off.lit')}#{secrets.token_urlsafe(16)}",
        ):
            await opened(page, url)
            assert await page.get_by_role("alert").count() == 1, url
            said.add(await complaint(page))
            assert await button(page, "Make the key").count() == 0, url
        [only] = said
        assert NO_LINK in only and "Ask whoever gave it to you" in only
        await is_for_everybody(page)
        await picture(page, stage, "19-link-unknown")


def finish_off(scene: Scene, account: Account) -> None:
    """The account is deleted, and made anew by another."""
    scene.prosody.control("deluser", account.jid)
    scene.prosody.register(account.username, account.host, account.password)


async def test_a_link_that_ends_while_it_is_looked_at_is_refused_at_the_tap(stage: Scene):
    account, few = stage.account(), stage.account(host="few.lit")
    link, full = create(stage, account), create(stage, few)
    await stage.enrol(few, "the only one", not_after=datetime.timedelta(days=7))
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await opened(page, link["url"])
        await button(page, "Make the key").wait_for()
        assert stage.daemon.command("link", "revoke", link["id"]).returncode == 0
        await button(page, "Make the key").click()
        assert NO_LINK in await complaint(page)
        assert stage.records(account) == []
        # What the list's rules refuse uses no link up.
        await opened(page, full["url"])
        await button(page, "Make the key").click()
        assert "There is no room for another device." in await complaint(page)
        assert waiting(stage, few) == [full["id"]]
        assert stage.daemon.command("cert", "revoke", few.jid, "the only one").returncode == 0
        await redeem(page)
        [record] = stage.records(few)
        assert record["not_after"] - record["not_before"] == 30 * 24 * 3600


async def test_whoever_guesses_links_has_to_wait(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=[Host(DOMAIN, "saslcertd_guess_delay_max = 5")], modules=MODULES))
    link = create(scene, scene.account())
    none = f"{address(scene)}#{secrets.token_urlsafe(16)}"
    async with browser_for(scene) as browser:
        page = await browser.open(**SMALL)

        async def is_told() -> bool:
            # Whoever guesses waits longer each time; and at last longer than it takes to open one more.
            await page.goto(address(scene))
            guess = f"fetch('redeem', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: '{json.dumps({'token': secrets.token_urlsafe(16)})}'}})"
            await page.evaluate(f"Promise.all(Array.from({{length: 12}}, () => {guess}))")
            await opened(page, none)
            return await page.get_by_text("Too many links that do not work").count() == 1

        await eventually("there were too many", is_told)
        assert "Too many links that do not work" in await complaint(page)
        await is_for_everybody(page)
        await picture(page, scene, "20-link-guesses")

        async def is_patient() -> bool:
            await button(page, "Try again").click()
            await looked(page)
            return await page.get_by_text(NO_LINK).count() == 1

        await eventually("the wait is over", is_patient)
        # Who has a link that counts never waits, whoever else is behind the same address.
        await eventually("there were too many again", is_told)
        await opened(page, link["url"])
        await button(page, "Make the key").wait_for()


async def test_a_link_whose_answer_was_lost_is_not_lost(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=[Host(DOMAIN)], modules=MODULES, timeout=2))
    account = scene.account()
    link = create(scene, account)
    async with browser_for(scene) as browser:
        page = await browser.open(**PHONE)
        await opened(page, link["url"])
        await button(page, "Make the key").wait_for()
        scene.daemon.freeze()
        await button(page, "Make the key").click()
        said = await complaint(page)
        assert "The server’s answer did not come." in said and "do not close this page" in said
        scene.daemon.thaw()
        scene.rig.wait_attached()

        async def is_used() -> bool:
            return len(await asyncio.to_thread(scene.records, account)) == 1

        await eventually("what nobody waited for was done", is_used)
        certificate = await taken(page, scene)
        assert "the link was used, most likely by you" in await complaint(page)
        await picture(page, scene, "21-link-doubt")
        await is_in(scene, account, certificate)
        # Without a daemon nobody hears that a link is none.
        assert scene.daemon.stop() == 0
        await button(page, "Done").click()
        await opened(page, link["url"])
        assert "can’t be asked at the moment" in await complaint(page)
        scene.daemon.start()
        scene.rig.wait_attached()


async def test_a_page_of_another_origin_redeems_nothing(stage: Scene):
    account = stage.account()
    link = create(stage, account)
    where, _, token = link["url"].partition("#")
    async with browser_for(stage) as browser, elsewhere("nothing") as foreign:
        page = await browser.open(**DESK)
        await page.goto(foreign)
        certificate = stage.certificate(account)
        for question in ({"token": token}, {"token": token, "name": "theirs", "certificate": certificate.base64}):
            body = json.dumps(json.dumps(question))
            for mode in ("cors", "no-cors"):
                for kind in ("application/json", "text/plain"):
                    got = await page.evaluate(
                        f"fetch('{where}/redeem', {{method: 'POST', mode: '{mode}', headers: {{'Content-Type': '{kind}'}}, body: {body}}})"
                        ".then(answer => answer.text()).then(text => text ? 'read' : 'nothing', () => 'refused')"
                    )
                    assert got in ("refused", "nothing"), (mode, kind)
        assert stage.records(account) == [] and waiting(stage, account) == [link["id"]]


# --- of the user's own making


async def test_a_user_makes_a_link_for_another_device(stage: Scene):
    account = stage.account()
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        await button(page, "Link for another device").wait_for()
        await picture(page, stage, "23-link-button")
        await button(page, "Link for another device").click()
        assert await page.get_by_label("Name of the device").input_value() == "Phone"
        await button(page, "Make the link").click()
        code = page.get_by_role("img", name="The link as a QR code")
        await code.wait_for()
        url = await page.locator("#link").text_content()
        assert url.startswith(address(stage) + "#")
        await picture(page, stage, "22-link-made-by-user")
        # Light and dark, whatever the page is.
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            image = stage.folder / f"{scheme}.png"
            await code.screenshot(path=str(image))
            assert finish(["zbarimg", "--quiet", "--raw", str(image)], "reading the QR code").strip() == url
        await button(page, "Copy").click()
        await page.get_by_text("Copied").wait_for()
        assert await page.evaluate("navigator.clipboard.readText()") == url
        await button(page, "Back to your devices").click()
        await page.get_by_text("No device has a key yet.").wait_for()
        [waits] = waiting(stage, account)
        [row] = await page.locator(".waiting .device").all_inner_texts()
        assert row.startswith("Phone\n") and "with the password" in row and waits in row, row

        other = await browser.open(**PHONE)
        await opened(other, url)
        certificate = await taken(other, stage)
        # Nobody touches the page: the link goes, and the device is there.
        await page.locator(".waiting .device").wait_for(state="detached")
        assert await names(page) == ["Phone"]
        await is_in(stage, account, certificate)
        in_no_log(stage, url)
        await is_well(page, stage)


async def test_a_user_ends_links_where_no_other_device_has_a_key(stage: Scene):
    account = stage.account()
    await stage.enrol(account, "phone")
    link = create(stage, account)
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        await button(page, "Sign every other device out").click()
        await page.get_by_text("Links to your account that were not used yet end, too.").wait_for()
        await button(page, "Sign all others out").click()
        await page.get_by_text("Only “phone” is left.").wait_for()
        assert waiting(stage, account) == [] and len(stage.records(account)) == 1
        in_no_log(stage, link["url"])
        await is_well(page, stage)


async def test_a_user_takes_links_back_and_those_of_an_administrator_stay(stage: Scene):
    account = stage.account()
    given = create(stage, account)
    async with browser_for(stage) as browser:
        page = await browser.open(**SMALL)
        await log_in(page, stage, account)

        async def make_link(name: str) -> str:
            await button(page, "Link for another device").click()
            await page.get_by_label("Name of the device").fill(name)
            await button(page, "Make the link").click()
            url = await page.locator("#link").text_content()
            await button(page, "Back to your devices").click()
            await page.locator(".waiting h3").filter(has_text=name[:3] or "Link ").wait_for()
            return url

        async def shown() -> list[str]:
            return await page.locator(".waiting h3").all_text_contents()

        watch = await make_link("wat\u202ech")
        assert await button(page, "Take back all links").count() == 0
        await make_link("")
        tablet = await make_link("tablet")
        # By numbers as in the account's messages; and none of an administrator's.
        nameless = next(name for name in await shown() if name.startswith("Link "))
        assert sorted(await shown()) == sorted(["wat\\u{202e}ch", nameless, "tablet"]) and nameless.removeprefix("Link ") in waiting(stage, account)
        await is_for_everybody(page)
        await picture(page, stage, "26-links-waiting")
        # What another session does to them is seen.
        assert stage.daemon.command("link", "revoke", nameless.removeprefix("Link ")).returncode == 0
        await page.get_by_role("heading", name=nameless).wait_for(state="detached")
        # One is taken back, with the keyboard alone.
        await tab_to(page, "Take back wat\\u{202e}ch", 20)
        await page.press("Enter")
        await page.get_by_text("The link stops working at once.").wait_for()
        await is_for_everybody(page)
        await page.press("Tab")
        await page.press("Enter")
        await page.get_by_text("“wat\\u{202e}ch” does not work any more.").wait_for()
        assert await shown() == ["tablet"] and len(waiting(stage, account)) == 2
        other = await browser.open(**SMALL)
        await opened(other, watch)
        assert NO_LINK in await complaint(other)
        await opened(other, tablet)
        await button(other, "Make the key").wait_for()
        # One that is gone meanwhile is said to be so.
        [gone] = [link for link in waiting(stage, account) if link != given["id"]]
        await make_link("desk")
        await button(page, "Take back tablet").click()
        assert stage.daemon.command("link", "revoke", gone).returncode == 0
        await page.get_by_text("tablet", exact=True).wait_for(state="detached")
        await button(page, "Take it back").click()
        assert "This link does not wait any more" in await complaint(page)
        await make_link("car")
        await button(page, "Take back all links").click()
        await page.get_by_text("All links that you have made and nobody has used stop working.").wait_for()
        await is_for_everybody(page)
        await picture(page, stage, "25-link-taken-back")
        await button(page, "Take them back").click()
        await page.get_by_text("None of the links that you have made works any more.").wait_for()
        assert await shown() == [] and waiting(stage, account) == [given["id"]]
        await is_well(page, stage)


async def test_a_link_on_an_iphone_is_not_used_up_for_nothing(stage: Scene):
    account = Account("sycorax")
    link = create(stage, account, "--kind", "new")
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE | {"user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"})
        await opened(page, link["url"])
        await page.get_by_text("Open this link on an Android phone or on a computer: nothing has happened so far.").wait_for()
        assert await page.get_by_text("your password").count() == 0
        assert waiting(stage, account) == [link["id"]]


async def test_a_user_who_has_made_too_many_links_is_told_so(stage: Scene):
    account = stage.account()
    for _ in range(20):
        create(stage, account)
    async with browser_for(stage) as browser:
        page = await browser.open(**SMALL)
        await log_in(page, stage, account)
        await button(page, "Link for another device").click()
        await button(page, "Make the link").click()
        said = await complaint(page)
        assert "Too many links wait to be used." in said and "take back those that you have made" in said
        await is_for_everybody(page)
        await button(page, "Cancel").click()
        await page.get_by_text("No device has a key yet.").wait_for()
        await is_well(page, stage)
        page = await browser.open(**SMALL | {"locale": "de"})
        say = words_of("de")
        await page.goto(address(stage))
        await page.get_by_label(say("login.address")).fill(account.jid)
        await page.get_by_label(say("login.password")).fill(account.password)
        await button(page, say("login.button")).click()
        await button(page, say("list.link")).click()
        await button(page, say("link.button")).click()
        said = await complaint(page)
        assert say("error.links") in said and say("error.linksHelp") in said
        await picture(page, stage, "24-link-too-many-de")


@pytest.mark.parametrize("host", ["few.lit", "off.lit"])
async def test_where_users_make_no_links_no_button_offers_it(stage: Scene, host: str):
    account = stage.account(host=host)
    async with browser_for(stage) as browser:
        page = await browser.open(**PHONE)
        await log_in(page, stage, account)
        await page.get_by_text("No device has a key yet.").wait_for()
        assert await button(page, "Link for another device").count() == 0
        await is_well(page, stage, host)


# --- for everybody


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("version", PROSODY_VERSIONS[-1:], scope="session")
async def test_links_fit_small_screens_and_screen_readers_in_each_language(stage: Scene, language: str):
    say = words_of(language)
    account = stage.account()
    new = Account(f"the-longest-name-that-somebody-has-chosen-{secrets.token_hex(4)}", DOMAIN, "")
    async with browser_for(stage) as browser:
        page = await browser.open(**SMALL | {"locale": language})

        async def check(name: str) -> None:
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                await is_for_everybody(page)
                await picture(page, stage, f"small-{language}-{scheme}-link-{name}")

        for kind, of, label in (("add", account, "add.button"), ("replace", account, "open.buttonReplace"), ("new", new, "open.buttonNew")):
            await opened(page, create(stage, of, "--kind", kind)["url"])
            await button(page, say(label)).wait_for()
            await check(kind)
        await button(page, say("open.buttonNew")).click()
        await page.locator("#password").wait_for()
        await saved(page, say("made.download"), stage.folder)
        await button(page, say("made.finish")).click()
        await page.get_by_role("heading", name=say("open.endTitle")).wait_for()
        await check("end")
        await opened(page, f"{address(stage)}#nothing")
        await check("unknown")
        await button(page, say("open.login")).click()
        await page.get_by_label(say("login.address")).fill(account.jid)
        await page.get_by_label(say("login.password")).fill(account.password)
        await button(page, say("login.button")).click()
        await button(page, say("list.link")).click()
        await button(page, say("link.button")).click()
        await page.locator("#link").wait_for()
        await check("made")
        await button(page, say("link.back")).click()
        await button(page, say("links.takeBackLabel", name=say("device.phone"))).wait_for()
        await check("waiting")
        await is_well(page, stage)


async def test_a_link_needs_no_mouse(stage: Scene):
    link = create(stage, account := stage.account())
    async with browser_for(stage) as browser:
        page = await browser.open(**DESK)
        await opened(page, link["url"])
        await button(page, "Make the key").wait_for()
        # A screen reader begins with what the link does.
        assert await page.evaluate("document.activeElement.tagName") == "H1"
        await tab_to(page, "Name of the device")
        await page.press("Control+A")
        await page.type("laptop")
        await tab_to(page, "Make the key")
        await page.press("Enter")
        await page.get_by_role("heading", name="“laptop” has its key").wait_for()
        await tab_to(page, "Save the file")
        await page.press("Enter")
        await tab_to(page, "Done")
        await page.press("Enter")
        await page.get_by_role("heading", name="This device is ready").wait_for()
        assert [record["name"] for record in stage.records(account)] == ["laptop"]
        await is_well(page, stage)
