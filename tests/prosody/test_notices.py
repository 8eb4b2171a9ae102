"""Who has a certificate that expires soon hears of it, in any client."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from namespaces import CLIENT
from prosody import Config, Host
from scene import DOMAIN, Scene, moment

DAY = 24 * 3600


async def test_an_account_hears_that_its_certificate_expires(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=[Host(DOMAIN, "saslcertd_expiry_notice_days = { 14, 1 }")]))
    account = scene.account()
    # One day before it expires is soon.
    phone = scene.certificate(account, not_after=datetime.timedelta(days=1, seconds=15))
    await scene.enrol(account, "phone", phone)
    scene.daemon.stop()
    await moment(phone.not_after - DAY)
    async with await scene.password_session(account) as stream:
        await stream.send("<presence/>")
        scene.daemon.start()
        while True:
            message = await stream.message()
            text = message.findtext(f"{{{CLIENT}}}body", "")
            if "expires" in text:
                break
    assert message.get("from") == DOMAIN
    assert text.startswith('The certificate "phone" of your account expires on ')


def test_nobody_need_hear_of_it(own_scene: Callable[..., Scene]):
    """An empty list in Prosody's configuration is a list, too."""
    scene = own_scene(Config(hosts=[Host(DOMAIN, "saslcertd_expiry_notice_days = {}")]))
    [host] = [host for host in scene.daemon.ask("status")["hosts"] if host["host"] == DOMAIN]
    assert host["ready"] and host["options"]["saslcertd_expiry_notice_days"] == []
