"""The end of a link, through both Prosodys: a thousand want to be the one that uses it, or its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import PROSODY_VERSIONS, observed
from connection import Refused
from processes import wait_until
from prosody import PAGE_MODULE, USUAL_MODULES, Config, Host
from rig import Rig
from scene import DOMAIN, Account, Scene
from test_links import ROME, create, is_there, post, redeem

HOSTS = [Host(DOMAIN), Host(ROME, 'authentication = "saslcertd"')]
MODULES = [*USUAL_MODULES, PAGE_MODULE]
#: So many at once, each so often: Prosody may have no more than 1,024 files open.
CONNECTIONS, TIMES = 200, 5


#: Links, each with its account and its end.
Links = list[tuple[Account, str, int]]


@pytest.fixture(scope="session", autouse=True)
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Rig, Links]]]:
    """With each Prosody, links that live as short as one can: their end comes while others are tried."""
    with contextlib.ExitStack() as stack:
        begun = {}
        for version in PROSODY_VERSIONS:
            rig = stack.enter_context(Rig(version, Config(hosts=HOSTS, modules=MODULES)))
            rig.start()
            rig.check_logs()
            begun[version] = rig, begin(Scene(rig, tmp_path_factory.mktemp("links")))
        yield begun


def begin(scene: Scene) -> Links:
    wishes = [("add", scene.account()), ("replace", scene.account()), ("new", Account("yorick")), ("new", Account("yorick", ROME))]
    links = []
    for kind, account in wishes:
        made = scene.daemon.command("link", "create", account.jid, "--kind", kind, "--expires", "1m", "--json")
        assert made.returncode == 0, made.stderr
        token = json.loads(made.stdout)["url"].partition("#")[2]
        status, _, seen = post(scene, {"token": token}, account.host)
        assert (status, seen["kind"]) == (200, kind), seen
        links.append((account, token, seen["expires"]))
    return links


async def redeem_often(scene: Scene, body: dict[str, Any], host: str, number: int, starts: asyncio.Barrier) -> list[tuple[int, Any, int]]:
    """Status, JSON and this number for each of the answers to the same body, over one connection that was open before anybody began."""
    context = ssl.create_default_context(cafile=str(scene.prosody.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.prosody.https_port, ssl=context, server_hostname=host)
    text = json.dumps(body)
    head = [
        "POST /devices/redeem HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(text)}",
        # Guesses are counted as they are in earnest: each has an address of its own, which the proxy on this machine says.
        f"X-Forwarded-For: 10.0.{number // 250}.{number % 250 + 1}",
    ]
    question = ("\r\n".join([*head, "", ""]) + text).encode()
    found = []
    await starts.wait()
    try:
        for _ in range(TIMES):
            writer.write(question)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"(?i)^content-length: (\d+)", answer, re.MULTILINE)
            assert length, answer
            found.append((int(answer.split()[1]), json.loads(await reader.readexactly(int(length[1]))), number))
    finally:
        writer.close()
    return found


@pytest.mark.parametrize(("kind", "host"), [("add", DOMAIN), ("replace", DOMAIN), ("new", DOMAIN), ("new", ROME)])
async def test_of_a_thousand_that_redeem_a_link_at_once_one_has_it(own_scene: Callable[..., Scene], kind: str, host: str):
    scene = own_scene(Config(hosts=HOSTS, modules=MODULES, timeout=30))
    account = Account("fortinbras", host) if kind == "new" else scene.account(host=host)
    token = create(scene, account.jid, kind)
    certificates = [scene.certificate(account) for _ in range(CONNECTIONS)]
    bodies = [{"token": token, "name": f"Phone {number}", "certificate": one.base64} for number, one in enumerate(certificates)]
    starts = asyncio.Barrier(CONNECTIONS)
    found = await asyncio.gather(*(redeem_often(scene, body, host, number, starts) for number, body in enumerate(bodies)))
    answers = [answer for each in found for answer in each]
    assert len(answers) == CONNECTIONS * TIMES
    said = Counter((status, body.get("error")) for status, body, _ in answers)
    assert said == {(200, None): 1, (404, "link-unknown"): len(answers) - 1}, said
    assert len({body["text"] for status, body, _ in answers if status == 404}) == 1
    [(body, winner)] = [(body, number) for status, body, number in answers if status == 200]
    assert body == {"account": account.jid, "kind": kind, "name": f"Phone {winner}"}
    assert [record["fingerprint"] for record in scene.records(account)] == [certificates[winner].fingerprint]
    async with await scene.certificate_session(account, certificates[winner]):
        pass
    for loser in (winner - 1, (winner + 1) % CONNECTIONS):
        with pytest.raises(Refused):
            await scene.certificate_session(account, certificates[loser])
    assert scene.daemon.ask("link.list", {"account": account.jid})["links"] == []
    assert scene.prosody.read_log().count(f"Registered by a link: {account.jid}") == (kind == "new")


async def test_a_link_whose_time_is_over_does_nothing(
    short_lived: dict[str, tuple[Rig, Links]], version: str, tmp_path: Path, request: pytest.FixtureRequest,
):
    rig, links = short_lived[version]
    with observed(rig, tmp_path, request, rig.log_positions()) as scene:
        await do_nothing(scene, links)


async def do_nothing(scene: Scene, links: Links) -> None:
    hamlet, gertrude = links[0][0], links[1][0]
    lost = await scene.enrol(gertrude, "phone")
    end = max(expires for *_, expires in links)
    await asyncio.to_thread(wait_until, "the time of all links is over", lambda: time.time() > end, 90)
    for account, token, _ in links:
        certificate = scene.certificate(account)
        status, _, refused = await asyncio.to_thread(post, scene, {"token": token}, account.host)
        assert (status, refused["error"]) == (404, "link-unknown"), refused
        status, refused = await asyncio.to_thread(redeem, scene, token, "Phone", certificate, account.host)
        assert (status, refused["error"]) == (404, "link-unknown"), refused
        with pytest.raises(Refused):
            await scene.certificate_session(account, certificate)
    assert scene.daemon.ask("link.list", {})["links"] == []
    assert scene.records(hamlet) == [] and [record["name"] for record in scene.records(gertrude)] == ["phone"]
    async with await scene.certificate_session(gertrude, lost):
        pass
    # Nobody has been made.
    for account, *_ in links[2:]:
        assert not await asyncio.to_thread(is_there, scene, account)
