"""BDAT (RFC 3030): counted octets in any split, and what is left of a pipeline when a chunk is refused."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from client import RawClient, connect
from house import house

MESSAGE = b"Subject: hi\r\nFrom: <a@sender.example>\r\n\r\n.one\r\n..two\r\n.\r\nno dot ends it\r\n"
ENVELOPE = b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<user@example.com>\r\n"


def bdat(*chunks: bytes) -> bytes:
    """The chunks, the last with LAST."""
    words = [b"BDAT %d" % len(chunk) for chunk in chunks]
    words[-1] += b" LAST"
    return b"".join(word + b"\r\n" + chunk for word, chunk in zip(words, chunks, strict=True))


async def greet(c: RawClient) -> None:
    assert (await c.reply()).code == 220
    said = await c.ask("EHLO client.example")
    assert "CHUNKING" in said.texts


async def begin(c: RawClient) -> None:
    await c.send(ENVELOPE)
    assert [(await c.reply()).code for _ in range(2)] == [250, 250]


async def test_any_split_gives_the_same_octets() -> None:
    dice = random.Random(3030)
    async with house(transactions=1000) as h, connect(h.port) as c:
        await greet(c)
        cuts = [[n] for n in range(len(MESSAGE) + 1)]
        cuts += [sorted(dice.choices(range(len(MESSAGE) + 1), k=dice.randint(2, 12))) for _ in range(60)]
        for cut in cuts:
            places = [0, *cut, len(MESSAGE)]
            chunks = [MESSAGE[a:b] for a, b in itertools.pairwise(places)]
            await begin(c)
            await c.send(bdat(*chunks))
            for chunk in chunks[:-1]:
                said = await c.reply()
                assert (said.status, said.texts[0]) == ("250 2.0.0", f"{len(chunk)} octets")
            assert (await c.reply()).code == 250
        assert h.relay.kept == [MESSAGE] * len(cuts)


async def test_byte_by_byte_on_the_wire() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        for octet in ENVELOPE + bdat(MESSAGE[:30], b"", MESSAGE[30:]):
            await c.send(bytes([octet]))
            await asyncio.sleep(0)
        assert [(await c.reply()).code for _ in range(5)] == [250] * 5
        assert h.relay.kept == [MESSAGE]


async def test_zero_octets_last_ends_the_content() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        await c.send(bdat(MESSAGE, b""))
        assert [(await c.reply()).code for _ in range(2)] == [250, 250]
        assert h.relay.kept == [MESSAGE]


async def test_an_empty_message() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        assert (await c.ask(b"BDAT 0 LAST")).code == 250
        assert h.relay.kept == [b""]


async def test_a_last_line_without_an_end_gets_one() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        await c.send(bdat(b"Subject: x\r\n\r\nno end"))
        assert (await c.reply()).code == 250
        assert h.relay.kept == [b"Subject: x\r\n\r\nno end\r\n"]


async def test_other_verbs_inside_chunks_are_refused_and_the_chunks_go_on() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        await c.send(b"BDAT 11\r\nSubject: a\r")  # the CRLF is cut in two
        assert (await c.reply()).code == 250
        assert (await c.ask("DATA")).status == "503 5.5.1"
        assert (await c.ask("RCPT TO:<other@example.com>")).status == "503 5.5.1"
        await c.send(b"BDAT 6 LAST\r\n\n\r\nb\r\n")
        assert (await c.reply()).code == 250
        assert h.relay.kept == [b"Subject: a\r\n\r\nb\r\n"]


async def test_bdat_and_data_by_turns() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        for _ in range(2):
            await begin(c)
            await c.send(bdat(MESSAGE[:9], MESSAGE[9:]))
            assert [(await c.reply()).code for _ in range(2)] == [250, 250]
            await c.data()
            await c.send(b"Subject: y\r\n\r\n..dot\r\n.\r\n")
            assert (await c.reply()).code == 250
        assert h.relay.kept == [MESSAGE, b"Subject: y\r\n\r\n.dot\r\n"] * 2


async def test_after_a_refused_chunk_the_rest_of_the_pipeline_is_no_new_message() -> None:
    async with house(message_octets=1000) as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        chunks = [b"Subject: x\r\n\r\n", b"a" * 998 + b"\r\n", b"RSET\r\nNOOP\r\n", b"QUIT\r\n"]
        await c.send(bdat(*chunks) + ENVELOPE + bdat(MESSAGE))
        statuses = [(await c.reply()).status for _ in range(7)]
        assert statuses == ["250 2.0.0", "552 5.3.4", "503 5.5.1", "503 5.5.1", "250 2.1.0", "250 2.1.5", "250 2.0.0"]
        assert h.relay.kept == [MESSAGE]
        assert [record["result"] for record in h.watcher.records] == ["rejected", "accepted"]


async def test_rset_ends_a_spoiled_transaction() -> None:
    async with house(message_octets=1000) as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        assert (await c.ask(b"BDAT 2000\r\n" + b"x" * 1998)).status == "552 5.3.4"
        assert (await c.ask("MAIL FROM:<a@sender.example>")).status == "503 5.5.1"
        assert (await c.ask("RSET")).status == "250 2.0.0"
        await begin(c)
        await c.send(bdat(MESSAGE))
        assert (await c.reply()).code == 250
        assert h.relay.kept == [MESSAGE]


@pytest.mark.parametrize("line", [b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 1 FIRST", b"BDAT 5LAST", b"BDAT 0x10"])
async def test_a_count_that_nobody_can_read_ends_the_session(line: bytes) -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        assert (await c.ask(line)).status == "501 5.5.4"
        assert (await c.reply()).code == 0
        assert h.relay.kept == []


async def test_refused_octets_are_bounded() -> None:
    async with house(message_octets=10_000) as h, connect(h.port) as c:
        await greet(c)
        assert (await c.ask(b"BDAT 20000\r\n" + b"x" * 19_998)).status == "503 5.5.1"
        # the bound is reached: no further octet is read
        assert (await c.ask(b"BDAT 20000")).status == "503 5.5.1"
        assert (await c.reply()).code == 0
        assert h.relay.kept == []


async def test_a_count_beyond_all_reason_is_not_waited_for() -> None:
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        assert (await c.ask(b"BDAT 99999999999999999999 LAST")).status == "552 5.3.4"
        assert (await c.reply()).code == 0
        assert h.relay.kept == []


async def test_a_client_that_leaves_inside_a_chunk() -> None:
    async with house() as h:
        async with connect(h.port) as c:
            await greet(c)
            await begin(c)
            await c.send(b"BDAT 500\r\nSubject: half")
        async with connect(h.port) as c:
            await greet(c)
        for _ in range(100):
            if h.watcher.records:
                break
            await asyncio.sleep(0.02)
        assert h.relay.kept == []
        assert [record["result"] for record in h.watcher.records] == ["aborted"]


async def test_silence_inside_a_chunk_is_421() -> None:
    async with house(data_idle_timeout=0.3) as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        await c.send(b"BDAT 500\r\nSubject: half")
        assert (await c.reply()).status == "421 4.4.2"
        assert h.relay.kept == []


async def test_a_large_message_in_large_chunks_is_spooled() -> None:
    content = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 180_000
    chunks = [content[n : n + 700_001] for n in range(0, len(content), 700_001)]
    async with house() as h, connect(h.port) as c:
        await greet(c)
        await begin(c)
        await c.send(bdat(*chunks))
        for _ in chunks:
            assert (await c.reply()).code == 250
        assert h.relay.kept == [content]
