"""The octets of one client: a bounded input buffer and the grammar of a command line (RFC 5321 section 2.3.8).

A command line ends in CRLF and in nothing else. A line with a bare CR, a bare LF or a NUL is one broken line up to its
CRLF: it is answered as soon as the first wrong octet is seen, and nothing behind that octet is ever taken as a command.
The result does not depend on how the octets were cut into segments.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Final, TypeVar

from gateway.mail import limits

T = TypeVar("T")

HIGH_WATER: Final = limits.READ_CHUNK_OCTETS
"""Above this many unread octets the transport stops reading; one more read of the loop may still come."""
DISCARD_OCTETS: Final = 4 * limits.READ_CHUNK_OCTETS
"""So much of one broken command line is skipped before the session is ended."""


class ClientLost(Exception):
    """The client has hung up, or has ended its side and no more octets are left."""


class IdleTimeout(Exception):
    """Nothing came in the time allowed."""


class Broken(Enum):
    """Why a command line is none."""

    OCTET = "Bare CR, bare LF or NUL in a command"
    LENGTH = "Command line too long"
    ENDLESS = "Command line without end"


class Wire:
    """Input of one connection. Fed by the protocol's callbacks, read by one task."""

    __slots__ = (
        "_discarding",
        "_loop",
        "_on_gone",
        "_paused",
        "_skipped",
        "_transport",
        "_waiter",
        "buffer",
        "ended",
        "lost",
        "received",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_gone: Callable[[], object] | None = None
        self._paused = False
        self._discarding = False
        self._skipped = 0
        self.buffer = bytearray()
        self.received = 0
        """Octets that ever came."""
        self.ended = False
        """The client has closed its sending side."""
        self.lost = False
        """The connection is gone in both directions."""

    # ---- the protocol's side

    def attach(self, transport: asyncio.Transport | None) -> None:
        """Read from this transport from now on; None while a TLS handshake owns it."""
        self._transport = transport
        self._paused = False

    @property
    def detached(self) -> bool:
        """A TLS handshake owns the transport."""
        return self._transport is None

    def feed(self, octets: bytes) -> None:
        """Octets came."""
        self.buffer += octets
        self.received += len(octets)
        if len(self.buffer) > HIGH_WATER and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True
        self.poke()

    def end(self) -> None:
        """The client has closed its sending side."""
        self.ended = True
        self._tell()
        self.poke()

    def lose(self) -> None:
        """The connection is gone."""
        self.lost = True
        self._tell()
        self.poke()

    def poke(self) -> None:
        """Wake the reading task so that it looks at the state again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tell(self) -> None:
        if self._on_gone is not None and self.gone:
            self._on_gone()

    # ---- the reader's side

    @property
    def gone(self) -> bool:
        """Nothing can come any more, and nothing is left to read."""
        return self.lost or (self.ended and not self.buffer)

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """Do this work unless the client is gone, or goes meanwhile: then it is cancelled, and ClientLost is raised."""
        task = self._loop.create_task(work)
        self._on_gone = task.cancel
        self._tell()
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and self.gone:
                raise ClientLost from None
            raise
        finally:
            self._on_gone = None

    async def more(self, deadline: float) -> None:
        """Wait for something new: octets, or a poke. deadline: on the loop's clock.

        Raises ClientLost when no octet can come any more and IdleTimeout at the deadline.
        """
        if self.lost or self.ended:
            raise ClientLost
        if deadline <= self._loop.time():
            raise IdleTimeout
        if self._paused and self._transport is not None:
            self._transport.resume_reading()
            self._paused = False
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def command(self) -> bytes | Broken | None:
        """The next command line without its CRLF, what is wrong with it, or None: it is not complete yet."""
        if self._discarding and not self._skip():
            return Broken.ENDLESS if self._skipped > DISCARD_OCTETS else None
        buffer = self.buffer
        end = buffer.find(b"\r\n", 0, limits.COMMAND_OCTETS)
        if end >= 0:
            line = bytes(buffer[:end])
        else:
            line = bytes(buffer[: limits.COMMAND_OCTETS])
            # a CR at the very end may yet become CRLF; one at the bound makes the line too long
            line = line.removesuffix(b"\r")
        if b"\n" in line or b"\r" in line or b"\0" in line:
            return self._broken(Broken.OCTET)
        if end >= 0:
            del buffer[: end + 2]
            return line
        if len(buffer) >= limits.COMMAND_OCTETS:
            return self._broken(Broken.LENGTH)
        return None

    def _broken(self, why: Broken) -> Broken:
        self._discarding, self._skipped = True, 0
        self._skip()
        return why

    def _skip(self) -> bool:
        end = self.buffer.find(b"\r\n")
        if end >= 0:
            del self.buffer[: end + 2]
            self._discarding = False
            return True
        keep = 1 if self.buffer.endswith(b"\r") else 0
        self._skipped += len(self.buffer) - keep
        del self.buffer[: len(self.buffer) - keep]
        return False


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(IdleTimeout())
