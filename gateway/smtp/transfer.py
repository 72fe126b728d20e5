"""The content of a session's transactions: read it by DATA or BDAT, have it judged and handed over, give the replies.

The reading ends a transaction or spoils it; what the chunks of a transaction have come to stands here and nowhere else.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from gateway.mail.limits import WireLimits
from gateway.mail.message import Message
from gateway.mail.reply import Reply
from gateway.reception import Reception
from gateway.smtp.bdat import Chunk, ChunkReader, discard
from gateway.smtp.content import ContentReader
from gateway.smtp.intake import Intake, IntakeRules, Unreadable
from gateway.smtp.pace import Pace
from gateway.smtp.states import Chunking
from gateway.smtp.wire import Wire

DISCARDED_CHUNKS: Final = 2
"""Octets of refused chunks that one session may bring, in sizes of the largest message."""


class Keeper(Protocol):
    """What the transfer needs of the server."""

    @property
    def spool_dir(self) -> Path | None:
        """Directory of large content, or None."""
        ...

    def keep(self, work: asyncio.Task[Any]) -> None:
        """Hold a hand-over until it is done."""
        ...


class Transfer:
    """Reads content for one session. until: when the session ends at the latest, on the loop's clock."""

    def __init__(self, wire: Wire, reception: Reception, limits: WireLimits, server: Keeper, until: float) -> None:
        self._wire = wire
        self._reception = reception
        self._limits = limits
        self._server = server
        self._until = until
        self._loop = asyncio.get_running_loop()
        self._reader: ChunkReader | None = None
        self._spoiled = False
        self._discarded = 0
        self._seconds = 0.0

    @property
    def chunking(self) -> Chunking:
        """How far the chunks of the transaction have come."""
        if self._spoiled:
            return Chunking.SPOILED
        return Chunking.BEGUN if self._reader else Chunking.NONE

    def drop(self) -> None:
        """The transaction is dropped: what came of its content goes too."""
        if self._reader is not None:
            self._reader.intake.close()
        self._reader, self._spoiled, self._seconds = None, False, 0.0

    async def data(self) -> Message | Unreadable:
        """354 has been said: read to the final dot. Raises what ``Wire.more`` raises."""
        began = self._loop.time()
        content = await ContentReader(self._wire, Intake(self._rules()), self._deadline()).read()
        self._seconds = self._loop.time() - began
        return content

    async def chunk(self, chunk: Chunk) -> Message | Unreadable | Reply:
        """Read one chunk: its reply, or the content that it ends. Raises what ``Wire.more`` raises."""
        if chunk.refusal is not None:
            return await self._refuse_chunk(chunk, chunk.refusal)
        began = self._loop.time()
        if self._reader is None:
            self._reader = ChunkReader(self._wire, Intake(self._rules()))
        content = await self._reader.read(chunk, self._deadline())
        seconds = self._seconds + self._loop.time() - began
        if content is None:
            self._seconds = seconds
            return Reply(250, "2.0.0", f"{chunk.octets} octets")
        self.drop()
        self._spoiled, self._seconds = not chunk.last, seconds
        return content

    async def submit(self, content: Message | Unreadable) -> tuple[Reply, ...]:
        """Have it judged and handed over: the replies. An error of ours comes through."""
        seconds, self._seconds = self._seconds, 0.0
        if isinstance(content, Unreadable):
            reply = self._reception.refuse_content(content.reason)
            return (reply if content.complete else replace(reply, close=True),)
        # a task of its own: whatever happens to this session, a hand-over that has begun is finished
        work = self._loop.create_task(self._reception.content_replies(content, seconds))
        self._server.keep(work)
        return await asyncio.shield(work)

    async def _refuse_chunk(self, chunk: Chunk, refusal: tuple[int, str, str]) -> Reply:
        code, enhanced, text = refusal
        reply = Reply(code, enhanced, f"{text} [{self._reception.id}]")
        self._reception.refused_by_protocol(reply)
        self._discarded += chunk.octets
        if self._discarded > DISCARDED_CHUNKS * self._limits.message_octets:
            return replace(reply, close=True)
        await discard(self._wire, chunk.octets, self._deadline())
        if chunk.last:
            # the last of the pipeline has come: what is next is no rest of the refused transaction
            self._spoiled = False
        return reply

    def _rules(self) -> IntakeRules:
        limits = self._limits
        bare: Literal["refuse", "normalize"] = "normalize" if self._reception.normalizes else "refuse"
        spool_dir = self._server.spool_dir
        return IntakeRules(limits.message_octets, bare, spool_dir, limits.header_octets, limits.header_fields)

    def _deadline(self) -> Callable[[], float]:
        """From now on content comes: tells until when the next octets must be there."""
        time, wire, limit = self._loop.time, self._wire, self._limits
        pace, before = Pace(limit.data_rate, limit.data_rate_window, time()), wire.received
        return lambda: min(time() + limit.data_idle_timeout, self._until, pace.deadline(time(), wire.received - before))
