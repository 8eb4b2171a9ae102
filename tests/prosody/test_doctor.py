"""`saslcertd doctor`: it finds nothing wrong with what is well, names what is broken, and the line that it prints mends it."""

from __future__ import annotations

import datetime
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import certs
from mending import OK, PROBLEM, WARNING, Report, edited
from processes import Identity, Service, clean_environment, free_ports, wait_until
from prosody import COMMUNITY_MODULES, GLUE, USUAL_MODULES, Config, Host, lua_list
from scene import DOMAIN, Scene

#: What mod_saslcertd says while the daemon is away, or its options are wrong.
AWAY = r"is away"
#: What the one says, and the other, when both modules for certificates are enabled.
RIVAL = (r"mod_client_certs is enabled too", r"\terror\tNo Client Certificate", r"Error initializing module 'client_certs'", r"stack traceback:")

#: Its folders have Prosody's group.
DAEMON = Identity("daemon", "www-data")
PROSODY = Identity("www-data")


def words_of(scene: Scene, *more: str) -> list[str]:
    prosody, daemon = scene.prosody, scene.daemon
    launcher = prosody.unpacked / "usr/bin/prosodyctl"
    words = ["doctor", "--prosodyctl", str(launcher), "--prosody-config", str(prosody.config_file), "--data-dir", str(daemon.data)]
    # Nobody looks names up in tests.
    server = [] if "--server" in more else ["--server", f"127.0.0.1:{prosody.starttls_port}"]
    return [*words, *server, *more]


def doctor(scene: Scene, *more: str) -> Report:
    report = Report(scene.daemon.command("--json", *words_of(scene, *more), timeout=120))
    assert report.status == {"ok": OK, "warning": WARNING, "problem": PROBLEM}[report.worst]
    return report


def assert_well(scene: Scene) -> None:
    doctor(scene).assert_well()


class Configuration:
    """Changes to the configuration that the rig writes, which outlast its restarts."""

    def __init__(self, scene: Scene):
        self.prosody = scene.prosody
        self.changes: list[Callable[[str], str]] = []
        write = self.prosody.write_config

        def write_changed() -> None:
            write()
            text = self.prosody.config_file.read_text()
            for change in self.changes:
                text = change(text)
            self.prosody.config_file.write_text(text)

        self.prosody.write_config = write_changed

    def change(self, change: Callable[[str], str]) -> None:
        def checked(text: str) -> str:
            changed = change(text)
            assert changed != text, "nothing was changed"
            return changed

        self.changes.append(checked)

    def apply(self, edit: dict[str, Any]) -> None:
        """Does what doctor printed."""
        assert edit["file"] == str(self.prosody.config_file)
        self.change(lambda text: edited(text, edit))


def restart_prosody(scene: Scene, attached: bool = True) -> None:
    scene.prosody.stop()
    scene.prosody.start()
    # Prosody 0.12 writes it when its ports are open already, and prosodyctl knows by it that it runs.
    pidfile = scene.prosody.folder / "prosody.pid"
    wait_until("the pidfile", lambda: pidfile.exists() and pidfile.read_text())
    if attached:
        scene.rig.wait_attached()


def prosodyctl_line(scene: Scene, verb: str) -> str:
    return f"{scene.prosody.unpacked / 'usr/bin/prosodyctl'} --config {scene.prosody.config_file} {verb} --force"


def restart_line(scene: Scene) -> str:
    return f"{prosodyctl_line(scene, 'stop')}; {prosodyctl_line(scene, 'start')}"


def follow(scene: Scene, configuration: Configuration, mend: dict[str, Any]) -> None:
    """Changes the configuration as told, and then restarts or reloads Prosody as told."""
    edit = mend["edit"]
    configuration.apply(edit)
    assert edit["then"] in (restart_line(scene), prosodyctl_line(scene, "reload"))
    if edit["then"] == restart_line(scene):
        restart_prosody(scene)
    else:
        scene.prosody.write_config()
        scene.prosody.reload_config()
        scene.rig.wait_attached()


def run(mend: dict[str, Any]) -> None:
    done = subprocess.run(["sh", "-ec", mend["run"]], capture_output=True, text=True, timeout=60, env=clean_environment(), check=False)
    assert done.returncode == 0, (mend, done.stdout, done.stderr)


@contextmanager
def started(scene: Scene, line: str) -> Iterator[None]:
    """The daemon, started by a line that doctor printed."""
    service = Service("saslcertd, as told", scene.daemon.output)
    service.spawn(["setpriv", "--pdeathsig", "KILL", "sh", "-c", f"exec {line}"])
    try:
        scene.rig.wait_attached()
        yield
    finally:
        service.stop()


@pytest.fixture
def own(own_scene) -> Callable[..., tuple[Scene, Configuration]]:
    def make(config: Config | None = None, **identities: Identity) -> tuple[Scene, Configuration]:
        scene = own_scene(config, **identities)
        return scene, Configuration(scene)

    return make


# --- all is well ---------------------------------------------------------------------------------


def test_where_all_is_well_nothing_is_found(own_scene):
    scene = own_scene(Config(hosts=[Host(DOMAIN), Host("denmark.lit")]))
    assert_well(scene)
    said = scene.daemon.command(*words_of(scene))
    assert said.returncode == OK and "no problem was found" in said.stdout
    assert f"Prosody {scene.prosody.version.partition('-')[0]}" in said.stdout
    # Debian's first security update of each has the fixes; a Prosody in a folder says nothing of that.
    if fixed := {"0.12": "0.12.6", "13.0": "13.0.5"}.get(scene.prosody.version):
        assert f"lacks the security fixes of {fixed}" in said.stdout
    for port in (scene.prosody.starttls_port, scene.prosody.direct_tls_port):
        assert re.search(rf"(?m)^ok .*:{port} .* asks for a certificate: denmark.lit, {DOMAIN}$", said.stdout), said.stdout


def test_under_users_of_their_own_nothing_is_found_either(own_scene):
    assert_well(own_scene(prosody_identity=PROSODY, daemon_identity=DAEMON))


def test_the_configuration_that_prosody_ships_is_well_and_could_be_faster(own):
    scene, configuration = own(Config(as_shipped=True))
    configuration.change(lambda text: text.replace("network_settings = { nagle = false }\n", ""))
    restart_prosody(scene)
    report = doctor(scene)
    assert (report.bad(), report.status) == ([], OK)
    [slow] = report.of("nagle")
    assert "40 ms" in slow["message"]
    follow(scene, configuration, slow["mend"])
    assert_well(scene)
    assert doctor(scene).of("nagle")[0]["mend"] is None


# --- broken set-ups ------------------------------------------------------------------------------


def test_a_module_that_is_not_enabled(own):
    scene, configuration = own(Config(saslcertd=False, hosts=[Host(DOMAIN)]))
    problem = doctor(scene).first_problem()
    assert problem["check"] == "enabled"
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_a_module_that_is_forbidden(own):
    scene, configuration = own(Config(saslcertd=False))
    configuration.change(lambda text: re.sub(r"modules_(en|dis)abled = \{", r'\g<0> "saslcertd";', text))
    restart_prosody(scene, attached=False)
    problem = doctor(scene).first_problem()
    assert problem["check"] == "enabled"
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_a_module_that_is_not_found(own):
    scene, configuration = own(Config(saslcertd=False, hosts=[Host(DOMAIN)]))
    configuration.change(lambda text: re.sub(r"(?m)^plugin_paths = .*\n", "", text))
    restart_prosody(scene, attached=False)
    report = doctor(scene)
    problem = report.first_problem()
    assert problem["check"] == "module"
    assert problem["mend"]["edit"]["add"] == f"plugin_paths = {lua_list([GLUE])}"
    assert [one["level"] for one in report.of("enabled")] == ["not-checked"]
    configuration.apply(problem["mend"]["edit"])
    restart_prosody(scene, attached=False)
    assert doctor(scene).first_problem()["check"] == "enabled"


@pytest.mark.provokes(AWAY)
def test_a_daemon_that_is_stopped(own):
    scene, _ = own()
    scene.daemon.stop()
    report = doctor(scene)
    problem = report.first_problem()
    assert problem["check"] == "daemon" and report.of("store")[0]["level"] == "ok", report
    assert [one["level"] for one in report.of("hosts")] == ["not-checked"]
    with started(scene, problem["mend"]["run"]):
        assert_well(scene)


@pytest.mark.provokes(AWAY)
def test_a_daemon_of_its_own_user_that_is_stopped(own):
    scene, _ = own(prosody_identity=PROSODY, daemon_identity=DAEMON)
    scene.daemon.stop()
    daemon = scene.daemon
    line = doctor(scene).first_problem()["mend"]["run"]
    # As the documentation has it; the rest is what the rig has elsewhere.
    assert line == f"{daemon.binary} serve --data-dir {daemon.data} --socket {daemon.socket} --server-user www-data"
    with started(scene, line):
        assert {path.owner() for path in [daemon.socket, *daemon.data.rglob("*")]} == {"daemon"}
        assert_well(scene)


@pytest.mark.provokes(AWAY, "a question took too long")
def test_a_daemon_that_hangs(own):
    scene, _ = own()
    scene.daemon.freeze()
    try:
        problem = doctor(scene).first_problem()
        assert problem["check"] == "daemon" and "does not answer" in problem["message"]
        assert f"kill -CONT {scene.daemon.pid};" in problem["mend"]["run"]
    finally:
        scene.daemon.thaw()


@pytest.mark.provokes(AWAY)
def test_a_store_that_was_never_initialised(own):
    scene, _ = own()
    scene.daemon.stop()
    scene.daemon.data = scene.daemon.data.parent / "another store"
    problem = doctor(scene).first_problem()
    assert problem["check"] == "store"
    run(problem["mend"])
    problem = doctor(scene).first_problem()
    assert problem["check"] == "daemon"
    with started(scene, problem["mend"]["run"]):
        assert_well(scene)


@pytest.mark.provokes(AWAY)
def test_what_keeps_the_daemon_from_starting_is_said_in_its_own_words(own):
    """One after the other: root's files in its store, its socket's folder as root makes one, a file at its place, a disk that is read-only."""
    scene, _ = own(prosody_identity=PROSODY, daemon_identity=DAEMON)
    daemon = scene.daemon
    start = doctor_start(scene)

    def mended(check: str, *words: str) -> None:
        refused = subprocess.run(["sh", "-c", f"exec {start}"], capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1 and all(word in refused.stderr for word in words), refused
        report = doctor(scene)
        problem = report.first_problem()
        assert problem["check"] == check and all(word in problem["message"] for word in words), report
        # Whoever starts it now hears the same.
        assert not any("serve" in (one["mend"] or {}).get("run", "") for one in report.findings), report
        run(problem["mend"])

    for name in ("FORMAT", "sled/db"):
        shutil.chown(daemon.data / name, "root", "root")
        mended("store", f"{daemon.data / name} belongs to root")
    shutil.chown(daemon.run, "root")
    mended("folder", f"{daemon.run} belongs to root")
    daemon.run.chmod(0o770)
    mended("folder", f"{daemon.run} can be written by others")
    daemon.socket.unlink(missing_ok=True)
    daemon.socket.write_text("precious")
    mended("folder", f"{daemon.socket} exists and is not a socket")
    assert daemon.socket.with_name(f"{daemon.socket.name}.aside").read_text() == "precious"
    with read_only(daemon.data):
        mended("store", "Read-only file system")
        with started(scene, start):
            assert_well(scene)


def doctor_start(scene: Scene) -> str:
    """Stops the daemon; the line that starts it."""
    scene.daemon.stop()
    problem = doctor(scene).first_problem()
    assert problem["check"] == "daemon"
    return problem["mend"]["run"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.provokes(AWAY)
def test_a_folder_that_others_rely_on_is_left_as_it_is(own, tmp_path: Path):
    scene, configuration = own(prosody_identity=PROSODY, daemon_identity=DAEMON)
    scene.daemon.stop()
    prosodys = tmp_path / "prosodys"
    prosodys.mkdir()
    shutil.chown(prosodys, "www-data")
    shared = iter([Path("/tmp"), prosodys])
    configuration.change(lambda text: re.sub(r'(?m)^saslcertd_socket = .*$', f'saslcertd_socket = "{folder}/s.sock"', text))
    for folder in shared:
        restart_prosody(scene, attached=False)
        scene.daemon.socket = folder / "s.sock"
        report = doctor(scene)
        problem = report.first_problem()
        assert problem["check"] == "folder" and str(folder) in problem["message"], report
        edit = problem["mend"]["edit"]
        assert edit["add"] == 'saslcertd_socket = "/run/saslcertd/saslcertd.sock"'
        assert edit["then"] == prosodyctl_line(scene, "reload")
        assert not any(word in str(one["mend"]) for one in report.findings for word in ("chmod", "chown", "chgrp")), report


@pytest.mark.provokes(AWAY)
def test_a_folder_that_is_missing_after_a_reboot(own):
    scene, _ = own()
    scene.daemon.stop()
    scene.daemon.run.rmdir()
    problem = doctor(scene).first_problem()
    assert problem["check"] == "folder"
    run(problem["mend"])
    problem = doctor(scene).first_problem()
    assert problem["check"] == "daemon"
    with started(scene, problem["mend"]["run"]):
        assert_well(scene)


@pytest.mark.provokes(AWAY)
@pytest.mark.parametrize(
    "damage",
    [["chmod", "600", "{socket}"], ["chgrp", "daemon", "{socket}"], ["chmod", "700", "{folder}"], ["chgrp", "daemon", "{folder}"]],
    ids=["socket's mode", "socket's group", "folder's mode", "folder's group"],
)
def test_a_socket_that_prosody_may_not_open(own, damage: list[str]):
    scene, _ = own(prosody_identity=PROSODY, daemon_identity=DAEMON)
    subprocess.run([word.format(socket=scene.daemon.socket, folder=scene.daemon.run) for word in damage], check=True)
    # While it is connected that is only a warning.
    [warning] = doctor(scene).bad()
    assert (warning["check"], warning["level"]) == ("socket", "warning")
    restart_prosody(scene, attached=False)
    problem = doctor(scene).first_problem()
    assert problem["check"] == "socket"
    run(problem["mend"])
    # It tries again by itself.
    scene.rig.wait_attached()
    assert_well(scene)


@pytest.mark.provokes(AWAY, r"WARN refused: neither")
def test_a_daemon_that_does_not_know_prosodys_user(own):
    scene, _ = own(prosody_identity=PROSODY, daemon_identity=DAEMON)
    scene.daemon.stop()
    scene.daemon.server_user = Identity("games")
    scene.daemon.start()
    at = scene.prosody.log_position()
    subprocess.run(["chgrp", "www-data", str(scene.daemon.socket)], check=True)
    # Whoever may not ask reads why, in the daemon's words.
    said = re.compile(r"is away: user \d+ may not ask: start saslcertd with --server-user")
    wait_until("Prosody's log says why", lambda: said.search(scene.prosody.read_log(at)))
    problem = doctor(scene).first_problem()
    assert problem["check"] == "role" and "--server-user games" in problem["message"]
    assert "doesn't name Prosody's user" not in scene.prosody.read_log(at)
    *stop, line = problem["mend"]["run"].split("; ")
    assert stop[0] == f"kill {scene.daemon.pid}"
    scene.daemon.stop()
    with started(scene, line):
        assert_well(scene)


@pytest.mark.provokes(AWAY)
def test_a_prosody_that_looks_elsewhere(own):
    scene, configuration = own()
    configuration.change(lambda text: re.sub(r"(?m)^saslcertd_socket = .*$", 'saslcertd_socket = "/run/nowhere.sock"', text))
    restart_prosody(scene, attached=False)
    problem = doctor(scene).first_problem()
    assert problem["check"] in ("socket", "folder"), problem
    [problem] = [one for one in doctor(scene).bad() if one["check"] == "socket"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


@pytest.mark.provokes(r"saslcertd_max_certs = ")
def test_a_bad_option(own):
    scene, configuration = own(Config(hosts=[Host(DOMAIN), Host("denmark.lit", 'saslcertd_max_certs = "many"', declared=False)]))
    problem = doctor(scene).first_problem()
    assert problem["check"] == "options" and 'saslcertd_max_certs = "many"' in problem["message"] and "denmark.lit" in problem["message"]
    follow(scene, configuration, problem["mend"])
    scene.rig.wait_attached("denmark.lit")
    assert_well(scene)


@pytest.mark.provokes(r"saslcertd_ca_file = ")
def test_a_file_of_authorities_that_is_missing(own):
    """This version knows no authorities at all, and says so of each such option."""
    scene, configuration = own(Config(hosts=[Host(DOMAIN, declared=False)], extra='saslcertd_ca_file = "/nowhere/ca.pem"'))
    problem = doctor(scene).first_problem()
    assert problem["check"] == "options" and "/nowhere/ca.pem" in problem["message"]
    follow(scene, configuration, problem["mend"])
    scene.rig.wait_attached(DOMAIN)
    assert_well(scene)


@pytest.mark.provokes(r"saslcertd_timeout = ")
def test_a_bad_option_of_the_whole_server(own):
    scene, configuration = own(Config(timeout='"a fortnight"'))
    problem = doctor(scene).first_problem()
    assert problem["check"] == "options" and "a fortnight" in problem["message"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_external_among_the_mechanisms_that_prosody_shall_not_offer(own):
    scene, configuration = own(Config(extra='disable_sasl_mechanisms = { "DIGEST-MD5", "EXTERNAL" }'))
    [problem] = doctor(scene).bad()
    assert "disable_sasl_mechanisms forbids EXTERNAL" in problem["message"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_an_option_with_a_typing_error_is_a_warning(own):
    scene, configuration = own(Config(extra="saslcertd_max_cert = 3"))
    [warning] = doctor(scene).bad()
    assert (warning["check"], warning["level"]) == ("options", "warning") and "is saslcertd_max_certs meant?" in warning["message"]
    follow(scene, configuration, warning["mend"])
    assert_well(scene)


@pytest.mark.provokes(*RIVAL)
@pytest.mark.parametrize("everywhere", [True, False], ids=["globally", "on the host"])
def test_the_older_module_beside_it(own, everywhere: bool):
    modules = [*USUAL_MODULES, *(["client_certs"] if everywhere else [])]
    here = "" if everywhere else f'modules_enabled = {{ "client_certs" }}\nplugin_paths = {lua_list([GLUE, COMMUNITY_MODULES])}'
    host = Host(DOMAIN, here.splitlines()[0] if here else "")
    config = Config(hosts=[host], modules=modules, extra=here.partition("\n")[2])
    scene, configuration = own(config)
    problem = doctor(scene).first_problem()
    assert problem["check"] == "rival"
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


#: What asks clients for certificates where saslcertd_manage_tls is false; and what does so half.
ASKS = '= { verify = { "peer", "client_once" }, verifyext = { "lsec_continue", "lsec_ignore_purpose" } }'
ASKS_ONLY = '= { verify = { "peer", "client_once" } }'
MANAGED = f"c2s_ssl {ASKS}\nc2s_direct_tls_ssl {ASKS}"


@pytest.mark.parametrize("direct", [False, True], ids=["starttls", "direct-tls"])
def test_nobody_asks_for_certificates(own, direct: bool):
    there = f"c2s_{'' if direct else 'direct_tls_'}ssl {ASKS}"
    scene, configuration = own(Config(extra=f"saslcertd_manage_tls = false\n{there}"))
    [problem] = [one for one in doctor(scene).bad() if one["check"] == "tls"]
    port = scene.prosody.direct_tls_port if direct else scene.prosody.starttls_port
    assert f":{port} " in problem["message"] and "saslcertd_manage_tls is false" in problem["message"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_a_host_whose_own_settings_ask_nobody(own):
    scene, configuration = own(Config(hosts=[Host(DOMAIN), Host("denmark.lit", 'c2s_ssl = { verify = "none" }')]))
    report = doctor(scene)
    [problem] = [one for one in report.bad() if one["check"] == "tls"]
    assert "denmark.lit" in problem["message"] and problem["mend"]["edit"]["within"] == "c2s_ssl"
    # In the place of the other verify.
    configuration.change(lambda text: text.replace('verify = "none"', ""))
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_server_without_mod_tls(own, forbidden: bool):
    modules = USUAL_MODULES if forbidden else [module for module in USUAL_MODULES if module != "tls"]
    scene, configuration = own(Config(modules=modules))
    if forbidden:
        configuration.change(lambda text: text.replace("modules_disabled = {", 'modules_disabled = { "tls";', 1))
        restart_prosody(scene)
    [problem] = [one for one in doctor(scene).bad() if one["check"] == "tls"]
    assert f":{scene.prosody.starttls_port} " in problem["message"] and "mod_tls" in problem["message"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_a_host_in_a_file_of_its_own(own, tmp_path: Path):
    scene, configuration = own(Config(hosts=[Host(DOMAIN), Host("denmark.lit", 'c2s_ssl = { verify = "none" }')]))
    section = tmp_path / "denmark.cfg.lua"

    def moved(text: str) -> str:
        before, _, after = text.partition('VirtualHost "denmark.lit"')
        section.write_text(f'VirtualHost "denmark.lit"{after}')
        return f'{before}Include "{section}"\n'

    configuration.change(moved)
    restart_prosody(scene)
    [problem] = [one for one in doctor(scene).bad() if one["check"] == "tls"]
    assert problem["mend"]["edit"]["file"] == str(section)
    # What is above all sections stays where it was.
    configuration.change(lambda text: f"saslcertd_max_cert = 3\n{text}")
    restart_prosody(scene)
    [other] = [one for one in doctor(scene).bad() if one["check"] == "options"]
    assert other["mend"]["edit"]["file"] == str(scene.prosody.config_file)


@pytest.mark.parametrize("option", ["c2s_ssl", "c2s_direct_tls_ssl"])
def test_a_port_that_asks_and_takes_only_what_an_authority_has_made(own, option: str):
    scene, configuration = own(Config(extra=f"saslcertd_manage_tls = false\n{MANAGED.replace(f'{option} {ASKS}', f'{option} {ASKS_ONLY}')}"))
    bad = [one for one in doctor(scene).bad() if one["check"] == "tls"]
    # Prosody 0.12 takes any by itself.
    assert len(bad) == (0 if scene.prosody.version.startswith("0.12") else 1), bad
    for problem in bad:
        assert "verifyext" in problem["message"] and problem["mend"]["edit"]["within"] == option
        follow(scene, configuration, problem["mend"])
        assert_well(scene)


def test_the_port_of_mod_net_multiplex(own):
    [port] = free_ports(1)
    config = Config(modules=[*USUAL_MODULES, "net_multiplex"], extra=f"ssl_ports = {{ {port} }}\nssl_interfaces = {{ \"127.0.0.1\" }}")
    scene, configuration = own(config)
    report = doctor(scene)
    [problem] = [one for one in report.bad() if one["check"] == "tls"]
    assert f":{port} " in problem["message"] and "net_multiplex" in problem["message"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


@pytest.mark.provokes(AWAY)
def test_a_prosody_that_does_not_run(own):
    scene, _ = own()
    scene.prosody.stop()
    try:
        report = doctor(scene)
        problem = report.first_problem()
        assert problem["check"] == "running"
        assert problem["mend"]["run"] == prosodyctl_line(scene, "start")
        assert {one["level"] for one in report.of("tls") + report.of("hosts")} == {"not-checked"}
    finally:
        scene.prosody.start()
        scene.rig.wait_attached()


def another_copy(tmp_path: Path, version: int) -> Path:
    """A folder with a copy of our modules that speaks this version of the protocol."""
    folder = tmp_path / "modules"
    shutil.copytree(GLUE, folder)
    module = folder / "mod_saslcertd" / "hello.lib.lua"
    text = module.read_text()
    module.write_text(text.replace("local protocol_version = 2;", f"local protocol_version = {version};").replace('"0.1.0"', '"0.2.0"'))
    return folder


@pytest.mark.provokes("The daemon refuses session.hello")
@pytest.mark.parametrize("spoken", [1, 3])
def test_a_module_of_another_version(own, tmp_path: Path, spoken: int):
    """Which copy, and which version, whether Prosody only finds it or runs it."""
    scene, configuration = own()
    folder = another_copy(tmp_path, spoken)
    configuration.change(lambda text: text.replace(f"plugin_paths = {lua_list([GLUE])}", f"plugin_paths = {lua_list([folder, GLUE])}"))
    restart_prosody(scene, attached=False)
    wait_until("its hello is refused", lambda: scene.daemon.ask("status")["stranger"])
    report = doctor(scene)
    problem = report.first_problem()
    words = (f"0.2.0 in {folder}/mod_saslcertd", f"version {spoken} of the protocol", "speaks 2")
    assert problem["check"] == "module" and all(word in problem["message"] for word in words), report
    [running] = report.of("hosts")
    assert all(word in running["message"] for word in words[:2]) and "restarted" not in running["message"], report
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def test_a_prosody_that_has_just_opened_its_port_is_waited_for(own):
    scene, _ = own()
    for _ in range(3):
        scene.prosody.stop()
        scene.prosody.start()
        # Not for its hello.
        assert_well(scene)


def test_modules_without_which_nobody_logs_in(own):
    scene, configuration = own(Config(modules=[module for module in USUAL_MODULES if module != "saslauth"]))
    configuration.change(lambda text: text.replace("modules_disabled = {", 'modules_disabled = { "c2s";', 1) if "modules_disabled = {" in text else 'modules_disabled = { "c2s" }\n' + text)
    scene.prosody.stop()
    scene.prosody.write_config()
    for words in ("mod_c2s isn't enabled", "mod_saslauth isn't enabled"):
        [problem] = [one for one in doctor(scene).of("logins") if words in one["message"]]
        configuration.apply(problem["mend"]["edit"])
        scene.prosody.write_config()
    scene.prosody.start()
    scene.rig.wait_attached()
    assert_well(scene)


@pytest.mark.provokes("auth_internal_hased", "mod_auth_internal_hased")
def test_an_authentication_that_prosody_does_not_find(own):
    scene, configuration = own()
    configuration.change(lambda text: re.sub(r'(?m)^authentication = .*$', "", text) + '\nauthentication = "internal_hased"\n')
    restart_prosody(scene, attached=False)
    problem = doctor(scene).first_problem()
    assert problem["check"] == "logins" and 'authentication = "internal_hased"' in problem["message"]
    follow(scene, configuration, problem["mend"])
    assert_well(scene)


def expired_certificate() -> tuple[bytes, bytes]:
    """A server's certificate of two months ago, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "yesterday")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=60)).not_valid_after(now - datetime.timedelta(days=2))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)


def test_a_server_certificate_that_clients_refuse(own):
    """It has expired; then the file has a new one, and Prosody does not know."""
    scene, _ = own()
    files = [scene.prosody.folder / "certs" / f"{DOMAIN}.{kind}" for kind in ("crt", "key")]
    good = [file.read_bytes() for file in files]
    made = expired_certificate()
    for file, content in zip(files, made, strict=True):
        file.write_bytes(content)
    restart_prosody(scene)
    [problem] = doctor(scene).bad()
    assert problem["check"] == "cert" and "has expired" in problem["message"] and DOMAIN in problem["message"]
    assert f'--root cert import {DOMAIN} "$PWD"' in problem["mend"]["run"]
    for file, content in zip(files, good, strict=True):
        file.write_bytes(content)
    [problem] = doctor(scene).bad()
    assert problem["check"] == "cert" and "has not read it yet" in problem["message"]
    assert problem["mend"]["run"] == restart_line(scene)
    restart_prosody(scene)
    assert_well(scene)


def test_a_prosody_that_was_not_restarted(own):
    scene, configuration = own(Config(saslcertd=False, hosts=[Host(DOMAIN)]))
    port, direct = scene.prosody.starttls_port, scene.prosody.direct_tls_port
    configuration.apply(doctor(scene).first_problem()["mend"]["edit"])
    scene.prosody.write_config()
    assert (port, direct) == (scene.prosody.starttls_port, scene.prosody.direct_tls_port)
    report = doctor(scene)
    problem = report.first_problem()
    assert problem["check"] == "hosts" and problem["mend"]["run"] == restart_line(scene)
    restart_prosody(scene)
    assert_well(scene)


def test_without_prosodyctl(own_scene, tmp_path: Path):
    scene = own_scene()
    done = scene.daemon.command("--json", "doctor", "--prosodyctl", str(tmp_path / "prosodyctl"))
    report = Report(done)
    problem = report.first_problem()
    assert problem["check"] == "prosody" and "--prosodyctl" in problem["mend"]["run"]
    # What needs no prosodyctl is looked at all the same.
    assert [one["level"] for one in report.of("daemon")] == ["ok"]


# --- the machine ---------------------------------------------------------------------------------


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[None]:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.mark.provokes(AWAY, r"the disk is nearly full")
def test_a_disk_that_is_nearly_full(own, tmp_path: Path):
    scene, _ = own()
    disk = tmp_path / "small disk"
    with small_disk(disk, "256m"):
        scene.daemon.stop()
        scene.daemon.data = disk / "store"
        scene.daemon.init()
        scene.daemon.start()
        scene.rig.wait_attached()
        try:
            assert_well(scene)
            filler = disk / "forgotten.log"
            for size, level, status in [(150, "warning", WARNING), (210, "problem", PROBLEM)]:
                filler.write_bytes(bytes(size << 20))
                report = doctor(scene)
                [found] = report.bad()
                assert (found["check"], found["level"], report.status) == ("disk", level, status)
            # The command names what can go.
            listed = subprocess.run(["sh", "-c", found["mend"]["run"]], capture_output=True, text=True, check=True).stdout
            assert str(filler) in listed.splitlines()[-2], listed
            filler.unlink()
            wait_until("the daemon has seen the room", lambda: not scene.daemon.ask("status")["store"]["disk_nearly_full"])
            assert_well(scene)
        finally:
            scene.daemon.stop()


def test_a_clock_that_stands_in_the_past(own):
    scene, _ = own()
    subprocess.run(["touch", "-d", "tomorrow", str(scene.prosody.config_file)], check=True)
    [problem] = doctor(scene).bad()
    assert problem["check"] == "clock"
    if not Path("/run/systemd/system").exists():
        assert "timedatectl" not in problem["mend"]["run"]
    # What the right time would do.
    subprocess.run(["touch", str(scene.prosody.config_file)], check=True)
    assert_well(scene)


# --- a proxy -------------------------------------------------------------------------------------


class Proxy:
    """Ends TLS for clients, with direct TLS, as HAProxy and nginx do when they are told to."""

    def __init__(self, certificate: Path, key: Path, asks: bool):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        if asks:
            self.context.verify_mode = ssl.CERT_OPTIONAL
            self.context.load_verify_locations(certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    with self.context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(1)
                except OSError:
                    pass

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(20)


@pytest.mark.parametrize("asks", [False, True], ids=["asks nobody", "asks with its own certificate"])
def test_something_before_prosody_ends_tls(own_scene, tmp_path: Path, asks: bool):
    scene = own_scene()
    prosody = scene.prosody
    certificate, key = tmp_path / "proxy.crt", tmp_path / "proxy.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={DOMAIN}", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    # A proxy that doesn't ask has Prosody's own certificate.
    own = prosody.folder / "certs" / f"{DOMAIN}"
    proxy = Proxy(certificate, key, True) if asks else Proxy(own.with_name(f"{DOMAIN}.crt"), own.with_name(f"{DOMAIN}.key"), False)
    try:
        report = doctor(scene, "--server", f"127.0.0.1:{proxy.port}", "--direct-tls")
        [problem] = report.bad()
        assert problem["check"] == "proxy" and "EXTERNAL can't work" in problem["message"]
    finally:
        proxy.close()
    # Behind one that hands it through, as told, clients reach Prosody's own TLS.
    assert_well(scene)


def test_who_is_not_reached_from_here_is_not_a_problem(own_scene):
    scene = own_scene()
    [port] = free_ports(1)
    report = doctor(scene, "--server", f"127.0.0.1:{port}")
    assert report.status == OK and [one["level"] for one in report.of("proxy")] == ["not-checked"]


def test_the_proxys_module_gets_a_hint(own_scene, tmp_path: Path):
    module = tmp_path / "mod_net_proxy"
    module.mkdir()
    (module / "mod_net_proxy.lua").write_text("module:set_global();\n")
    config = Config(modules=[*USUAL_MODULES, "net_proxy"], extra=f"plugin_paths = {lua_list([GLUE, tmp_path])}")
    report = doctor(own_scene(config))
    assert report.status == OK
    assert any("mod_net_proxy" in one["message"] for one in report.of("proxy"))


# --- authorities ---------------------------------------------------------------------------------


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """The file of an authority, which the daemon's user may not read."""
    folder = tmp_path / "company"
    folder.mkdir(mode=0o700)
    authority = certs.make(folder, [], common_name="Denmark Root", is_ca=True)
    shutil.copy(authority.cert_file, folder / "authorities.pem")
    return folder / "authorities.pem"


def of_authority(report: Report) -> dict[str, Any]:
    [finding] = report.of("authorities")
    return finding


@pytest.mark.provokes(r"saslcertd_ca_file = ", "cannot be used")
def test_a_file_of_authorities_that_is_not_there(own, company: Path, tmp_path: Path):
    missing = tmp_path / "nowhere" / "ca.pem"
    scene, _ = own(Config(extra=f'saslcertd_trust = "ca"\nsaslcertd_ca_file = "{missing}"'))
    report = doctor(scene)
    problem = report.first_problem()
    assert problem["check"] == "authorities" and str(missing) in problem["message"] and "no such file" in problem["message"]
    # What it names is the admin's own.
    assert problem["mend"] == {"run": f"install -D -m 644 authorities.pem {missing}"}
    subprocess.run(["sh", "-ec", problem["mend"]["run"]], cwd=company.parent, check=True)
    wait_until("the file is read", lambda: of_authority(doctor(scene))["level"] == "ok")
    assert_well(scene)
    # What stands in it counts, too.
    missing.write_text("nothing")
    wait_until("the file is read again", lambda: of_authority(doctor(scene))["level"] == "problem")
    assert "holds no PEM section" in of_authority(doctor(scene))["message"]
    # A key beside it hinders nobody, and does not belong there: what is proposed is a copy without it.
    [key] = company.parent.glob("*.key")
    missing.write_bytes(key.read_bytes() + company.read_bytes())
    wait_until("the key is seen", lambda: of_authority(doctor(scene))["level"] == "warning")
    edit = of_authority(doctor(scene))["mend"]["edit"]
    assert edit["add"] == 'saslcertd_ca_file = "/etc/saslcertd/public-ca.pem"'
    make = edit["then"].partition(" && ")[0].replace("/etc/saslcertd/", f"{tmp_path}/")
    subprocess.run(["sh", "-ec", make], check=True)
    assert (tmp_path / "public-ca.pem").read_bytes() == company.read_bytes()


@pytest.mark.provokes(r"saslcertd_ca_file = ", "cannot be used")
def test_a_file_of_authorities_that_the_daemon_may_not_read(own, company: Path):
    for folder in company.parents:
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    company.chmod(0o600)
    scene, _ = own(
        Config(extra=f'saslcertd_trust = "enrolled_or_ca"\nsaslcertd_ca_file = "{company}"'), prosody_identity=PROSODY, daemon_identity=DAEMON
    )
    problem = doctor(scene).first_problem()
    assert problem["check"] == "authorities" and "may not read it" in problem["message"]
    assert problem["mend"] == {"run": f"chmod a+r {company}"}
    run(problem["mend"])
    wait_until("the file is read", lambda: of_authority(doctor(scene))["level"] == "ok")
    assert_well(scene)
    # A folder is closed for a reason: a copy is what is proposed.
    company.parent.chmod(0o700)
    scene.daemon.stop()
    scene.daemon.start()
    scene.rig.wait_attached()
    edit = doctor(scene).first_problem()["mend"]["edit"]
    assert edit["add"] == 'saslcertd_ca_file = "/etc/saslcertd/authorities.pem"'
    assert edit["then"].startswith(f"install -D -m 644 {company} /etc/saslcertd/authorities.pem && ")
