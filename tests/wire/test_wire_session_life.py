"""Hang-ups in every state, errors of ours, timers, limits and drain."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest
from client import connect
from house import House, house

CONTENT = b"Subject: x\r\n\r\ntext\r\n.\r\n"


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never came true")


async def test_half_close_is_still_answered() -> None:
    async with house() as h, connect(h.port) as c:
        await c.envelope()
        c.writer.write(CONTENT)
        c.writer.write_eof()
        assert (await c.reply()).status == "250 2.0.0"
        assert (await c.reply()).code == 0
        assert len(h.relay.kept) == 1


STATES = [b"", b"EHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<u@example.com>\r\n", b"DATA\r\n", b"Subject: x\r\n"]


@pytest.mark.parametrize("state", range(len(STATES)))
async def test_disconnect_in_each_state(state: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with house() as h:
        async with connect(h.port) as c:
            await c.reply()
            for line in STATES[: state + 1]:
                await c.send(line)
            if 0 < state < 5:
                for _ in range(state):
                    await c.reply()
        await until(lambda: not h.server.sessions)
        assert h.watcher.ended == ["lost"]
        assert h.relay.kept == []
        assert len(h.watcher.records) == (1 if state >= 2 else 0)
    assert caplog.records == []


async def test_a_hand_over_that_has_begun_is_finished() -> None:
    async with house() as h:
        h.relay.gate.clear()
        async with connect(h.port) as c:
            await c.envelope()
            await c.send(CONTENT)
            await asyncio.wait_for(h.relay.began.wait(), 10)
        await asyncio.sleep(0.05)
        h.relay.gate.set()
        await until(lambda: len(h.relay.kept) == 1 and not h.server.sessions)
        assert h.watcher.records[0]["result"] == "accepted"


async def test_a_crash_in_the_relay_is_451_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with house() as h, connect(h.port) as c:
        h.relay.error = RuntimeError("secret /etc/path")
        await c.envelope()
        await c.send(CONTENT)
        said = await c.reply()
        assert said.status == "451 4.3.0"
        assert "secret" not in said.texts[0]
        assert "secret /etc/path" in caplog.text
        h.relay.error = None
        await c.data()
        await c.send(CONTENT)
        assert (await c.reply()).status == "250 2.0.0"


async def test_a_crash_in_the_policy_is_451() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        good, h.policy[0] = h.policy[0], RuntimeError("no policy")
        assert (await c.ask("EHLO x")).status == "451 4.3.0"
        h.policy[0] = good
        assert (await c.ask("EHLO x")).code == 250
        h.policy[0] = RuntimeError("no policy")
        assert (await c.ask("MAIL FROM:<>")).status == "451 4.3.0"
        h.policy[0] = good
        assert (await c.ask("MAIL FROM:<>")).status == "250 2.1.0"


async def test_a_crash_before_the_greeting() -> None:
    async with house() as h:
        h.policy[0] = RuntimeError("no policy")
        async with connect(h.port) as c:
            assert (await c.reply()).status == "451 4.3.0"
            assert (await c.reply()).code == 0
        await until(lambda: not h.server.sessions)


async def test_command_timeout_is_told() -> None:
    async with house(command_timeout=0.2) as h, connect(h.port) as c:
        await c.reply()
        await c.send(b"EHL")
        assert (await c.reply()).status == "421 4.4.2"
        assert (await c.reply()).code == 0
    assert h.watcher.ended == ["timeout"]


async def test_content_timeout_is_told() -> None:
    async with house(data_idle_timeout=0.2) as h, connect(h.port) as c:
        await c.envelope()
        await c.send(b"Subject: x\r\n")
        assert (await c.reply()).status == "421 4.4.2"
        assert (await c.reply()).code == 0
        assert h.relay.kept == []


async def test_slow_content_is_not_cut_while_it_flows() -> None:
    async with house(data_idle_timeout=0.5, command_timeout=0.5) as h, connect(h.port) as c:
        await c.envelope()
        for _ in range(8):
            await c.send(b"Subject: x\r\n")
            await asyncio.sleep(0.1)
        await c.send(b".\r\n")
        assert (await c.reply()).status == "250 2.0.0"


async def test_session_timeout() -> None:
    async with house(session_timeout=0.3) as h, connect(h.port) as c:
        await c.reply()
        for _ in range(20):
            said = await c.ask("NOOP")
            if said.code != 250:
                break
            await asyncio.sleep(0.05)
        assert said.status == "421 4.4.2"


async def test_no_timer_cuts_a_hand_over() -> None:
    async with house(session_timeout=0.3, command_timeout=0.3, data_idle_timeout=0.3) as h, connect(h.port) as c:
        h.relay.gate.clear()
        await c.envelope()
        await c.send(CONTENT)
        await asyncio.sleep(0.6)
        h.relay.gate.set()
        assert (await c.reply()).status == "250 2.0.0"


async def test_errors_end_the_session() -> None:
    async with house(errors_soft=100, errors_hard=3) as h, connect(h.port) as c:
        await c.reply()
        assert (await c.ask("DATA")).status == "503 5.5.1"
        assert (await c.ask("DATA")).status == "503 5.5.1"
        assert (await c.ask("DATA")).status == "421 4.7.0"
        assert (await c.reply()).code == 0


async def test_transactions_per_session() -> None:
    async with house(transactions=2) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        for _ in range(2):
            assert (await c.ask("MAIL FROM:<>")).status == "250 2.1.0"
            await c.ask("RSET")
        assert (await c.ask("MAIL FROM:<>")).status == "421 4.7.0"
        assert (await c.reply()).code == 0


@pytest.mark.parametrize(("limit", "status"), [("sessions", "421 4.3.2"), ("sessions_per_client", "421 4.7.0")])
async def test_session_limits(limit: str, status: str) -> None:
    async with house(**{limit: 2}) as h:
        async with connect(h.port) as one, connect(h.port) as two:
            assert (await one.reply()).code == (await two.reply()).code == 220
            async with connect(h.port) as three:
                assert (await three.reply()).status == status
                assert (await three.reply()).code == 0
        await until(lambda: not h.server.sessions)
        async with connect(h.port) as four:
            assert (await four.reply()).code == 220


async def drained(h: House) -> bool:
    return await h.server.drain(10)


async def test_drain_finishes_content_and_tells_the_idle() -> None:
    async with house() as h, connect(h.port) as idle, connect(h.port) as busy:
        assert (await idle.reply()).code == 220
        await busy.envelope()
        await busy.send(b"Subject: x\r\n")
        drain = asyncio.create_task(drained(h))
        assert (await idle.reply()).status == "421 4.3.2"
        assert (await idle.reply()).code == 0
        async with connect(h.port) as late:
            assert (await late.reply()).status == "421 4.3.2"
        await busy.send(b"\r\ntext\r\n.\r\n")
        assert (await busy.reply()).status == "250 2.0.0"
        assert (await busy.reply()).status == "421 4.3.2"
        # the server waits a moment for the client to read its last words; clients that leave end that
        for client in (idle, busy):
            client.writer.close()
        assert await drain is True
        assert "refused_drain" in h.watcher.connections


async def test_drain_gives_up_in_time() -> None:
    async with house() as h, connect(h.port) as c:
        h.relay.gate.clear()
        await c.envelope()
        await c.send(CONTENT)
        await asyncio.wait_for(h.relay.began.wait(), 10)
        assert await h.server.drain(0.1) is False
        h.relay.gate.set()
        assert (await c.reply()).status == "250 2.0.0"


async def test_a_client_that_never_reads_holds_no_more_than_a_little() -> None:
    async with house(command_timeout=0.5, fruitless_commands=10**9) as h, connect(h.port) as c:
        c.reader._transport.pause_reading()  # type: ignore[attr-defined]
        c.writer.write(b"HELP\r\n" * 2_000_000)
        await until(lambda: not h.server.sessions)
    assert h.watcher.ended[0] in ("timeout", "lost")


async def test_who_waits_in_the_queue_of_a_draining_node_hears_421_and_not_a_reset() -> None:
    async with house() as h:
        assert await h.server.drain(5)
        # the loop does not run meanwhile: the kernel has connected them, and nobody has taken them
        waiting = [socket.create_connection(("127.0.0.1", h.port)) for _ in range(3)]
        closing = asyncio.create_task(h.server.close())
        for client in waiting:
            reader, writer = await asyncio.open_connection(sock=client)
            assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"421 4.3.2 ")
            writer.close()
        await closing
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", h.port)
