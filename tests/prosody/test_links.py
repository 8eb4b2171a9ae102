"""Links by which devices get keys, over https, against both Prosodys: what the page posts, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import pty
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import slix
from conftest import PROSODY_VERSIONS, observed
from connection import Refused
from daemon import saslcertd_binary
from namespaces import CLIENT
from processes import finish, wait_until
from prosody import PAGE_MODULE, USUAL_MODULES, Config, Host
from rig import Rig
from scene import DOMAIN, Account, Scene

NOWHERE = "-_v7-_v7-_v7-_v7-_v7-w"
ROME = "rome.lit"
PLAIN = "plain.lit"
SELF = "self.lit"
HOSTS = [
    Host(DOMAIN, 'welcome_message = "Welcome, $username"'),
    # Its accounts live in the daemon.
    Host(ROME, 'authentication = "saslcertd"\nwelcome_message = "Salve, $username"'),
    # Its provider knows no accounts that are disabled.
    Host(PLAIN, 'authentication = "internal_plain"\nwelcome_message = "Good day, $username"'),
    # Nobody has defined this role.
    *(Host(f"typo.{name}", f'{of}default_provisioned_role = "prosody:membre"\nwelcome_message = "Hello, $username"')
      for name, of in ((DOMAIN, ""), (ROME, 'authentication = "saslcertd"\n'))),
    Host(SELF, 'saslcertd_links = "self"'),
    Host("off.lit", 'saslcertd_links = "off"'),
]
CONFIG = {"hosts": HOSTS, "modules": [*USUAL_MODULES, PAGE_MODULE, "welcome"], "extra": "saslcertd_guess_delay_max = 0"}


@pytest.fixture(scope="module")
def links_rig(version: str) -> Iterator[Rig]:
    with Rig(version, Config(**CONFIG)) as rig:
        rig.start()
        rig.check_logs()
        yield rig


@pytest.fixture
def stage(links_rig: Rig, tmp_path: Any, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with observed(links_rig, tmp_path, request, links_rig.log_positions()) as scene:
        yield scene


def post(
    scene: Scene, body: Any, host: str = DOMAIN, method: str = "POST", path: str = "/devices/redeem", **headers: str,
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the answer."""
    context = ssl.create_default_context(cafile=str(scene.prosody.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", scene.prosody.https_port, context=context, timeout=60)
    # The certificate is the host's.
    plain = socket.create_connection(("127.0.0.1", scene.prosody.https_port), 60)
    connection.sock = context.wrap_socket(plain, server_hostname=host)
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    all_headers = {"Host": host, "Content-Type": "application/json", "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    connection.request(method, path, text, all_headers)
    answer = connection.getresponse()
    content = answer.read()
    found = {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    is_json = found.get("content-type", "").startswith("application/json")
    return answer.status, found, json.loads(content) if is_json and content else content


def answers_at(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def create(scene: Scene, jid: str, kind: str = "add", **fields: Any) -> str:
    """The token of a new link."""
    made = scene.daemon.ask("link.create", {"account": jid, "kind": kind} | fields)
    assert made["is_served"], made
    page, token = made["url"].split("#")
    assert page == f"https://{jid.split('@')[1]}:{scene.prosody.https_port}/devices"
    return token


def redeem(scene: Scene, token: str, name: str, certificate: Any, host: str = DOMAIN) -> tuple[int, Any]:
    status, _, found = post(scene, {"token": token, "name": name, "certificate": certificate.base64}, host)
    return status, found


async def body_of(stream: Any) -> str:
    return (await stream.message()).findtext(f"{{{CLIENT}}}body", "")


async def messages_of(client: Any, count: int) -> list[str]:
    found: list[str] = []
    heard = asyncio.Event()

    def note(message: Any) -> None:
        found.append(message["body"])
        if len(found) >= count:
            heard.set()

    client.add_event_handler("message", note)
    client.send_presence()
    await asyncio.wait_for(heard.wait(), 20)
    return found


async def test_a_link_is_looked_at_and_redeemed_and_the_device_logs_in(stage: Scene):
    account = stage.account()
    token = create(stage, account.jid, name="tablet")
    async with await stage.password_session(account) as reader:
        await reader.send("<presence/>")
        for _ in range(2):
            status, headers, seen = await asyncio.to_thread(post, stage, {"token": token})
            assert (status, seen["account"], seen["kind"], seen["name"]) == (200, account.jid, "add", "tablet")
            assert abs(seen["expires"] - time.time() - 86400) < 600
            assert headers["cache-control"] == "no-store" and "access-control-allow-origin" not in headers
        certificate = stage.certificate(account)
        status, found = await asyncio.to_thread(redeem, stage, token, "Phone", certificate)
        assert (status, found) == (200, {"account": account.jid, "kind": "add", "name": "Phone"})
        said = await body_of(reader)
        assert "made by the server's administrator" in said and "from 127.0.0.1" in said and '"Phone"' in said
    async with slix.session(stage.server(), account.jid, certificate=certificate):
        pass
    for body in ({"token": token}, {"token": token, "name": "x", "certificate": stage.certificate(account).base64}):
        status, _, refused = await asyncio.to_thread(post, stage, body)
        assert (status, refused["error"]) == (404, "link-unknown")
    assert [record["name"] for record in stage.records(account)] == ["Phone"]
    logs = stage.prosody.read_log() + stage.daemon.read_log()
    assert token not in logs


async def test_what_is_no_link_has_one_answer(stage: Scene):
    account, off = stage.account(), stage.account(host="off.lit")
    revoked = create(stage, account.jid)
    [row] = stage.daemon.ask("link.list", {"account": account.jid})["links"]
    assert stage.daemon.command("link", "revoke", row["id"]).returncode == 0
    good = create(stage, account.jid)
    answers = set()
    for host, token in ((DOMAIN, NOWHERE), (DOMAIN, revoked), (DOMAIN, ""), (SELF, good), ("off.lit", NOWHERE)):
        status, _, found = await asyncio.to_thread(post, stage, {"token": token}, host)
        answers.add((status, found["error"], found["text"]))
    assert len(answers) == 1 and answers.pop()[:2] == (404, "link-unknown")
    refused = stage.daemon.command("link", "create", off.jid)
    assert refused.returncode == 1 and "saslcertd_links" in refused.stderr


def post_in_the_clear(scene: Scene, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", scene.prosody.http_port, timeout=60)
    connection.request("POST", "/devices/redeem", json.dumps(body), {"Host": DOMAIN, "Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


async def test_nothing_is_redeemed_over_a_connection_that_is_not_secure(stage: Scene):
    account = stage.account()
    token = create(stage, account.jid)
    certificate = stage.certificate(account)
    body = {"token": token, "name": "phone", "certificate": certificate.base64}
    status, refused = await asyncio.to_thread(post_in_the_clear, stage, body)
    assert (status, refused["error"]) == (403, "stream-not-secure"), refused
    assert stage.records(account) == []
    # The link was not used up.
    status, found = await asyncio.to_thread(redeem, stage, token, "phone", certificate)
    assert (status, found["name"]) == (200, "phone"), found


async def test_requests_that_are_none_are_refused_before_the_daemon_is_asked(stage: Scene):
    account = stage.account()
    token = create(stage, account.jid)
    good = json.dumps({"token": token})
    own = f"https://{DOMAIN}:{stage.prosody.https_port}"
    for status, body, headers in (
        (403, good, {"Origin": "https://elsewhere.lit"}),
        (403, good, {"Origin": "null"}),
        (403, good, {"Origin": f"{own}.elsewhere.lit"}),
        (415, good, {"Content_Type": "text/plain"}),
        (415, good, {"Content_Type": "application/x-www-form-urlencoded"}),
        (413, json.dumps({"token": "x" * 16384}), {}),
        (400, "", {}),
        (400, "[", {}),
        (400, '"x"', {}),
        (400, "[" * 16000, {}),
        # No name has so many.
        (400, {"token": token, "name": "{" * 301}, {}),
        (400, b'{"token":"\xff"}', {}),
        (400, {}, {}),
        (400, {"token": 5}, {}),
        (400, {"token": [token]}, {}),
        # What util.json reads, and what JSON is not.
        (400, '{"token":1e999}', {}),
        (400, f'{{"token":"{token}","certificate":-1e999}}', {}),
        (400, f'{{"token":"{token}","name":1e999,"certificate":"AA=="}}', {}),
        (400, f'{{"token":{"[" * 200}{"]" * 200}}}', {}),
        (400, f'{{"token":{"[" * 8000}{"]" * 8000}}}', {}),
        # Its own names for other things than objects.
        (400, '{"__array":5}', {}),
        (400, '{"__hash":5}', {}),
        (400, '{"token":{"__hash":5}}', {}),
        (400, {"token": token, "name": 5, "certificate": "AA=="}, {}),
        (400, {"token": token, "certificate": {"a": 1}}, {}),
        (400, {"token": token, "name": "x", "certificate": "@@"}, {}),
    ):
        found, _, refused = await asyncio.to_thread(post, stage, body, DOMAIN, **headers)
        assert found == status, (status, body, headers, refused)
        assert set(refused) == {"error", "text"} and token not in json.dumps(refused), refused
    for method in ("GET", "HEAD"):
        found, headers, _ = await asyncio.to_thread(post, stage, "", DOMAIN, method)
        assert (found, headers["allow"]) == (405, "POST"), method
    for method in ("PUT", "DELETE", "PATCH"):
        found, _, _ = await asyncio.to_thread(post, stage, good, DOMAIN, method)
        assert found in (404, 405, 501), (method, found)
    # The page itself, and a type with its letters.
    for headers in ({"Origin": own}, {"Content_Type": "application/json; charset=utf-8"}, {"Origin": f"https://{DOMAIN}"}):
        found, _, seen = await asyncio.to_thread(post, stage, good, DOMAIN, **headers)
        assert (found, seen.get("account")) == (200, account.jid), (headers, seen)
    # What the list refuses has its own name.
    foreign = stage.certificate(stage.account())
    assert (await asyncio.to_thread(redeem, stage, token, "x", foreign))[0:2] == (
        400, {"error": "address-foreign", "text": "The certificate names other XMPP addresses, not this account's"},
    )
    certificate = await stage.enrol(account, "phone")
    status, refused = await asyncio.to_thread(redeem, stage, token, "x", certificate)
    assert (status, refused["error"]) == (409, "already-enrolled")
    status, found = await asyncio.to_thread(redeem, stage, token, "phone", stage.certificate(account))
    assert (status, found["name"]) == (200, "phone 2")


@pytest.mark.parametrize("host", [DOMAIN, ROME, PLAIN])
async def test_a_link_makes_an_account_that_has_no_password(stage: Scene, host: str):
    username = f"cordelia{time.monotonic_ns()}"
    account = Account(username, host)
    token = create(stage, account.jid, "new")
    _, _, seen = await asyncio.to_thread(post, stage, {"token": token}, host)
    assert (seen["kind"], seen["name"]) == ("new", None)
    # Nothing was made yet, and nothing is by a certificate that can't be one.
    status, refused = await asyncio.to_thread(redeem, stage, token, "x", stage.certificate(f"x@{host}"), host)
    assert (status, refused["error"]) == (400, "address-foreign")
    with pytest.raises(Refused):
        await stage.password_session(account)
    certificate = stage.certificate(account)
    status, found = await asyncio.to_thread(redeem, stage, token, "Phone", certificate, host)
    assert (status, found) == (200, {"account": account.jid, "kind": "new", "name": "Phone"})
    async with slix.session(stage.server(host), account.jid, certificate=certificate) as client:
        # Other modules have heard of a registration.
        said = await messages_of(client, 2)
        assert any(f"{greeting}, {username}" in said for greeting in ("Welcome", "Salve", "Good day")), said
        assert any("was opened" in text for text in said), said
        await client.get_roster()
    # For all others it looks as before; nobody gets in by a password, an empty one neither.
    for password in ("", " ", "Phone", "nil"):
        for mechanism in ("scram", "scram", "plain"):
            with pytest.raises(Refused) as refusal:
                stream = await stage.open(host)
                try:
                    await getattr(stream, mechanism)(username, password)
                finally:
                    await stream.close()
            assert refusal.value.condition in ("not-authorized", "malformed-request"), refusal.value.condition
    status, refused = await asyncio.to_thread(redeem, stage, token, "x", stage.certificate(account), host)
    assert (status, refused["error"]) == (404, "link-unknown")
    # A second link can't take it.
    again = stage.daemon.command("link", "create", account.jid, "--kind", "new")
    assert again.returncode == 1 and "already an account" in again.stderr
    # Others of the host log in as before: it holds no SCRAM hash back.
    other = stage.account(host=host)
    async with await stage.password_session(other):
        pass
    # A certificate gives it no password, an administrator does.
    async with await stage.certificate_session(account, certificate) as stream:
        with pytest.raises(Refused):
            await stream.change_password(username, account.password)
    await asyncio.to_thread(stage.account, username, host)
    async with await stage.password_session(account):
        pass


@pytest.mark.provokes('the role "prosody:membre" of default_provisioned_role')
@pytest.mark.parametrize("host", [f"typo.{DOMAIN}", f"typo.{ROME}"])
async def test_an_account_is_whole_where_its_role_is_none(stage: Scene, host: str):
    username = f"oswald{time.monotonic_ns()}"
    account = Account(username, host)
    token = create(stage, account.jid, "new")
    certificate = stage.certificate(account)
    status, found = await asyncio.to_thread(redeem, stage, token, "Phone", certificate, host)
    assert (status, found) == (200, {"account": account.jid, "kind": "new", "name": "Phone"})
    async with slix.session(stage.server(host), account.jid, certificate=certificate) as client:
        assert f"Hello, {username}" in await messages_of(client, 2)


# What ends the making of an account, in the shell of Prosody.
CUT_BEFORE = '''>local um = require "core.usermanager"; local create = um.create_user;
um.create_user = function (...) um.create_user = create; error("power cut", 0); end'''.replace("\n", " ")
CUT_IN_THE_MIDST = '''>local um = require "core.usermanager"; local create = um.create_user;
um.create_user = function (...) um.create_user = create; create(...); error("power cut", 0); end'''.replace("\n", " ")
CUT_AT_THE_END = '''>local page = require "core.modulemanager".get_module("{host}", "saslcertd_devices").module;
local entry = page:shared("/*/saslcertd/api").pages["{host}"]; local register = entry.register;
entry.register = function (...) entry.register = register; register(...); error("power cut", 0); end'''.replace("\n", " ")


async def begin(scene: Scene, account: Account, cut: str) -> tuple[str, Any]:
    """Opens a link that makes the account, until it is cut off: the link's token, and the certificate."""
    token = create(scene, account.jid, "new")
    certificate = scene.certificate(account)
    await asyncio.to_thread(scene.prosody.shell, cut.replace("{host}", account.host))
    status, refused = await asyncio.to_thread(redeem, scene, token, "Phone", certificate, account.host)
    assert (status, refused["error"]) == (503, "unavailable"), refused
    assert is_there(scene, account) == (cut != CUT_BEFORE)
    return token, certificate


def is_there(scene: Scene, account: Account) -> bool:
    return "there" in scene.prosody.shell(
        f'>return require "core.usermanager".user_exists("{account.username}", "{account.host}") and "there" or "gone"'
    )


@pytest.mark.provokes("could not be done: power cut")
@pytest.mark.parametrize("host", [DOMAIN, PLAIN])
@pytest.mark.parametrize("cut", [CUT_IN_THE_MIDST, CUT_AT_THE_END], ids=["in the midst", "at the end"])
async def test_an_account_whose_making_was_cut_off_is_finished_by_the_same_link(stage: Scene, host: str, cut: str):
    account = Account(f"edgar{time.monotonic_ns()}", host)
    token, certificate = await begin(stage, account, cut)
    assert stage.daemon.ask("link.list", {"account": account.jid})["links"]
    status, found = await asyncio.to_thread(redeem, stage, token, "Phone", certificate, host)
    assert (status, found["account"]) == (200, account.jid), found
    async with slix.session(stage.server(host), account.jid, certificate=certificate):
        pass


@pytest.mark.provokes("could not be done: power cut")
@pytest.mark.parametrize("host", [DOMAIN, PLAIN])
async def test_an_account_that_an_administrator_has_taken_over_is_no_links(stage: Scene, host: str):
    account = Account(f"edgar{time.monotonic_ns()}", host)
    token, certificate = await begin(stage, account, CUT_IN_THE_MIDST)

    def take_over() -> None:
        given = f'um.set_password("{account.username}", "{account.password}", "{host}")'
        stage.prosody.shell(f'>local um = require "core.usermanager"; {given}; if um.enable_user then um.enable_user("{account.username}", "{host}") end')

    await asyncio.to_thread(take_over)
    status, found = await asyncio.to_thread(redeem, stage, token, "Phone", certificate, host)
    assert (status, found["error"]) == (409, "account-exists"), found
    assert stage.records(account) == []
    async with await stage.password_session(account):
        pass


@pytest.mark.provokes("could not be done: power cut")
async def test_an_account_that_a_script_has_made_in_the_same_way_is_no_links(stage: Scene):
    account = Account(f"edgar{time.monotonic_ns()}")
    token, certificate = await begin(stage, account, CUT_BEFORE)
    began = time.time()
    await asyncio.to_thread(wait_until, "a time at which no link has begun an account", lambda: time.time() > began + 4)
    # On Prosody 13 it is disabled, and has no password.
    password = "nil" if stage.prosody.version != PROSODY_VERSIONS[0] else f'"{account.password}"'
    made = f'>return require "core.usermanager".create_user("{account.username}", {password}, "{DOMAIN}")'
    await asyncio.to_thread(stage.prosody.shell, made)
    status, found = await asyncio.to_thread(redeem, stage, token, "Phone", certificate)
    assert (status, found["error"]) == (409, "account-exists"), found
    assert stage.records(account) == []
    # Nobody hears of it as of a registration by a link.
    await asyncio.to_thread(
        stage.prosody.shell,
        f'>local um = require "core.usermanager"; um.set_password("{account.username}", "{account.password}", "{DOMAIN}"); '
        f'if um.enable_user then um.enable_user("{account.username}", "{DOMAIN}") end',
    )
    async with await stage.password_session(account):
        pass
    assert f"Registered by a link: {account.jid}" not in stage.prosody.read_log()


def lose_the_answer(scene: Scene, host: str) -> None:
    """Prosody hears no answer when the next link is redeemed."""
    scene.prosody.shell(
        f'>local page = require "core.modulemanager".get_module("{host}", "saslcertd_devices").module; '
        'local api = page:shared("/*/saslcertd/api"); local change = api.change; '
        'api.change = function (method, ...) if method ~= "link.redeem" then return change(method, ...); end '
        'api.change = change; change(method, ...); return nil, { reason = "timeout" }; end',
    )


@pytest.mark.provokes("Nothing could be done with a link: timeout")
@pytest.mark.parametrize("host", [DOMAIN, ROME])
@pytest.mark.parametrize("role", ["prosody:member", "prosody:admin"])
async def test_a_registration_whose_answer_was_lost_is_told_by_the_first_login(stage: Scene, host: str, role: str):
    """And the account has the role of such accounts then, or the one that an administrator has given it meanwhile."""
    username = f"edmund{time.monotonic_ns()}"
    account = Account(username, host)
    token = create(stage, account.jid, "new")
    certificate = stage.certificate(account)
    await asyncio.to_thread(lose_the_answer, stage, host)
    status, refused = await asyncio.to_thread(redeem, stage, token, "Phone", certificate, host)
    assert (status, refused["error"]) == (503, "unavailable"), refused
    assert len(stage.records(account)) == 1
    has_roles = stage.prosody.version != PROSODY_VERSIONS[0]
    if has_roles and role == "prosody:admin":
        given = f'>return require "core.usermanager".set_user_role("{username}", "{host}", "{role}").name'
        assert role in await asyncio.to_thread(stage.prosody.shell, given)
    # It is remembered.
    await asyncio.to_thread(stage.prosody.reload_module, "saslcertd_devices", host)
    greeting = "Welcome" if host == DOMAIN else "Salve"
    async with slix.session(stage.server(host), account.jid, certificate=certificate) as client:
        assert f"{greeting}, {username}" in await messages_of(client, 2)
    async with slix.session(stage.server(host), account.jid, certificate=certificate):
        pass
    assert stage.prosody.read_log().count(f"Registered by a link: {account.jid}") == 1
    if has_roles:
        found = await asyncio.to_thread(stage.prosody.shell, f'>return require "core.usermanager".get_user_role("{username}", "{host}").name')
        assert role in found, found


@pytest.mark.provokes("Nothing could be done with a link: timeout")
async def test_an_account_has_no_role_of_a_former_one_of_its_name(own_scene: Callable[..., Scene]):
    """The former one was deleted while Prosody was away, and the answer that the new one was made is lost."""
    scene = own_scene(Config(hosts=[HOSTS[1]], modules=CONFIG["modules"]))
    has_roles = scene.prosody.version != PROSODY_VERSIONS[0]
    account = Account("regan", ROME)

    def role() -> str:
        name = f'return require "core.usermanager".get_user_role("{account.username}", "{ROME}").name'
        other = f'require "core.usermanager".get_user_secondary_roles("{account.username}", "{ROME}")'
        return scene.prosody.shell(f'>{name} .. " " .. (next({other}) or "alone")')

    scene.daemon.ask("account.create", {"account": account.jid, "password": account.password, "caller": "server"})
    if has_roles:
        given = f'local um = require "core.usermanager"; um.set_user_role("{account.username}", "{ROME}", "prosody:admin")'
        await asyncio.to_thread(scene.prosody.shell, f'>{given}; um.add_user_secondary_role("{account.username}", "{ROME}", "prosody:operator")')
        assert "prosody:admin prosody:operator" in await asyncio.to_thread(role)
    scene.prosody.stop()
    deleted = scene.daemon.command("account", "delete", account.jid, "--yes")
    assert deleted.returncode == 0, deleted
    scene.prosody.start()
    scene.rig.wait_attached()
    await asyncio.to_thread(wait_until, "https", lambda: answers_at(scene.prosody.https_port))
    token = create(scene, account.jid, "new")
    certificate = scene.certificate(account)
    await asyncio.to_thread(lose_the_answer, scene, ROME)
    status, refused = await asyncio.to_thread(redeem, scene, token, "Phone", certificate, ROME)
    assert (status, refused["error"]) == (503, "unavailable"), refused
    async with await scene.certificate_session(account, certificate):
        pass
    if has_roles:
        assert "prosody:member alone" in await asyncio.to_thread(role)


async def test_a_link_replaces_a_lost_phone(stage: Scene):
    account = stage.account()
    lost = await stage.enrol(account, "phone")
    async with await stage.certificate_session(account, lost) as stream:
        token = create(stage, account.jid, "replace")
        fresh = stage.certificate(account)
        status, found = await asyncio.to_thread(redeem, stage, token, "phone", fresh)
        assert (status, found) == (200, {"account": account.jid, "kind": "replace", "name": "phone"})
        assert (await stream.wait_closed(5)).condition == "not-authorized"
    with pytest.raises(Refused):
        await stage.certificate_session(account, lost)
    async with await stage.certificate_session(account, fresh):
        pass
    assert [record["fingerprint"] for record in stage.records(account)] == [fresh.fingerprint]


async def test_users_make_links_by_ad_hoc_command(stage: Scene):
    account = stage.account(host=SELF)
    node = "http://prosody.im/protocol/certs"
    async with slix.session(stage.server(SELF), account.jid, password=account.password) as client:
        for plugin in ("xep_0004", "xep_0050"):
            client.register_plugin(plugin)
        commands = client.plugin["xep_0050"]

        async def step(fields: dict[str, str] | None = None, **options: Any) -> Any:
            payload = None
            if fields is not None:
                payload = client.plugin["xep_0004"].make_form(ftype="submit")
                for name, value in fields.items():
                    payload.add_field(var=name, value=value)
            return await commands.send_command(SELF, node, payload=payload, **options)

        menu = await step()
        session_id = menu["command"]["sessionid"]
        await step({"subcmd": "link"}, sessionid=session_id, action="next")
        shown = await step({"name": "My tablet"}, sessionid=session_id, action="complete")
        assert shown["command"]["status"] == "completed"
        values = shown["command"]["form"].get_values()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", values["expires"]), values
        page, token = values["link"].split("#")
        assert page == f"https://{SELF}:{stage.prosody.https_port}/devices"

        # A second one is seen there beside it, and taken back.
        session_id = (await step())["command"]["sessionid"]
        await step({"subcmd": "link"}, sessionid=session_id, action="next")
        other = (await step({"name": "watch"}, sessionid=session_id, action="complete"))["command"]["form"].get_values()["link"]
        session_id = (await step())["command"]["sessionid"]
        form = (await step({"subcmd": "take-back-links"}, sessionid=session_id, action="next"))["command"]["form"]
        offered = {option["value"]: option["label"] for option in form.get_fields()["link"]["options"]}
        assert sorted(label.partition(",")[0] for label in offered.values()) == ['"My tablet"', '"watch"', "All of them"]
        [chosen] = [value for value, label in offered.items() if "watch" in label]
        said = await step({"link": chosen}, sessionid=session_id, action="complete")
        assert said["command"]["notes"] == [("info", f"The link {chosen} does not count any more")]
    _, _, gone = await asyncio.to_thread(post, stage, {"token": other.partition("#")[2]}, SELF)
    assert gone["error"] == "link-unknown"
    _, _, seen = await asyncio.to_thread(post, stage, {"token": token}, SELF)
    assert (seen["account"], seen["kind"], seen["name"]) == (account.jid, "add", "My tablet")
    certificate = stage.certificate(account)
    status, _ = await asyncio.to_thread(redeem, stage, token, "My tablet", certificate, SELF)
    assert status == 200
    async with slix.session(stage.server(SELF), account.jid, certificate=certificate):
        pass


async def test_the_shell_and_prosodyctl_make_list_and_revoke_links(stage: Scene):
    account = stage.account()
    shell = await asyncio.to_thread(stage.prosody.shell, f'saslcert:link("{account.jid}", "add", "tablet", "2h", "1")')
    token = re.search(r"/devices#(\S{22})", shell)[1]  # type: ignore[index]
    assert "gives a device a key" in shell
    _, _, seen = await asyncio.to_thread(post, stage, {"token": token})
    assert seen["name"] == "tablet"
    short = await asyncio.to_thread(stage.prosody.shell, f'saslcert:link("{account.jid}")')
    assert "/devices#" in short
    listed = await asyncio.to_thread(stage.prosody.shell, f'saslcert:links("{account.jid}")')
    ids = re.findall(r"^\W*([0-9a-f]{8})  add", listed, re.MULTILINE)
    assert len(ids) == 2 and "2 links can be used" in listed, listed
    assert "Revoked the link" in await asyncio.to_thread(stage.prosody.shell, f'saslcert:unlink("{ids[0]}")')
    typed = await asyncio.to_thread(stage.prosody.control, "mod_saslcertd", "links", account.jid)
    assert ids[1] in typed and ids[0] not in typed
    made = await asyncio.to_thread(stage.prosody.control, "mod_saslcertd", "link", account.jid, "replace", "", "30m")
    assert f":{stage.prosody.https_port}/devices#" in made and "revokes all others" in made
    gone = await asyncio.to_thread(stage.prosody.control, "mod_saslcertd", "unlink", ids[1])
    assert "Revoked the link" in gone


async def test_a_terminal_shows_a_picture_that_a_phone_reads(stage: Scene):
    account = stage.account()
    child, terminal = pty.fork()
    if child == 0:
        words = [str(saslcertd_binary()), "link", "create", account.jid, "--socket", str(stage.daemon.socket)]
        os.execv(words[0], words)
    shown = b""
    with contextlib.suppress(OSError):  # The end of a terminal is an error.
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0, shown
    url, *rest = shown.decode().replace("\r", "").split("\n")
    # Light on dark, two rows in each line.
    halves = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    lines = [line for line in rest if line and set(line) <= set(halves)]
    rows = [[halves[letter][half] for letter in line] for line in lines for half in (0, 1)]
    size = 8
    pixels = [bytes(255 * light for light in row for _ in range(size)) for row in rows for _ in range(size)]
    image = stage.folder / "shown.pgm"
    image.write_bytes(f"P5 {len(rows[0]) * size} {len(pixels)} 255\n".encode() + b"".join(pixels))
    assert finish(["zbarimg", "--quiet", "--raw", str(image)], "reading the QR code").strip() == url
    _, _, seen = await asyncio.to_thread(post, stage, {"token": url.split("#")[1]})
    assert seen["account"] == account.jid


async def test_a_link_is_not_used_while_the_daemon_is_away(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=CONFIG["modules"], timeout=6.0))
    account = scene.account()
    token = create(scene, account.jid)
    scene.daemon.stop()
    status, _, refused = await asyncio.to_thread(post, scene, {"token": token})
    assert (status, refused["error"]) == (503, "unavailable"), refused
    scene.daemon.start()
    scene.rig.wait_attached()
    certificate = scene.certificate(account)
    status, found = await asyncio.to_thread(redeem, scene, token, "Phone", certificate)
    assert (status, found["name"]) == (200, "Phone")


async def test_many_guesses_are_told_to_wait(own_scene: Callable[..., Scene]):
    scene = own_scene(Config(hosts=HOSTS[:1], modules=CONFIG["modules"], extra="saslcertd_guess_delay_max = 60"))
    account = scene.account()
    token = create(scene, account.jid)
    found = []
    for _ in range(18):
        status, _, refused = await asyncio.to_thread(post, scene, {"token": NOWHERE})
        found.append((status, refused["error"]))
    assert found[:10] == [(404, "link-unknown")] * 10 and (429, "too-many-guesses") in found, found
    # By a proxy that is trusted the guesser's own address counts.
    status, _, refused = await asyncio.to_thread(post, scene, {"token": NOWHERE}, X_Forwarded_For="192.0.2.9")
    assert (status, refused["error"]) == (404, "link-unknown")
    # A link that counts is no guess.
    status, _, seen = await asyncio.to_thread(post, scene, {"token": token})
    assert (status, seen["account"]) == (200, account.jid)


@pytest.mark.parametrize("whose", ["prosody", "daemon"])
async def test_a_kill_while_accounts_are_made_leaves_each_link_unused_or_its_device_in(own_scene: Callable[..., Scene], whose: str):
    """Prosody's account is made first, then the link is used and the certificate added in one change: whatever ends in between, the
    same link goes on."""
    scene = own_scene(Config(hosts=HOSTS[:1], modules=CONFIG["modules"], extra="saslcertd_guess_delay_max = 0", timeout=6.0))
    killed = scene.prosody if whose == "prosody" else scene.daemon
    used, unused = 0, 0

    def attempt(token: str, certificate: Any) -> tuple[int, Any] | None:
        try:
            return redeem(scene, token, "Phone", certificate)
        except (OSError, http.client.HTTPException):
            return None

    for turn in range(6):
        accounts = [Account(f"kent{whose}{turn}-{number}") for number in range(8)]
        wishes = [(one, create(scene, one.jid, "new"), scene.certificate(one)) for one in accounts]
        asked = [asyncio.create_task(asyncio.to_thread(attempt, token, certificate)) for _, token, certificate in wishes]
        # In the midst of them: when so many are answered.
        while sum(task.done() for task in asked) < turn:
            await asyncio.sleep(0.001)
        killed.kill()
        answers = await asyncio.gather(*asked)
        killed.start()
        scene.rig.wait_attached()
        wait_until("https", lambda: answers_at(scene.prosody.https_port))
        for (account, token, certificate), answer in zip(wishes, answers):
            status, _, seen = await asyncio.to_thread(post, scene, {"token": token})
            is_in = [record["fingerprint"] for record in scene.records(account)] == [certificate.fingerprint]
            assert (status, is_in) in ((200, False), (404, True)), (account, status, seen, scene.records(account))
            # What was told to have been done was done.
            assert is_in or answer is None or answer[0] != 200, answer
            if is_in:
                used += 1
            else:
                unused += 1
                status, found = await asyncio.to_thread(redeem, scene, token, "Phone", certificate)
                assert (status, found.get("account")) == (200, account.jid), found
            async with await scene.certificate_session(account, certificate):
                pass
    assert used and unused, (used, unused)
