"""Prosody, the daemon and a third party each under their own uid, as on a real server."""

import json
import subprocess
import sys
import textwrap

import pytest

from connection import TLS_1_3
from processes import REPOSITORY, Identity
from scene import Bystander, Scene

# Accounts that every Debian has. The group is what lets Prosody reach the socket; it gives no right by itself.
DAEMON = Identity("daemon", "nogroup")
PROSODY = Identity("www-data", "nogroup")
STRANGER = Identity("nobody", "nogroup")


@pytest.fixture
def scene_of_three(own_scene) -> Scene:
    return own_scene(prosody_identity=PROSODY, daemon_identity=DAEMON)


def say(scene: Scene, identity: Identity, method: str) -> str:
    """What the daemon answers a process of `identity`: everything until it closes the connection or has answered."""
    program = """
        import socket, sys
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(sys.argv[1])
        try:
            connection.sendall(sys.argv[2].encode() + b"\\n")
            print(connection.makefile().readline(), end="")
        except (BrokenPipeError, ConnectionResetError):
            pass
    """
    question = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"protocol": 2, "software": "test", "hosts": []}})
    command = [*identity.prefix(), "/usr/bin/python3", "-c", textwrap.dedent(program), str(scene.daemon.socket), question]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_prosody_under_its_own_user_enrols_logs_in_and_revokes(scene_of_three: Scene, direct_tls: bool):
    scene = scene_of_three
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone, "orchard", direct_tls=direct_tls, tls=TLS_1_3) as stream:
        assert (await stream.certificates())["phone"].users == ("orchard",)
        roles = {one["role"] for one in scene.daemon.ask("status")["connections"] if (one["software"] or "").startswith("Prosody")}
        assert roles == {"server"}
        async with await scene.password_session(account) as desk:
            await desk.revoke("phone")
        assert (await stream.wait_closed(5)).condition == "not-authorized"


async def test_a_third_user_hears_at_most_that_it_may_not_ask_and_disturbs_nobody(scene_of_three: Scene):
    scene = scene_of_three
    bystander = scene.account()
    phone = await scene.enrol(bystander)
    async with Bystander(scene, bystander, phone):
        for method in "session.hello", "external.login":
            said = say(scene, STRANGER, method)
            # What it has sent by then may cost it even that line.
            assert said == "" or ("may not ask" in said and '"result"' not in said), said


async def test_the_server_role_may_not_administer(scene_of_three: Scene):
    assert '"result"' in say(scene_of_three, PROSODY, "session.hello")
    assert "-32601" in say(scene_of_three, PROSODY, "status") or "-32003" in say(scene_of_three, PROSODY, "status")
    assert '"result"' in say(scene_of_three, DAEMON, "session.hello")


async def test_what_another_user_runs_is_not_in_our_folder_which_may_be_closed_to_it(scene_of_three: Scene):
    prosody, daemon = scene_of_three.rig.prosody, scene_of_three.rig.daemon
    for service in (prosody, daemon):
        inside = {path for path in service.programs() if path.is_relative_to(REPOSITORY)}
        assert not inside and {path for path in service.programs() if path.is_relative_to(scene_of_three.rig.folder)}, service.name
    assert str(REPOSITORY) not in prosody.config_file.read_text()


def test_the_machine_lets_us_change_users():
    """Everything above needs it; without root it would fail with less clear words."""
    assert sys.platform == "linux"
    subprocess.run([*STRANGER.prefix(), "true"], check=True)
