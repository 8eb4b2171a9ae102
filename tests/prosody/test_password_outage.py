"""The daemon dies, is away, or hangs, while it has the accounts: nobody hears of a wrong password, no message bounces, no roster
is lost, and whoever is logged in stays so."""

import asyncio
import time
from collections.abc import Callable

import pytest

import rome
from connection import Refused
from prosody import HANGING_TIMEOUT
from rome import ROME, message, outcome
from scene import DOMAIN, Account, Bystander, Scene, eventually
from test_passwords import MECHANISMS, log_in

STOPS: dict[str, Callable[[Scene], object]] = {
    "stopped": lambda scene: scene.daemon.stop(),
    "killed": lambda scene: scene.daemon.kill(),
    "frozen": lambda scene: scene.daemon.freeze(),
}


def bring_back(scene: Scene) -> None:
    if scene.daemon.is_running():
        scene.daemon.thaw()
    else:
        scene.daemon.start()


async def works_again(scene: Scene, account: Account, password: str | None = None) -> None:
    async def logs_in() -> bool:
        outcomes = [(await outcome(log_in(scene, account, password or account.password, mechanism)))[0] for mechanism in MECHANISMS]
        assert "not-authorized" not in outcomes
        return set(outcomes) == {"success"}

    await eventually("passwords work again", logs_in)


# --- logins


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
async def test_a_login_that_can_not_be_decided_is_temporary_and_over_before_its_client_gives_up(own_scene, stop: Callable[[Scene], object]):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account, dane = scene.account(host=ROME), scene.account()
    async with await scene.password_session(account) as living, await scene.open(ROME) as early:
        stop(scene)
        try:
            async with Bystander(scene, dane):
                for mechanism in MECHANISMS:
                    for password in (account.password, "a wrong one"):
                        condition, text = await outcome(log_in(scene, account, password, mechanism))
                        assert condition == "temporary-auth-failure" and text and "password" in text
                assert (await outcome(early.plain("nobody", "x")))[0] == "temporary-auth-failure"
                assert (await outcome(early.scram("nobody", "x")))[0] == "temporary-auth-failure"
            await living.ping()
        finally:
            bring_back(scene)
        await works_again(scene, account)
        await early.scram(account.username, account.password)
        await early.bind()


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
async def test_a_proof_that_can_not_be_confirmed_is_temporary_though_it_is_right(own_scene, stop: Callable[[Scene], object]):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account = scene.account(host=ROME)
    async with await scene.open(ROME) as stream:
        attempt = stream.scram(account.username, account.password, before_proof=lambda: stop(scene))
        assert (await outcome(attempt))[0] == "temporary-auth-failure"
        bring_back(scene)
        await works_again(scene, account)
        await stream.scram(account.username, account.password)
        await stream.bind()


@pytest.mark.parametrize("change", ["disable", "delete", "set_password"])
async def test_a_right_proof_does_not_help_when_the_account_was_changed_during_the_exchange(in_rome: Scene, change: str):
    account = in_rome.account(host=ROME)
    params = {"account": account.jid, **({"password": "another"} if change == "set_password" else {})}
    async with await in_rome.open(ROME) as stream:
        wrong = await outcome(stream.scram(account.username, "a wrong one"))
        attempt = stream.scram(account.username, account.password, before_proof=lambda: in_rome.daemon.ask(f"account.{change}", params))
        assert await outcome(attempt) == wrong


async def test_a_daemon_that_dies_again_and_again_during_logins_never_calls_a_password_wrong(own_scene):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account = scene.account(host=ROME)
    seen: dict[str, int] = {}
    done = asyncio.Event()

    async def client(mechanism: str) -> None:
        while not done.is_set():
            condition, _ = await outcome(log_in(scene, account, account.password, mechanism))
            seen[condition] = seen.get(condition, 0) + 1

    clients = [asyncio.create_task(client(mechanism)) for mechanism in MECHANISMS for _ in range(2)]
    for _ in range(3):
        before = seen.get("success", 0)
        await eventually("clients log in", lambda before=before: more(seen, before))
        scene.daemon.kill()
        scene.daemon.start()
    done.set()
    await asyncio.gather(*clients)
    assert set(seen) <= {"success", "temporary-auth-failure"}, seen


async def more(seen: dict[str, int], before: int) -> bool:
    return seen.get("success", 0) > before + 3


async def test_while_the_daemon_is_away_nobody_registers_and_nobody_changes_a_password(own_scene):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account = scene.account(host=ROME)
    async with await scene.password_session(account) as session, await scene.open(ROME) as stream:
        scene.daemon.stop()
        with pytest.raises(Refused) as refusal:
            await stream.register("portia", "swallowed fire")
        assert refusal.value.type == "wait"
        with pytest.raises(Refused):
            await session.change_password(account.username, "another")
        with pytest.raises(Refused):
            await session.remove_account()
        await session.ping()
        scene.daemon.start()
        scene.rig.wait_attached()
        await stream.register("portia", "swallowed fire")
    await works_again(scene, account)
    await works_again(scene, Account("portia", ROME), "swallowed fire")


# --- mail and rosters


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
@pytest.mark.parametrize("remembered", [True, False], ids=["known", "unknown"])
async def test_a_message_to_somebody_who_is_offline_is_kept(own_scene, stop: Callable[[Scene], object], remembered: bool):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account, sender = scene.account(host=ROME), scene.account()
    if not remembered:
        scene.prosody.stop()
        scene.prosody.start()
        scene.rig.wait_attached()
    expected = []
    async with await scene.password_session(sender) as stream, rome.bridge(scene) as bridge:
        if remembered:
            expected = ["up", "up, by a component"]
            await stream.send(message(account.jid, "up"))
            assert await rome.bounces_of(stream) == []
            assert await bridge.bounces_of(message(account.jid, "up, by a component", rome.BRIDGE)) == []
        stop(scene)
        expected += ["down, by a component", "down"]
        assert await bridge.bounces_of(message(account.jid, "down, by a component", rome.BRIDGE)) == []
        await stream.send(message(account.jid, "down"))
        assert await rome.bounces_of(stream) == []
        bring_back(scene)
        scene.rig.wait_attached()
        await works_again(scene, account)
    assert await rome.mail(scene, account, len(expected)) == expected


async def test_a_message_to_nobody_bounces_while_the_daemon_is_there(in_rome: Scene):
    sender = in_rome.account()
    async with await in_rome.password_session(sender) as stream, rome.bridge(in_rome) as bridge:

        async def bounces_at_once() -> bool:
            await stream.send(message(f"nobody{time.time_ns()}@{ROME}", "Who's there?"))
            return await rome.bounces_of(stream) == ["service-unavailable"]

        await eventually("what a user sends to nobody bounces", bounces_at_once)

        async def bounces() -> bool:
            letters = [message(f"nobody{time.time_ns()}{n}@{ROME}", "Who's there?", rome.BRIDGE) for n in range(3)]
            return await bridge.bounces_of(*letters) == ["service-unavailable"] * 3

        # A daemon that is too busy to answer at once is taken for one that is away.
        await eventually("what a component sends to nobody bounces", bounces)


async def test_a_component_is_answered_rightly_about_accounts_that_nobody_has_asked_for(in_rome: Scene):
    account = in_rome.account(host=ROME)
    async with rome.bridge(in_rome) as bridge:
        assert await bridge.bounces_of(message(account.jid, "first", rome.BRIDGE)) == []
    assert await rome.mail(in_rome, account, 1) == ["first"]


async def test_a_component_that_sends_much_does_not_stop_the_server_while_the_daemon_hangs(own_scene):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    dane = scene.account()
    async with rome.bridge(scene) as bridge, await scene.password_session(dane) as session:
        scene.daemon.freeze()
        try:
            # If each stopped the server for as long as one may, nobody would wait for the end of it.
            letters = [message(f"legionary{n}@{ROME}", "Ave", rome.BRIDGE) for n in range(200)]
            assert await bridge.bounces_of(*letters) == []
            await session.ping()
        finally:
            scene.daemon.thaw()


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
async def test_no_change_of_a_roster_is_lost(own_scene, stop: Callable[[Scene], object]):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    offline, online, dane = scene.account(host=ROME), scene.account(host=ROME), scene.account()

    async def roster(account: Account) -> set[str]:
        async with await scene.password_session(account) as stream:
            result = await stream.iq("get", "<query xmlns='jabber:iq:roster'/>")
            return {item.get("jid", "") for item in result.iter("{jabber:iq:roster}item")}

    def add(jid: str) -> str:
        return f"<query xmlns='jabber:iq:roster'><item jid='{jid}'/></query>"

    async with await scene.password_session(offline) as stream:
        await stream.iq("set", add(f"cassius@{DOMAIN}"))
    async with await scene.password_session(online) as stream, await scene.password_session(dane) as friend:
        stop(scene)
        await stream.iq("set", add(f"casca@{DOMAIN}"))
        # Somebody who is offline is asked to be a friend: that is kept in his roster, too.
        await friend.send(f"<presence type='subscribe' to='{offline.jid}'/>")
        await friend.ping()
        bring_back(scene)
        scene.rig.wait_attached()
        await works_again(scene, offline)
    assert await roster(online) == {f"casca@{DOMAIN}"}
    assert await roster(offline) == {f"cassius@{DOMAIN}"}
    async with await scene.password_session(offline) as stream:
        await stream.send("<presence/>")

        async def asked() -> bool:
            await stream.ping()
            return any(one.get("type") == "subscribe" and one.get("from") == dane.jid for one in stream.unclaimed)

        await eventually("the question arrives", asked)


# --- who stays


async def test_sessions_survive_a_restart_of_the_daemon(own_scene):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account = scene.account(host=ROME)
    async with await scene.password_session(account) as stream:
        scene.daemon.kill()
        await stream.ping()
        scene.daemon.start()
        scene.rig.wait_attached()
        await stream.ping()
        scene.daemon.ask("account.disable", {"account": account.jid})
        assert (await stream.wait_closed(5)).condition == "not-authorized"


async def test_prosody_starts_without_the_daemon_and_finds_it_later(own_scene):
    scene = own_scene(rome.config(timeout=HANGING_TIMEOUT))
    account = scene.account(host=ROME)
    scene.prosody.stop()
    scene.daemon.stop()
    scene.prosody.start()
    assert (await outcome(log_in(scene, account, account.password, "PLAIN")))[0] == "temporary-auth-failure"
    scene.daemon.start()
    scene.rig.wait_attached()
    await works_again(scene, account)
