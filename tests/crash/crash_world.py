"""What a kill is measured by: a client that comes again until it hears 250, a name server that can hold an answer.

Known gaps: the name server speaks UDP only and knows no name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from client import CLOSED, RawClient, Said

RETRIES = 60
HELD_NAME = b"\x04hold"
"""A label that the name server never answers for."""


class QuietNames(asyncio.DatagramProtocol):
    """Says NXDOMAIN to all questions but those with the label ``hold``, which it only notes."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.held = asyncio.Event()
        self.holding = True

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.holding and HELD_NAME in data.lower():
            self.held.set()
            return
        # QR RD RA, NXDOMAIN, the question alone: whatever came as additional record is left out
        name_end = data.index(b"\0", 12) + 5
        self.transport.sendto(data[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + data[12:name_end], addr)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])


@asynccontextmanager
async def quiet_names() -> AsyncIterator[QuietNames]:
    _, names = await asyncio.get_running_loop().create_datagram_endpoint(QuietNames, local_addr=("127.0.0.1", 0))
    try:
        yield names
    finally:
        names.transport.close()


class Attempt:
    """One try to send one message, step by step; close() may come at any point."""

    def __init__(self, client: RawClient, message: bytes) -> None:
        self.client, self.message = client, message

    @classmethod
    async def begin(cls, port: int, message: bytes) -> Attempt:
        return cls(RawClient(*await asyncio.open_connection("127.0.0.1", port), seconds=40.0), message)

    async def expect(self, code: int, command: str = "") -> None:
        said = await (self.client.ask(command) if command else self.client.reply())
        assert said.code == code, said

    async def envelope(self) -> None:
        await self.expect(220)
        await self.expect(250, "EHLO client.example")
        await self.expect(250, "MAIL FROM:<a@hold.example>")
        await self.expect(250, "RCPT TO:<user@example.com>")
        await self.expect(354, "DATA")

    async def whole(self) -> Said:
        """All of it; the reply to the final dot, or whatever came in its place."""
        try:
            await self.envelope()
            await self.client.send(self.message + b".\r\n")
            return await self.client.reply()
        except (AssertionError, ConnectionError, TimeoutError):
            return CLOSED

    def close(self) -> None:
        self.client.writer.transport.abort()


async def send_until_accepted(port: int, message: bytes) -> int:
    """As a queue does it: again and again. Returns how many attempts it took."""
    for number in range(1, RETRIES + 1):
        try:
            attempt = await Attempt.begin(port, message)
        except ConnectionError:
            await asyncio.sleep(0.3)
            continue
        said = await attempt.whole()
        attempt.close()
        if said.code == 250:
            return number
        assert said.code // 100 != 5, f"a crash must never refuse for good: {said}"
        await asyncio.sleep(0.3)
    raise AssertionError(f"not accepted in {RETRIES} attempts")
