"""The user's own list (XEP-0257), and what a login with a certificate gives (XEP-0178). Numbers are those of our checklist."""

import base64
import datetime
import json

import pytest

from raw import SASL, SASLCERT, Refused, local_name
from scene import Scene, eventually


async def test_disco_names_the_feature_on_the_host_and_on_the_account(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        assert SASLCERT in await stream.features_of(account.host)
        assert SASLCERT in await stream.features_of(account.jid)


async def test_the_list_names_the_live_resources_of_each_certificate(scene: Scene):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    async with await scene.password_session(account, "desk") as desk:
        async with await scene.certificate_session(account, phone, "orchard"), await scene.certificate_session(account, phone, "balcony"):
            listed = await desk.certificates()
            assert list(listed) == ["phone", "laptop"]
            assert sorted(listed["phone"].users) == ["balcony", "orchard"]
            assert listed["laptop"].users == ()
            assert base64.b64decode(listed["laptop"].certificate) == laptop.der


async def test_a_closed_session_is_no_longer_listed(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone, "orchard") as gone:
        await gone.send("</stream:stream>")
        await gone.wait_closed()
    async with await scene.password_session(account) as desk:
        assert (await desk.certificates())["phone"].users == ()


async def test_external_is_offered_only_with_a_certificate_that_can_log_in(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, stranger = await scene.enrol(account), scene.certificate(account)
    for certificate, offered in [(phone, 1), (stranger, 0), (None, 0)]:
        async with await scene.open(certificate=certificate, direct_tls=direct_tls) as stream:
            assert stream.mechanisms.count("EXTERNAL") == offered
            assert "SCRAM-SHA-1" in stream.mechanisms


async def test_a_certificate_that_nobody_enrolled_is_refused_and_the_stream_goes_on(scene: Scene, direct_tls: bool):
    account = scene.account()
    async with await scene.open(certificate=scene.certificate(account), direct_tls=direct_tls) as stream:
        with pytest.raises(Refused) as refusal:
            await stream.external()
        assert refusal.value.condition in ("not-authorized", "invalid-mechanism")
        await stream.scram(account.username, account.password)
        await stream.bind()


@pytest.mark.parametrize("form", ["equals sign", "empty", "none"])
async def test_an_absent_authzid_means_the_address_in_the_certificate(scene: Scene, form: str):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        if form == "none":
            challenge = await stream.start_authentication("EXTERNAL", None)
            # Prosody writes an empty challenge as "=".
            assert challenge.tag == f"{{{SASL}}}challenge" and challenge.text in (None, "", "=")
            await stream.finish_authentication(await stream.respond(b""))
        else:
            answer = await stream.start_authentication("EXTERNAL", "=" if form == "equals sign" else "")
            if local_name(answer) == "challenge":
                answer = await stream.respond(b"")
            await stream.finish_authentication(answer)
        assert (await stream.bind("orchard")) == f"{account.jid}/orchard"


async def test_an_authzid_equal_to_the_address_is_accepted(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        await stream.external(account.jid)
        assert (await stream.bind()).startswith(account.jid + "/")


async def test_an_authzid_of_somebody_else_is_refused_as_invalid_authzid(scene: Scene):
    account, other = scene.account(), scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        with pytest.raises(Refused, match="^invalid-authzid"):
            await stream.external(other.jid)
        await stream.external()
        await stream.bind()


async def test_a_full_address_binds_its_resource_whatever_the_client_asks_for(scene: Scene):
    account = scene.account()
    phone = scene.certificate(f"{account.jid}/orchard")
    await scene.enrol(account, "phone", phone)
    async with await scene.open(certificate=phone) as stream:
        await stream.external()
        assert await stream.bind("balcony") == f"{account.jid}/orchard"


async def test_a_new_session_of_a_full_address_replaces_the_old_one(scene: Scene):
    account = scene.account()
    phone = scene.certificate(f"{account.jid}/orchard")
    await scene.enrol(account, "phone", phone)
    async with await scene.certificate_session(account, phone) as old, await scene.certificate_session(account, phone) as new:
        assert new.jid == f"{account.jid}/orchard"
        assert (await old.wait_closed(5)).condition == "conflict"
        await new.ping()


async def test_a_certificate_of_two_accounts_opens_the_one_that_the_authzid_names(scene: Scene):
    account, other = scene.account(), scene.account()
    both = scene.certificate(account, other)
    for owner in (account, other):
        await scene.enrol(owner, "ours", both)
    for authzid in (account.jid, other.jid):
        async with await scene.open(certificate=both) as stream:
            await stream.external(authzid)
            assert (await stream.bind()).startswith(authzid + "/")
    async with await scene.open(certificate=both) as stream:
        with pytest.raises(Refused, match="^invalid-authzid"):
            await stream.external()


async def test_a_certificate_that_expires_is_no_longer_offered_and_refused_as_credentials_expired(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, certificate=scene.certificate(account, not_after=datetime.timedelta(seconds=3)))
    async with await scene.open(certificate=phone) as early:
        assert "EXTERNAL" in early.mechanisms

        async def is_withdrawn() -> bool:
            async with await scene.open(certificate=phone) as stream:
                return "EXTERNAL" not in stream.mechanisms

        await eventually("the certificate expires", is_withdrawn)
        with pytest.raises(Refused, match="^credentials-expired"):
            await early.external()


async def test_an_expired_certificate_may_not_be_enrolled(scene: Scene):
    account = scene.account()
    old = scene.certificate(account, not_before=datetime.timedelta(days=-2), not_after=datetime.timedelta(days=-1))
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused, match="^not-acceptable"):
            await desk.append("old", old.base64)


async def test_a_session_that_logged_in_with_a_certificate_may_not_change_the_password_or_remove_the_account(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    change = f"<username>{account.username}</username><password>stolen</password>"
    async with await scene.certificate_session(account, phone) as stream:
        for what in (change, "<remove/>"):
            for to in (None, account.host):
                with pytest.raises(Refused, match="^not-authorized"):
                    await stream.iq("set", f"<query xmlns='jabber:iq:register'>{what}</query>", to=to)
    async with await scene.password_session(account) as desk:
        await desk.iq("set", f"<query xmlns='jabber:iq:register'>{change}</query>", to=account.host)
    async with await scene.open() as stream:
        await stream.scram(account.username, "stolen")


async def test_a_disabled_certificate_is_refused_but_its_session_lives_on(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as living, await scene.password_session(account) as desk:
        await desk.disable("phone")
        await living.ping()
        assert await desk.certificates() == {}
        async with await scene.open(certificate=phone) as stream:
            assert "EXTERNAL" not in stream.mechanisms
            with pytest.raises(Refused):
                await stream.external()


async def test_a_disabled_certificate_may_be_enrolled_again(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account) as desk:
        await desk.disable("phone")
        await desk.append("phone again", phone.base64)
    async with await scene.certificate_session(account, phone):
        pass


async def test_revocation_ends_every_session_of_the_certificate_and_no_other(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone, laptop = await scene.enrol(account, "phone"), await scene.enrol(account, "laptop")
    async with (
        await scene.password_session(account) as desk,
        await scene.certificate_session(account, laptop) as spared,
        await scene.certificate_session(account, phone, direct_tls=direct_tls) as first,
        await scene.certificate_session(account, phone, direct_tls=direct_tls) as second,
        await scene.open(certificate=phone, direct_tls=direct_tls) as unbound,
    ):
        await unbound.external()
        await desk.revoke("phone")
        for ended in (first, second, unbound):
            assert (await ended.wait_closed(5)).condition == "not-authorized"
        await desk.ping()
        await spared.ping()
        assert list(await desk.certificates()) == ["laptop"]


async def test_revoked_certificate_is_refused(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone, direct_tls=direct_tls) as waiting, await scene.password_session(account) as desk:
        assert "EXTERNAL" in waiting.mechanisms
        await desk.revoke("phone")
        with pytest.raises(Refused, match="^not-authorized"):
            await waiting.external()
        async with await scene.open(certificate=phone, direct_tls=direct_tls) as stream:
            assert "EXTERNAL" not in stream.mechanisms


async def test_revoked_key_may_not_be_enrolled_again_under_any_name(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.password_session(account) as desk:
        await desk.revoke("phone")
        with pytest.raises(Refused):
            await desk.append("phone", phone.base64)
        with pytest.raises(Refused):
            await desk.append("another name", phone.base64)


async def test_a_session_that_revokes_its_own_certificate_gets_its_answer_first(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as stream:
        await stream.revoke("phone")
        assert (await stream.wait_closed(5)).condition == "not-authorized"


async def test_a_resumed_session_of_a_revoked_certificate_does_not_come_back(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.certificate_session(account, phone) as stream, await scene.password_session(account) as desk:
        await stream.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        enabled = await stream.read()
        assert local_name(enabled) == "enabled"
        stream.drop()
        await desk.revoke("phone")
        async with await scene.open() as again:
            await again.scram(account.username, account.password)
            await again.send(f"<resume xmlns='urn:xmpp:sm:3' h='0' previd='{enabled.get('id')}'/>")
            assert local_name(await again.read()) == "failed"


async def test_a_certificate_without_management_may_list_but_not_change(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    async with await scene.password_session(account) as desk:
        await desk.append("phone", phone.base64, may_manage=False)
    async with await scene.certificate_session(account, phone) as stream:
        assert list(await stream.certificates()) == ["phone"]
        for change in (stream.append("tablet", scene.certificate(account).base64), stream.disable("phone"), stream.revoke("phone")):
            with pytest.raises(Refused, match="^forbidden"):
                await change


async def test_a_name_that_is_taken_is_a_conflict_and_one_that_is_unknown_is_not_found(scene: Scene):
    account = scene.account()
    await scene.enrol(account, "phone")
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused, match="^conflict"):
            await desk.append("phone", scene.certificate(account).base64)
        for change in (desk.disable("tablet"), desk.revoke("tablet")):
            with pytest.raises(Refused, match="^item-not-found"):
                await change


async def test_a_certificate_that_names_somebody_else_may_not_be_enrolled(scene: Scene):
    account, other = scene.account(), scene.account()
    async with await scene.password_session(account) as desk:
        with pytest.raises(Refused):
            await desk.append("phone", scene.certificate(other).base64)
        assert await desk.certificates() == {}


async def test_white_space_inside_the_certificate_is_ignored(scene: Scene):
    account = scene.account()
    phone = scene.certificate(account)
    wrapped = "\n".join(phone.base64[at : at + 64] for at in range(0, len(phone.base64), 64))
    async with await scene.password_session(account) as desk:
        await desk.append("phone", f"\n  {wrapped}\n")
    async with await scene.certificate_session(account, phone):
        pass


async def test_the_account_is_told_of_every_change_to_its_certificates(scene: Scene):
    account = scene.account()
    async with await scene.password_session(account) as desk:
        await desk.send("<presence/>")
        await desk.append("my phone", scene.certificate(account).base64)
        told = await desk.message(5)
        assert told.get("from") == account.host
        assert "my phone" in (told.findtext("{jabber:client}body") or "")


async def test_what_the_client_was_told_is_what_the_daemon_has(scene: Scene):
    account = scene.account()
    phone = await scene.enrol(account, "Ophelia's «phone» & more")
    async with await scene.certificate_session(account, phone, "orchard"):
        (record,) = scene.records(account)
        assert record["name"] == "Ophelia's «phone» & more"
        assert (record["fingerprint"], record["key_id"]) == (phone.fingerprint, phone.key_id)
        assert record["resources"] == ["orchard"]
        listed = scene.daemon.command("cert", "list", account.jid, "--json")
        assert listed.returncode == 0, listed.stderr
        assert phone.fingerprint in json.dumps(json.loads(listed.stdout))
