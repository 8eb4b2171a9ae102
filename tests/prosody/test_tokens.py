"""Tokens: what a session may do that logged in with one; and on hosts whose accounts live in the daemon no session begins without
its yes, whatever the client has logged in by."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import SASL2_MODULES, SASL2_VERSION, observed
from connection import Refused
from namespaces import BIND2, CLIENT, SMACKS
from processes import wait_until
from prosody import USUAL_MODULES, Config, Host
from raw import Stream
from rig import Rig
from rome import ROME
from scene import PASSWORD, Account, Scene
from test_conformance_login import condition_of
from test_sasl2 import token_of, token_request, with_token

#: A module of somebody else that has a mechanism of its own: who says to be somebody is believed.
OTHER_MECHANISM = f"""
> local provider = require "core.usermanager".get_provider("{ROME}");
local inner = provider.get_sasl_handler;
provider.get_sasl_handler = function (session)
  local handler = inner(session);
  local select, process = handler.select, handler.process;
  handler.select = function (self, name) if name == "X-TRUST" then self.selected = name; return true; end return select(self, name); end;
  handler.process = function (self, message)
    if self.selected ~= "X-TRUST" then return process(self, message); end
    self.username = message;
    return "success";
  end;
  return handler;
end;
""".replace("\n", " ").strip()


def made(scene: Scene, username: str, enabled: bool = True) -> Account:
    """An account in the daemon."""
    account = Account(username, ROME)
    scene.daemon.ask("account.create", {"account": account.jid, "password": PASSWORD, "caller": "server"})
    if not enabled:
        scene.daemon.ask("account.disable", {"account": account.jid})
    return account


# --- tokens of before (XEP-0484) ------------------------------------------------------------------


@pytest.fixture
def moving(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A Prosody with SASL2 whose host will move into the daemon."""
    with Rig(SASL2_VERSION, Config(hosts=[Host(ROME)], modules=[*USUAL_MODULES, *SASL2_MODULES])) as rig:
        rig.start()
        with observed(rig, tmp_path, request) as scene:
            yield scene


async def test_tokens_of_before_a_host_moved_let_nobody_in(moving: Scene):
    scene = moving
    names = ("moved", "disabled", "left-behind")
    tokens = {}
    for name in names:
        account = scene.account(name, ROME)
        async with await scene.open(ROME, claims=account.jid) as stream:
            tokens[account] = token_of(await stream.plain2(name, account.password, inline=token_request()))
    store = scene.prosody.folder / "data" / "rome%2elit" / "fast_tokens"
    kept = shutil.copytree(store, scene.prosody.folder / "kept")
    assert len(list(kept.iterdir())) == len(names)
    # The mod_sasl2_fast of 2026 refuses by itself what is older than the account's password.
    for file in kept.iterdir():
        text, tokens_there = re.subn(r'(?<=\["issued_at"\] = )[^;]+', str(time.time() + 3600), file.read_text())
        assert tokens_there == 1, text
        file.write_text(text)
    scene.prosody.stop()
    made(scene, "moved")
    made(scene, "disabled", enabled=False)
    scene.rig.config.hosts[0] = Host(ROME, 'authentication = "saslcertd"\nsaslcertd_guess_delay_max = 0')
    scene.prosody.start()
    scene.rig.wait_attached()
    wait_until("the tokens are revoked", lambda: not list(store.iterdir()))

    async def refusals() -> set[str]:
        found = set()
        for inline in ("", f"<bind xmlns='{BIND2}'><tag>a client</tag></bind>", f"<resume xmlns='{SMACKS}' h='0' previd='x'/>"):
            for account, token in tokens.items():
                async with await scene.open(ROME, claims=account.jid) as stream:
                    assert token
                    found.add(await condition_of(with_token(stream, account, token, inline)))
                    with pytest.raises(Refused):
                        await stream.bind()
        return found

    assert await refusals() == {"not-authorized"}
    # Should one of them be there still, the daemon does not say yes.
    shutil.copytree(kept, store, dirs_exist_ok=True)
    assert await refusals() == {"not-authorized"}
    assert f"moved@{ROME}" in " ".join(line for line in scene.daemon.read_log().splitlines() if "account.admit: no" in line)
    assert scene.daemon.stop() == 0
    try:
        shutil.copytree(kept, store, dirs_exist_ok=True)
        assert await refusals() == {"temporary-auth-failure"}
    finally:
        scene.daemon.start()
        scene.rig.wait_attached()
    async with await scene.open(ROME, claims=f"moved@{ROME}") as stream:
        await stream.plain2("moved", PASSWORD)
        await stream.bind()


# --- what a token may do ---------------------------------------------------------------------------


def bearer_token(scene: Scene, account: Account) -> str:
    """A token of mod_tokenauth's, as an OAuth server would give it out."""
    said = scene.prosody.shell(
        f'> local tokenauth, jid = require "core.modulemanager".get_module("{account.host}", "tokenauth"), "{account.jid}"; '
        'return (tokenauth.create_token(jid, tokenauth.create_grant(jid, jid, 3600, {}), nil, 3600, "oauth2"))'
    )
    token = re.search(r"secret-token:[A-Za-z0-9+/=]+", said)
    assert token, said
    return token[0]


@pytest.mark.parametrize("kind", ["OAUTHBEARER", "FAST"])
async def test_who_logged_in_with_a_token_may_list_disable_and_revoke_but_not_add(with_sasl2: Scene, kind: str):
    scene = with_sasl2
    account = scene.account()
    phone, tablet = await scene.enrol(account, "phone"), await scene.enrol(account, "tablet")
    if kind == "FAST":
        async with await scene.open(claims=account.jid) as stream:
            token = token_of(await stream.plain2(account.username, account.password, inline=token_request()))
    else:
        token = bearer_token(scene, account)
    assert token
    async with await scene.open(claims=account.jid) as stream:
        if kind == "FAST":
            await with_token(stream, account, token)
        else:
            await stream.authenticate("OAUTHBEARER", f"n,,\1auth=Bearer {token}\1\1".encode())
        await stream.bind()
        assert set(await stream.certificates()) == {"phone", "tablet"}
        assert await condition_of(stream.append("another", scene.certificate(account).base64)) == "forbidden"
        async with await scene.certificate_session(account, phone) as lost:
            await stream.revoke("phone")
            assert (await lost.wait_closed(5)).condition == "not-authorized"
        await stream.send("<presence/>")
        await stream.disable("tablet")
        # What came before tells of the password that they were added with.
        while "logged in with a token" not in (await stream.message()).findtext(f"{{{CLIENT}}}body", ""):
            pass
        with pytest.raises(Refused, match="^forbidden"):
            await stream.append("tablet", tablet.base64)
    async with await scene.open(claims=account.jid) as stream:
        await stream.plain2(account.username, account.password, inline=f"<bind xmlns='{BIND2}'><tag>desk</tag></bind>")
        await stream.append("tablet", tablet.base64)


# --- other ways ------------------------------------------------------------------------------------


@pytest.fixture
def rome(own_scene) -> Scene:
    host = Host(ROME, 'authentication = "saslcertd"\nsaslcertd_guess_delay_max = 0')
    return own_scene(Config(hosts=[host], modules=[*USUAL_MODULES, "legacyauth"], timeout=3))


async def legacy(stream: Stream, account: Account, resource: str = "old") -> None:
    fields = f"<username>{account.username}</username><password>{account.password}</password><resource>{resource}</resource>"
    await stream.iq("set", f"<query xmlns='jabber:iq:auth'>{fields}</query>")


async def test_no_session_begins_without_the_daemons_yes(rome: Scene):
    scene = rome
    brutus, cato, ghost = made(scene, "brutus"), made(scene, "cato", enabled=False), Account("ghost", ROME)
    scene.prosody.shell(OTHER_MECHANISM)

    async def trusted(account: Account) -> Stream:
        stream = await scene.open(ROME)
        await stream.authenticate("X-TRUST", account.username.encode())
        return stream

    async with await trusted(brutus) as stream:
        await stream.bind("desk")
        await stream.ping()
        token = await stream.enable_resumption()
        async with await scene.open(ROME) as other:
            await legacy(other, brutus)
            await other.ping()
            # Both are closed like any session of the account.
            stream.drop()
            async with await trusted(brutus) as resumed:
                await resumed.resume(token)
                await resumed.ping()
                # One that has not been asked about yet, too.
                async with await trusted(brutus) as early:
                    scene.daemon.ask("account.disable", {"account": brutus.jid})
                    for closed in (resumed, other, early):
                        assert (await closed.wait_closed(5)).condition == "not-authorized"
    for account in (brutus, cato, ghost):
        async with await trusted(account) as stream:
            assert await condition_of(stream.bind()) == "not-authorized"
            assert await condition_of(stream.resume("x")) == "not-authorized"
        async with await scene.open(ROME) as stream:
            assert await condition_of(legacy(stream, account)) == "not-authorized"
    assert scene.daemon.stop() == 0
    try:
        async with await trusted(brutus) as stream:
            assert await condition_of(stream.bind()) == "remote-server-timeout"
            assert await condition_of(stream.resume("x")) == "remote-server-timeout"
        async with await scene.open(ROME) as stream:
            assert await condition_of(legacy(stream, brutus)) == "not-authorized"
    finally:
        scene.daemon.start()
        scene.rig.wait_attached()
