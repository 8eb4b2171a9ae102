"""The ad-hoc command (XEP-0050) for people whose client knows no XEP-0257, driven as such a client does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest

import certs
import slix
from certs import ClientCertificate
from connection import Refused, local_name
from processes import free_ports
from prosody import GLUE, Config, Host, lua_list, lua_string
from raw import Stream
from relay import relay
from scene import DOMAIN, Account, Scene

NODE = "http://prosody.im/protocol/certs"
COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"

USUAL = ["add", "list", "disable", "revoke", "revoke-others"]


@dataclass(frozen=True)
class Step:
    """What the server answered to one step of a command."""

    status: str | None
    notes: list[tuple[str | None, str]]
    actions: list[str]
    default: str | None
    title: str | None
    instructions: str | None
    fields: dict[str | None, list[str]]
    types: dict[str | None, str | None]
    options: dict[str, str]

    @classmethod
    def of(cls, command: ET.Element) -> Step:
        form = command.find(f"{{{FORMS}}}x")
        fields = [] if form is None else form.findall(f"{{{FORMS}}}field")
        options = [] if form is None else form.findall(f"{{{FORMS}}}field/{{{FORMS}}}option")
        actions = command.find(f"{{{COMMANDS}}}actions")
        return cls(
            status=command.get("status"),
            notes=[(note.get("type"), note.text or "") for note in command.findall(f"{{{COMMANDS}}}note")],
            actions=[] if actions is None else [local_name(action) for action in actions],
            default=None if actions is None else actions.get("execute"),
            title=None if form is None else form.findtext(f"{{{FORMS}}}title"),
            instructions=None if form is None else form.findtext(f"{{{FORMS}}}instructions"),
            fields={field.get("var"): [value.text or "" for value in field.findall(f"{{{FORMS}}}value")] for field in fields},
            types={field.get("var"): field.get("type") for field in fields},
            options={option.findtext(f"{{{FORMS}}}value", ""): option.get("label", "") for option in options},
        )

    @property
    def error(self) -> str:
        """The note that says why not; the command has ended with it."""
        assert self.status == "completed", self
        (text,) = [text for kind, text in self.notes if kind == "error"]
        return text

    @property
    def info(self) -> str:
        """The note that says what was done; nothing went wrong."""
        assert self.status == "completed", self
        assert not [text for kind, text in self.notes if kind == "error"], self.notes
        (text,) = [text for kind, text in self.notes if kind == "info"]
        return text

    def values(self, var: str) -> str:
        return "\n".join(self.fields[var])


def form_of(fields: dict[str, str | bool], kind: str = "submit") -> str:
    """A form; a text of several lines goes out as several values, as XEP-0004 wants it of text-multi."""
    text = ""
    for var, value in fields.items():
        lines = [str(int(value))] if isinstance(value, bool) else value.split("\n")
        values = "".join(f"<value>{escape(line)}</value>" for line in lines)
        text += f"<field var={quoteattr(var)}>{values}</field>"
    return f"<x xmlns='{FORMS}' type='{kind}'>{text}</x>"


class Command:
    """One run of the command on a stream."""

    def __init__(self, stream: Stream, to: str | None = None, node: str = NODE, session_id: str | None = None):
        self.stream = stream
        self.to = to or stream.server.domain
        self.node = node
        self.session_id = session_id

    async def step(self, action: str | None = None, fields: dict[str, str | bool] | None = None, payload: str | None = None) -> Step:
        attributes = f" action={quoteattr(action)}" if action else ""
        if self.session_id:
            attributes += f" sessionid={quoteattr(self.session_id)}"
        if payload is None:
            payload = "" if fields is None else form_of(fields)
        result = await self.stream.iq("set", f"<command xmlns='{COMMANDS}' node='{self.node}'{attributes}>{payload}</command>", to=self.to)
        command = result.find(f"{{{COMMANDS}}}command")
        assert command is not None and command.get("node") == self.node, ET.tostring(result)
        self.session_id = command.get("sessionid")
        return Step.of(command)


async def begin(stream: Stream, subcommand: str) -> tuple[Command, Step]:
    """Starts the command and chooses a sub-command: the run, and what came of it."""
    command = Command(stream)
    menu = await command.step("execute")
    assert menu.status == "executing"
    return command, await command.step("next", {"subcmd": subcommand})


async def run(stream: Stream, subcommand: str, fields: dict[str, str | bool]) -> Step:
    """A whole run: menu, form, result."""
    command, form = await begin(stream, subcommand)
    assert form.status == "executing", form
    assert form.fields["FORM_TYPE"] == [f"{NODE}#{subcommand}"]
    return await command.step("complete", {"FORM_TYPE": f"{NODE}#{subcommand}", **fields})


def pem_of(certificate: ClientCertificate) -> str:
    return certificate.cert_file.read_text()


def wrapped(text: str, width: int = 64) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


# --- finding it


async def test_the_command_is_listed_and_described_on_the_host(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        result = await stream.iq("get", f"<query xmlns='{DISCO_ITEMS}' node='{COMMANDS}'/>", to=account.host)
        items = [item.get("node") for item in result.iter(f"{{{DISCO_ITEMS}}}item")]
        assert items.count(NODE) == 1


async def test_the_menu_offers_what_this_session_can_use(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    cases = [
        (await scene.password_session(account), USUAL),
        (await scene.password_session(account, certificate=scene.certificate(account)), ["add", "add-current", *USUAL[1:]]),
        (await scene.certificate_session(account, phone), USUAL),
    ]
    for stream, expected in cases:
        async with stream:
            menu = await Command(stream).step()
            assert (menu.status, menu.actions, menu.default) == ("executing", ["next"], "next")
            assert menu.fields["FORM_TYPE"] == [f"{NODE}#subcmd"]
            assert list(menu.options) == expected
            assert all(menu.options.values())


# --- adding


# What else people paste is tried in src/identity/pasted.rs.
@pytest.mark.parametrize("form", ["PEM", "base64", "one value with line breaks"])
async def test_a_certificate_is_added_as_pem_or_as_base64(scene: Scene, form: str):
    account = scene.account()
    phone = scene.certificate(account)
    pasted = {"PEM": pem_of(phone), "base64": phone.base64}
    async with await scene.password_session(account) as stream:
        command, asked = await begin(stream, "add")
        assert asked.actions == ["prev", "complete"] and asked.default == "complete"
        assert asked.types == {"FORM_TYPE": "hidden", "name": "text-single", "cert": "text-multi", "manage": "boolean"}
        if form == "one value with line breaks":
            payload = form_of({"name": "phone", "manage": True}).replace(
                "</x>", f"<field var='cert'><value>{pem_of(phone)}</value></field></x>"
            )
            done = await command.step("complete", payload=payload)
        else:
            done = await command.step("complete", {"name": "phone", "cert": pasted[form], "manage": True})
        assert "phone" in done.info
        # What the daemon thinks of it, although it takes it.
        assert [text for kind, text in done.notes if kind == "warn" and "Conversations" in text]
        assert list(await stream.certificates()) == ["phone"]
    async with await scene.certificate_session(account, phone, "orchard"):
        (record,) = scene.records(account)
        assert record["may_manage"] is True and record["added"]["by"] == "password"


@pytest.mark.parametrize("manage", ["0", "false", None])
async def test_a_certificate_manages_others_only_when_that_is_ticked(scene: Scene, manage: str | None):
    account = scene.account()
    phone = scene.certificate(account)
    fields: dict[str, str | bool] = {"name": "phone", "cert": pem_of(phone)}
    if manage is not None:
        fields["manage"] = manage
    async with await scene.password_session(account) as stream:
        assert (await run(stream, "add", fields)).info
        assert (await run(stream, "add", {"name": "laptop", "cert": pem_of(scene.certificate(account)), "manage": "true"})).info
    assert [record["may_manage"] for record in scene.records(account)] == [False, True]


async def test_the_last_step_may_be_named_as_clients_name_it(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        for action in ("execute", "next", "complete", None):
            command, _ = await begin(stream, "add")
            done = await command.step(action, {"name": f"by {action}", "cert": pem_of(scene.certificate(account)), "manage": True})
            assert f"by {action}" in done.info


async def test_what_is_not_one_certificate_of_this_account_is_refused_with_a_reason(scene: Scene):
    account = scene.account()
    phone, laptop = scene.certificate(account), scene.certificate(account)
    marked = "\ufeff" + pem_of(phone)
    pasted = [
        ("more than one", pem_of(phone) + pem_of(laptop)),
        ("neither PEM", "the rest, as they say, is silence"),
        ("private key", pem_of(phone) + phone.key_file.read_text()),
        ("DER", "dGhlIHJlc3QgaXMgc2lsZW5jZQ=="),
        ("begins with a byte order mark", "\ufeff" + phone.base64),
        ("begins with a byte order mark", base64.b64encode(marked.encode()).decode()),
        ("24 KiB", wrapped("A" * 30000)),
        ("not this account's", pem_of(scene.certificate(scene.account()))),
    ]
    async with await scene.password_session(account) as stream:
        for reason, text in pasted:
            refused = await run(stream, "add", {"name": "phone", "cert": text, "manage": True})
            assert reason in refused.error, text[:80]
        assert await stream.certificates() == {}


async def test_of_a_private_key_that_is_pasted_prosody_hands_on_the_first_line_only(own_scene, tmp_path_factory: pytest.TempPathFactory):
    # Short enough for a socket.
    path = tmp_path_factory.mktemp("s") / "s"
    scene = own_scene(Config(hosts=[Host(DOMAIN, declared=False)], extra=f"saslcertd_socket = {lua_string(path)}"))
    account = scene.account()
    phone = scene.certificate(account)
    key = phone.key_file.read_text()
    heard: list[str] = []

    async def listen(line: bytes) -> None:
        heard.append(line.decode())

    async with relay(path, scene.daemon.socket, to_daemon=listen):
        await asyncio.to_thread(scene.rig.wait_attached, DOMAIN)
        async with await scene.password_session(account) as stream:
            for pasted in (key, pem_of(phone) + key, key.replace("\n", " ")):
                assert "private key" in (await run(stream, "add", {"name": "phone", "cert": pasted})).error
    first, *secret, _ = key.splitlines()
    assert secret
    steps = [line for line in heard if first in line]
    assert len(steps) == 3
    assert [line for line in heard for part in secret if part in line.replace("\\/", "/")] == []


async def test_a_missing_field_ends_the_command_with_its_name(scene: Scene):
    account = scene.account()
    whole: dict[str, str | bool] = {"name": "phone", "cert": pem_of(scene.certificate(account)), "manage": True}

    def without(var: str) -> dict[str, str | bool]:
        return {name: value for name, value in whole.items() if name != var}

    wrong: list[tuple[dict[str, str | bool] | None, str]] = [
        (without("name"), "Name:"),
        (without("cert"), "Certificate"),
        ({**whole, "name": ""}, "Name:"),
        ({**whole, "name": " "}, "name"),
        ({**whole, "cert": ""}, "Certificate"),
        ({**whole, "manage": "perhaps"}, "manage"),
        ({}, "Name:.*\nCertificate"),
        (None, "form"),
    ]
    async with await scene.password_session(account) as stream:
        for fields, expected in wrong:
            command, _ = await begin(stream, "add")
            refused = await command.step("complete", fields)
            assert re.search(expected, refused.error), (fields, refused.error)
        assert await stream.certificates() == {}


@pytest.mark.parametrize("subcommand", ["disable", "revoke"])
async def test_no_choice_and_an_unknown_name_are_refused_and_remove_nothing(scene: Scene, subcommand: str):
    account = scene.account()
    await scene.enrol(account)
    async with await scene.password_session(account) as stream:
        assert "Certificate:" in (await run(stream, subcommand, {})).error
        assert (await run(stream, subcommand, {"cert": "tablet"})).error == "There is no certificate of this name"
        assert list(await stream.certificates()) == ["phone"]


async def test_a_refusal_is_shown_in_the_daemons_words(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account) as stream:
        taken = await run(stream, "add", {"name": "phone", "cert": pem_of(scene.certificate(account))})
        assert taken.error == "There is already a certificate of this name"
        twice = await run(stream, "add", {"name": "tablet", "cert": pem_of(phone)})
        assert twice.error == "This certificate is already in the list, under another name"


NAMES = [
    "Ophelia's <phone> & \"more\" ]]> &amp;", "Телефон Гамлета", "手机 🎭", "هاتف أوفيليا", "e\u0301 is two", "a  b", "FORM_TYPE", "%s %d %%", "-----BEGIN",
]  # fmt: skip


async def test_a_name_in_any_script_and_with_the_special_characters_of_xml_survives(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        for name in NAMES:
            added = await run(stream, "add", {"name": name, "cert": pem_of(scene.certificate(account)), "manage": True})
            assert f'"{name}"' in added.info
        assert list(await stream.certificates()) == NAMES
        _, listed = await begin(stream, "list")
        assert list(listed.fields) == NAMES
        for subcommand, name in zip(["disable", "revoke"] * len(NAMES), NAMES, strict=False):
            _, form = await begin(stream, subcommand)
            assert form.options[name] == name
            removed = await run(stream, subcommand, {"cert": name})
            assert f'"{name}"' in removed.info
        assert await stream.certificates() == {}


async def test_the_account_is_told_of_a_change_by_command(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account, "desk") as stream:
        await stream.send("<presence/>")
        await run(stream, "add", {"name": "my phone", "cert": pem_of(scene.certificate(account))})
        body = (await stream.message(5)).findtext("{jabber:client}body") or ""
        assert "my phone" in body and f"{account.jid}/desk" in body


# --- the list


async def test_the_list_shows_expiry_origin_last_use_and_resources(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account, "desk") as desk:
        _, empty = await begin(desk, "list")
        assert "no certificates" in empty.info
        await run(desk, "add", {"name": "phone", "cert": pem_of(phone), "manage": True})
        async with await scene.certificate_session(account, phone, "orchard") as orchard:
            await run(orchard, "add", {"name": "tablet", "cert": pem_of(scene.certificate(account)), "manage": False})
            _, listed = await begin(desk, "list")
            assert listed.status == "completed" and list(listed.fields) == ["phone", "tablet"]
            date = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
            assert re.fullmatch(
                rf"Expires: {date}\nAdded: {date} by {account.jid}/desk, logged in with a password\n"
                rf"Last login: {date} from 127\.0\.0\.1\nOnline: orchard",
                listed.values("phone"),
            )
            assert re.fullmatch(
                rf"Expires: {date}\nAdded: {date} by {account.jid}/orchard, logged in with the certificate \"phone\"\n"
                rf"Last login: none yet\nOnline: no\nMay not manage certificates",
                listed.values("tablet"),
            )
        await run(desk, "disable", {"cert": "phone"})
        _, listed = await begin(desk, "list")
        assert "logged in with a certificate that is no longer in the list" in listed.values("tablet")


async def test_a_list_of_many_pages_is_whole(scene: Scene):
    account = scene.account()
    # Some 8 KiB each, in an answer of the daemon.
    friends = [f"{number}-{'a-long-name' * 5}@{account.host}" for number in range(50)]
    async with await scene.password_session(account) as stream:
        names = [f"device {number}" for number in range(18)]
        for name in names:
            await stream.append(name, scene.certificate(account, *friends).base64)
        assert scene.daemon.ask("certificate.list", {"account": account.jid, "after": None})["next"] is not None
        _, listed = await begin(stream, "list")
        assert list(listed.fields) == names
        _, form = await begin(stream, "revoke")
        assert list(form.options) == names


# --- removing


async def test_a_disabled_certificate_is_refused_and_its_session_lives_on(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as living, await scene.password_session(account) as desk:
        assert '"phone"' in (await run(desk, "disable", {"cert": "phone"})).info
        await living.ping()
        async with await scene.open(certificate=phone) as stream:
            assert "EXTERNAL" not in stream.mechanisms
        assert (await run(desk, "add", {"name": "phone", "cert": pem_of(phone)})).info


async def test_a_revoked_certificate_is_refused_and_its_sessions_end(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    async with (
        await scene.password_session(account) as desk,
        await scene.certificate_session(account, laptop) as spared,
        await scene.certificate_session(account, phone, direct_tls=direct_tls) as ended,
    ):
        assert '"phone"' in (await run(desk, "revoke", {"cert": "phone"})).info
        assert (await ended.wait_closed(5)).condition == "not-authorized"
        await spared.ping()
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
            assert "EXTERNAL" not in stream.mechanisms
        assert "revoked" in (await run(desk, "add", {"name": "again", "cert": pem_of(phone)})).error


async def test_a_session_that_revokes_its_own_certificate_by_command_gets_its_answer_first(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as stream:
        _, form = await begin(stream, "revoke")
        assert form.options["phone"].startswith("phone (")
        assert '"phone"' in (await run(stream, "revoke", {"cert": "phone"})).info
        assert (await stream.wait_closed(5)).condition == "not-authorized"


# --- the certificate of this connection


async def test_the_certificate_of_the_connection_is_added_by_name_alone(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account, certificate=phone, direct_tls=direct_tls) as stream:
        command, form = await begin(stream, "add-current")
        assert set(form.fields) == {"FORM_TYPE", "name", "manage"}
        assert form.fields["FORM_TYPE"] == [f"{NODE}#add-current"]
        assert '"phone"' in (await command.step("complete", {"name": "phone", "manage": False})).info
        assert "already in the list" in (await run(stream, "add-current", {"name": "again"})).error
    (record,) = scene.records(account)
    assert (record["fingerprint"], record["may_manage"]) == (phone.fingerprint, False)
    async with await scene.certificate_session(account, phone, direct_tls=direct_tls):
        pass


async def test_without_a_certificate_in_tls_there_is_no_current_one_to_add(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        _, refused = await begin(stream, "add-current")
        assert "presented no certificate" in refused.error


async def test_a_presented_certificate_of_somebody_else_is_refused_in_the_daemons_words(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account, certificate=scene.certificate(scene.account())) as stream:
        assert "not this account's" in (await run(stream, "add-current", {"name": "phone"})).error
        assert "Name:" in (await run(stream, "add-current", {})).error
        assert await stream.certificates() == {}


# --- all but this one


async def test_all_others_are_revoked_and_this_one_stays(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    laptop, tablet = await scene.enrol(account, "laptop"), await scene.enrol(account, "tablet")
    async with (
        await scene.certificate_session(account, phone) as stream,
        await scene.certificate_session(account, laptop) as first,
        await scene.certificate_session(account, tablet) as second,
        await scene.password_session(account) as desk,
    ):
        command, form = await begin(stream, "revoke-others")
        assert form.status == "executing" and form.fields["FORM_TYPE"] == [f"{NODE}#revoke-others"]
        assert '"laptop", "tablet"' in (form.instructions or "")
        assert '"laptop", "tablet"' in (await command.step("complete", {})).info
        for ended in (first, second):
            assert (await ended.wait_closed(5)).condition == "not-authorized"
        assert list(await stream.certificates()) == ["phone"]
        await desk.ping()
        _, nothing = await begin(stream, "revoke-others")
        assert "no other certificates" in nothing.info


async def test_when_all_others_are_revoked_the_answer_alone_closes_their_sessions(own_scene, tmp_path_factory: pytest.TempPathFactory):
    # Short enough for a socket.
    path = tmp_path_factory.mktemp("s") / "s"
    scene = own_scene(Config(hosts=[Host(DOMAIN, declared=False)], extra=f"saslcertd_socket = {lua_string(path)}"))
    account = scene.account()
    released = asyncio.Event()

    async def hold(line: bytes) -> None:
        if b'"sessions.close"' in line:
            await released.wait()

    async with relay(path, scene.daemon.socket, to_prosody=hold), contextlib.AsyncExitStack() as streams:
        await asyncio.to_thread(scene.rig.wait_attached, DOMAIN)
        phone = await scene.enrol(account, "phone")
        others = [await scene.enrol(account, name) for name in ("laptop", "tablet")]
        stream = await streams.enter_async_context(await scene.certificate_session(account, phone))
        doomed = [
            await streams.enter_async_context(await scene.certificate_session(account, other)) for other in others for _ in range(2)
        ]
        assert '"laptop", "tablet"' in (await run(stream, "revoke-others", {})).info
        for ended in doomed:
            assert (await ended.wait_closed(5)).condition == "not-authorized"
        assert not released.is_set()
        await stream.ping()
        released.set()


async def test_who_disabled_their_certificate_does_not_escape(scene: Scene):
    account = scene.account()
    phone, stolen = await scene.enrol(account, "phone"), await scene.enrol(account, "stolen")
    async with (
        await scene.certificate_session(account, phone) as stream,
        await scene.certificate_session(account, stolen) as thief,
    ):
        await thief.disable("stolen")
        command, form = await begin(stream, "revoke-others")
        assert '"stolen"' in (form.instructions or "")
        assert '"stolen"' in (await command.step("complete", {})).info
        assert (await thief.wait_closed(5)).condition == "not-authorized"
    again = await scene.enrol(account, "again")
    async with await scene.password_session(account) as desk, await scene.certificate_session(account, again) as thief:
        await thief.disable("again")
        # A decoy in its place saves nobody.
        await scene.enrol(account, "again")
        assert '"again"' in (await run(desk, "revoke", {"cert": "again"})).info
        assert (await thief.wait_closed(5)).condition == "not-authorized"
        assert list(await desk.certificates()) == ["phone"]
        decoy = await scene.enrol(account, "other")
        async with await scene.certificate_session(account, decoy) as late:
            await late.disable("other")
            assert '"other"' in (await run(desk, "revoke", {"cert": "other"})).info
            assert (await late.wait_closed(5)).condition == "not-authorized"


async def test_a_second_certificate_of_the_same_key_is_not_another_one(scene: Scene):
    account = scene.account()
    key = certs.new_key("p256")
    old, renewed = scene.certificate(account, key=key), scene.certificate(account, key=key)
    await scene.enrol(account, "old", old)
    await scene.enrol(account, "renewed", renewed)
    await scene.enrol(account, "laptop")
    async with await scene.certificate_session(account, renewed) as stream:
        assert (await run(stream, "revoke-others", {})).info == 'Revoked: "laptop"'
        assert list(await stream.certificates()) == ["old", "renewed"]


async def test_one_that_was_added_since_the_form_was_shown_is_revoked_too(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    await scene.enrol(account, "laptop")
    async with await scene.certificate_session(account, phone) as stream:
        command, form = await begin(stream, "revoke-others")
        assert '"thief"' not in (form.instructions or "")
        await scene.enrol(account, "thief")
        assert '"thief"' in (await command.step("complete", {})).info


async def test_a_password_session_chooses_the_certificate_that_stays(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    laptop = await scene.enrol(account, "laptop")
    async with (
        await scene.password_session(account, certificate=phone) as stream,
        await scene.certificate_session(account, phone) as living,
        await scene.certificate_session(account, laptop) as ended,
    ):
        command, form = await begin(stream, "revoke-others")
        assert list(form.options) == ["phone", "laptop"]
        assert '"laptop"' in (await command.step("complete", {"cert": "phone"})).info
        assert (await ended.wait_closed(5)).condition == "not-authorized"
        await living.ping()
        assert list(await stream.certificates()) == ["phone"]


# --- steps


async def test_back_leads_to_the_menu_from_where_the_command_goes_on(scene: Scene):
    account = scene.account()
    await scene.enrol(account)
    async with await scene.password_session(account, certificate=scene.certificate(account)) as stream:
        command = Command(stream)
        menu = await command.step()
        for subcommand in ("add", "add-current", "disable", "revoke"):
            form = await command.step("next", {"subcmd": subcommand})
            assert form.actions == ["prev", "complete"]
            assert await command.step("prev") == menu
            assert await command.step("next", {"subcmd": subcommand}) == form
            assert await command.step("prev", {"name": "phone", "cert": "half of", "manage": True}) == menu
        assert await command.step("prev") == menu
        assert list((await command.step("next", {"subcmd": "list"})).fields) == ["phone"]


async def test_cancel_ends_the_command_at_each_step(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        for where in ("menu", "form", "cancelled form", "nowhere"):
            command = Command(stream)
            if where != "nowhere":
                await command.step()
            if where in ("form", "cancelled form"):
                await command.step("next", {"subcmd": "add"})
            if where == "cancelled form":
                cancelled = await command.step("complete", payload=form_of({}, "cancel"))
            else:
                cancelled = await command.step("cancel")
            assert (cancelled.status, cancelled.notes) == ("canceled", []), where
            with pytest.raises(Refused, match="^bad-request") as refusal:
                await command.step("complete", {"name": "phone", "cert": pem_of(scene.certificate(account))})
            assert refusal.value.element.find(f"{{{COMMANDS}}}bad-sessionid") is not None, where
        assert await stream.certificates() == {}


async def test_a_command_that_is_done_is_not_done_twice(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        command, _ = await begin(stream, "add")
        fields: dict[str, str | bool] = {"name": "phone", "cert": pem_of(scene.certificate(account))}
        assert (await command.step("complete", fields)).info
        with pytest.raises(Refused, match="^bad-request"):
            await command.step("complete", fields)


async def test_an_unknown_choice_ends_the_command_with_an_error(scene: Scene):
    account = scene.account()
    forms: list[dict[str, str | bool] | None] = [{"subcmd": choice} for choice in ("bind", "", "menu", "__index")]
    async with await scene.password_session(account) as stream:
        for form in (*forms, {}, None):
            command = Command(stream)
            await command.step()
            refused = await command.step("next", form)
            assert refused.error, form


async def test_an_unknown_action_is_a_bad_request(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        for command in (Command(stream), (await begin(stream, "add"))[0]):
            with pytest.raises(Refused, match="^bad-request") as refusal:
                await command.step("dance")
            assert refusal.value.element.find(f"{{{COMMANDS}}}malformed-action") is not None


async def test_the_session_of_another_command_is_none_of_this_one(own_scene):
    scene = own_scene(Config(extra='admins = { "claudius@shakespeare.lit" }'))
    account = scene.account("claudius")
    async with await scene.password_session(account) as stream:
        other = Command(stream, node="http://jabber.org/protocol/admin#add-user")
        assert (await other.step()).status == "executing"
        with pytest.raises(Refused, match="^bad-request"):
            await Command(stream, session_id=other.session_id).step("complete", {"subcmd": "list"})


async def test_a_reload_in_the_middle_loses_nothing(own_scene):
    scene = own_scene()
    account = scene.account()
    async with await scene.password_session(account) as stream:
        command, _ = await begin(stream, "add")
        scene.prosody.reload_module("saslcertd")
        scene.rig.wait_attached()
        done = await command.step("complete", {"name": "phone", "cert": pem_of(scene.certificate(account))})
        assert '"phone"' in done.info
        result = await stream.iq("get", f"<query xmlns='{DISCO_ITEMS}' node='{COMMANDS}'/>", to=account.host)
        assert [item.get("node") for item in result.iter(f"{{{DISCO_ITEMS}}}item")].count(NODE) == 1


# --- who may


async def test_a_user_of_another_host_with_the_same_name_gets_nothing(scene: Scene):
    account = scene.account()
    namesake = scene.account(account.username, "denmark.lit")
    await scene.enrol(account, "secret name")
    async with await scene.password_session(namesake) as stream:
        with pytest.raises(Refused, match="^forbidden") as refusal:
            await Command(stream, to=account.host).step()
        assert b"secret name" not in ET.tostring(refusal.value.element)
        for subcommand in USUAL:
            with pytest.raises(Refused, match="^forbidden"):
                await Command(stream, to=account.host, session_id="guessed").step("next", {"subcmd": subcommand})
        result = await stream.iq("get", f"<query xmlns='{DISCO_ITEMS}' node='{COMMANDS}'/>", to=account.host)
        assert NODE not in [item.get("node") for item in result.iter(f"{{{DISCO_ITEMS}}}item")]
        _, own = await begin(stream, "list")
        assert "no certificates" in own.info


async def test_the_step_of_somebody_else_s_command_shows_only_one_s_own(scene: Scene):
    account, other = scene.account(), scene.account()
    await scene.enrol(account, "phone")
    async with await scene.password_session(account) as victim, await scene.password_session(other) as stream:
        command = Command(victim)
        await command.step()
        stolen = Command(stream, session_id=command.session_id)
        assert "no certificates" in (await stolen.step("next", {"subcmd": "list"})).info

        command, _ = await begin(victim, "revoke")
        stolen = Command(stream, session_id=command.session_id)
        assert (await stolen.step("complete", {"cert": "phone"})).error == "There is no certificate of this name"
        assert list(await victim.certificates()) == ["phone"]


async def test_a_component_that_pretends_to_be_a_user_gets_nothing(own_scene):
    (port,) = free_ports(1)
    component = 'Component "gateway.lit"\ncomponent_secret = "secret"\nvalidate_from_addresses = false\n'
    extra = f'component_ports = {{ {port} }}\ncomponent_interfaces = {{ "127.0.0.1" }}\n'
    scene = own_scene(Config(hosts=[Host("shakespeare.lit", component)], extra=extra))
    account = scene.account()
    await scene.enrol(account)
    async with await scene.password_session(account, "desk") as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='gateway.lit'>")
            header = (await asyncio.wait_for(reader.readuntil(b" id="), 10)) + await asyncio.wait_for(reader.readuntil(b">"), 10)
            found = re.search(rb" id=['\"]([^'\"]+)['\"]", header)
            assert found, header
            digest = hashlib.sha1(found.group(1) + b"secret").hexdigest()
            writer.write(f"<handshake>{digest}</handshake>".encode())
            assert b"<handshake" in await asyncio.wait_for(reader.readuntil(b">"), 10)
            for sender in (desk.jid, account.jid, "gateway.lit"):
                writer.write(
                    f"<iq type='set' id='q' from='{sender}' to='{account.host}'><command xmlns='{COMMANDS}' node='{NODE}'/></iq>".encode()
                )
                # On 13 mod_adhoc itself may refuse first, in an answer of the same condition.
                answer = await asyncio.wait_for(reader.readuntil(b"</iq>"), 10)
                assert b"forbidden" in answer and b"subcmd" not in answer, answer
        finally:
            writer.close()
        await desk.ping()
        assert list(await desk.certificates()) == ["phone"]


async def forbids_each_change(scene: Scene, stream: Stream, account: Account, name: str) -> None:
    """Every sub-command that changes the list is refused; the list itself is shown."""
    for subcommand, fields in [
        ("add", {"name": "tablet", "cert": pem_of(scene.certificate(account))}),
        ("disable", {"cert": name}),
        ("revoke", {"cert": name}),
    ]:
        assert "may not change the list" in (await run(stream, subcommand, dict(fields))).error
    _, listed = await begin(stream, "list")
    assert name in listed.fields


async def test_a_certificate_without_management_may_list_but_not_change_by_command(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await run(desk, "add", {"name": "phone", "cert": pem_of(phone), "manage": False})
    await scene.enrol(account, "laptop")
    async with await scene.certificate_session(account, phone) as stream:
        await forbids_each_change(scene, stream, account, "phone")
        refused = await run(stream, "revoke-others", {})
        assert "may not change the list" in refused.error
        assert list(await stream.certificates()) == ["phone", "laptop"]


async def test_where_only_passwords_manage_a_certificate_session_changes_nothing(settings: Scene):
    account = settings.account(host="passwords.lit")
    phone = await settings.enrol(account)
    async with await settings.certificate_session(account, phone) as stream:
        await forbids_each_change(settings, stream, account, "phone")
    async with await settings.password_session(account) as desk:
        assert (await run(desk, "revoke", {"cert": "phone"})).info


async def test_without_encryption_the_command_does_nothing(settings: Scene):
    account = settings.account(host="plain.lit")
    phone = await settings.enrol(account)
    async with await Stream.open_unencrypted(settings.server("plain.lit")) as stream:
        await stream.plain(account.username, account.password)
        await stream.bind()
        for subcommand in ("list", "disable", "revoke"):
            _, refused = await begin(stream, subcommand)
            assert "encrypted connection only" in refused.error
        tablet = pem_of(settings.certificate(account))
        assert "encrypted connection only" in (await run(stream, "add", {"name": "tablet", "cert": tablet})).error
    assert [record["fingerprint"] for record in settings.records(account)] == [phone.fingerprint]


# --- the daemon away, and other troubles


async def test_without_the_daemon_each_step_that_needs_it_says_so(own_scene):
    scene = own_scene()
    account = scene.account()
    phone = await scene.enrol(account)
    await scene.enrol(account, "laptop")
    async with await scene.password_session(account) as stream, await scene.certificate_session(account, phone) as living:
        begun, _ = await begin(stream, "revoke")
        others, _ = await begin(living, "revoke-others")
        menu = Command(stream)
        await menu.step()
        assert scene.daemon.stop() == 0
        scene.rig.wait_away()
        away = "not available at the moment"
        assert away in (await Command(stream).step()).error
        assert away in (await menu.step("next", {"subcmd": "list"})).error
        assert away in (await begun.step("complete", {"cert": "phone"})).error
        assert away in (await others.step("complete", {})).error
        await living.ping()
        scene.daemon.start()
        scene.rig.wait_attached()
        _, listed = await begin(stream, "list")
        assert list(listed.fields) == ["phone", "laptop"]
        assert (await run(stream, "revoke", {"cert": "phone"})).info
        assert (await living.wait_closed(5)).condition == "not-authorized"


async def test_a_client_that_leaves_while_the_daemon_is_asked_troubles_nobody(own_scene):
    scene = own_scene()
    account = scene.account()
    await scene.enrol(account)
    async with await scene.password_session(account, "bystander") as bystander:
        leaving = []
        for _ in range(3):
            stream = await scene.password_session(account)
            command = Command(stream)
            await command.step()
            leaving.append((stream, command))
        scene.daemon.freeze()
        try:
            for (stream, command), subcommand in zip(leaving, ["list", "revoke", "disable"], strict=True):
                asking = asyncio.create_task(command.step("next", {"subcmd": subcommand}))
                await bystander.ping()
                stream.drop()
                await asyncio.gather(asking, return_exceptions=True)
            await bystander.ping()
        finally:
            scene.daemon.thaw()
        _, listed = await begin(bystander, "list")
        assert list(listed.fields) == ["phone"]


async def test_where_ad_hoc_commands_are_disabled_certificates_work_all_the_same(own_scene):
    modules = "roster saslauth tls disco register ping admin_shell posix".split()
    scene = own_scene(Config(modules=modules, extra='modules_disabled = { "s2s", "adhoc" }'))
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as stream:
        assert list(await stream.certificates()) == ["phone"]
        with pytest.raises(Refused, match="^service-unavailable"):
            await Command(stream).step()


RIVAL = f"""
module:depends("adhoc");
module:provides("adhoc", module:require("adhoc").new("Theirs", "{NODE}", function ()
	return {{ status = "completed", info = "theirs" }};
end, "local_user"));
"""


@pytest.mark.provokes("mod_client_certs is enabled too")
async def test_while_mod_client_certs_is_loaded_the_command_is_its_own(own_scene, tmp_path: Path):
    (tmp_path / "mod_client_certs").mkdir()
    (tmp_path / "mod_client_certs" / "mod_client_certs.lua").write_text(RIVAL)
    scene = own_scene(Config(extra=f"plugin_paths = {lua_list([GLUE, tmp_path])}"))
    account = scene.account()
    async with await scene.password_session(account) as stream:
        for _ in range(2):
            _, ours = await begin(stream, "list")
            assert "no certificates" in ours.info
            scene.prosody.shell(f'module:load("client_certs", "{account.host}")')
            assert (await Command(stream).step()).info == "theirs"
            scene.prosody.shell(f'module:unload("client_certs", "{account.host}")')
        _, ours = await begin(stream, "list")
        assert "no certificates" in ours.info


# --- a client that we did not write


async def test_slixmpp_adds_lists_and_revokes_with_its_own_forms(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with slix.session(scene.server(), account.jid, password=account.password) as client:
        client.register_plugin("xep_0050")
        adhoc = client.plugin["xep_0050"]
        found = await adhoc.get_commands(account.host)
        assert NODE in [item[1] for item in found["disco_items"]["items"]]

        async def drive(subcommand: str, answers: dict[str, Any]) -> Any:
            """From the menu to the result, with the flow of slixmpp's plugin."""
            outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            def chosen(iq: Any, session: dict[str, Any]) -> None:
                if iq["command"]["status"] == "completed":
                    outcome.set_result(iq)
                    return
                form = iq["command"]["form"]
                reply = client.plugin["xep_0004"].make_form(ftype="submit")
                for var, field in form.get_fields().items():
                    reply.add_field(var=var, ftype=field["type"], value=answers.get(var, field["value"]))
                session["payload"] = reply
                session["next"] = lambda iq, _: outcome.set_result(iq)
                adhoc.complete_command(session)

            def started(iq: Any, session: dict[str, Any]) -> None:
                assert subcommand in [option["value"] for option in iq["command"]["form"].get_fields()["subcmd"]["options"]]
                reply = client.plugin["xep_0004"].make_form(ftype="submit")
                reply.add_field(var="subcmd", value=subcommand)
                session["payload"] = reply
                session["next"] = chosen
                adhoc.continue_command(session)

            def failed(iq: Any, _: Any) -> None:
                outcome.set_exception(AssertionError(str(iq)))

            adhoc.start_command(account.host, NODE, {"next": started, "error": failed})
            return await asyncio.wait_for(outcome, 20)

        added = await drive("add", {"name": "phone", "cert": pem_of(phone)})
        assert added["command"]["status"] == "completed"
        assert '"phone"' in dict(added["command"]["notes"])["info"]
        async with await scene.certificate_session(account, phone, "orchard") as stream:
            listed = await drive("list", {})
            assert "Online: orchard" in listed["command"]["form"].get_values()["phone"]
            revoked = await drive("revoke", {"cert": "phone"})
            assert '"phone"' in dict(revoked["command"]["notes"])["info"]
            assert (await stream.wait_closed(5)).condition == "not-authorized"
