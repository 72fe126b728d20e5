"""Read the content that BDAT brings: counted octets, chunk after chunk (RFC 3030 section 2).

A chunk ends by its count and by nothing else: no dot is looked for and none is taken away. Else the content is as that
of DATA: chunks are cut where the client likes, inside a line or between CR and LF, and only what they make together
counts. BINARYMIME is not offered, so bare CR and LF are what the policy says of them.

Known gaps: none.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from gateway.mail import limits
from gateway.mail.message import Message
from gateway.smtp.intake import LINE_OCTETS, Intake, Unreadable
from gateway.smtp.wire import Wire

_SYNTAX: Final = re.compile(rb"([0-9]{1,20})(?:[ ]+([Ll][Aa][Ss][Tt]))?")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a BDAT command announces. refusal: why its octets are to be read and thrown away (code, enhanced status,
    text), or None."""

    octets: int
    last: bool
    refusal: tuple[int, str, str] | None = None


def parse_chunk(argument: bytes) -> Chunk | None:
    """``size [LAST]``; None: it is neither, and nobody knows how many octets follow."""
    match = _SYNTAX.fullmatch(argument)
    return Chunk(int(match[1]), match[2] is not None) if match else None


class ChunkReader:
    """Reads the chunks of one content. Close its intake when the transaction is dropped."""

    def __init__(self, wire: Wire, intake: Intake) -> None:
        self._wire = wire
        self.intake = intake
        self._received = 0
        # what is not yet taken in: it begins with CRLF and ends wherever the octets do
        self._tail = bytearray(b"\r\n")

    async def read(self, chunk: Chunk, deadline: Callable[[], float]) -> Message | Unreadable | None:
        """Read one chunk. None: it is taken, more may come; else the content (after LAST), or why there can be none.

        Raises what ``Wire.more`` raises.
        """
        if self._received + chunk.octets > self.intake.rules.message_octets:
            self.intake.refuse("too-big")
        self._received += chunk.octets
        if not await self._read_octets(chunk.octets, deadline):
            return Unreadable(self.intake.refused, complete=False)
        if self.intake.refused:
            return Unreadable(self.intake.refused, complete=True)
        if not chunk.last:
            return None
        # the intake adds the CRLF of the last line, also where the client had none
        await self.intake.take(bytes(self._tail).removesuffix(b"\r\n"))
        return await self.intake.finish()

    async def _read_octets(self, left: int, deadline: Callable[[], float]) -> bool:
        if left > 2 * self.intake.rules.message_octets:
            return False
        async for octets in octets_of(self._wire, left, deadline):
            if not self.intake.refused:
                self._tail += octets
                await self._take()
        return True

    async def _take(self) -> None:
        tail = self._tail
        if len(tail) < limits.READ_CHUNK_OCTETS:
            return
        cut = tail.rfind(b"\r\n")
        # +1: the line's own CR may be there already
        if len(tail) - cut > LINE_OCTETS + 1:
            self.intake.refuse("line-too-long")
            tail.clear()
            return
        await self.intake.take(bytes(tail[:cut]))
        del tail[:cut]


async def octets_of(wire: Wire, left: int, deadline: Callable[[], float]) -> AsyncIterator[bytes]:
    """The next octets, so many, as they come. Raises what ``Wire.more`` raises."""
    while left:
        if not wire.buffer:
            await wire.more(deadline())
            continue
        octets = bytes(wire.buffer[:left])
        del wire.buffer[:left]
        left -= len(octets)
        yield octets


async def discard(wire: Wire, octets: int, deadline: Callable[[], float]) -> None:
    """Read so many octets and keep none. Raises what ``Wire.more`` raises."""
    async for _ in octets_of(wire, octets, deadline):
        pass
