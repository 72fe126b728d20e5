"""What a kill is measured by: a client that comes again until it hears 250, a name server that can hold an answer, two
nodes over one store.

Known gaps: the name server speaks UDP only and knows no name.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client import CLOSED, RawClient, Said
from node_process import NodeProcess
from redis import Redis
from redis_server import RedisServer

RETRIES = 60


class QuietNames(asyncio.DatagramProtocol):
    """Says NXDOMAIN to all questions but those with the label ``hold``, which it only notes."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.held = asyncio.Event()
        self.hold = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.hold and bytes([len(self.hold)]) + self.hold in data.lower():
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

    def __init__(self, client: RawClient, message: bytes, recipient: str) -> None:
        self.client, self.message, self.recipient = client, message, recipient

    @classmethod
    async def begin(cls, port: int, message: bytes, recipient: str = "user@example.com") -> Attempt:
        return cls(RawClient(*await asyncio.open_connection("127.0.0.1", port), seconds=40.0), message, recipient)

    async def expect(self, code: int, command: str = "") -> None:
        said = await (self.client.ask(command) if command else self.client.reply())
        assert said.code == code, said

    async def envelope(self) -> None:
        await self.expect(220)
        await self.expect(250, "EHLO client.example")
        await self.expect(250, "MAIL FROM:<a@sender.example>")
        await self.expect(250, f"RCPT TO:<{self.recipient}>")
        await self.expect(354, "DATA")

    async def whole(self) -> Said:
        """All of it, and QUIT; the reply to the final dot, or whatever came in its place."""
        try:
            await self.envelope()
            await self.client.send(self.message + b".\r\n")
            said = await self.client.reply()
            if said.code == 250:
                await self.client.ask("QUIT")
            return said
        except (AssertionError, ConnectionError, TimeoutError):
            return CLOSED

    def close(self) -> None:
        self.client.writer.transport.abort()


async def send_until_accepted(port: int, message: bytes, recipient: str = "user@example.com") -> int:
    """As a queue does it: again and again. Returns how many attempts it took."""
    for number in range(1, RETRIES + 1):
        try:
            attempt = await Attempt.begin(port, message, recipient)
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


@dataclass(frozen=True)
class Shared:
    """A store for several nodes. done: how many entries of the ledger say *done* now."""

    kind: str
    url: str
    done: Callable[[], int]


@asynccontextmanager
async def shared_store(kind: str, folder: Path) -> AsyncIterator[Shared]:
    """kind: sqlite or redis."""
    if kind == "sqlite":
        file = folder / "shared.sqlite3"

        def rows() -> int:
            if not file.exists():
                return 0
            with closing(sqlite3.connect(file, timeout=5)) as connection:
                try:
                    return int(connection.execute("SELECT count(*) FROM ledger WHERE owner = ''").fetchone()[0])
                except sqlite3.OperationalError:
                    return 0  # the first node has not made the table yet

        yield Shared(kind, f"sqlite:///{file}", rows)
        return
    server = RedisServer()
    await asyncio.to_thread(server.start)
    try:
        with closing(Redis(port=server.port)) as client:

            def entries() -> int:
                hashes: list[dict[bytes, bytes]] = [client.hgetall(key) for key in client.keys("mxgw:*:ledger")]
                return sum(value.startswith(b"D") for entry in hashes for value in entry.values())

            yield Shared(kind, server.url, entries)
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def node_over(folder: Path, settings: Mapping[str, Any], policy: str) -> AsyncIterator[NodeProcess]:
    """A real node, ready; unknown clients are greeted at once."""
    given = {"limits": {"greeting_delay": 0}, **settings}
    node = await asyncio.to_thread(NodeProcess, folder, given, policy)
    try:
        await asyncio.to_thread(node.wait_ready)
        yield node
    finally:
        await asyncio.to_thread(node.end)
