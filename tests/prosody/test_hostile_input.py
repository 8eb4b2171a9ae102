"""What a stranger can send: each gets the answer that was designed for it, and a bystander logs in meanwhile."""

import asyncio
import json

import pytest

import certs
from connection import Refused, StreamEnded
from scene import Bystander, Scene


def question(method: str, params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()


#: What is sent on the daemon's socket, and the error code that it gets.
BAD_LINES = {
    "over-long": (b'{"jsonrpc":"2.0","id":7,"method":"' + b"a" * 300_000 + b'"}', -32700),
    "half a question": (b'{"jsonrpc":"2.0","id":7,"meth', -32700),
    "not UTF-8": (b'{"jsonrpc":"2.0","id":7,"method":"\xff\xfe"}', -32700),
    "deeply nested": (b"[" * 5000 + b"]" * 5000, -32700),
    "not a question": (b'{"hello":"world"}', -32600),
    "unknown method": (question("external.logout", {}), -32601),
    "wrong type": (question("external.offer", {"host": 5, "chain": []}), -32602),
    "undeclared host": (question("external.offer", {"host": "elsinore.lit", "chain": ["AA=="]}), -32002),
}


@pytest.mark.parametrize("line, code", BAD_LINES.values(), ids=BAD_LINES.keys())
async def test_a_bad_line_costs_nothing_but_itself(scene: Scene, line: bytes, code: int):
    bystander = scene.account()
    phone = await scene.enrol(bystander)
    async with Bystander(scene, bystander, phone):
        reader, writer = await asyncio.open_unix_connection(str(scene.daemon.socket), limit=2**23)

        async def answer_to(line: bytes) -> dict:
            writer.write(line + b"\n")
            await writer.drain()
            return json.loads(await asyncio.wait_for(reader.readline(), 10))

        await answer_to(question("session.hello", {"protocol": 2, "software": "a test", "hosts": []}))
        for _ in range(3):
            refusal = await answer_to(line)
            assert refusal["error"]["code"] == code, refusal
            assert refusal["error"]["data"]["sasl"] == "temporary-auth-failure"
            assert refusal["id"] == (None if code == -32700 else refusal["id"])
        assert (await answer_to(question("status", {})))["result"]["healthy"]
        writer.close()


async def test_a_question_that_never_ends_disturbs_nobody(scene: Scene):
    bystander = scene.account()
    phone = await scene.enrol(bystander)
    async with Bystander(scene, bystander, phone) as somebody:
        writers = []
        for _ in range(20):
            _, writer = await asyncio.open_unix_connection(str(scene.daemon.socket))
            writer.write(b'{"jsonrpc":"2.0","id":7,"meth')
            writers.append(writer)
        seen = somebody.rounds
        while somebody.rounds < seen + 3:
            await asyncio.sleep(0.01)
        for writer in writers:
            writer.close()


async def test_a_chain_of_eight_large_certificates_before_login_is_not_admitted_and_disturbs_nobody(scene: Scene, direct_tls: bool):
    account, bystander = scene.account(), scene.account()
    phone = await scene.enrol(bystander)
    large = [scene.certificate(account, padding=11_000) for _ in range(8)]
    async with Bystander(scene, bystander, phone):
        for _ in range(5):
            async with await scene.open(certificate=certs.with_chain(large[0], large[1:]), direct_tls=direct_tls) as stream:
                assert "EXTERNAL" not in stream.mechanisms
                with pytest.raises(Refused):
                    await stream.external()
                await stream.scram(account.username, account.password)
                await stream.bind()


async def test_an_enrolled_certificate_with_a_needless_chain_logs_in(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    chain = certs.with_chain(phone, [scene.certificate(account) for _ in range(3)])
    async with await scene.certificate_session(account, chain, direct_tls=direct_tls):
        pass


async def test_an_enrolled_certificate_logs_in_however_long_the_chain_behind_it_is(scene: Scene, direct_tls: bool):
    account = scene.account()
    phone = await scene.enrol(account)
    # More than six, one of over 24 KiB of base64, and over 64 KiB together.
    others = [scene.certificate(account, padding=20_000)] + [scene.certificate(account, padding=4_000) for _ in range(9)]
    async with await scene.certificate_session(account, certs.with_chain(phone, others), direct_tls=direct_tls):
        pass


@pytest.mark.parametrize("size", [150_000, 1_000_000], ids=["150 kB", "1 MB"])
async def test_an_append_that_is_too_large_is_refused_and_disturbs_nobody(scene: Scene, size: int):
    account, bystander = scene.account(), scene.account()
    phone = await scene.enrol(bystander)
    async with Bystander(scene, bystander, phone), await scene.password_session(account) as stream:
        if size < 256_000:
            with pytest.raises(Refused) as refusal:
                await stream.append("phone", "A" * size)
            assert refusal.value.type in ("modify", "cancel")
            await stream.ping()
        else:
            # More than Prosody takes in one stanza: it ends that client's stream by itself.
            with pytest.raises(StreamEnded) as ended:
                await stream.append("phone", "A" * size)
            assert ended.value.condition == "policy-violation"
    async with await scene.password_session(account) as stream:
        assert await stream.certificates() == {}


BAD_CERTIFICATES = {
    "nothing": "",
    "not base64": "no, indeed!",
    "not a certificate": "aGVsbG8=",
    "cut short": lambda good: good[: len(good) // 2 // 4 * 4],
    "bytes behind": lambda good: good.rstrip("=") + "AAAA",
    "a PEM header": lambda good: "-----BEGIN CERTIFICATE-----\n" + good,
}


@pytest.mark.parametrize("text", BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES.keys())
async def test_what_is_no_certificate_may_not_be_enrolled(scene: Scene, text):
    account = scene.account()
    async with await scene.password_session(account) as stream:
        with pytest.raises(Refused) as refusal:
            await stream.append("phone", text if isinstance(text, str) else text(scene.certificate(account).base64))
        assert refusal.value.type == "modify"
        await stream.ping()


@pytest.mark.parametrize("initial", ["!!!", b"\xff\xfe", b"hamlet\0@x", b"a" * 5000, b"@@//"], ids=str)
async def test_a_nonsensical_authzid_is_refused_and_the_stream_goes_on(scene: Scene, initial: bytes | str):
    account = scene.account()
    phone = await scene.enrol(account)
    async with await scene.open(certificate=phone) as stream:
        with pytest.raises(Refused) as refusal:
            await stream.authenticate("EXTERNAL", initial)
        assert refusal.value.condition in ("incorrect-encoding", "invalid-authzid", "malformed-request", "not-authorized")
        await stream.scram(account.username, account.password)
