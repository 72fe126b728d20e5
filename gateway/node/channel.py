"""The line between supervisor and worker: a socket pair, one JSON object a line, either way.

When the other side is gone the channel ends; a worker takes that as the order to drain.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, Final

LINE_OCTETS: Final = 16 * 1024 * 1024
Said = dict[str, Any]


class Channel:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        """A channel over one end of a socket pair, which belongs to it from now on."""
        sock.setblocking(False)
        return cls(*await asyncio.open_connection(sock=sock, limit=LINE_OCTETS))

    def say(self, said: Said) -> None:
        """Send; nothing happens when the other side is gone."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(said, separators=(",", ":")).encode() + b"\n")

    async def hear(self) -> Said | None:
        """The next object, or None when the other side is gone."""
        try:
            line = await self._reader.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        said: Said = json.loads(line)
        return said

    async def flush(self) -> None:
        """Wait until what was said is on its way."""
        try:
            await self._writer.drain()
        except OSError:
            return

    def close(self) -> None:
        """End it."""
        self._writer.close()
