"""A tap between our client and a real mailstore: hands octets on both ways and keeps them, so that a test can say what went
over the wire and not only what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Tap:
    """port: where to connect. said, heard: all octets to and from the mailstore. writes: those to it, a segment each."""

    port: int = 0
    writes: list[bytes] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)

    @property
    def said(self) -> bytes:
        """All octets that our client said."""
        return b"".join(self.writes)

    @property
    def commands(self) -> list[str]:
        """Command lines up to the first DATA, and those after the final dot."""
        head, _, rest = self.said.partition(b"DATA\r\n")
        tail = rest.partition(b"\r\n.\r\n")[2]
        return [*head.decode("utf-8").splitlines(), *(["DATA"] if rest else []), *tail.decode("utf-8").splitlines()]

    @property
    def content(self) -> bytes:
        """What stood between DATA and the final dot, with its stuffed dots and the last CRLF."""
        return self.said.partition(b"DATA\r\n")[2].partition(b"\r\n.\r\n")[0] + b"\r\n"


@asynccontextmanager
async def tapped(host: str, port: int) -> AsyncIterator[Tap]:
    """A tap before ``host:port``."""
    tap = Tap()
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        open_now.update((writer, far_writer))

        async def hand_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, ours: bool) -> None:
            while piece := await source.read(65536):
                if ours:
                    tap.writes.append(piece)
                else:
                    tap.heard.extend(piece)
                sink.write(piece)
                await sink.drain()
            sink.close()

        both = hand_on(reader, far_writer, True), hand_on(far_reader, writer, False)
        await asyncio.gather(*both, return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        for writer in open_now:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in open_now), return_exceptions=True)
