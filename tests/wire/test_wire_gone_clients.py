"""Clients that go before they are greeted, or reset the connection under our last word: no work for nobody, no error."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest
from client import connect
from house import house

from gateway.checks import Check
from gateway.mail.finding import Finding
from gateway.mail.phase import Phase
from gateway.policy.load import load_text
from gateway.smtp.listener import SEND_BUFFER_OCTETS

LINGER = struct.pack("ii", 1, 0)


class Endless:
    """A check of the connection that never ends."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, tx: Any, ports: Any, settings: Any) -> Finding | None:
        self.began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return None


@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
async def test_who_goes_before_the_greeting_ends_the_checks(reset: bool, caplog: pytest.LogCaptureFixture) -> None:
    endless = Endless()
    async with house(checks=[Check("iprev", Phase.CONNECT, endless, "dns", 1000.0)]) as h:
        sock = socket.create_connection(("127.0.0.1", h.port))
        await asyncio.wait_for(endless.began.wait(), 20)
        assert h.server.sessions == 1
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        sock.close()
        await until_empty(h)
        assert endless.cancelled == 1
        assert h.watcher.ended == ["lost"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_who_has_said_something_and_ended_its_side_is_answered() -> None:
    async with house() as h, connect(h.port) as c:
        c.writer.write(b"EHLO client.example\r\nQUIT\r\n")
        c.writer.write_eof()
        assert [(await c.reply()).code for _ in range(4)] == [220, 250, 221, 0]


async def test_a_reset_under_our_last_word_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    refused = """
version: 1
mode: enforce
rules:
  - {id: nobody, at: connect, when: {client: [127.0.0.0/8]}, then: reject, reason: blocked}
"""
    async with house() as h:
        h.policy[0] = load_text(refused, "test")
        # the connection is reset before the node looks at it: often, since the moment is short
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", h.port)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        await until_empty(h)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_does_not_read_holds_little_of_ours() -> None:
    async with house(command_timeout=2.0, fruitless_commands=10**9) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        c.reader._transport.pause_reading()  # type: ignore[attr-defined]
        c.writer.write(b"HELP\r\n" * 1_000_000)
        (session,) = h.server._sessions
        held = 0
        while h.server.sessions:
            held = max(held, session._link.get_write_buffer_size() + len(session._output))
            await asyncio.sleep(0.02)
        in_kernel = 2 * SEND_BUFFER_OCTETS
        print(f"{held} octets in the process, {in_kernel} in the kernel at most")
        assert 1000 < held < 80 * 1024
        assert h.watcher.ended == ["timeout"]


async def test_the_kernels_buffer_for_replies_is_bounded() -> None:
    async with house() as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        (session,) = h.server._sessions
        sock = session._link.get_extra_info("socket")
        # Linux doubles what is asked for
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER_OCTETS


async def until_empty(h: Any) -> None:
    for _ in range(1000):
        if not h.server.sessions and h.watcher.ended:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{h.server.sessions} sessions are left")
