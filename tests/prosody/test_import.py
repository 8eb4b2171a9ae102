"""`saslcertd import-prosody`: a Prosody with accounts and certificates of its own moves in, and nobody has to choose a
new password. The data is written by Prosody itself: its user manager, its storage, its datamanager."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import sqlite3
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import slix
from certs import ClientCertificate
from connection import TLS_1_2, TLS_1_3, Refused
from processes import REPOSITORY
from prosody import Config, Host, lua_string
from scene import DOMAIN, Account, Scene

#: Exit status of the command.
ALL_IN, NOT_ALL_IN = 0, 3

#: So many can log in, whatever is done to the others.
GOOD = 100

#: Written in a running Prosody, with its own code. `plan` is what a test wants.
WRITER = """
local json = require "util.json";
local usermanager = require "core.usermanager";
local storagemanager = require "core.storagemanager";
local datamanager = require "util.datamanager";
local hashers = require "util.sasl.scram".hashers;
local file = assert(io.open(%s));
local plan = assert(json.decode(file:read("*a")));
file:close();
local accounts = storagemanager.open(plan.host, "accounts", "keyval");
for _, account in ipairs(plan.accounts) do
	if account.kind == "created" then
		assert(usermanager.create_user(account.username, account.password, plan.host));
	elseif account.kind == "table" then
		assert(accounts:set(account.username, account.table));
	elseif account.kind == "plain" then
		assert(accounts:set(account.username, { password = account.password }));
	else
		local salt = account.salt or require "util.uuid".generate();
		local _, stored_key, server_key = assert(hashers[account.kind](account.password, salt, account.iterations));
		local to_hex = require "util.hex".to;
		assert(accounts:set(account.username, {
			salt = salt, iteration_count = account.iterations, disabled = account.disabled or nil;
			stored_key = to_hex(stored_key), server_key = to_hex(server_key);
			created = 1600000000, updated = 1600000001;
		}));
	end
end
for username, certificates in pairs(plan.certificates) do
	assert(datamanager.store(username, plan.host, "client_certs", certificates));
end
"""


@dataclass
class Moving:
    """An old Prosody, and what its accounts and certificates are."""

    scene: Scene
    accounts: list[Account] = field(default_factory=list)
    plan: list[dict[str, Any]] = field(default_factory=list)
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.scene.prosody.folder / "data"

    def file_of(self, store: str, username: str) -> Path:
        return self.data / encoded(DOMAIN) / store / f"{encoded(username)}.dat"

    def add(self, kind: str, username: str, password: str, **details: Any) -> Account:
        account = Account(username, DOMAIN, password)
        self.plan.append({"kind": kind, "username": username, "password": password, "iterations": 5000, **details})
        if not details.get("disabled"):
            self.accounts.append(account)
        return account

    def add_certificate(self, username: str, name: str, certificate: ClientCertificate, **details: Any) -> None:
        """As mod_client_certs stores it."""
        entry = {
            "name": name,
            # Clients break the lines.
            "x509cert": "\n".join(certificate.base64[start : start + 60] for start in range(0, len(certificate.base64), 60)),
            "pem": certificate.cert_file.read_text(),
            "digest": hashlib.sha1(certificate.der).hexdigest(),
            "no_cert_management": False,
            **details,
        }
        self.certificates.setdefault(username, {})[name] = {key: value for key, value in entry.items() if value is not None}

    def write(self) -> None:
        """Has the old Prosody write it all."""
        plan, writer = self.scene.folder / "plan.json", self.scene.folder / "writer.lua"
        plan.write_text(json.dumps({"host": DOMAIN, "accounts": self.plan, "certificates": self.certificates}))
        writer.write_text(WRITER % lua_string(plan))
        said = self.scene.prosody.shell(f"> assert(loadfile({lua_string(writer)}))()")
        assert "Error" not in said, said

    def start_new_prosody(self) -> None:
        """The same Prosody, with the daemon's passwords."""
        self.scene.prosody.stop()
        config = self.scene.prosody.config
        config.hosts = [Host(DOMAIN, 'authentication = "saslcertd"')]
        config.saslcertd = True
        self.scene.prosody.start()
        self.scene.rig.wait_attached()


def encoded(name: str) -> str:
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"%{byte:02x}" for byte in name.encode())


@dataclass
class Report:
    """What the command said."""

    status: int
    lines: list[dict[str, Any]]

    @property
    def totals(self) -> dict[str, Any]:
        assert self.lines[-1]["type"] == "totals"
        return self.lines[-1]

    @property
    def problems(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == "problem"]

    def account(self, username: str) -> dict[str, Any]:
        (found,) = [line for line in self.lines if line.get("account") == f"{username}@{DOMAIN}"]
        return found

    def certificates(self, username: str) -> dict[str, tuple[str, str | None]]:
        return {one["name"]: (one["verdict"], one["reason"]) for one in self.account(username)["certificates"]}

    def assert_the_numbers_add_up(self) -> None:
        """Against the lines, and among themselves."""
        accounts, certificates = Counter(), Counter()
        for line in self.lines:
            if line["type"] == "account":
                accounts.update([line["login"]["verdict"]] if line["login"] else [])
                certificates.update(one["verdict"] for one in line["certificates"])
            elif line["type"] == "problem" and line["stands_for"] == "account":
                accounts["unclear"] += 1
        for counted, said in [(accounts, self.totals["accounts"]), (certificates, self.totals["certificates"])]:
            verdicts = ["taken", "unchanged", "kept", "refused", "unclear"]
            assert {verdict: counted[verdict] for verdict in verdicts} == {verdict: said[verdict] for verdict in verdicts}
            assert said["found"] == sum(said[verdict] for verdict in verdicts)
            assert sum(said["refused_for"].values()) == said["refused"]


def run_import(moving: Moving, *words: str) -> Report:
    done = moving.scene.daemon.command("import-prosody", str(moving.data), *words, "--json", timeout=300)
    assert done.stdout, done.stderr
    report = Report(done.returncode, [json.loads(line) for line in done.stdout.splitlines()])
    report.assert_the_numbers_add_up()
    return report


def snapshot(moving: Moving) -> dict[str, bytes]:
    """The stores that were read; Prosody, which runs on, may write others."""
    stores = [moving.file_of(store, "x").parent for store in ("accounts", "client_certs", "saslcertd")]
    return {str(path): path.read_bytes() for store in stores for path in store.rglob("*")}


def everything(scene: Scene) -> tuple[list[Any], int]:
    """What the daemon remembers of the host."""
    accounts: list[Any] = []
    after = None
    while True:
        page = scene.daemon.ask("account.list", {"host": DOMAIN, "after": after})
        accounts += page["accounts"]
        after = page["next"]
        if after is None:
            return accounts, scene.daemon.ask("status")["store"]["certificates"]


@pytest.fixture
def moving(own_scene: Callable[..., Scene]) -> Iterator[Moving]:
    """A Prosody with accounts of its own, and a daemon that knows nothing of it yet."""
    yield Moving(own_scene(Config(saslcertd=False)))


#: Those that a file's name can't have, too.
NAMES = ["jürg", "a.b_c-d", "hamlet", "o=k", "100%", "日本"]
NAMES += [f"player{number}" for number in range(GOOD - len(NAMES))]


def password_of(number: int) -> str:
    """With spaces, quotes, and letters beyond ASCII."""
    return f'pässwörd {number} "\\n\' %'


def add_good_accounts(moving: Moving) -> None:
    for number, name in enumerate(NAMES):
        kind = ["created", "created", "SHA-1", "SHA-256", "plain"][number % 5]
        moving.add(kind, name, password_of(number))
    # A salt is bytes.
    moving.plan[2]["salt"] = "salt\n\"'\\ \x01\x7fü"


def add_certificates(moving: Moving) -> dict[str, ClientCertificate]:
    """Of each sort one. Those that are good, by the name of their account and their own."""
    scene = moving.scene
    made = {
        "hamlet/phone": scene.certificate(f"hamlet@{DOMAIN}"),
        "jürg/tablet": scene.certificate(f"jürg@{DOMAIN}"),
        "hamlet/watch": scene.certificate(f"hamlet@{DOMAIN}"),
        "hamlet/only x509cert": scene.certificate(f"hamlet@{DOMAIN}"),
        "hamlet/typed PEM": scene.certificate(f"hamlet@{DOMAIN}"),
    }
    phone = made["hamlet/phone"]
    day = datetime.timedelta(days=1)
    moving.add_certificate("hamlet", "phone", phone)
    moving.add_certificate("jürg", "tablet", made["jürg/tablet"])
    moving.add_certificate("hamlet", "watch", made["hamlet/watch"], no_cert_management=True)
    moving.add_certificate("hamlet", "only x509cert", made["hamlet/only x509cert"], pem=None)
    typed = made["hamlet/typed PEM"].cert_file.read_text()
    moving.add_certificate("hamlet", "typed PEM", made["hamlet/typed PEM"], pem=None, x509cert=typed)
    expired = scene.certificate(f"hamlet@{DOMAIN}", not_before=-2 * day, not_after=-day)
    moving.add_certificate("hamlet", "expired", expired)
    moving.add_certificate("hamlet", "weak", scene.certificate(f"hamlet@{DOMAIN}", key="rsa-1024"))
    moving.add_certificate("hamlet", "another's", scene.certificate(f"player0@{DOMAIN}"))
    moving.add_certificate("hamlet", "phone again", phone)
    moving.add_certificate("hamlet", "unreadable", phone, pem="hello", x509cert="*")
    moving.add_certificate("nobody", "phone", scene.certificate(f"nobody@{DOMAIN}"))
    return made


def add_what_is_broken(moving: Moving) -> None:
    """Accounts and files that nobody can log in with."""
    moving.add("SHA-1", "yorick", "alas", disabled=True)
    moving.plan.append({"kind": "table", "username": "unborn", "table": {"created": 1600000000, "disabled": True}})
    moving.plan.append({"kind": "table", "username": "saltless", "table": {"stored_key": "00" * 20, "iteration_count": 4096}})


def break_files(moving: Moving) -> None:
    """What only a hand can do, or a disk."""
    moving.file_of("accounts", "broken").write_text('return {\n\t["password"] = os.getenv("HOME");\n};\n')
    moving.file_of("accounts", "linked").symlink_to(moving.file_of("accounts", "hamlet"))
    moving.file_of("client_certs", "torn").write_text('return {\n\t["phone"] = {\n')


EXPECTED_ACCOUNTS = {"found": GOOD + 5, "refused": 2, "unclear": 2, "kept": 0, "refused_for": {"no-password": 1, "damaged": 1}}
EXPECTED_CERTIFICATES = {
    "found": 11,
    "kept": 0,
    "unclear": 0,
    "refused": 6,
    "refused_for": {
        "cert-expired": 1,
        "key-too-short": 1,
        "address-foreign": 1,
        "already-enrolled": 1,
        "unreadable": 1,
        "account-missing": 1,
    },
}


def test_each_account_and_certificate_is_taken_or_refused_for_its_reason_and_twice_changes_nothing(moving: Moving):
    add_good_accounts(moving)
    made = add_certificates(moving)
    add_what_is_broken(moving)
    moving.write()
    break_files(moving)
    scene, before = moving.scene, snapshot(moving)

    # Nobody has declared the host: nothing can be judged, and it is said once.
    report = run_import(moving)
    assert report.status == NOT_ALL_IN
    (problem,) = [one for one in report.problems if one["place"] == DOMAIN]
    assert "--new-host" in problem["text"]
    assert report.totals["accounts"]["unclear"] == GOOD + 3

    # Twice it is done: then everything that could be taken is there.
    first = run_import(moving, "--apply", "--new-host")
    assert first.status == NOT_ALL_IN
    assert first.totals["accounts"] == {**EXPECTED_ACCOUNTS, "taken": GOOD + 1, "unchanged": 0}
    assert first.totals["certificates"] == {**EXPECTED_CERTIFICATES, "taken": 5, "unchanged": 0}
    assert first.totals["other_problems"] == 1
    assert first.certificates("hamlet") == {
        "phone": ("taken", None),
        "watch": ("taken", None),
        "only x509cert": ("taken", None),
        "typed PEM": ("taken", None),
        "expired": ("refused", "cert-expired"),
        "weak": ("refused", "key-too-short"),
        "another's": ("refused", "address-foreign"),
        "phone again": ("refused", "already-enrolled"),
        "unreadable": ("refused", "unreadable"),
    }
    assert first.certificates("nobody") == {"phone": ("refused", "account-missing")}
    assert first.account("nobody")["login"] is None
    assert first.account("yorick")["login"]["enabled"] is False
    kinds = Counter(line["login"]["kind"] for line in first.lines if line.get("login") and line["login"]["kind"])
    assert kinds == {"SCRAM-SHA-1": 61, "SCRAM-SHA-256": 20, "password": 20}
    assert first.account("saltless")["login"]["text"].endswith(f"({moving.file_of('accounts', 'saltless')})")
    places = {Path(one["place"]).name: one["text"] for one in first.problems}
    assert first.account("broken")["login"]["verdict"] == "unclear"
    assert "line 2: expected" in first.account("broken")["login"]["text"]
    assert "symbolic" in places["linked.dat"] and "expected" in places["torn.dat"]

    remembered = everything(scene)
    assert (len(remembered[0]), remembered[1]) == (GOOD + 1, 5)
    records = {record["name"]: record for record in scene.records(Account("hamlet"))}
    assert {name: record["fingerprint"] for name, record in records.items()} == {
        name.removeprefix("hamlet/"): certificate.fingerprint for name, certificate in made.items() if name.startswith("hamlet/")
    }
    assert {name for name, record in records.items() if not record["may_manage"]} == {"watch"}
    yorick = scene.daemon.ask("account.exists", {"account": f"yorick@{DOMAIN}"})
    assert yorick == {"exists": True, "enabled": False, "created": 1600000000, "password_changed": 1600000001}

    second = run_import(moving, "--apply")
    assert second.totals["accounts"] == {**EXPECTED_ACCOUNTS, "taken": 0, "unchanged": GOOD + 1}
    assert second.totals["certificates"] == {**EXPECTED_CERTIFICATES, "taken": 0, "unchanged": 5}
    assert everything(scene) == remembered
    assert snapshot(moving) == before


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(moving: Moving):
    add_good_accounts(moving)
    add_certificates(moving)
    add_what_is_broken(moving)
    moving.write()
    break_files(moving)
    scene = moving.scene
    hello = {"protocol": 2, "software": "test", "sessions": False, "hosts": [{"host": DOMAIN, "accounts": "daemon", "options": {}}]}
    scene.daemon.ask("session.hello", hello)
    for _ in range(2):
        dry = run_import(moving)
        assert everything(scene) == ([], 0)
    applied = run_import(moving, "--apply")
    assert dry.totals["applied"] is False and applied.totals["applied"] is True
    assert dry.lines[:-1] == applied.lines[:-1]
    assert {**dry.totals, "applied": True} == applied.totals
    again = run_import(moving)
    assert again.totals["accounts"]["unchanged"] == GOOD + 1


def test_the_report_for_people(moving: Moving):
    moving.add("SHA-256", "hamlet", "to be")
    moving.add("plain", "yorick", "alas", disabled=True)
    moving.plan[1] = {"kind": "table", "username": "yorick", "table": {"password": "alas", "disabled": True}}
    moving.add_certificate("hamlet", "phone", moving.scene.certificate(f"hamlet@{DOMAIN}"))
    moving.add_certificate("hamlet", "stolen", moving.scene.certificate(f"yorick@{DOMAIN}"))
    moving.add_certificate("hamlet", "\x1b[31mred", moving.scene.certificate(f"hamlet@{DOMAIN}"))
    moving.write()

    def said(*words: str) -> tuple[int, str]:
        done = moving.scene.daemon.command("import-prosody", str(moving.data), *words)
        assert done.stderr == ""
        return done.returncode, done.stdout

    status, text = said("--apply", "--new-host")
    head = [
        f"hamlet@{DOMAIN}  taken (SCRAM-SHA-256)",
        '    "\\u{1b}[31mred"  refused: A certificate\'s name has 1 to 256 bytes, no control characters and nothing that XML can\'t carry',
        '    "phone"  taken',
        '    "stolen"  refused: The certificate names other XMPP addresses, not this account\'s',
        f"yorick@{DOMAIN}  taken (password, disabled)",
        "accounts: 2 found = 2 taken + 0 unchanged + 0 kept + 0 refused + 0 unclear",
        "certificates: 3 found = 1 taken + 0 unchanged + 0 kept + 2 refused + 0 unclear",
        "  refused: 1 address-foreign, 1 name-invalid",
    ]
    assert (status, text.splitlines()) == (NOT_ALL_IN, head)
    status, text = said()
    assert text.splitlines()[-1] == "This was a dry run; nothing was changed. To do it: the same command with --apply"
    assert f"hamlet@{DOMAIN}  unchanged (SCRAM-SHA-256)" in text
    # A typing mistake is not an empty report.
    done = moving.scene.daemon.command("import-prosody", str(moving.data), "--host", "denmark.lit")
    assert done.returncode == 1 and "denmark.lit" in done.stderr


def test_an_account_that_has_another_password_by_now_is_kept(moving: Moving):
    for name, kind in [("hamlet", "SHA-1"), ("ophelia", "plain")]:
        moving.add(kind, name, "old")
    moving.write()
    assert run_import(moving, "--apply", "--new-host").status == ALL_IN
    moving.scene.daemon.ask("account.set_password", {"account": f"hamlet@{DOMAIN}", "password": "new"})
    report = run_import(moving, "--apply")
    assert report.status == NOT_ALL_IN
    assert report.account("hamlet")["login"]["verdict"] == "kept"
    assert report.account("ophelia")["login"]["verdict"] == "unchanged"
    moving.scene.daemon.ask("account.verify", {"account": f"hamlet@{DOMAIN}", "password": "new", "address": None})


SQL = 'storage = "sql"\nsql = {{ driver = "SQLite3", database = {} }}\n'


def rows_of(database: Path) -> list[Any]:
    """Prosody, which runs on, may write others."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT * FROM prosody WHERE store = 'accounts'").fetchall()


def test_accounts_from_the_database_of_a_prosody(own_scene: Callable[..., Scene], tmp_path: Path):
    database = tmp_path / "prosody.sqlite"
    moving = Moving(own_scene(Config(saslcertd=False, extra=SQL.format(lua_string(database)))))
    for number, name in enumerate(["hamlet", "jürg", "a.b_c-d", "yorick", "quoted"]):
        moving.add(["created", "SHA-1", "SHA-256", "plain"][number % 4], name, f"pässword {number}", disabled=name == "yorick")
    moving.plan.append({"kind": "table", "username": "unborn", "table": {"created": 1600000000, "disabled": True}})
    moving.add_certificate("hamlet", "phone", moving.scene.certificate(f"hamlet@{DOMAIN}"))
    moving.write()
    # They are nowhere else.
    assert not moving.file_of("accounts", "hamlet").exists()
    before = rows_of(database)

    words = ["--sql", str(database), "--apply"]
    report = run_import(moving, *words, "--new-host")
    accounts = report.totals["accounts"]
    assert (accounts["found"], accounts["taken"], accounts["refused"]) == (6, 5, 1)
    assert report.totals["certificates"]["taken"] == 1
    assert run_import(moving, *words).totals["accounts"]["unchanged"] == 5
    for account in moving.accounts:
        moving.scene.daemon.ask("account.verify", {"account": account.jid, "password": account.password, "address": None})
    assert rows_of(database) == before


#: The strongest first.
MECHANISMS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


async def log_in(scene: Scene, account: Account, tls: ssl.TLSVersion) -> str:
    """Logs in as clients do that prefer the strongest mechanism they know, and says which that was."""
    async with await scene.open(account.host, tls=tls) as stream:
        # Python can't bind to a channel of TLS 1.3.
        can_bind = tls == TLS_1_2
        usable = [one for one in MECHANISMS if one in stream.mechanisms and (can_bind or not one.endswith("-PLUS"))]
        assert usable, f"no password can be used: {stream.mechanisms}"
        mechanism = usable[0]
        if mechanism == "PLAIN":
            await stream.plain(account.username, account.password)
        else:
            digest = "sha256" if "SHA-256" in mechanism else "sha1"
            binding = stream.tls_unique if mechanism.endswith("-PLUS") else None
            await stream.scram(account.username, account.password, digest, binding)
        await stream.bind()
    return mechanism


@pytest.mark.parametrize("kinds", [["created"], ["SHA-256"], ["created", "SHA-256", "plain"]], ids=["sha1", "sha256", "all"])
async def test_all_log_in_with_the_passwords_that_they_had(moving: Moving, kinds: list[str]):
    for number, name in enumerate(NAMES):
        moving.add(kinds[number % len(kinds)], name, password_of(number))
    moving.add("SHA-256" if kinds == ["SHA-256"] else "SHA-1", "yorick", "alas", disabled=True)
    phone = moving.scene.certificate(f"jürg@{DOMAIN}")
    moving.add_certificate("jürg", "phone", phone)
    moving.write()
    moving.start_new_prosody()
    scene = moving.scene
    assert run_import(moving, "--apply").status == ALL_IN

    used = Counter([await log_in(scene, account, [TLS_1_2, TLS_1_3][number % 2]) for number, account in enumerate(moving.accounts)])
    assert used.total() == GOOD
    if kinds == ["created"]:
        assert used == {"SCRAM-SHA-1-PLUS": GOOD / 2, "SCRAM-SHA-1": GOOD / 2}
    if kinds == ["SHA-256"]:
        assert used == {"SCRAM-SHA-256-PLUS": GOOD / 2, "SCRAM-SHA-256": GOOD / 2}
    # A client that we did not write chooses by itself.
    for account in moving.accounts[:6]:
        async with slix.session(scene.server(), account.jid, password=account.password) as client:
            assert client.boundjid.bare == account.jid
    for account, wrong in [(moving.accounts[0], "wrong"), (Account("yorick", DOMAIN, "alas"), "alas")]:
        async with await scene.open() as stream:
            with pytest.raises(Refused):
                await stream.plain(account.username, wrong)
    async with await scene.certificate_session(moving.accounts[0], phone) as stream:
        await stream.ping()


def documented_commands() -> list[list[str]]:
    """The commands of docs/operations.md, "Moving in", in their order."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    section = text.partition("\n## Moving in\n")[2].partition("\n## ")[0]
    return [line.split()[1:] for line in section.splitlines() if line.strip().startswith("saslcertd import-prosody")]


async def test_the_way_that_is_documented(own_scene: Callable[..., Scene]):
    """First the certificates of our module beside Prosody's own accounts; then these move in, too."""
    moving = Moving(own_scene())
    scene = moving.scene
    hamlet = moving.add("created", "hamlet", "to be")
    laptop = scene.certificate(f"hamlet@{DOMAIN}")
    moving.add_certificate("hamlet", "laptop", laptop)
    moving.write()
    phone = await scene.enrol(hamlet, "phone")

    look, apply, certs_only, from_database = documented_commands()

    def run(words: list[str]) -> str:
        done = scene.daemon.command(*(str(moving.data) if word == "/var/lib/prosody" else word for word in words))
        assert done.returncode == ALL_IN, done.stdout + done.stderr
        return done.stdout

    assert "This was a dry run" in run(look)
    # For those who stay with Prosody's own accounts.
    assert "certificates only" in run(certs_only)
    for certificate in (phone, laptop):
        async with await scene.certificate_session(hamlet, certificate) as stream:
            await stream.ping()
    scene.prosody.stop()
    assert f"{hamlet.jid}  taken (SCRAM-SHA-1)" in run(apply)
    moving.start_new_prosody()
    assert await log_in(scene, hamlet, TLS_1_3) == "SCRAM-SHA-1"
    for certificate in (phone, laptop):
        async with await scene.certificate_session(hamlet, certificate) as stream:
            assert set(await stream.certificates()) == {"phone", "laptop"}
    assert from_database[:3] == [*apply[:2], "--sql"]
