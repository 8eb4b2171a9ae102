"""The page for devices behind nginx, Caddy and HAProxy, each with the lines that docs/devices.md has for it."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import Callable

import pytest

from browser import browser_for
from devices import MODULES, PHONE, button, complaint, make
from processes import free_ports
from prosody import Config, Host
from proxies import PROXIES, Proxy
from scene import DOMAIN, Scene


@pytest.mark.parametrize("name", PROXIES)
async def test_behind_a_web_server_as_documented_the_page_is_whole(own_scene: Callable[..., Scene], name: str):
    port = free_ports(1)[0]
    scene = own_scene(Config(hosts=[Host(DOMAIN)], modules=MODULES, extra=f'https_ports = {{ }}\nhttp_external_url = "https://{DOMAIN}:{port}/"'))
    account = scene.account()
    made = scene.daemon.command("link", "create", account.jid, "--json")
    assert made.returncode == 0, made.stderr
    proxy = Proxy(name, scene.prosody.folder, port, scene.prosody.http_port)
    try:
        proxy.start()
        async with browser_for(scene) as browser:
            page = await browser.open(**PHONE)
            await page.goto(f"https://{DOMAIN}:{port}/devices")
            # Prosody takes the connection for a secure one, and the WebSocket comes through.
            await page.get_by_label("Address").fill(account.jid)
            await page.get_by_label("Password").fill(account.password)
            await button(page, "Log in").click()
            await button(page, "Add this phone").click()
            await make(page)
            # A link leads there, and what the page posts is no other page's.
            other = await browser.open(**PHONE)
            await other.goto(json.loads(made.stdout)["url"])
            await make(other, "tablet")
        assert [(record["name"], record["added"]["by"]) for record in scene.records(account)] == [("Android phone", "password"), ("tablet", "admin")]
        # Guesses are counted for whoever guesses, and not for the proxy, nor for whom the guesser says.
        assert await guess_a_link(scene, port, "127.0.0.2") == 404
        log = scene.daemon.read_log()
        assert 'address="127.0.0.2"' in log and "192.0.2.1" not in log
    finally:
        proxy.stop()


async def test_behind_a_web_server_that_prosody_does_not_know_of_the_page_says_who_mends_that(own_scene: Callable[..., Scene]):
    port = free_ports(1)[0]
    scene = own_scene(Config(hosts=[Host(DOMAIN)], modules=MODULES))
    made = scene.daemon.command("link", "create", scene.account().jid, "--json")
    assert made.returncode == 0, made.stderr
    _, _, token = json.loads(made.stdout)["url"].partition("#")
    proxy = Proxy("nginx", scene.prosody.folder, port, scene.prosody.http_port)
    try:
        proxy.start()
        async with browser_for(scene) as browser:
            page = await browser.open(**PHONE)
            await page.goto(f"https://{DOMAIN}:{port}/devices#{token}")
            said = await complaint(page)
        assert "takes this page for another website’s" in said and "http_external_url" in said
    finally:
        proxy.stop()


async def guess_a_link(scene: Scene, port: int, source: str) -> int:
    """Posts a token that nobody has made, from this address, with a lie about it. The status of the answer."""
    context = ssl.create_default_context(cafile=str(scene.prosody.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=DOMAIN, local_addr=(source, 0))
    body = json.dumps({"token": secrets.token_urlsafe(16)})
    head = [
        "POST /devices/redeem HTTP/1.1", f"Host: {DOMAIN}:{port}", "X-Forwarded-For: 192.0.2.1", "Content-Type: application/json",
        f"Content-Length: {len(body)}", "Connection: close",
    ]
    writer.write(("\r\n".join([*head, "", ""]) + body).encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    return int(status)
