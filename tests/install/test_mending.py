"""Set-ups that somebody broke on an installed machine: doctor names what it is, and what it prints mends it. See test_mending_daemon.py, test_mending_prosody.py."""

from __future__ import annotations

import pytest

from chatserver import DOMAIN, ENABLED, JID, SOCKET, STORE, ChatServer, assert_mended, problem_of
from mending import PROBLEM
from processes import wait_until

#: What the daemon's own group is worth nothing for.
WITHOUT_PROSODYS_GROUP = "exec setpriv --reuid saslcertd --regid saslcertd --clear-groups saslcertd serve"


def reload_and_be_refused(server: ChatServer) -> None:
    """Returns when the daemon has heard of what is wrong now."""
    server.machine.run("prosodyctl reload --force")
    wait_until("the host gets no EXTERNAL", lambda: not server.is_ready())
    assert server.login("phone").returncode == 1


def test_a_module_that_is_not_enabled(well: ChatServer):
    well.change(*reversed(ENABLED))
    well.restart_prosody()
    assert well.login("phone").returncode == 1
    well.follow(problem_of(well, "enabled", "is enabled for no host")["mend"])
    assert_mended(well)


def test_a_daemon_that_is_stopped(well: ChatServer):
    well.stop_daemon()
    assert well.login("phone").returncode != 0
    well.follow(problem_of(well, "daemon", "isn't running", SOCKET)["mend"])
    assert_mended(well)


def test_a_machine_that_was_started_again(well: ChatServer):
    """What is in /run is gone, and nothing runs."""
    well.stop_daemon()
    well.machine.run("prosodyctl stop --force && rm -r /run/saslcertd /run/prosody")
    well.follow(problem_of(well, "folder", "/run is empty after a reboot")["mend"])
    well.follow(problem_of(well, "daemon", "isn't running")["mend"])
    well.follow(problem_of(well, "running", "Prosody isn't running")["mend"])
    assert_mended(well)


def test_a_socket_that_prosody_may_not_open(well: ChatServer):
    well.machine.run(f"chmod 600 {SOCKET}")
    well.restart_prosody()
    assert well.login("phone").returncode == 1
    well.follow(problem_of(well, "socket", "prosody may not open", "600")["mend"])
    assert_mended(well)


def test_a_daemon_of_the_wrong_group(well: ChatServer):
    well.stop_daemon()
    well.start_daemon(WITHOUT_PROSODYS_GROUP)
    well.restart_prosody()
    assert well.login("phone").returncode == 1
    well.follow(problem_of(well, "socket", "prosody may not open", "without Prosody's group")["mend"])
    assert_mended(well)


def test_a_folder_of_the_wrong_group(well: ChatServer):
    well.machine.run("chgrp saslcertd /run/saslcertd")
    well.restart_prosody()
    well.follow(problem_of(well, "socket", "prosody may not open", "/run/saslcertd is 750")["mend"])
    assert_mended(well)


def test_a_bad_option(well: ChatServer):
    well.set_globally('saslcertd_max_certs = "many"')
    reload_and_be_refused(well)
    well.follow(problem_of(well, "options", 'saslcertd_max_certs = "many"', DOMAIN)["mend"])
    assert_mended(well)


@pytest.mark.provokes(r"stack traceback")
def test_mod_client_certs_beside_it(well: ChatServer):
    well.machine.run("apt install -y prosody-modules")
    well.change("modules_enabled = {\n", 'modules_enabled = {\n\t\t"client_certs";\n')
    well.restart_prosody()
    well.follow(problem_of(well, "rival", "mod_client_certs is enabled")["mend"])
    assert_mended(well)


@pytest.mark.provokes(r"cannot be used", r"could not be asked")
def test_a_file_of_authorities_that_is_missing(well: ChatServer):
    """A card of the company's is as good as what users have enrolled, but the company is in a file that nobody has put there."""
    path = "/etc/saslcertd/authorities.pem"
    well.set_globally('saslcertd_trust = "enrolled_or_ca"', f'saslcertd_ca_file = "{path}"')
    well.machine.run("prosodyctl reload --force")
    wait_until("the daemon has heard of it", lambda: well.doctor().status == PROBLEM)
    problem = problem_of(well, "authorities", path, "no such file")
    # What users have enrolled needs no authority.
    well.assert_logs_in("phone")
    make_card(well)
    assert well.login("card").returncode != 0
    # It names the admin's own file, which lies where they are.
    assert problem["mend"]["run"] == f"install -D -m 644 authorities.pem {path}"
    well.machine.run(f"cd /root && {problem['mend']['run']}")
    wait_until("the daemon has read it", lambda: well.doctor().bad() == [], diagnosis=lambda: f": {well.doctor()}")
    assert_mended(well)
    well.assert_logs_in("card")


def make_card(server: ChatServer) -> None:
    """An authority in /root/authorities.pem, and what it gives its people."""
    new = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    names = f"otherName:1.3.6.1.5.5.7.8.5;UTF8:{JID}"
    server.machine.run(
        f"""cd /root && mkdir card
        {new} -x509 -days 90 -subj /CN=Denmark -addext keyUsage=critical,keyCertSign -keyout ca.key -out authorities.pem
        {new} -subj /CN={JID} -keyout card/{JID}.card.key -out card.csr
        printf 'basicConstraints = CA:FALSE\nextendedKeyUsage = clientAuth\nsubjectAltName = {names}\n' >card.cnf
        openssl x509 -req -in card.csr -CA authorities.pem -CAkey ca.key -CAcreateserial -days 2 -extfile card.cnf -out card/{JID}.card.crt"""
    )


def test_an_option_of_authorities_without_trust(well: ChatServer):
    """Whoever sets it wants somebody kept out: nobody gets in by it."""
    path = "/etc/saslcertd/authorities.pem"
    well.set_globally(f'saslcertd_ca_file = "{path}"')
    reload_and_be_refused(well)
    well.follow(problem_of(well, "options", path, DOMAIN)["mend"])
    assert_mended(well)


def test_a_store_that_was_never_initialised(well: ChatServer):
    well.stop_daemon()
    well.machine.run(f"rm -r {STORE}")
    well.follow(problem_of(well, "store", f"no store in {STORE}")["mend"])
    assert well.machine.run(f"stat -c '%U %a' {STORE}").split() == ["saslcertd", "700"]
    well.follow(problem_of(well, "daemon", "isn't running")["mend"])
    well.wait_ready()
    # Its certificates were in the store.
    assert well.login("phone").returncode == 1
    well.enroll("tablet")
    assert_mended(well, "tablet")


@pytest.mark.provokes(r"the disk is nearly full")
def test_a_disk_that_is_nearly_full(well: ChatServer):
    well.stop_daemon()
    # A file system of its own, as /var is on many a server.
    well.machine.run(f"mv {STORE} /root/store && mkdir {STORE} && mount -t tmpfs -o size=256m small {STORE} && cp -aT /root/store {STORE}")
    well.start_daemon()
    assert_mended(well)

    def is_nearly_full() -> bool:
        status = well.status()
        assert status
        return status["store"]["disk_nearly_full"]

    filler = f"{STORE}/forgotten.log"
    well.machine.run(f"head -c 210M /dev/zero > {filler}")
    problem = problem_of(well, "disk", STORE, "nothing is added")
    # Nobody new gets in, and whoever is in stays.
    wait_until("the daemon has seen that, too", is_nearly_full)
    refused = well.try_to_enroll("tablet")
    assert refused.returncode != 0, refused.stdout
    well.assert_logs_in("phone")
    # The command names what can go.
    largest = well.machine.run(problem["mend"]["run"]).splitlines()
    assert any(filler in line for line in largest[-3:]), largest
    well.machine.run(f"rm {filler}")
    wait_until("the daemon has seen the room", lambda: not is_nearly_full())
    assert_mended(well)
    well.enroll("laptop")


def test_nobody_asks_for_certificates(well: ChatServer):
    well.set_globally("saslcertd_manage_tls = false")
    well.restart_prosody()
    assert well.login("phone").returncode == 1
    well.follow(problem_of(well, "tls", "saslcertd_manage_tls is false")["mend"])
    assert_mended(well)
