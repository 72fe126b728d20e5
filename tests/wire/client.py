"""A small raw SMTP client for tests: sends octets exactly as told, reads whole replies, knows nothing better.

Usage: ``async with connect(port) as c: assert (await c.reply()).code == 220; await c.ask("EHLO x")``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """A reply: code, enhanced status ('' if none) and the texts of its lines."""

    code: int
    enhanced: str
    texts: tuple[str, ...]

    @property
    def status(self) -> str:
        return f"{self.code} {self.enhanced}".strip()


CLOSED = Said(0, "", ("closed",))


class RawClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float = 20.0) -> None:
        self.reader, self.writer, self.seconds = reader, writer, seconds

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def reply(self) -> Said:
        """The next reply; CLOSED when the server has hung up."""
        texts, enhanced, code = [], "", 0
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), self.seconds)
            except ConnectionError:
                return CLOSED
            if not line:
                return CLOSED
            assert line.endswith(b"\r\n") and len(line) <= 512, line
            text = line.decode("ascii").rstrip("\r\n")
            code, last, rest = int(text[:3]), text[3:4] != "-", text[4:]
            word = rest.split(" ")[0]
            if word.count(".") == 2 and word.replace(".", "").isdigit():
                enhanced, rest = word, rest[len(word) + 1 :]
            texts.append(rest)
            if last:
                return Said(code, enhanced, tuple(texts))

    async def ask(self, command: str | bytes) -> Said:
        octets = command if isinstance(command, bytes) else command.encode()
        await self.send(octets + b"\r\n")
        return await self.reply()

    async def envelope(self, reverse_path: str = "a@sender.example", *forward_paths: str) -> None:
        """Greeting, EHLO, MAIL, RCPT, DATA: all must be accepted."""
        assert (await self.reply()).code == 220
        assert (await self.ask("EHLO client.example")).code == 250
        await self.data(reverse_path, *forward_paths)

    async def data(self, reverse_path: str = "a@sender.example", *forward_paths: str) -> None:
        assert (await self.ask(f"MAIL FROM:<{reverse_path}>")).status == "250 2.1.0"
        for path in forward_paths or ("user@example.com",):
            assert (await self.ask(f"RCPT TO:<{path}>")).status == "250 2.1.5"
        assert (await self.ask("DATA")).code == 354

    async def starttls(self) -> Said:
        said = await self.ask("STARTTLS")
        if said.code == 220:
            await self.handshake()
        return said

    async def handshake(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await self.writer.start_tls(context, server_hostname="mx.example.com")


@asynccontextmanager
async def connect(port: int, host: str = "127.0.0.1") -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
