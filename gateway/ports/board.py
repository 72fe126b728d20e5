"""The board: what the nodes of a cluster tell each other, as a port.

Heartbeats, the policy in force, emergency blocks, the state of block lists: few entries, each node's supervisor reads
them about once a second and hands them to its workers. No SMTP phase ever waits for the board. A *place* is a set of
entries (key and value, both text); a *journal* is a list that is only added to and forgets its oldest. A lone node has
a board too (sqlite, memory), so that a cluster of one works like any other.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a journal. number: grows, sorts as it is and is unique in the journal; time: seconds since 1970."""

    number: str
    time: float
    value: str


class Board(Protocol):
    """Shared by all nodes that have the same store. Raises PortFailure('store', ...)."""

    async def write(self, place: str, key: str, value: str, ttl: float | None = None) -> None:
        """Put an entry. ttl: seconds until it is gone; None: it stays."""
        ...

    async def read(self, place: str, key: str) -> str | None:
        """One entry's value, or None."""
        ...

    async def entries(self, place: str) -> Mapping[str, str]:
        """All entries of a place that are not gone, sorted by key."""
        ...

    async def erase(self, place: str, key: str) -> None:
        """Take an entry away; one that is not there is no fault."""
        ...

    async def swap(self, place: str, key: str, before: str | None, after: str | None, ttl: float | None = None) -> bool:
        """Put ``after`` (None: take it away) only if the value is ``before`` (None: there is none), in one atomic
        step. Returns whether it was."""
        ...

    async def append(self, journal: str, value: str, keep: int, ttl: float) -> None:
        """Add a line. keep: about so many lines stay; the journal is gone ttl seconds after its last line."""
        ...

    async def lines(self, journal: str, after: str = "", limit: int = 1000) -> Sequence[Line]:
        """Lines after the one with that number ('' from the beginning), oldest first."""
        ...

    async def latest(self, journal: str, limit: int = 1000, before: str = "") -> Sequence[Line]:
        """Lines before the one with that number ('' from the end), newest first."""
        ...

    async def forget(self, journal: str, before: float) -> None:
        """Take away the lines that are older than that time, seconds since 1970 by the board's clock."""
        ...

    async def replicated(self) -> bool:
        """Whether all that has been read so far would outlive the server: it has no replica, or one has it all too."""
        ...

    async def now(self) -> float:
        """The board's clock, seconds since 1970: nodes need not agree on the time."""
        ...

    async def close(self) -> None:
        """End it."""
        ...
