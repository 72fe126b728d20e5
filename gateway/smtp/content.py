"""Read the content of a transaction: from 354 to CRLF.CRLF, in chunks, in linear time (RFC 5321 section 4.1.1.4).

Only CRLF.CRLF ends the data. Dots are unstuffed; bare CR and LF are refused or made CRLF as the policy says; whatever
is refused is still read to its final dot, so that no octet of content is ever taken for a command. Large content goes
to an unlinked temporary file that is mapped at the end.

How it works: the wire's buffer gets a CRLF in front (the one that ended the DATA command) and is cut at its last CRLF.
So each piece is a run of "CRLF line", and no pattern ever lies across two pieces.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from gateway.mail import limits
from gateway.mail.message import Message
from gateway.smtp.wire import Wire

log = logging.getLogger("mxgw.smtp")

_DOT = b"\r\n.\r\n"
# a text line with the CRLF before it, its own CRLF left out
_LINE = limits.TEXT_LINE_OCTETS


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The content cannot be judged. reason: key of the reply table. complete: it was read to its final dot; where it
    was not, the session cannot go on."""

    reason: str
    complete: bool


class ContentReader:
    """Reads one content. deadline: gives the loop time until which the next octets must come."""

    def __init__(
        self,
        wire: Wire,
        *,
        message_octets: int,
        bare_line_ending: Literal["refuse", "normalize"],
        spool_dir: Path | None,
        deadline: Callable[[], float],
        header_octets: int = limits.HEADER_OCTETS,
        header_fields: int = limits.HEADER_FIELDS,
    ) -> None:
        self._wire = wire
        self._limit = message_octets
        self._normalize = bare_line_ending == "normalize"
        self._spool_dir = spool_dir
        self._deadline = deadline
        self._refused = ""
        self._received = 0
        self._begun = False
        self._size = 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._in_header = True
        self._header_limits = (header_octets, header_fields)
        self._header_octets = 0
        self._header_fields = 0

    async def read(self) -> Message | Unreadable:
        """The content, or why there is none. Raises what ``Wire.more`` raises; then nothing is kept."""
        try:
            return await self._read()
        finally:
            if self._file is not None:
                # the mapping holds its own descriptor
                self._file.close()

    async def _read(self) -> Message | Unreadable:
        buffer = self._wire.buffer
        buffer[:0] = b"\r\n"
        scanned = 0
        while True:
            end = buffer.find(_DOT, scanned)
            if end >= 0:
                await self._take(bytes(buffer[:end]))
                del buffer[: end + len(_DOT)]
                return await self._finish()
            scanned = max(0, len(buffer) - len(_DOT) + 1)
            if len(buffer) >= limits.READ_CHUNK_OCTETS:
                cut = self._cut(buffer)
                if cut:
                    await self._take(bytes(buffer[:cut]))
                    del buffer[:cut]
                    scanned = max(0, scanned - cut)
                if self._received > 2 * self._limit:
                    return Unreadable(self._refused or "too-big", complete=False)
            await self._wire.more(self._deadline())

    def _cut(self, buffer: bytearray) -> int:
        """How much of the buffer can be taken now."""
        if self._refused:
            return len(buffer) - len(_DOT) + 1
        cut = buffer.rfind(b"\r\n")
        # +1: the line's own CR may be there already, +1: the dot that stuffs it
        if len(buffer) - cut > _LINE + 2:
            self._refuse("line-too-long")
            return len(buffer) - len(_DOT) + 1
        return max(cut, 0)

    def _refuse(self, reason: str) -> None:
        self._refused = self._refused or reason
        self._memory.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _take(self, piece: bytes) -> None:
        """Take in a run of "CRLF line"."""
        self._received += len(piece)
        if self._refused or not piece:
            return
        piece = piece.replace(b"\r\n.", b"\r\n")
        pairs = piece.count(b"\r\n")
        if piece.count(b"\r") != pairs or piece.count(b"\n") != pairs:
            if not self._normalize:
                self._refuse("bare-line-ending")
                return
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        if len(piece) > _LINE and max(map(len, piece.split(b"\r\n"))) + 2 > _LINE:
            self._refuse("line-too-long")
            return
        if self._in_header and not self._count_header(piece):
            self._refuse("header-too-big")
            return
        if not self._begun:
            self._begun = True
            piece = piece[2:]
        self._size += len(piece)
        if self._size + 2 > self._limit:
            self._refuse("too-big")
            return
        self._memory += piece
        if len(self._memory) >= limits.OFF_LOOP_OCTETS:
            await self._spool()

    def _count_header(self, piece: bytes) -> bool:
        end = 0 if piece.startswith(b"\r\n\r\n") else piece.find(b"\r\n\r\n")
        if end < 0 and piece.endswith(b"\r\n"):
            end = len(piece) - 2
        header = piece if end < 0 else piece[:end]
        self._in_header = end < 0
        self._header_octets += len(header)
        self._header_fields += header.count(b"\r\n") - header.count(b"\r\n ") - header.count(b"\r\n\t")
        octets, fields = self._header_limits
        return self._header_octets <= octets and self._header_fields <= fields

    async def _spool(self) -> None:
        if self._file is None and len(self._memory) <= limits.SPOOL_IN_MEMORY_OCTETS:
            return
        batch, self._memory = self._memory, bytearray()
        try:
            await asyncio.to_thread(self._write, batch)
        except OSError as error:
            # no place on the disk: read on to the final dot, then ask the client to come again
            log.error("content cannot be spooled to %s: %s", self._spool_dir or tempfile.gettempdir(), error)
            self._refuse("local-error")

    def _write(self, batch: bytearray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._spool_dir, buffering=0)  # noqa: SIM115 - closed by read()
        view = memoryview(batch)
        while view:
            view = view[self._file.write(view) :]

    async def _finish(self) -> Message | Unreadable:
        if not self._refused and self._begun:
            self._memory += b"\r\n"
            if self._file is not None or len(self._memory) > limits.SPOOL_IN_MEMORY_OCTETS:
                await self._spool()
        if self._refused:
            return Unreadable(self._refused, complete=True)
        if self._file is None:
            return Message.parse(bytes(self._memory))
        return Message.parse(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
