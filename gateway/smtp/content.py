"""Read the content that DATA announced: from 354 to CRLF.CRLF, in chunks, in linear time (RFC 5321 section 4.1.1.4).

Only CRLF.CRLF ends the data. Dots are unstuffed; whatever is refused is still read to its final dot, so that no octet
of content is ever taken for a command.

How it works: the wire's buffer gets a CRLF in front (the one that ended the DATA command) and is cut at its last CRLF.
So each piece is a run of "CRLF line", and no pattern ever lies across two pieces.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.mail import limits
from gateway.mail.message import Message
from gateway.smtp.intake import LINE_OCTETS, Intake, Unreadable
from gateway.smtp.wire import Wire

_DOT = b"\r\n.\r\n"


class ContentReader:
    """Reads one content. deadline: gives the loop time until which the next octets must come."""

    def __init__(self, wire: Wire, intake: Intake, deadline: Callable[[], float]) -> None:
        self._wire = wire
        self._intake = intake
        self._deadline = deadline
        self._received = 0

    async def read(self) -> Message | Unreadable:
        """The content, or why there is none. Raises what ``Wire.more`` raises; then nothing is kept."""
        try:
            return await self._read()
        finally:
            self._intake.close()

    async def _read(self) -> Message | Unreadable:
        buffer = self._wire.buffer
        buffer[:0] = b"\r\n"
        scanned = 0
        while True:
            end = buffer.find(_DOT, scanned)
            if end >= 0:
                await self._take(bytes(buffer[:end]))
                del buffer[: end + len(_DOT)]
                return await self._intake.finish()
            scanned = max(0, len(buffer) - len(_DOT) + 1)
            if len(buffer) >= limits.READ_CHUNK_OCTETS:
                cut = self._cut(buffer)
                if cut:
                    await self._take(bytes(buffer[:cut]))
                    del buffer[:cut]
                    scanned = max(0, scanned - cut)
                if self._received > 2 * self._intake.rules.message_octets:
                    return Unreadable(self._intake.refused or "too-big", complete=False)
            await self._wire.more(self._deadline())

    def _cut(self, buffer: bytearray) -> int:
        """How much of the buffer can be taken now."""
        if self._intake.refused:
            return len(buffer) - len(_DOT) + 1
        cut = buffer.rfind(b"\r\n")
        # +1: the line's own CR may be there already, +1: the dot that stuffs it
        if len(buffer) - cut > LINE_OCTETS + 2:
            self._intake.refuse("line-too-long")
            return len(buffer) - len(_DOT) + 1
        return max(cut, 0)

    async def _take(self, piece: bytes) -> None:
        self._received += len(piece)
        if not self._intake.refused:
            await self._intake.take(piece.replace(b"\r\n.", b"\r\n"))
