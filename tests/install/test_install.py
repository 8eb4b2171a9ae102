"""From a clean Debian to a login with a certificate, as the README says; upgrades; and what a removal leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from chatserver import DOMAIN, HTTPS_PORT, JID, MODULES, STORE, ChatServer
from conftest import Installed
from machine import Machine
from processes import REPOSITORY


def test_a_clean_debian_becomes_a_server_with_certificates(installed: Installed, server: ChatServer):
    machine = server.machine
    assert f"created a store in {STORE}" in installed.said
    # Prosody alone, as it was before; then the one line.
    server.start_prosody()
    server.start_daemon()
    assert server.doctor().first_problem()["check"] == "enabled"
    server.enable()
    server.restart_prosody()
    server.wait_ready()
    server.assert_well()
    # Debian's own settings make logins slower than they must be.
    [slow] = server.doctor().of("nagle")
    server.follow(slow["mend"])
    server.wait_ready()
    server.assert_well()
    assert server.doctor().of("nagle")[0]["mend"] is None
    [daemon] = machine.processes("saslcertd")
    assert machine.run(f"stat -c %U /proc/{daemon} /proc/$(cat /run/prosody/prosody.pid)").split() == ["saslcertd", "prosody"]

    server.enroll("phone")
    server.assert_logs_in("phone")
    assert "phone" in machine.run(f"saslcertd cert list {JID}")
    machine.run(f"saslcertd cert revoke {JID} phone")
    refused = server.login("phone")
    assert refused.returncode == 1, refused.stdout
    server.assert_well()


def test_nothing_is_started_and_nobody_but_the_daemon_sees_the_store(machine: Machine):
    assert machine.processes("saslcertd") == [] and machine.processes("lua5.4") == []
    assert machine.run(f"stat -c '%U %G %a' {STORE}").split() == ["saslcertd", "saslcertd", "700"]
    assert "/usr/sbin/nologin" in machine.run("getent passwd saslcertd")
    assert machine.run("dpkg --verify saslcertd") == ""


def test_manual_completions_and_documents_are_there(machine: Machine):
    commands = re.findall(r"(?m)^  ([a-z-]+) ", machine.run("saslcertd --help").partition("Commands:")[2].partition("Options:")[0])
    assert {"serve", "doctor", "enroll"} <= set(commands)
    pages = [f"/usr/share/man/man1/saslcertd{'' if name == '' else f'-{name}'}.1.gz" for name in ["", *commands] if name != "help"]
    machine.run("gzip -t " + " ".join(pages))
    for path in ("bash-completion/completions/saslcertd", "fish/vendor_completions.d/saslcertd.fish", "zsh/vendor-completions/_saslcertd"):
        assert "doctor" in machine.file(f"/usr/share/{path}").read_text()
    for path in ("README.md", "CHANGELOG.md", "copyright", *(str(page.relative_to(REPOSITORY)) for page in (REPOSITORY / "docs").rglob("*.md"))):
        assert machine.file(f"/usr/share/doc/saslcertd/{path}").stat().st_size > 0
    for path in ("index.html", "page.js", "style.css", "icon.svg", "licences.txt"):
        assert machine.file(f"/usr/lib/prosody/modules/mod_saslcertd_devices/page/{path}").stat().st_size > 0


def test_prosody_serves_the_page_out_of_the_package(server: ChatServer):
    server.enable_page()
    server.start_daemon()
    server.start_prosody()
    server.wait_ready()
    head, page = server.fetch("devices")
    # The page's own address ends with a slash, or it does not: the files that it names are found from there.
    if re.match(r"HTTP/1.1 30[127] ", head):
        head, page = server.fetch("devices/")
    assert head.startswith("HTTP/1.1 200 "), head
    policy = re.search(r"(?im)^content-security-policy: (.*)$", head)
    assert policy and "default-src 'none'" in policy[1] and f"connect-src 'self' wss://{DOMAIN}:{HTTPS_PORT}/" in policy[1], head
    named = re.findall(r'(?:src|href)="([^":]+)"', page)
    assert {name.rpartition(".")[2] for name in named} == {"js", "css", "svg"}, page
    for name in named:
        head, text = server.fetch(f"devices/{name.removeprefix('devices/')}")
        assert head.startswith("HTTP/1.1 200 "), (name, head)
        packaged = server.machine.file(f"{MODULES}/mod_saslcertd_devices/page/{name.rpartition('/')[2]}")
        assert text == packaged.read_text(), name
    _, settings = server.fetch("devices/settings.json")
    said = json.loads(settings)
    assert (said["host"], said["secure"], said["websocket"]) == (DOMAIN, True, f"wss://{DOMAIN}:{HTTPS_PORT}/xmpp-websocket"), said
    # A link leads there, and works.
    made = server.machine.run(f"saslcertd --json link create {JID}")
    address, token = json.loads(made)["url"].split("#")
    assert address == f"https://{DOMAIN}:{HTTPS_PORT}/devices"
    question = ["--header", "Content-Type: application/json", "--data", json.dumps({"token": token})]
    head, seen = server.fetch("devices/redeem", *question)
    assert (head.partition("\n")[0], json.loads(seen)["account"]) == ("HTTP/1.1 200 OK", JID)
    # The host that Debian brings has no certificate.
    report = server.doctor()
    assert [one for one in report.bad() if "localhost" not in one["message"]] == [], report
    assert [one["level"] for one in report.of("page") if f"https://{DOMAIN}:" in one["message"]] == ["ok"], report


def test_make_install_brings_the_same_files(installed: Installed, machine: Machine, tmp_path: Path):
    words = ["make", "--no-print-directory", "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/prefix"]
    subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    prefix = tmp_path / "opt/prefix"
    made = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    assert {str(path) for path in tmp_path.rglob("*") if path.is_file()} == {str(prefix / path) for path in made}
    listed = machine.run("dpkg -L saslcertd").splitlines()
    packaged = {path.removeprefix("/usr/") for path in listed if machine.file(path).is_file()}
    # What only a package has.
    packaged -= {"share/doc/saslcertd/changelog.Debian.gz", "share/lintian/overrides/saslcertd"}
    # Where Debian has another custom.
    customs = [("man1/", r"\.gz$", ""), ("share/doc/saslcertd/copyright", "copyright", "LICENSE"), ("zsh/", "vendor-completions", "site-functions")]
    for where, theirs, ours in customs:
        packaged = {re.sub(theirs, ours, path) if where in path else path for path in packaged}
    assert made == packaged


def test_make_install_that_came_before_prosody_makes_its_store_the_next_time(installed: Installed):
    with Machine(installed.folder, binds=[(REPOSITORY, "/root/source")]) as machine:
        machine.run(f"apt purge -y saslcertd && rm -r {STORE} && deluser saslcertd && groupmod -n later prosody")
        # What make calls; there is no make inside.
        where = "'' /usr/local /usr/local/lib/prosody/modules /usr/local/share/zsh/site-functions"
        line = f"/root/source/systemd/install /root/source/target/release {where}"
        refused = machine.attempt(line)
        assert refused.returncode == 1 and "install Prosody first" in refused.stderr, refused
        machine.run("groupmod -n prosody later")
        assert f"created a store in {STORE}" in machine.run(line)
        # From here on it would be an empty one in the place of one that is lost.
        machine.run(f"rm -r {STORE}")
        assert "created a store" not in machine.run(line)


def test_a_package_says_which_libc_it_needs_or_is_not_made(package: Path):
    depends = subprocess.run(["dpkg-deb", "-f", str(package), "Depends"], capture_output=True, text=True, check=True).stdout
    assert "libc6 (>=" in depends, depends
    # What finds that out is missing.
    done = subprocess.run(["/usr/bin/make", "deb"], cwd=REPOSITORY, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "apt-get install dpkg-dev" in done.stderr, done


# --- upgrades ------------------------------------------------------------------------------------


def version(machine: Machine) -> str:
    return machine.run("dpkg-query -W -f '${Version}' saslcertd")


def install(machine: Machine, package: Path) -> str:
    shutil.copy(package, machine.file("/root"))
    return machine.run(f"cd /root && apt install -y --allow-downgrades ./{package.name}")


def test_an_upgrade_and_a_downgrade_keep_everything(running: ChatServer, package: Path, repacked: Callable[[str], Path]):
    machine = running.machine
    before = version(machine)
    for newer, wanted in [(repacked("9.0.0-1"), "9.0.0-1"), (package, before)]:
        [pid] = machine.processes("saslcertd")
        said = install(machine, newer)
        assert version(machine) == wanted and "created a store" not in said
        assert "until you restart it" in said
        # Nobody restarts it here; until somebody does, the old one serves.
        assert machine.processes("saslcertd") == [pid]
        running.assert_logs_in("phone")
        running.stop_daemon()
        running.start_daemon()
        running.restart_prosody()
        running.wait_ready()
        running.assert_logs_in("phone")


def test_a_store_that_is_missing_is_not_made_anew_by_an_upgrade(running: ChatServer, repacked: Callable[[str], Path]):
    machine = running.machine
    running.stop_daemon()
    machine.run(f"mv {STORE} /root/store")
    said = install(machine, repacked("9.0.0-1"))
    assert f"there is no store in {STORE}" in said and "/usr/lib/saslcertd/setup --init" in said
    assert machine.run(f"find {STORE} -mindepth 1") == ""
    refused = machine.attempt("setpriv --reuid saslcertd --regid saslcertd --groups prosody saslcertd serve")
    assert refused.returncode != 0 and STORE in refused.stderr, refused
    problem = running.doctor().first_problem()
    assert problem["check"] == "store" and STORE in problem["message"]
    # It was only mounted late.
    machine.run(f"rm -r {STORE} && mv /root/store {STORE}")
    running.start_daemon()
    running.wait_ready()
    running.assert_logs_in("phone")


# --- removal -------------------------------------------------------------------------------------


def test_what_is_removed_and_purged_leaves_its_data_and_can_come_back(running: ChatServer, package: Path):
    machine = running.machine
    running.stop_daemon()
    machine.run("apt remove -y saslcertd")
    assert machine.attempt("command -v saslcertd").returncode != 0
    assert not machine.file("/run/saslcertd").exists()
    said = machine.run("apt purge -y saslcertd")
    assert f"its data are kept in {STORE}" in said and f"rm -r {STORE}" in said
    assert machine.run(f"stat -c '%U %a' {STORE}").split() == ["saslcertd", "700"]
    said = install(machine, package)
    assert "created a store" not in said, said
    running.start_daemon()
    running.restart_prosody()
    running.wait_ready()
    running.assert_logs_in("phone")
