"""Take content in, whichever verb brings it: line endings, limits of lines and header, memory or a spooled file.

In: pieces, each a run of "CRLF line" (the first CRLF is the one that ended the command, or stands for it), so no
pattern ever lies across two pieces. Bare CR and LF are refused or made CRLF as the policy says. Large content goes to
an unlinked temporary file that is mapped at the end. Linear in the octets, whatever they are.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from gateway.mail import limits
from gateway.mail.message import Message

log = logging.getLogger("mxgw.smtp")

LINE_OCTETS: Final = limits.TEXT_LINE_OCTETS
"""A text line with the CRLF before it, its own CRLF left out."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The content cannot be judged. reason: key of the reply table. complete: it was read to its end; where it was
    not, the session cannot go on."""

    reason: str
    complete: bool


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What content may be. Octets and counts; spool_dir: None for the system's directory of temporary files."""

    message_octets: int
    bare_line_ending: Literal["refuse", "normalize"] = "refuse"
    spool_dir: Path | None = None
    header_octets: int = limits.HEADER_OCTETS
    header_fields: int = limits.HEADER_FIELDS


class Intake:
    """One content on its way in. ``close`` it when it is done or given up."""

    def __init__(self, rules: IntakeRules) -> None:
        self.rules = rules
        self.refused = ""
        """Reason of the reply table, once the content cannot be accepted any more."""
        self._begun = False
        self._size = 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._in_header = True
        self._header_octets = 0
        self._header_fields = 0

    def refuse(self, reason: str) -> None:
        """Keep nothing of it; the first reason stands."""
        self.refused = self.refused or reason
        self._memory.clear()
        self.close()

    def close(self) -> None:
        """Drop the file. A message that was made of it has its own mapping."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def take(self, piece: bytes) -> None:
        """Take in a run of "CRLF line", dots unstuffed."""
        if self.refused or not piece:
            return
        pairs = piece.count(b"\r\n")
        if piece.count(b"\r") != pairs or piece.count(b"\n") != pairs:
            if self.rules.bare_line_ending != "normalize":
                self.refuse("bare-line-ending")
                return
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        if len(piece) > LINE_OCTETS and max(map(len, piece.split(b"\r\n"))) + 2 > LINE_OCTETS:
            self.refuse("line-too-long")
            return
        if self._in_header and not self._count_header(piece):
            self.refuse("header-too-big")
            return
        if not self._begun:
            self._begun = True
            piece = piece[2:]
        self._size += len(piece)
        if self._size + 2 > self.rules.message_octets:
            self.refuse("too-big")
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
        return self._header_octets <= self.rules.header_octets and self._header_fields <= self.rules.header_fields

    async def _spool(self) -> None:
        if self._file is None and len(self._memory) <= limits.SPOOL_IN_MEMORY_OCTETS:
            return
        batch, self._memory = self._memory, bytearray()
        try:
            await asyncio.to_thread(self._write, batch)
        except OSError as error:
            # no place on the disk: read on to the end, then ask the client to come again
            log.error("content cannot be spooled to %s: %s", self.rules.spool_dir or tempfile.gettempdir(), error)
            self.refuse("local-error")

    def _write(self, batch: bytearray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by close()
                dir=self.rules.spool_dir, buffering=0
            )
        view = memoryview(batch)
        while view:
            view = view[self._file.write(view) :]

    async def finish(self) -> Message | Unreadable:
        """No piece comes any more; the last line's CRLF is added here."""
        if not self.refused and self._begun:
            self._memory += b"\r\n"
            if self._file is not None or len(self._memory) > limits.SPOOL_IN_MEMORY_OCTETS:
                await self._spool()
        if self.refused:
            return Unreadable(self.refused, complete=True)
        if self._file is None:
            return Message.parse(bytes(self._memory))
        return Message.parse(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
