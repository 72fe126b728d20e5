"""The shared store as a port: it speaks intentions, not GET and SET; one call is one round trip.

The store's own clock decides windows (Redis TIME), so that nodes need not agree on the time. Keys are opaque texts
made by the checks; adapters add their own prefix.

Known gaps: message tracking comes with later work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Seen(StrEnum):
    """What the store knows of a greylisting key (RFC 6647)."""

    FIRST = "first"  # never seen, or forgotten: recorded now
    EXPIRED = "expired"  # came back after its retry window: recorded anew, as if first
    EARLY = "early"  # seen, but the delay is not over
    PASSED = "passed"  # this very attempt came after the delay and inside the window
    KNOWN = "known"  # passed before, and the pass has not run out (prolonged by this call)
    AUTO = "auto"  # the client has enough passes of other keys: no delay


@dataclass(frozen=True, slots=True)
class GreylistQuestion:
    """One question about a greylisting key. Times in seconds. client_key counts passes of the client for auto-allow;
    '' switches that off. sender: who it was, since only passes of different ones inside auto_window count (''
    each key is one). learn: keep the key for the whole window, as one whose delay is over at its next use. look: record
    nothing."""

    key: str
    client_key: str
    delay: float
    window: float
    pass_lifetime: float
    auto_allow_after: int
    sender: str = ""
    auto_window: float = 7 * 86400.0
    learn: bool = False
    look: bool = False

    @property
    def retention(self) -> float:
        """How long a waiting key is kept: beyond its window, so that a late retry is known as one."""
        return self.window if self.learn else self.window * 1.5


@dataclass(frozen=True, slots=True)
class GreylistAnswer:
    """seen, seconds left until the delay is over (EARLY, FIRST, EXPIRED), seconds since the first attempt (PASSED;
    EXPIRED: since the forgotten one). near: from what this process remembers, since the store is out."""

    seen: Seen
    wait: float = 0.0
    waited: float = 0.0
    near: bool = False


@dataclass(frozen=True, slots=True)
class GreylistMark:
    """What an operator says of a greylisting key: passed (a client_key: waits no more) for lifetime seconds from its
    last use; 0: forget it."""

    key: str
    is_client: bool
    lifetime: float


class Tally(StrEnum):
    """How a counter counts."""

    WINDOW = "window"  # in a sliding window (two fixed windows, weighted)
    DECAY = "decay"  # a sum that halves in each ``window`` seconds
    HELD = "held"  # what owners hold now, each until its lease of ``window`` seconds ends


@dataclass(frozen=True, slots=True)
class Counter:
    """Count ``amount`` of something; 0 only looks. window in seconds, see :class:`Tally`.

    owner: with HELD, whose number ``amount`` is from now on (not added; '' only looks); the answer is the sum of all
    owners. limit: if any counter of a call that has one (above 0) would go over it, nothing is added to those that have
    one, and the answers are as if it had been. forget: take all away first.
    """

    key: str
    amount: float
    window: float
    tally: Tally = Tally.WINDOW
    limit: float = 0.0
    owner: str = ""
    forget: bool = False


class Store(Protocol):
    """State shared by the workers of a node (sqlite) or by the cluster (Redis). Raises PortFailure('store', ...)."""

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """Ask and record in one atomic step."""
        ...

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """Record what an operator says of keys."""
        ...

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """Add each amount and return, in order, what was counted up to now, all in one atomic step. The same counter
        stands in a call once."""
        ...

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Keep a small value for ttl seconds (recipient cache, markers)."""
        ...

    async def get(self, key: str) -> str | None:
        """The value, or None when there is none or it has run out."""
        ...

    async def delete(self, key: str) -> None:
        """Forget a value; one that is not there is no fault."""
        ...

    async def ping(self) -> None:
        """Ask for a sign of life; raises PortFailure without one."""
        ...

    async def close(self) -> None:
        """End it."""
        ...
