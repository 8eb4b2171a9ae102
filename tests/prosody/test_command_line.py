"""What a user types: `saslcertd enroll` and `saslcertd login`, and what an admin does about it."""

import datetime
import json
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from certs import ClientCertificate
from connection import Refused
from namespaces import CLIENT
from processes import clean_environment, finish
from rome import ROME
from scene import DOMAIN, Account, Scene

LOGGED_IN, REFUSED, COULD_NOT_FIND_OUT = 0, 1, 2


def saslcertd(scene: Scene, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(scene.daemon.binary), *words],
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )


def way_to(scene: Scene, direct_tls: bool, port: int | None = None) -> list[str]:
    if port is None:
        port = scene.prosody.direct_tls_port if direct_tls else scene.prosody.starttls_port
    return ["--server", f"127.0.0.1:{port}", "--ca-file", str(scene.prosody.ca_file), *(["--direct-tls"] if direct_tls else [])]


def enroll(scene: Scene, account: Account, name: str, out: Path, direct_tls: bool = False) -> tuple[Path, Path]:
    """Enrolls a device and returns its certificate and its key."""
    out.mkdir()
    words = ["enroll", account.jid, "--name", name, "--out", str(out), "--password-file", "-", *way_to(scene, direct_tls)]
    done = saslcertd(scene, *words, stdin=account.password + "\n")
    assert done.returncode == LOGGED_IN, done.stdout + done.stderr
    assert account.password not in done.stdout + done.stderr
    keys = [path for path in out.iterdir() if "PRIVATE KEY-----" in path.read_text(errors="replace")]
    certificates = [path for path in out.iterdir() if path not in keys and "BEGIN CERTIFICATE" in path.read_text(errors="replace")]
    assert (len(keys), len(certificates)) == (1, 1), list(out.iterdir())
    return certificates[0], keys[0]


@pytest.mark.parametrize("days", ["1", "36500"])
def test_enroll_makes_a_certificate_for_so_many_days(scene: Scene, days: str):
    account, out = scene.account(), scene.folder / f"days{days}"
    words = ["enroll", account.jid, "--name", f"for {days}", "--out", str(out), "--days", days, "--password-file", "-", *way_to(scene, False)]
    done = saslcertd(scene, *words, stdin=account.password + "\n")
    assert done.returncode == LOGGED_IN, done.stdout + done.stderr
    (file,) = out.glob("*.crt")
    made = x509.load_pem_x509_certificate(file.read_bytes())
    assert made.not_valid_after_utc - made.not_valid_before_utc == datetime.timedelta(days=int(days))


@pytest.mark.parametrize("days", ["0", "36501", "100000", "-1", "a year"])
def test_enroll_says_how_many_days_there_may_be(scene: Scene, days: str):
    words = ["enroll", f"nobody@{DOMAIN}", "--name", "phone", f"--days={days}", "--password-file", "-"]
    done = saslcertd(scene, *words, stdin="secret\n")
    assert done.returncode == 2 and "a number of days from 1 to 36500 is wanted" in done.stderr


@pytest.mark.parametrize("jid", ["notajid@", "@rome.lit", "a@b@c", "rome.lit", f"a@{DOMAIN}/x"])
def test_what_is_no_account_is_said_in_words_of_ours(scene: Scene, jid: str):
    words = ["enroll", jid, "--name", "phone", "--out", str(scene.folder), "--password-file", "-"]
    done = saslcertd(scene, *words, stdin="secret\n")
    said = done.stdout + done.stderr
    assert done.returncode not in (0, 101)
    assert f"{jid} is not an account (user@host): " in said or f"{jid} is a server, not an account" in said


def login(scene: Scene, jid: str, certificate: Path, key: Path, direct_tls: bool = False, port: int | None = None) -> tuple[int, dict]:
    """The exit status of `saslcertd login`, and its report."""
    words = ["login", jid, "--cert", str(certificate), "--key", str(key), "--json", *way_to(scene, direct_tls, port)]
    done = saslcertd(scene, *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_enroll_login_revoke_and_the_next_login_is_refused(scene: Scene, direct_tls: bool):
    account = scene.account()
    certificate, key = enroll(scene, account, "my phone", scene.folder / "device", direct_tls)
    assert key.stat().st_mode & 0o777 == 0o600

    status, report = login(scene, account.jid, certificate, key, direct_tls)
    assert (status, report["outcome"]) == (LOGGED_IN, "logged-in"), report
    assert report["bound"].startswith(account.jid + "/")
    assert "EXTERNAL" in report["mechanisms"]
    assert report["tls"]["certificate_requested"] is True

    assert "my phone" in scene.daemon.command("cert", "list", account.jid).stdout
    explained = scene.daemon.command("explain", account.jid, str(certificate))
    assert (explained.returncode, f"{account.jid} can log in with it" in explained.stdout) == (0, True), explained
    revoked = scene.daemon.command("cert", "revoke", account.jid, "my phone")
    assert revoked.returncode == 0, revoked.stderr
    explained = scene.daemon.command("explain", account.jid, str(certificate))
    assert (explained.returncode, "its key was revoked" in explained.stdout) == (1, True), explained
    status, report = login(scene, account.jid, certificate, key, direct_tls)
    assert (status, report["outcome"]) == (REFUSED, "refused"), report


async def test_an_admin_who_revokes_ends_the_session(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "phone")
    async with await scene.certificate_session(account, phone) as stream:
        assert scene.daemon.command("cert", "revoke", account.jid, "phone").returncode == 0
        assert (await stream.wait_closed(5)).condition == "not-authorized"


async def test_an_admin_adds_a_certificate_for_somebody(scene: Scene):
    """For an account that has never had any, and whose owner hears of it."""
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await desk.send("<presence/>")
        added = scene.daemon.command("cert", "add", account.jid, "phone", str(phone.cert_file), "--no-manage")
        assert (added.returncode, added.stderr) == (0, ""), added
        body = (await desk.message()).findtext(f"{{{CLIENT}}}body", "")
        assert body.startswith('The certificate "phone" ') and "was added to your account by the server's administrator" in body
    async with await scene.certificate_session(account, phone) as stream:
        with pytest.raises(Refused, match="^forbidden"):
            await stream.append("tablet", scene.certificate(account).base64)
    assert scene.records(account)[0]["added"]["by"] == "admin"
    # The rules are those of their own uploads, and there must be somebody.
    for jid, name, certificate, words in [
        (account.jid, "phone", scene.certificate(account), "There is already a certificate of this name"),
        (account.jid, "tablet", scene.certificate("yorick@" + account.host), "names other XMPP addresses"),
        ("nobody@" + account.host, "phone", scene.certificate("nobody@" + account.host), "The account does not exist"),
    ]:
        refused = scene.daemon.command("cert", "add", jid, name, str(certificate.cert_file))
        assert refused.returncode == 1 and words in refused.stderr, refused


def test_a_certificate_that_nobody_enrolled_is_refused_by_login(scene: Scene, direct_tls: bool):
    account = scene.account()
    stranger: ClientCertificate = scene.certificate(account)
    status, report = login(scene, account.jid, stranger.cert_file, stranger.key_file, direct_tls)
    assert (status, report["outcome"]) == (REFUSED, "refused"), report


def test_login_says_that_it_could_not_find_out_when_nobody_listens(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    status, report = login(scene, account.jid, phone.cert_file, phone.key_file, port=9)
    assert (status, report["outcome"]) == (COULD_NOT_FIND_OUT, "unreachable"), report


def test_login_trusts_no_server_that_the_authority_does_not_vouch_for(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = scene.certificate(account)
    port = scene.prosody.direct_tls_port if direct_tls else scene.prosody.starttls_port
    words = ["login", account.jid, "--cert", str(phone.cert_file), "--key", str(phone.key_file), "--json"]
    words += ["--server", f"127.0.0.1:{port}", *(["--direct-tls"] if direct_tls else [])]
    assert saslcertd(scene, *words).returncode == COULD_NOT_FIND_OUT


def test_enroll_with_a_wrong_password_is_refused_and_enrols_nothing(scene: Scene):
    account = scene.account()
    words = ["enroll", account.jid, "--name", "phone", "--out", str(scene.folder), "--password-file", "-"]
    done = saslcertd(scene, *words, *way_to(scene, False), stdin="a wrong password\n")
    assert done.returncode == REFUSED, done.stdout + done.stderr
    assert "a wrong password" not in done.stdout + done.stderr
    assert scene.records(account) == []
    assert list(scene.folder.iterdir()) == [], "a key that nobody can use was left behind"


def test_what_the_server_refuses_leaves_no_file(scene: Scene):
    account = scene.account()
    enroll(scene, account, "phone", scene.folder / "device")
    words = ["enroll", account.jid, "--name", "phone", "--out", str(scene.folder / "other"), "--password-file", "-", "--pkcs12"]
    done = saslcertd(scene, *words, *way_to(scene, False), stdin=account.password + "\n")
    assert done.returncode == REFUSED, done.stdout + done.stderr
    assert "use another --name" in done.stdout and done.stdout.count("it is of no use") == 3
    assert "opens" not in done.stdout, "the password of a file that is gone"
    assert list((scene.folder / "other").iterdir()) == []
    report = json.loads(saslcertd(scene, *words, *way_to(scene, False), "--json", stdin=account.password + "\n").stdout)
    assert {report[what] for what in ("key", "certificate", "pkcs12", "pkcs12_password")} == {None} and report["uploaded"] is False
    assert [record["name"] for record in scene.records(account)] == ["phone"]


def test_the_password_of_the_file_for_phones_is_what_is_said_last(scene: Scene):
    account = scene.account()
    words = ["enroll", account.jid, "--name", "phone", "--out", str(scene.folder / "device"), "--password-file", "-", "--pkcs12"]
    done = saslcertd(scene, *words, *way_to(scene, False), stdin=account.password + "\n")
    assert done.returncode == LOGGED_IN, done.stdout + done.stderr
    [file] = (scene.folder / "device").glob("*.p12")
    last = re.fullmatch(r"For the phone: (.*), which the password ([a-z2-7-]{23}) opens\.", done.stdout.splitlines()[-1])
    assert last and last[1] == str(file)
    finish(["openssl", "pkcs12", "-in", str(file), "-nokeys", "-passin", f"pass:{last[2]}"], "reading the file")


def test_nothing_is_overwritten(scene: Scene):
    account = scene.account()
    file = scene.folder / f"{account.jid}.phone.p12"
    file.write_text("mine")
    words = ["enroll", account.jid, "--name", "phone", "--out", str(scene.folder), "--password-file", "-", "--pkcs12", *way_to(scene, False)]
    done = saslcertd(scene, *words, stdin=account.password + "\n")
    assert done.returncode == COULD_NOT_FIND_OUT and str(file) in done.stdout + done.stderr
    assert list(scene.folder.iterdir()) == [file] and file.read_text() == "mine"
    assert scene.records(account) == []


@pytest.mark.parametrize("command", [["status"], ["cert", "list", "hamlet@shakespeare.lit"]], ids=lambda words: words[0])
def test_a_command_without_a_daemon_says_where_it_looked(scene: Scene, tmp_path: Path, command: list[str]):
    nowhere = tmp_path / "nowhere.sock"
    done = saslcertd(scene, *command, "--socket", str(nowhere))
    assert done.returncode != 0
    assert str(nowhere) in done.stderr


def test_an_account_whose_password_lives_in_the_daemon(in_rome: Scene, direct_tls: bool):
    account = in_rome.account(host=ROME)
    certificate, key = enroll(in_rome, account, "phone", in_rome.folder / "device", direct_tls)
    assert login(in_rome, account.jid, certificate, key, direct_tls)[0] == LOGGED_IN
    words = ["enroll", account.jid, "--name", "other", "--out", str(in_rome.folder), "--password-file", "-", *way_to(in_rome, direct_tls)]
    assert saslcertd(in_rome, *words, stdin="a wrong password\n").returncode == REFUSED
    for change, status in [("disable", REFUSED), ("enable", LOGGED_IN), ("delete", REFUSED)]:
        in_rome.daemon.ask(f"account.{change}", {"account": account.jid})
        assert login(in_rome, account.jid, certificate, key, direct_tls)[0] == status, change
