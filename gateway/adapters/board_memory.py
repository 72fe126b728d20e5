"""The board in memory: of one process and gone with it. For tests, and for a node whose store is memory://.

Known gaps: none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice

from gateway.ports.board import Line
from gateway.ports.clock import Clock


class MemoryBoard:
    """``ports.board.Board``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: dict[str, dict[str, tuple[str, float | None]]] = {}
        self._journals: dict[str, tuple[deque[Line], float]] = {}
        self._number = 0

    async def write(self, place: str, key: str, value: str, ttl: float | None = None) -> None:
        """Put it."""
        self._put(place, key, value, ttl)

    async def read(self, place: str, key: str) -> str | None:
        """One value."""
        return self._live(place).get(key)

    async def entries(self, place: str) -> Mapping[str, str]:
        """All values."""
        return dict(sorted(self._live(place).items()))

    async def erase(self, place: str, key: str) -> None:
        """Take it away."""
        self._places.get(place, {}).pop(key, None)

    async def swap(self, place: str, key: str, before: str | None, after: str | None, ttl: float | None = None) -> bool:
        """No other task runs meanwhile."""
        if self._live(place).get(key) != before:
            return False
        if after is None:
            self._places.get(place, {}).pop(key, None)
        else:
            self._put(place, key, after, ttl)
        return True

    async def append(self, journal: str, value: str, keep: int, ttl: float) -> None:
        """Add a line."""
        now = self._clock.now()
        self._number += 1
        lines = self._lines(journal)
        lines.append(Line(f"{self._number:020d}", now, value))
        for _ in range(len(lines) - keep):
            lines.popleft()
        self._journals[journal] = lines, now + ttl

    async def lines(self, journal: str, after: str = "", limit: int = 1000) -> Sequence[Line]:
        """Oldest first."""
        return list(islice((line for line in self._lines(journal) if line.number > after), limit))

    async def latest(self, journal: str, limit: int = 1000, before: str = "") -> Sequence[Line]:
        """Newest first."""
        found = (line for line in reversed(self._lines(journal)) if not before or line.number < before)
        return list(islice(found, limit))

    async def forget(self, journal: str, before: float) -> None:
        """From the old end."""
        lines = self._lines(journal)
        while lines and lines[0].time < before:
            lines.popleft()

    async def now(self) -> float:
        """The clock's time."""
        return self._clock.now()

    async def replicated(self) -> bool:
        """There is one copy, and no fail-over."""
        return True

    async def close(self) -> None:
        """Nothing to end."""

    def _put(self, place: str, key: str, value: str, ttl: float | None) -> None:
        until = None if ttl is None else self._clock.now() + ttl
        self._places.setdefault(place, {})[key] = (value, until)

    def _live(self, place: str) -> dict[str, str]:
        now = self._clock.now()
        kept = {k: (v, end) for k, (v, end) in self._places.get(place, {}).items() if end is None or end > now}
        self._places[place] = kept
        return {key: value for key, (value, _) in kept.items()}

    def _lines(self, journal: str) -> deque[Line]:
        lines, until = self._journals.get(journal, (deque[Line](), 0.0))
        return lines if until > self._clock.now() else deque()
