"""The page for devices behind nginx, Caddy and HAProxy, each with the lines that docs/devices.md has for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from browser import browser_for
from devices import MODULES, PHONE, button, make
from processes import free_ports
from prosody import Config, Host
from proxies import PROXIES, Proxy
from scene import DOMAIN, Scene


@pytest.mark.parametrize("name", PROXIES)
async def test_behind_a_web_server_as_documented_the_page_is_whole(own_scene: Callable[..., Scene], name: str):
    port = free_ports(1)[0]
    scene = own_scene(Config(hosts=[Host(DOMAIN)], modules=MODULES, extra=f'https_ports = {{ }}\nhttp_external_url = "https://{DOMAIN}:{port}/"'))
    account = scene.account()
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
        assert [record["added"]["by"] for record in scene.records(account)] == ["password"]
    finally:
        proxy.stop()
