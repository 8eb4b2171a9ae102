"""What an administrator sees in Prosody: the commands of its shell and of prosodyctl, the module's status, the statistics."""

from __future__ import annotations

import concurrent.futures
import datetime
import re
import subprocess
import urllib.request
from collections.abc import Callable

import pytest

import rome
from namespaces import CLIENT
from processes import REPOSITORY, Identity, free_ports, wait_until
from prosody import USUAL_MODULES, Config, Host
from scene import DOMAIN, Scene, eventually

DENMARK = "denmark.lit"
Ask = Callable[..., subprocess.CompletedProcess[str]]


def by_words(scene: Scene, *words: str) -> subprocess.CompletedProcess[str]:
    return scene.prosody.converse("shell", "saslcert", *words)


def by_call(scene: Scene, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    quoted = ", ".join(f'"{argument}"' for argument in arguments)
    return scene.prosody.converse("shell", f"saslcert:{command}({quoted})")


def by_prosodyctl(scene: Scene, *words: str) -> subprocess.CompletedProcess[str]:
    return scene.prosody.converse("mod_saslcertd", *words)


@pytest.fixture(params=[by_words, by_call, by_prosodyctl], ids=["shell", "shell-call", "prosodyctl"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


def answer(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that must succeed has printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that must fail has said."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "traceback" not in (done.stdout + done.stderr).lower()
    return done.stderr


# --- certificates --------------------------------------------------------------------------------


async def test_the_list_has_a_line_for_each_certificate(scene: Scene, ask: Ask):
    account = scene.account()
    phone, tablet = await scene.enrol(account, 'my "phone" 📱'), await scene.enrol(account, "tablet")
    async with await scene.certificate_session(account, phone, "orchard"):
        # In a crowd it hears of it a moment later.
        wait_until("the daemon has heard of the session", lambda: max(record["resources"] for record in scene.records(account)))
        lines = answer(ask(scene, "list", account.jid)).splitlines()
    valid = datetime.datetime.fromtimestamp(phone.not_after, datetime.timezone.utc).strftime("%Y-%m-%d")
    (first,) = [line for line in lines if "phone" in line]
    assert first.startswith(f'"my \\u{{22}}phone\\u{{22}} 📱"  sha256 {phone.fingerprint[:16]}…  valid until {valid}  last used 20'), first
    assert " UTC from 127.0.0.1  " in first and first.endswith('1 session: "orchard"'), first
    (second,) = [line for line in lines if "tablet" in line]
    assert second == f'"tablet"  sha256 {tablet.fingerprint[:16]}…  valid until {valid}  never used  no session'
    assert f"2 certificates of {account.jid}" in lines[-1]


async def test_an_account_without_certificates_has_none(scene: Scene, ask: Ask):
    account = scene.account()
    assert f"0 certificates of {account.jid}" in answer(ask(scene, "list", account.jid))


async def test_a_revocation_closes_the_live_session_and_says_so(scene: Scene, ask: Ask):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone) as stream, await scene.password_session(account) as desk:
        # In a crowd it hears of it a moment later.
        wait_until("the daemon has heard of the session", lambda: scene.records(account)[0]["resources"])
        said = answer(ask(scene, "revoke", account.jid, "phone"))
        assert (await stream.wait_closed(5)).condition == "not-authorized"
        await desk.ping()
    assert f'Revoked "phone" of {account.jid} (sha256 {phone.fingerprint[:16]}…); ' in said
    assert "1 session closed" in said
    assert f"saslcertd cert unrevoke {account.jid} {phone.key_id}" in said
    assert scene.records(account) == []
    async with await scene.open(certificate=phone) as late:
        assert "EXTERNAL" not in late.mechanisms
    assert f"{account.jid} has no certificate with this name" in refusal(ask(scene, "revoke", account.jid, "laptop"))


async def test_the_account_is_told_who_has_revoked(scene: Scene):
    account = scene.account()
    await scene.enrol(account, "phone")
    async with await scene.password_session(account) as stream:
        await stream.send("<presence/>")
        answer(by_words(scene, "revoke", account.jid, "phone"))
        while True:
            text = (await stream.message()).findtext(f"{{{CLIENT}}}body", "")
            if "was revoked" in text:
                break
    assert text.startswith('The certificate "phone" was revoked by an administrator of the server.')


async def test_a_disabled_certificate_is_shown_and_can_be_revoked(scene: Scene, ask: Ask):
    account = scene.account()
    await scene.enrol(account, "phone")
    assert scene.daemon.command("cert", "disable", account.jid, "phone").returncode == 0
    assert '"phone"' in answer(ask(scene, "list", account.jid))
    answer(ask(scene, "revoke", account.jid, "phone"))
    assert "phone" not in answer(ask(scene, "list", account.jid))


NO_ACCOUNTS = {
    f"yorick@{DOMAIN}": f"There is no account yorick@{DOMAIN}",
    "hamlet@elsinore.lit": "elsinore.lit is no host with saslcertd here",
    "hamlet@guests.lit": "guests.lit is no host with saslcertd here",
    DOMAIN: "This is not an account (user@host)",
    f"hamlet@{DOMAIN}/castle": "This is not an account (user@host)",
}


# The third way, `saslcert:list("…")`, is in Prosody what the first becomes.
@pytest.mark.parametrize("ask", [by_words, by_prosodyctl])
def test_whoever_is_no_account_is_named(scene: Scene, ask: Ask):
    for number, (jid, said) in enumerate(NO_ACCOUNTS.items()):
        words = ["list", jid] if number % 2 else ["revoke", jid, "phone"]
        assert said in refusal(ask(scene, *words)), words


def test_what_is_missing_in_a_call_is_named(scene: Scene):
    for command, arguments, said in [
        ("list", [], "Whose? An account (user@host) is needed"),
        ("revoke", [], "Whose? An account (user@host) is needed"),
        ("revoke", [f"yorick@{DOMAIN}"], "Which certificate? Its name is needed"),
    ]:
        assert said in refusal(by_call(scene, command, *arguments)), command


async def test_a_name_cannot_write_on_the_terminal(scene: Scene, ask: Ask):
    account = scene.account()
    await scene.enrol(account, "pho\u202en\u200be")
    said = answer(ask(scene, "list", account.jid))
    assert r'"pho\u{202e}n\u{200b}e"' in said and "\u202e" not in said and "\u200b" not in said
    text = refusal(scene.prosody.converse("mod_saslcertd", "revoke", account.jid, "\x1b[2Jphone"))
    assert "\x1b" not in text and "no certificate with this name" in text


async def test_accounts_that_live_in_the_daemon_are_found_there(in_rome: Scene, ask: Ask):
    scene = in_rome
    brutus = scene.account(host=rome.ROME)
    phone = await scene.enrol(brutus, "phone")
    async with await scene.certificate_session(brutus, phone) as stream:
        assert '"phone"' in answer(ask(scene, "list", brutus.jid))
        answer(ask(scene, "revoke", brutus.jid, "phone"))
        assert (await stream.wait_closed(5)).condition == "not-authorized"
    assert f"There is no account nobody@{rome.ROME}" in refusal(ask(scene, "list", f"nobody@{rome.ROME}"))
    assert re.search(rf"{rome.ROME}: ready; accounts in saslcertd \(SCRAM-SHA-1, SCRAM-SHA-256\)", answer(ask(scene, "status")))


async def test_prosodys_own_user_is_enough(own_scene, ask: Ask):
    scene = own_scene(prosody_identity=Identity("www-data", "nogroup"), daemon_identity=Identity("daemon", "nogroup"))
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone) as stream:
        assert "All is well" in answer(ask(scene, "status"))
        assert '"phone"' in answer(ask(scene, "list", account.jid))
        answer(ask(scene, "revoke", account.jid, "phone"))
        assert (await stream.wait_closed(5)).condition == "not-authorized"


async def test_any_name_can_be_typed(scene: Scene):
    account = scene.account()
    names = ["my phone", 'a"b\\c', "it's", "ünï 🙂", "--help", "]]", "%s", "$(id)", "status", "{a};b"]
    for name in names:
        await scene.enrol(account, name)
    for number, name in enumerate(names):
        said = answer((by_words, by_prosodyctl)[number % 2](scene, "revoke", account.jid, name))
        escaped = name.replace('"', "\\u{22}")
        assert f'Revoked "{escaped}" of {account.jid}' in said
    assert scene.records(account) == []


def test_prosodyctl_without_a_command_says_which_there_are(scene: Scene):
    for words in [], ["lst"], ["list"], ["list", "a@b", "c"], ["revoke", "a@b"], ["--help"]:
        text = refusal(by_prosodyctl(scene, *words))
        assert "prosodyctl mod_saslcertd revoke JID NAME" in text


def test_the_commands_outlive_a_reload(own_scene):
    scene = own_scene()
    for _ in range(2):
        scene.prosody.reload_module("saslcertd")
        scene.rig.wait_attached()
        assert "All is well" in answer(by_words(scene, "status"))
    scene.prosody.shell('module:unload("saslcertd")')
    assert by_call(scene, "status").returncode != 0


# --- status --------------------------------------------------------------------------------------


def module_info(scene: Scene) -> str:
    return scene.prosody.shell('module:info("saslcertd")')


async def test_the_status_tells_whether_the_daemon_is_there(own_scene):
    scene = own_scene(Config(hosts=[Host(DOMAIN), Host(DENMARK)]))
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone):
        lines = answer(by_words(scene, "status")).splitlines()
        assert re.fullmatch(rf"Connected since .* UTC to saslcertd [\d.]+ at {re.escape(str(scene.daemon.socket))}", lines[0]), lines
        assert lines[1:4] == [
            f"{DENMARK}: ready; accounts in Prosody",
            f"{DOMAIN}: ready; accounts in Prosody",
            "1 session logged in with a certificate",
        ]
        assert "All is well" in lines[4]
    lines = answer(by_prosodyctl(scene, "status")).splitlines()
    assert re.fullmatch(r"Connected to saslcertd [\d.]+ at .*", lines[0]), lines
    assert lines[1:] == [f"{DENMARK}: ready; accounts in Prosody", f"{DOMAIN}: ready; accounts in Prosody", "All is well"]
    assert re.search(r"\[info\] Connected to saslcertd", module_info(scene))

    assert scene.daemon.stop() == 0
    wait_until("the status says that the daemon is away", lambda: "[warn] saslcertd is away" in module_info(scene))
    away = by_words(scene, "status")
    assert re.search(r"Not connected since .* UTC to saslcertd at ", away.stdout)
    assert "saslcertd can't be asked: " in refusal(away)
    for ask in by_words, by_prosodyctl:
        for words in ["status"], ["list", account.jid], ["revoke", account.jid, "phone"]:
            text = refusal(ask(scene, *words))
            assert "saslcertd can't be asked: " in text and len(text.splitlines()) == 1, text

    scene.daemon.start()
    scene.rig.wait_attached()
    wait_until("the status is good again", lambda: by_words(scene, "status").returncode == 0)
    assert '"phone"' in answer(by_words(scene, "list", account.jid))
    assert re.search(r"\[info\] Connected to saslcertd", module_info(scene))


async def test_a_daemon_that_hangs_is_not_well(own_scene):
    scene = own_scene(Config(timeout=0.5))
    account = scene.account()
    await scene.enrol(account, "phone")
    scene.daemon.freeze()
    try:
        said = by_words(scene, "status")
        assert said.stdout.startswith("Connected since "), said.stdout
        assert "saslcertd can't be asked: it does not answer" in refusal(said)
        assert "it does not answer" in refusal(by_prosodyctl(scene, "status"))
        assert refusal(by_prosodyctl(scene, "list", account.jid)) == "saslcertd did not answer\n"
    finally:
        scene.daemon.thaw()
    wait_until("the status is good again", lambda: by_words(scene, "status").returncode == 0)
    assert scene.daemon.has_host(DOMAIN), "asking how it is has withdrawn the hosts"


def test_a_connection_that_has_just_been_made_is_waited_for(own_scene):
    scene = own_scene(Config(timeout=10))
    scene.daemon.freeze()
    with concurrent.futures.ThreadPoolExecutor() as executor:
        try:
            scene.prosody.reload_module("saslcertd")
            since = scene.prosody.log_position()
            asking = executor.submit(by_words, scene, "status")
            wait_until("Prosody has read the command", lambda: "Firing admin/repl-input" in scene.prosody.read_log(since))
        finally:
            scene.daemon.thaw()
        lines = answer(asking.result()).splitlines()
    assert lines[0].startswith("Connected since ") and f"{DOMAIN}: ready; accounts in Prosody" in lines, lines


@pytest.mark.provokes("Nobody can log in with a certificate on denmark.lit")
def test_the_status_names_a_host_whose_options_are_wrong(own_scene):
    wrong = Host(DENMARK, 'saslcertd_trust = "everyone"', declared=False)
    scene = own_scene(Config(hosts=[Host(DOMAIN), wrong]))
    for ask in by_words, by_prosodyctl:
        done = ask(scene, "status")
        assert f"Not ready: {DENMARK}" in refusal(done)
        assert re.search(rf"{DENMARK}: NOT ready: .*saslcertd_trust", done.stdout), done.stdout
        assert f"{DOMAIN}: ready" in done.stdout


# --- statistics ----------------------------------------------------------------------------------


class Metrics:
    """The samples of our module, as a monitoring system gets them."""

    def __init__(self, text: str):
        pattern = r"^prosody_mod_saslcertd__(\w+?)(?:\{(.*)\})? ([-\d.e+]+)$"
        self.samples = {(name, labels): float(value) for name, labels, value in re.findall(pattern, text, re.MULTILINE)}

    def of(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        found = [value for (sample, has), value in self.samples.items() if sample == name and wanted <= set(has.split(","))]
        return sum(found)

    def labels(self) -> set[str]:
        return {name for _, labels in self.samples for name in re.findall(r"(\w+)=", labels)}


def measured() -> tuple[Config, int]:
    (port,) = free_ports(1)
    extra = (
        f'statistics = "internal"\nhttp_ports = {{ {port} }}\nhttp_interfaces = {{ "127.0.0.1" }}\nhttps_ports = {{ }}\n'
    )
    config = Config(hosts=[Host(DOMAIN), Host(DENMARK)], modules=[*USUAL_MODULES, "http", "http_openmetrics"], extra=extra)
    return config, port


def metrics_at(port: int) -> Metrics:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Host": DOMAIN})
    with urllib.request.urlopen(request, timeout=20) as response:
        return Metrics(response.read().decode())


async def test_the_statistics_count_questions_refusals_time_and_the_connection(own_scene):
    config, port = measured()
    scene = own_scene(config)
    account = scene.account()

    async def expiring(count: int) -> bool:
        return metrics_at(port).of("certificates_expiring", host=DOMAIN) == count

    before = metrics_at(port)
    assert before.of("connected") == 1
    assert before.of("questions_total", method="session.hello", result="ok") == 1
    assert before.of("questions_total", method="external.login") == 0

    phone = await scene.enrol(account, "phone")
    await scene.enrol(account, "soon gone", not_after=datetime.timedelta(days=10))
    for _ in range(2):
        async with await scene.certificate_session(account, phone):
            pass
    # What the daemon refuses, and what strangers send, which is no label.
    async with await scene.open(certificate=scene.certificate(account, common_name='{bad="1"}')) as stream:
        assert "EXTERNAL" not in stream.mechanisms
    answer(by_words(scene, "revoke", account.jid, "phone"))
    refusal(by_words(scene, "revoke", account.jid, "phone"))
    refusal(by_words(scene, "revoke", account.jid, '{evil="2"}'))

    after = metrics_at(port)
    assert after.of("questions_total", method="external.login", result="ok") == 2
    # The first asks twice: which accounts there are that could be meant, and whether one of them will do.
    assert after.of("questions_total", method="external.offer", result="ok") == 3
    assert after.of("questions_total", method="external.offer", result="refused") == 1
    assert after.of("denials_total", denial="cert-unknown") == 1
    assert after.of("questions_total", method="console.run", result="ok") == 1
    assert after.of("questions_total", method="console.run", result="refused") == 2
    assert after.of("denials_total", denial="name-unknown") == 2
    assert after.of("latency_seconds_count", method="external.login") == 2
    assert 0 < after.of("latency_seconds_sum", method="external.login") < 20
    assert after.of("latency_seconds_bucket", method="external.login", le="10") == 2
    assert after.labels() == {"method", "result", "denial", "le", "host"}
    assert not any("bad" in labels or "evil" in labels or account.username in labels for _, labels in after.samples)

    # Counted after a hello, and once an hour.
    assert after.of("certificates_expiring", host=DOMAIN) == 0
    scene.prosody.reload_config()
    await eventually("the certificate that expires soon is counted", lambda: expiring(1))
    assert ("certificates_expiring", f'host="{DENMARK}"') in metrics_at(port).samples

    assert scene.daemon.stop() == 0
    scene.rig.wait_away()
    async with await scene.open(certificate=phone) as stream:
        assert "EXTERNAL" not in stream.mechanisms
    away = metrics_at(port)
    assert away.of("connected") == 0
    assert away.of("questions_total", result="away") >= 1
    scene.daemon.start()
    scene.rig.wait_attached()
    wait_until("the statistics say that the daemon is back", lambda: metrics_at(port).of("connected") == 1)


async def test_statistics_outlive_a_reload_of_the_module(own_scene):
    config, port = measured()
    scene = own_scene(config)
    scene.prosody.reload_module("saslcertd")
    scene.rig.wait_attached()
    wait_until("the connection shows", lambda: metrics_at(port).of("connected") == 1)
    assert metrics_at(port).of("questions_total", method="session.hello", result="ok") >= 2


async def test_the_page_shows_commands_and_metrics_that_there_are(own_scene):
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    shell, monitoring = (page.partition(f"\n## {title}\n")[2].partition("\n## ")[0] for title in ("Prosody's shell", "Monitoring"))
    commands = [line.split("`")[1::2] for line in shell.splitlines() if line.startswith("| ") and "prosodyctl" in line and "`" in line]
    assert len(commands) == 5
    config, port = measured()
    scene = own_scene(config)
    hamlet = scene.account("hamlet")
    for call, *words in commands:
        for command in ["shell", call], *(one.split()[1:] for one in words):
            if not scene.records(hamlet):
                await scene.enrol(hamlet, "phone")
            answer(scene.prosody.converse(*command))
    refusal(by_words(scene, "revoke", hamlet.jid, "tablet"))
    metrics = metrics_at(port)
    names = {name for name, _ in metrics.samples}
    shown = re.findall(r"prosody_mod_saslcertd__(\w+)(?:\{([^}]*)\})?", monitoring)
    assert {"connected", "questions_total", "denials_total", "latency_seconds_bucket", "certificates_expiring"} <= {name for name, _ in shown}
    for name, labels in shown:
        assert name in names or f"{name}_count" in names or f"{name}_total" in names, name
        assert set(re.findall(r"(\w+)(?==|,|$)", re.sub('"[^"]*"', "", labels))) <= metrics.labels(), labels
