"""Pages in Debian's Chromium, driven by playwright-core from npm.

    async with browser_for(scene) as browser:
        page = await browser.open(locale="fr-FR")
        await page.goto("https://shakespeare.lit:5281/devices/")
        await page.get_by_label("Password").fill("secret")

The names of methods are playwright's, written as Python writes them; browser.mjs makes the calls.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from processes import PATIENCE, RigError, clean_environment
from scene import Scene

#: A large list in one line.
LONGEST_LINE = 16 * 1024 * 1024


class Steps:
    """Calls on a page, one on the result of the other. Awaiting them makes them."""

    def __init__(self, page: Page, steps: list[list[Any]]):
        self._page = page
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Steps:
            named = {_camel(key): value for key, value in options.items()}
            return Steps(self._page, [*self._steps, [_camel(name), *args, *([named] if named else [])]])

        return call

    def __await__(self) -> Generator[Any, None, Any]:
        return self._page.send("steps", steps=self._steps).__await__()


class Page(Steps):
    def __init__(self, browser: Browser, number: int):
        super().__init__(self, [])
        self._browser = browser
        self._number = number

    async def send(self, operation: str, **rest: Any) -> Any:
        return await self._browser.send(operation, page=self._number, **rest)

    async def heard(self) -> dict[str, list[str]]:
        """The addresses of its `requests` and of those that were `answered`, and the lines of its `console`."""
        return await self.send("heard")

    async def download(self, steps: Steps, file: Path) -> str:
        """Saves what these steps make the page offer, and returns the name that the page gave it."""
        return await self.send("download", steps=steps._steps, file=str(file))

    async def press(self, key: str) -> None:
        """On the keyboard, wherever the focus is."""
        await self.send("key", name="press", text=key)

    async def type(self, text: str) -> None:
        await self.send("key", name="type", text=text)

    async def axe(self) -> list[str]:
        """What axe-core finds wrong for people who can't see it, or can't use a mouse."""
        return await self.send("axe")


class Browser:
    def __init__(self, process: asyncio.subprocess.Process):
        self._process = process
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {0: asyncio.get_running_loop().create_future()}
        self._reader = asyncio.create_task(self._read())

    async def ready(self) -> None:
        await asyncio.wait_for(self._waiting[0], 2 * PATIENCE)

    async def open(self, **context: Any) -> Page:
        """A page with cookies, cache and storage of its own; `context`: options of playwright's newContext."""
        return Page(self, await self.send("open", context={_camel(key): value for key, value in context.items()}))

    async def send(self, operation: str, **rest: Any) -> Any:
        self._last += 1
        answer = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"id": self._last, "do": operation, **rest}, default=_pattern).encode() + b"\n")
        return await answer

    async def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE)
        except TimeoutError:
            self._process.kill()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        assert self._process.stdout and self._process.stderr
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            waiting = self._waiting.pop(message["id"])
            if waiting.done():
                continue
            if "error" in message:
                waiting.set_exception(AssertionError(message["error"]))
            else:
                waiting.set_result(message.get("result"))
        error = RigError(f"the browser has ended: {(await self._process.stderr.read()).decode(errors='replace')[-2000:]}")
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)


@contextlib.asynccontextmanager
async def browser_for(scene: Scene) -> AsyncIterator[Browser]:
    """A browser that knows the hosts of this scene, trusts their certificate, and reaches nobody else."""
    certificate = x509.load_pem_x509_certificate((scene.prosody.folder / "server.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    options = {
        "hosts": [host.name for host in scene.rig.config.hosts] + ["elsewhere.lit"],
        "key": base64.b64encode(hashlib.sha256(key).digest()).decode(),
        "patience": PATIENCE,
    }
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "node", str(Path(__file__).with_name("browser.mjs")), json.dumps(options),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE, env=clean_environment(),
    )
    browser = Browser(process)
    try:
        await browser.ready()
        yield browser
    finally:
        await browser.close()


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def _pattern(value: Any) -> dict[str, str]:
    assert isinstance(value, re.Pattern), value
    return {"pattern": value.pattern}
