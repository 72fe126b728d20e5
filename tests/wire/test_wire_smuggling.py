"""Only CRLF.CRLF ends content, whatever the forms and however the octets are cut into segments."""

from __future__ import annotations

import asyncio

import pytest
from client import connect
from house import house

FORMS = {
    "bare CR": b"a\rb",
    "bare LF": b"a\nb",
    "LF.LF": b"a\n.\nb",
    "CRLF.LF": b"a\r\n.\nb",
    "LF.CRLF": b"a\n.\r\nb",
    "CR.CR": b"a\r.\rb",
    "CRLF.CR": b"a\r\n.\rb",
    "CR.CRLF": b"a\r.\r\nb",
    "CRCRLF": b"a\r\r\nb",
    "LFCR": b"a\n\rb",
    "NUL.CRLF": b"a\r\n\0.\r\nb\n",
}
TAIL = b"\r\nMAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n\r\n.\r\n"


@pytest.mark.parametrize("form", FORMS)
async def test_refused_after_the_true_final_dot_and_closed(form: str) -> None:
    async with house() as h, connect(h.port) as c:
        await c.envelope()
        await c.send(b"Subject: x\r\n\r\n" + FORMS[form] + b"\r\nMAIL FROM:<smuggled@evil.example>\r\n.\r\n")
        said = await c.reply()
        assert said.status == "554 5.5.2"
        assert (await c.reply()).code == 0
        assert h.relay.kept == []


@pytest.mark.parametrize("form", FORMS)
async def test_normalised_where_the_policy_says_so(form: str) -> None:
    async with house(bare="normalize") as h, connect(h.port) as c:
        await c.envelope()
        await c.send(b"Subject: x\r\n\r\n" + FORMS[form] + b"\r\n.\r\n")
        assert (await c.reply()).status == "250 2.0.0"
        assert (await c.ask("NOOP")).code == 250
        kept = h.relay.kept[0]
        assert kept.count(b"\r") == kept.count(b"\n") == kept.count(b"\r\n")


CONTENT = b"Subject: x\r\n\r\n..one\r\n.\r.\n.two\r\n\r\n...\r\n"
GOOD = b"Subject: x\r\n\r\n..one\r\n...\r\n\r\nend\r\n"


async def test_same_content_split_at_every_octet() -> None:
    whole = GOOD + b".\r\nNOOP\r\n"
    async with house() as h:
        for cut in range(1, len(whole)):
            async with connect(h.port) as c:
                await c.envelope()
                await c.send(whole[:cut])
                await asyncio.sleep(0.002)
                await c.send(whole[cut:])
                assert (await c.reply()).status == "250 2.0.0"
                assert (await c.reply()).status == "250 2.0.0"
        assert set(h.relay.kept) == {b"Subject: x\r\n\r\n.one\r\n..\r\n\r\nend\r\n"}


async def test_one_octet_at_a_time() -> None:
    async with house() as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        for line in (b"EHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<u@example.com>\r\n", b"DATA\r\n", GOOD + b".\r\n"):
            for octet in line:
                await c.send(bytes([octet]))
                await asyncio.sleep(0)
            assert (await c.reply()).code in (250, 354)
        assert h.relay.kept == [b"Subject: x\r\n\r\n.one\r\n..\r\n\r\nend\r\n"]


async def test_bad_content_is_bad_at_every_split() -> None:
    whole = CONTENT + b".\r\n"
    async with house(sessions_per_client=1000, sessions_per_network=1000) as h:
        for cut in range(1, len(whole)):
            async with connect(h.port) as c:
                await c.envelope()
                await c.send(whole[:cut])
                await asyncio.sleep(0.002)
                await c.send(whole[cut:])
                assert (await c.reply()).status == "554 5.5.2"
        assert h.relay.kept == []


@pytest.mark.parametrize("bad", [b"NO\nOP", b"NO\rOP", b"NO\0OP", b"NOOP\n", b"NOOP\r", b"\nNOOP", b"NOOP\nRSET\nRSET"])
async def test_a_broken_command_line_is_one_line(bad: bytes) -> None:
    for cut in range(len(bad) + 2):
        async with house() as h, connect(h.port) as c:
            await c.reply()
            whole = bad + b"\r\nQUIT\r\n"
            await c.send(whole[:cut])
            await asyncio.sleep(0.002)
            await c.send(whole[cut:])
            assert (await c.reply()).status == "500 5.5.2"
            assert (await c.reply()).status == "221 2.0.0"


async def test_a_bare_lf_is_answered_at_once() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.send(b"EHLO x\n")
        assert (await c.reply()).status == "500 5.5.2"


@pytest.mark.parametrize(("octets", "status"), [(2046, "250 2.0.0"), (2047, "500 5.5.2"), (9000, "500 5.5.2")])
async def test_command_length_at_its_limit(octets: int, status: str) -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        assert (await c.ask(b"NOOP " + b"x" * (octets - 5))).status == status
        assert (await c.ask("QUIT")).code == 221
