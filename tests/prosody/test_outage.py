"""The daemon dies, is away, or hangs: nothing acknowledged is lost, and nobody else notices."""

import asyncio
from pathlib import Path

import pytest

from certs import ClientCertificate
from connection import Refused, StreamEnded
from processes import wait_until
from prosody import HANGING_TIMEOUT, Config
from scene import Account, Bystander, eventually


async def test_every_acknowledged_certificate_survives_kills_under_load(own_scene):
    scene = own_scene()
    bystander, accounts = scene.account(), [scene.account() for _ in range(8)]
    acknowledged: dict[Account, dict[str, ClientCertificate]] = {account: {} for account in accounts}

    async def upload(account: Account, stop: asyncio.Event, numbers: range) -> None:
        async with await scene.password_session(account) as stream:
            for number in numbers:
                if stop.is_set():
                    return
                certificate = scene.certificate(account)
                try:
                    await stream.append(f"device {number}", certificate.base64)
                except Refused as refusal:
                    assert refusal.type == "wait", refusal
                    return
                acknowledged[account][f"device {number}"] = certificate

    for round_of_kills in range(3):
        stop, numbers = asyncio.Event(), range(round_of_kills * 6, round_of_kills * 6 + 6)
        before = sum(map(len, acknowledged.values()))
        async with Bystander(scene, bystander):
            uploads = [asyncio.create_task(upload(account, stop, numbers)) for account in accounts]
            while sum(map(len, acknowledged.values())) < before + 15 and not all(task.done() for task in uploads):
                await asyncio.sleep(0)
            scene.daemon.kill()
            stop.set()
            await asyncio.gather(*uploads)
        scene.daemon.start()
        scene.rig.wait_attached()

        for account in accounts:
            kept = {record["name"]: record["fingerprint"] for record in scene.records(account)}
            lost = [name for name, certificate in acknowledged[account].items() if kept.get(name) != certificate.fingerprint]
            assert not lost, f"{account.jid} lost {lost} after kill {round_of_kills + 1}"
    assert sum(map(len, acknowledged.values())) >= 45

    for account in accounts:
        for certificate in list(acknowledged[account].values())[:2]:
            async with await scene.certificate_session(account, certificate):
                pass


async def test_while_the_daemon_is_away_external_fails_at_once_as_temporary_and_passwords_work(own_scene, direct_tls: bool):
    # Who waited for it would wait longer than the client does.
    scene = own_scene(Config(timeout=60))
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as early:
        assert "EXTERNAL" in early.mechanisms
        assert scene.daemon.stop() == 0
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as late:
            assert "EXTERNAL" not in late.mechanisms
            for stream in (early, late):
                with pytest.raises(Refused, match="^temporary-auth-failure"):
                    await stream.external()
                await stream.scram(account.username, account.password)
                await stream.bind()
    scene.daemon.start()
    scene.rig.wait_attached()
    async with await scene.certificate_session(account, phone, direct_tls=direct_tls):
        pass


async def test_a_session_survives_a_restart_of_the_daemon_and_is_known_again(own_scene):
    scene = own_scene()
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone, "orchard") as stream:
        assert scene.daemon.stop() == 0
        await stream.ping()
        with pytest.raises(Refused) as refusal:
            await stream.certificates()
        assert refusal.value.type == "wait"
        scene.daemon.start()
        scene.rig.wait_attached()
        assert (await stream.certificates())["phone"].users == ("orchard",)
        await stream.revoke("phone")
        assert (await stream.wait_closed(5)).condition == "not-authorized"


async def test_a_frozen_daemon_delays_nobody_else_and_works_again_when_thawed(own_scene, direct_tls: bool):
    scene = own_scene(Config(timeout=HANGING_TIMEOUT))
    account, bystander = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as early, await scene.password_session(account) as desk:
        scene.daemon.freeze()
        try:
            async with Bystander(scene, bystander):
                with pytest.raises(Refused, match="^temporary-auth-failure"):
                    await early.external()
                await early.scram(account.username, account.password)

                async with await scene.open(certificate=phone, direct_tls=direct_tls) as late:
                    assert "EXTERNAL" not in late.mechanisms
                    with pytest.raises(Refused, match="^temporary-auth-failure"):
                        await late.external()

                with pytest.raises(Refused) as refusal:
                    await desk.append("tablet", scene.certificate(account).base64)
                assert refusal.value.type == "wait"
        finally:
            scene.daemon.thaw()

        async def logs_in() -> bool:
            try:
                async with await scene.certificate_session(account, phone, direct_tls=direct_tls):
                    return True
            except (Refused, StreamEnded):
                return False

        await eventually("a login works after the daemon was thawed", logs_in)
        await desk.certificates()


async def test_a_yes_that_prosody_reads_too_late_lets_nobody_in(own_scene, direct_tls: bool):
    scene = own_scene(Config(timeout=HANGING_TIMEOUT))
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as waiting, await scene.password_session(account) as desk:
        scene.daemon.freeze()
        try:
            await waiting.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
            # Behind these Prosody has read that, and has asked.
            await desk.ping()
            await desk.ping()
            scene.prosody.freeze()
        finally:
            scene.daemon.thaw()
        try:
            wait_until("the daemon says yes", lambda: "external.login: yes" in scene.daemon.output.read_text())
            deadline = uptime() + HANGING_TIMEOUT
            wait_until("the yes is late", lambda: uptime() > deadline)
        finally:
            scene.prosody.thaw()
        with pytest.raises(Refused, match="^temporary-auth-failure"):
            await waiting.finish_authentication(await waiting.read())
        # The daemon is as good as before.
        await waiting.external()
        await waiting.bind()


def uptime() -> float:
    """Seconds since the machine was started."""
    return float(Path("/proc/uptime").read_text().split()[0])


async def test_prosody_starts_without_the_daemon_and_finds_it_later(own_scene):
    scene = own_scene()
    account = scene.account()
    phone = await scene.enrol(account)
    scene.prosody.stop()
    scene.daemon.stop()
    scene.prosody.start()
    async with await scene.password_session(account):
        pass
    scene.daemon.start()
    scene.rig.wait_attached()
    async with await scene.certificate_session(account, phone):
        pass
