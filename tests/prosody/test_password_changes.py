"""Who changes accounts that live in the daemon: prosodyctl, the admin shell, ad-hoc commands, invitations, the daemon's own
command line. All of them have effect at once."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest

import rome
from connection import Refused
from processes import wait_until
from raw import Stream
from rome import ADMIN, ROME, outcome
from scene import DOMAIN, PASSWORD, Account, Scene, eventually
from test_adhoc import Command
from test_passwords import MECHANISMS, log_in


def new_name() -> str:
    return f"user{time.time_ns()}"


async def opens(scene: Scene, account: Account, password: str) -> bool:
    """Whether the password opens the account, by every mechanism or by none."""
    outcomes = {(await outcome(log_in(scene, account, password, mechanism)))[0] for mechanism in MECHANISMS}
    assert outcomes in ({"success"}, {"not-authorized"}), outcomes
    return outcomes == {"success"}


# --- prosodyctl


async def test_prosodyctl_adds_changes_and_deletes_users(in_rome: Scene):
    account = Account(new_name(), ROME)
    added = in_rome.prosody.converse("adduser", account.jid, answers="first\nfirst\n")
    assert added.returncode == 0, added.stdout + added.stderr
    assert await opens(in_rome, account, "first")
    again = in_rome.prosody.converse("adduser", account.jid, answers="mine\nmine\n")
    assert again.returncode != 0 and "exists" in again.stdout + again.stderr
    assert await opens(in_rome, account, "first")
    async with await in_rome.open(ROME) as session:
        await session.plain(account.username, "first")
        await session.bind()
        changed = in_rome.prosody.converse("passwd", account.jid, answers="second\nsecond\n")
        assert changed.returncode == 0, changed.stdout + changed.stderr
        assert (await session.wait_closed(5)).condition == "reset"
    assert not await opens(in_rome, account, "first")
    async with await in_rome.open(ROME) as session:
        await session.plain(account.username, "second")
        await session.bind()
        deleted = in_rome.prosody.converse("deluser", account.jid)
        assert deleted.returncode == 0, deleted.stdout + deleted.stderr
        assert (await session.wait_closed(5)).condition == "not-authorized"
    assert not await opens(in_rome, account, "second")
    for command in (("deluser", account.jid), ("passwd", account.jid)):
        gone = in_rome.prosody.converse(*command, answers="x\nx\n")
        assert gone.returncode != 0


async def test_prosodyctl_register_sets_the_password_of_an_existing_account_too(in_rome: Scene):
    account = in_rome.account(host=ROME)
    in_rome.prosody.register(account.username, ROME, "another")
    assert await opens(in_rome, account, "another")
    assert not await opens(in_rome, account, account.password)
    in_rome.prosody.control("unregister", account.username, ROME)
    assert not await opens(in_rome, account, "another")


async def test_prosodyctl_says_readably_why_something_failed(own_scene):
    scene = own_scene(rome.config())
    refused = scene.prosody.converse("register", "brutus", ROME, "a\tb")
    assert refused.returncode != 0 and "1024 bytes" in refused.stdout and "traceback" not in refused.stdout.lower()
    assert scene.daemon.stop() == 0
    for command in (("register", "brutus", ROME, "x"), ("unregister", "brutus", ROME), ("passwd", f"brutus@{ROME}"), ("deluser", f"brutus@{ROME}")):
        failed = scene.prosody.converse(*command, answers="x\nx\n")
        assert failed.returncode != 0, command
        assert "can't be asked" in failed.stdout + failed.stderr, (command, failed.stdout, failed.stderr)
        assert "traceback" not in (failed.stdout + failed.stderr).lower()


# --- the shell


async def test_the_admin_shell_creates_changes_lists_and_deletes_users(in_rome: Scene, version: str):
    account = Account(new_name(), ROME)
    in_rome.prosody.shell(f'user:create("{account.jid}", "first")')
    assert await opens(in_rome, account, "first")
    assert account.jid in in_rome.prosody.shell(f'user:list("{ROME}")')
    assert account.jid not in in_rome.prosody.shell(f'user:list("{DOMAIN}")')
    in_rome.prosody.shell(f'user:password("{account.jid}", "second")')
    assert not await opens(in_rome, account, "first")
    assert await opens(in_rome, account, "second")
    if version != "0.12":
        async with await in_rome.open(ROME) as session:
            await session.plain(account.username, "second")
            await session.bind()
            in_rome.prosody.shell(f'user:disable("{account.jid}")')
            assert (await session.wait_closed(5)).condition == "not-authorized"
        assert not await opens(in_rome, account, "second")
        in_rome.prosody.shell(f'user:enable("{account.jid}")')
        assert await opens(in_rome, account, "second")
    in_rome.prosody.shell(f'user:delete("{account.jid}")')
    assert not await opens(in_rome, account, "second")
    assert account.jid not in in_rome.prosody.shell(f'user:list("{ROME}")')


async def test_a_list_of_users_longer_than_a_page_is_whole(own_scene):
    scene = own_scene(rome.config("saslcertd_scram_iterations = 4096"))
    names = [f"legionary-of-the-tenth-{number:04}-{'x' * 900}" for number in range(150)]
    for at in range(0, len(names), 10):
        scene.prosody.register_many(names[at : at + 10], ROME, PASSWORD)
    told = scene.prosody.shell(
        f'> local n = {{}}; for name in require "core.usermanager".users("{ROME}") do n[#n + 1] = name:sub(1, 28); end return table.concat(n, " ")'
    )
    assert re.findall(r"legionary\S+", told) == [name[:28] for name in names]


# --- ad-hoc commands


async def admin(scene: Scene) -> Stream:
    scene.prosody.register(ADMIN, ROME, PASSWORD)
    return await scene.password_session(Account(ADMIN, ROME))


async def administer(stream: Stream, command: str, fields: dict[str, str | bool]) -> str:
    """Fills in the form of one of Prosody's commands; what it says in the end."""
    run = Command(stream, to=ROME, node=f"http://jabber.org/protocol/admin#{command}")
    await run.step("execute")
    done = await run.step("complete", {"FORM_TYPE": "http://jabber.org/protocol/admin", **fields})
    return "\n".join(text for _, text in done.notes)


async def test_administrators_add_change_and_delete_users_by_their_clients(in_rome: Scene):
    account = Account(new_name(), ROME)
    async with await admin(in_rome) as stream:
        assert "success" in await administer(stream, "add-user", {"accountjid": account.jid, "password": "first", "password-verify": "first"})
        assert await opens(in_rome, account, "first")
        assert "exists" in await administer(stream, "add-user", {"accountjid": account.jid, "password": "mine", "password-verify": "mine"})
        assert "success" in await administer(stream, "change-user-password", {"accountjid": account.jid, "password": "second"})
        assert not await opens(in_rome, account, "first")
        assert await opens(in_rome, account, "second")
        assert "success" in await administer(stream, "delete-user", {"accountjids": account.jid})
        assert not await opens(in_rome, account, "second")


# --- registration


@pytest.mark.parametrize("password", ["a\tb", "x" * 1025, "\u0080"])
async def test_a_refused_registration_leaves_the_name_free(in_rome: Scene, password: str):
    account = Account(new_name(), ROME)
    async with await in_rome.open(ROME) as stream:
        with pytest.raises(Refused):
            await stream.register(account.username, password)
        assert in_rome.daemon.ask("account.exists", {"account": account.jid})["exists"] is False
        await stream.register(account.username, "a better one")
    assert await opens(in_rome, account, "a better one")


async def test_a_refused_change_leaves_the_old_password(in_rome: Scene):
    account = in_rome.account(host=ROME)
    async with await in_rome.password_session(account) as stream:
        with pytest.raises(Refused):
            await stream.change_password(account.username, "a\tb")
        with pytest.raises(Refused):
            await stream.change_password("somebody-else", "mine")
        await stream.ping()
    assert await opens(in_rome, account, account.password)


async def test_a_registration_takes_no_existing_account(in_rome: Scene):
    account = in_rome.account(host=ROME)
    async with await in_rome.open(ROME) as stream:
        for name in (account.username, account.username.upper()):
            with pytest.raises(Refused, match="^conflict"):
                await stream.register(name, "mine")
    assert await opens(in_rome, account, account.password)


async def test_of_two_who_register_one_name_at_the_same_moment_one_hears_of_a_conflict(in_rome: Scene):
    pairs = 25
    streams = [await in_rome.open(ROME) for _ in range(2)]
    try:
        for _ in range(pairs):
            name = new_name()
            passwords = ("the first of two", "the second of two")
            attempts = (outcome(stream.register(name, password)) for stream, password in zip(streams, passwords, strict=True))
            heard = [condition for condition, _ in await asyncio.gather(*attempts)]
            assert sorted(heard) == ["conflict", "success"], heard
            verify = {"account": f"{name}@{ROME}", "address": None}
            for condition, password in zip(heard, passwords, strict=True):
                if condition == "success":
                    in_rome.daemon.ask("account.verify", {**verify, "password": password})
                else:
                    with pytest.raises(Exception, match="password-wrong"):
                        in_rome.daemon.ask("account.verify", {**verify, "password": password})
    finally:
        for stream in streams:
            await stream.close()


def invitation_to_reset(scene: Scene, account: Account) -> str:
    """The token of an invitation that allows to set a new password."""
    told = scene.prosody.shell(
        f'> return require "core.modulemanager".get_module("{account.host}", "invites").create_account_reset("{account.username}").token'
    )
    token = re.search(r"Result: (\S+)", told)
    assert token, told
    return token[1]


async def test_an_invitation_resets_the_password_of_its_account_and_of_no_other(in_rome: Scene):
    account, other = in_rome.account(host=ROME), in_rome.account(host=ROME)
    phone = await in_rome.enrol(account)
    token = invitation_to_reset(in_rome, account)
    async with await in_rome.password_session(account) as living, await in_rome.open(ROME) as stream:
        await stream.iq("set", f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>", to=ROME)
        # Prosody's own refusal, from 13.0.6 on the other one.
        with pytest.raises(Refused, match="^(conflict|not-acceptable)"):
            await stream.register(other.username, "mine")
        await stream.register(account.username, "new")
        assert (await living.wait_closed(5)).condition == "reset"
    assert await opens(in_rome, account, "new")
    assert not await opens(in_rome, account, account.password)
    assert await opens(in_rome, other, other.password)
    # It is the same account.
    async with await in_rome.certificate_session(account, phone):
        pass


# --- somebody else changes it


CHANGES: dict[str, tuple[dict[str, str], str]] = {
    "disable": ({}, "not-authorized"),
    "delete": ({}, "not-authorized"),
    "set_password": ({"password": "another"}, "reset"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_from_outside_ends_all_sessions_of_the_account_and_no_other(in_rome: Scene, change: str):
    account, other = in_rome.account(host=ROME), in_rome.account(host=ROME)
    namesake = in_rome.account(account.username)
    phone = await in_rome.enrol(account)
    params, condition = CHANGES[change]
    async with (
        await in_rome.password_session(account, "a") as bound,
        await in_rome.certificate_session(account, phone, "b") as by_certificate,
        await in_rome.password_session(account, "c") as asleep,
        await in_rome.open(ROME) as unbound,
        await in_rome.open(ROME, certificate=phone) as unbound_by_certificate,
        await in_rome.password_session(other) as spared,
        await in_rome.password_session(namesake) as spared_namesake,
    ):
        token = await asleep.enable_resumption()
        asleep.drop()
        await unbound.scram(account.username, account.password)
        await unbound_by_certificate.external()
        in_rome.daemon.ask(f"account.{change}", {"account": account.jid, **params})
        for stream in (bound, by_certificate, unbound, unbound_by_certificate):
            assert (await stream.wait_closed(5)).condition == condition
        await spared.ping()
        await spared_namesake.ping()
    assert not await opens(in_rome, account, account.password)
    if change == "set_password":
        async with await in_rome.open(ROME) as stream:
            await stream.plain(account.username, "another")
            with pytest.raises(Refused, match="^item-not-found"):
                await stream.resume(token)
    if change == "disable":
        in_rome.daemon.ask("account.enable", {"account": account.jid})
        assert await opens(in_rome, account, account.password)


async def test_a_password_changed_in_the_server_ends_sessions_that_are_not_bound_yet(in_rome: Scene):
    account = in_rome.account(host=ROME)
    async with await in_rome.open(ROME) as unbound, await in_rome.password_session(account, "desk") as desk:
        await unbound.plain(account.username, account.password)
        await desk.change_password(account.username, "another")
        assert (await unbound.wait_closed(5)).condition == "reset"
        await desk.ping()


BY_WHOM: dict[str, Callable[[Scene, Account], object]] = {
    "the daemon": lambda scene, account: scene.daemon.ask("account.delete", {"account": account.jid}),
    "prosodyctl": lambda scene, account: scene.prosody.control("unregister", account.username, account.host),
    "the server": lambda scene, account: scene.prosody.shell(f'user:delete("{account.jid}")'),
}


@pytest.mark.parametrize("delete", BY_WHOM.values(), ids=BY_WHOM.keys())
async def test_who_is_deleted_leaves_nothing_to_the_next(in_rome: Scene, delete: Callable[[Scene, Account], object]):
    account = in_rome.account(host=ROME)
    secret = "<query xmlns='jabber:iq:private'><thoughts xmlns='of:brutus'>{}</thoughts></query>"
    friends = "<query xmlns='jabber:iq:roster'>{}</query>"
    async with await in_rome.password_session(account) as stream:
        await stream.iq("set", secret.format("I know where I will wear this dagger then"))
        await stream.iq("set", friends.format(f"<item jid='cassius@{DOMAIN}' name='Lean and hungry'/>"))
    delete(in_rome, account)
    heir = in_rome.account(account.username, ROME)

    async def is_empty() -> bool:
        async with await in_rome.password_session(heir) as stream:
            kept = await stream.iq("get", secret.format(""))
            roster = await stream.iq("get", friends.format(""))
            return not any(element.text for element in kept.iter("{of:brutus}thoughts")) and not list(roster.iter("{jabber:iq:roster}item"))

    await eventually("nothing is left", is_empty)


async def test_what_the_server_remembers_of_an_account_ends_with_it(in_rome: Scene):
    sender, account = in_rome.account(), Account(new_name(), ROME)
    async with await in_rome.password_session(sender) as stream:

        async def bounces() -> bool:
            await stream.send(rome.message(account.jid, "Beware"))
            return bool(await rome.bounces_of(stream))

        await eventually("the account is known not to be there", bounces)
        in_rome.daemon.ask("account.create", {"account": account.jid, "password": PASSWORD, "caller": "server"})
        await eventually("the new account is known", lambda: negate(bounces))
        in_rome.daemon.ask("account.delete", {"account": account.jid})
        await eventually("the account is known to be gone", bounces)


async def negate(probe: Callable) -> bool:
    return not await probe()


# --- how it is configured


async def test_authentication_alone_is_enough(own_scene):
    scene = own_scene(rome.config(enabled=False))
    scene.rig.wait_attached(ROME)
    account, dane = scene.account(host=ROME), scene.account()
    assert await opens(scene, account, account.password)
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone):
        pass
    # That host has its own mechanisms.
    await log_in(scene, dane, dane.password, "PLAIN")
    assert [known["host"] for known in scene.daemon.ask("status")["hosts"]] == [ROME]


RELOADS: dict[str, Callable[[Scene], None]] = {
    "mod_saslcertd": lambda scene: scene.prosody.reload_module("saslcertd"),
    "mod_saslcertd on the host": lambda scene: scene.prosody.reload_module("saslcertd", ROME),
    "mod_auth_saslcertd": lambda scene: scene.prosody.reload_module("auth_saslcertd", ROME),
    "mod_saslauth": lambda scene: scene.prosody.reload_module("saslauth", ROME),
    "the configuration": lambda scene: scene.prosody.reload_config(),
}


@pytest.mark.parametrize("reload", RELOADS.values(), ids=RELOADS.keys())
async def test_a_reload_changes_nothing(own_scene, reload: Callable[[Scene], None]):
    scene = own_scene(rome.config())
    account, victim = scene.account(host=ROME), scene.account(host=ROME)
    phone = await scene.enrol(account)
    early = [await scene.open(ROME) for _ in range(4)]
    async with await scene.password_session(account, "before") as before, await scene.password_session(victim) as doomed:
        # One of them is in the middle of it.
        await early[3].scram(account.username, account.password, before_proof=lambda: (reload(scene), reload(scene)))
        scene.rig.wait_attached()
        await early[0].plain(account.username, account.password)
        await early[1].scram(account.username, account.password)
        assert (await outcome(early[2].plain(account.username, "another")))[0] == "not-authorized"
        await early[2].scram(account.username, account.password, "sha256")
        for stream in early:
            await stream.bind()
            await stream.close()
        assert await opens(scene, account, account.password)
        async with await scene.certificate_session(account, phone):
            pass
        await before.change_password(account.username, "another")
        assert await opens(scene, account, "another")
        scene.daemon.ask("account.delete", {"account": victim.jid})
        assert (await doomed.wait_closed(5)).condition == "not-authorized"
        await before.ping()


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_while_the_server_was_disconnected_takes_effect_when_it_is_back(own_scene, change: str):
    scene: Scene = own_scene(rome.config())
    account, other = scene.account(host=ROME), scene.account(host=ROME)
    phone = await scene.enrol(account)
    params, condition = CHANGES[change]
    async with (
        await scene.password_session(account, "forum") as living,
        await scene.certificate_session(account, phone, "tent") as by_certificate,
        await scene.password_session(account, "market") as asleep,
        await scene.open(ROME) as unbound,
        await scene.password_session(other) as spared,
    ):
        token = await asleep.enable_resumption()
        asleep.drop()
        await unbound.plain(account.username, account.password)
        # It can't come back before the change is made.
        scene.prosody.freeze()
        try:
            assert scene.daemon.stop() == 0
            scene.daemon.start()
            assert not scene.daemon.has_host(ROME)
            scene.daemon.ask(f"account.{change}", {"account": account.jid, **params})
        finally:
            scene.prosody.thaw()
        for stream in (living, by_certificate, unbound):
            assert (await stream.wait_closed(20)).condition == condition
        await spared.ping()
        if change == "set_password":
            async with await scene.open(ROME) as stream:
                await stream.plain(account.username, "another")
                with pytest.raises(Refused, match="^item-not-found"):
                    await stream.resume(token)


async def test_who_changes_the_own_password_stays_when_the_daemon_is_started_anew(own_scene):
    scene: Scene = own_scene(rome.config())
    account = scene.account(host=ROME)
    async with await scene.password_session(account) as desk:
        await desk.change_password(account.username, "another")
        assert scene.daemon.stop() == 0
        scene.daemon.start()
        wait_until("Prosody is back", lambda: scene.daemon.has_host(ROME))
        await eventually("another login", lambda: opens(scene, account, "another"))
        await desk.ping()
