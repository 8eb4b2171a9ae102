"""The page for devices in a browser: what its tests speak in. Pictures of each step are in target/pictures."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from browser import Page
from certs import ClientCertificate
from conftest import PROSODY_VERSIONS
from processes import REPOSITORY, TARGET, finish
from prosody import PAGE_MODULE, USUAL_MODULES
from scene import DOMAIN, Account, Scene, eventually

PICTURES = TARGET / "pictures"
MODULES = [*USUAL_MODULES, PAGE_MODULE]
ANDROID = "Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
PHONE: dict[str, Any] = {
    "user_agent": ANDROID, "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "locale": "en-GB",
    "timezone_id": "UTC", "permissions": ["clipboard-read", "clipboard-write"],
}
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "timezone_id": "UTC"}
SMALL: dict[str, Any] = PHONE | {"viewport": {"width": 320, "height": 640}}
LANGUAGES = sorted(path.stem for path in (REPOSITORY / "devices" / "words").glob("*.json"))
PASSWORD_OF_FILE = re.compile(r"^[a-z1-9]{4}(-[a-z1-9]{4}){3}$")
#: What Prosody says of a page that no browser can use.
NOT_HTTPS = "is not https|that is not secure"


def address(scene: Scene, host: str = DOMAIN) -> str:
    return f"https://{host}:{scene.prosody.https_port}/devices"


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


async def try_login(page: Page, scene: Scene, jid: str, password: str, host: str = DOMAIN) -> None:
    await page.goto(address(scene, host))
    await page.get_by_label("Address").fill(jid)
    await page.get_by_label("Password").fill(password)
    await button(page, "Log in").click()


async def log_in(page: Page, scene: Scene, account: Account) -> None:
    await try_login(page, scene, account.jid, account.password, account.host)
    await button(page, "Log out").wait_for()
    await page.get_by_text("Looking …").wait_for(state="detached")


async def names(page: Page) -> list[str]:
    return await page.locator(".device h2").all_text_contents()


async def picture(page: Page, scene: Scene, name: str) -> None:
    if scene.prosody.version == PROSODY_VERSIONS[-1]:
        PICTURES.mkdir(exist_ok=True)
        whole = await page.get_by_role("dialog").count() == 0
        await page.screenshot(path=str(PICTURES / f"{name}.png"), full_page=whole, animations="disabled")


async def complaint(page: Page) -> str:
    alert = page.get_by_role("alert")
    await alert.wait_for()
    return await alert.inner_text()


async def is_well(page: Page, scene: Scene, host: str = DOMAIN) -> None:
    """It talked to nobody but its host, and the browser has no complaint."""
    heard = await page.heard()
    own = f"{host}:{scene.prosody.https_port}/"
    foreign = [one for one in heard["requests"] if not one.startswith((f"https://{own}", f"wss://{own}", "blob:"))]
    # Prosody's last word on a socket comes behind its close.
    said = [line for line in heard["console"] if "Data frame received after close" not in line]
    assert not foreign, foreign
    assert not said, said


async def has_icon(page: Page) -> None:
    """Chromium asks for the icon last, when the page is there already."""

    async def is_answered() -> bool:
        return any(one.endswith("/icon.svg") for one in (await page.heard())["answered"])

    await eventually("the icon", is_answered)


async def is_for_everybody(page: Page) -> None:
    """axe-core finds nothing, and the screen is wide enough."""
    assert await page.axe() == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the screen"


def out_of(file: Path, password: str, folder: Path) -> ClientCertificate:
    """What openssl finds in a PKCS#12 file."""
    paths = folder / "from-page.crt", folder / "from-page.key"
    for path, which in zip(paths, ("-nokeys", "-nocerts")):
        finish(["openssl", "pkcs12", "-in", str(file), "-passin", f"pass:{password}", "-nodes", which, "-out", str(path)], "opening the file")
    certificate = x509.load_pem_x509_certificate(paths[0].read_bytes())
    return ClientCertificate(*paths, der=certificate.public_bytes(Encoding.DER))


async def make(page: Page, name: str | None = None, app: str | None = None) -> str:
    """From the form to what was made. Returns the password of the file."""
    if name is not None:
        await page.get_by_label("Name of the device").fill(name)
    if app is not None:
        await page.get_by_label("For which app?").select_option(label=app)
    await button(page, "Make the key").click()
    await page.get_by_role("heading", name="has its key").wait_for()
    return await page.locator("#password").text_content()


async def tab_to(page: Page, name: str, presses: int = 12) -> None:
    """Goes to what has this name, by the keyboard alone. Whoever looks sees where they are."""
    named = "document.activeElement.getAttribute('aria-label') || document.activeElement.labels?.[0]?.innerText || document.activeElement.innerText"
    for _ in range(presses):
        await page.press("Tab")
        if await page.evaluate(named) == name:
            assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{name} can't be reached")


def words_of(language: str) -> Callable[..., str]:
    """The page's words of a language, by their keys; what is to be filled in has a name."""
    words = json.loads((REPOSITORY / "devices" / "words" / f"{language}.json").read_text())

    def say(key: str, **values: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], words[key])

    return say


async def saved(page: Page, label: str, folder: Path) -> Path:
    file = folder / "download"
    name = await page.download(page.get_by_role("link", name=label, exact=True).click(), file)
    return file.rename(folder / name)


async def eventually_complains(page: Page, word: str) -> str:
    await page.get_by_role("alert").filter(has_text=word).wait_for()
    return await complaint(page)


def restart(scene: Scene) -> None:
    scene.prosody.stop()
    scene.prosody.start()
    scene.rig.wait_attached()


@asynccontextmanager
async def elsewhere(text: str) -> AsyncIterator[str]:
    """A page of somebody else's; where it is."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://elsewhere.lit:{server.sockets[0].getsockname()[1]}/"
