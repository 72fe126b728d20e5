"""The store in the process's own memory: for a lone worker, ``mxgw explain`` and tests.

Known gaps: forgotten at restart, not shared between workers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from gateway.adapters.store_greylist import ClientState, KeyState, marked, step
from gateway.adapters.store_tally import NOTHING, Kept, tally
from gateway.ports.clock import Clock
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion, Tally

_CAPACITY = 200_000
_LOOKS = 2

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Table(Generic[_K, _V]):
    """Values until their time is over. Each ``put`` looks at two others, so that what has run out goes and nobody waits
    for a sweep of all; beyond ``capacity`` one goes for each that comes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows: dict[_K, tuple[_V, float]] = {}
        self._order: deque[_K] = deque()  # each key of the rows once

    def get(self, key: _K, now: float) -> _V | None:
        """The value, if its time is not over."""
        row = self._rows.get(key)
        return row[0] if row and row[1] > now else None

    def put(self, key: _K, value: _V, until: float, now: float) -> None:
        """Keep it until then."""
        if key not in self._rows:
            self._order.append(key)
        self._rows[key] = (value, until)
        for _ in range(_LOOKS):
            other, is_full = self._order.popleft(), len(self._rows) > self._capacity
            if is_full or self._rows[other][1] <= now:
                del self._rows[other]
            else:
                self._order.append(other)
            if is_full or not self._order:
                break

    def drop(self, key: _K) -> None:
        """Forget it."""
        if key in self._rows:
            self._rows[key] = (self._rows[key][0], -math.inf)


class MemoryStore:
    """Implements ``ports.store.Store`` and ``ports.ledger.Ledger``. ``capacity``: entries of each kind, since
    strangers choose the keys. Never raises."""

    def __init__(self, clock: Clock, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._keys: _Table[str, KeyState] = _Table(capacity)
        self._clients: _Table[str, ClientState] = _Table(capacity)
        self._counts: _Table[tuple[Tally, str, float], Kept] = _Table(capacity)
        self._values: _Table[str, str] = _Table(capacity)
        self._ledger: _Table[tuple[str, str], str] = _Table(capacity)  # owner ('': done)

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """Ask and record."""
        now = self._clock.now()
        client = self._clients.get(question.client_key, now)
        taken = step(now, question, self._keys.get(question.key, now), client)
        if taken.state:
            self._keys.put(question.key, taken.state, taken.state.expires, now)
        if taken.client:
            self._clients.put(question.client_key, taken.client, taken.client.expires, now)
        return taken.answer

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """Record them."""
        now = self._clock.now()
        for mark in marks:
            kept = marked(now, mark)
            if isinstance(kept, KeyState):
                self._keys.put(mark.key, kept, kept.expires, now)
            elif kept is not None:
                self._clients.put(mark.key, kept, kept.expires, now)
            else:
                (self._clients if mark.is_client else self._keys).drop(mark.key)

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """Add and return the counts of the windows that end now."""
        now = self._clock.now()
        names = [(counter.tally, counter.key, counter.window) for counter in counters]
        names = [(tally_, key, 0.0 if tally_ is Tally.HELD else window) for tally_, key, window in names]
        keep, answers = tally(now, counters, [self._counts.get(name, now) or NOTHING for name in names])
        for name, kept in zip(names, keep, strict=True):
            if kept is not None:
                self._counts.put(name, kept, kept.expires, now)
        return tuple(answers)

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Keep a value."""
        now = self._clock.now()
        self._values.put(key, value, now + ttl, now)

    async def get(self, key: str) -> str | None:
        """The value, or None."""
        return self._values.get(key, self._clock.now())

    async def delete(self, key: str) -> None:
        """Forget a value."""
        self._values.drop(key)

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """Record *handing over*."""
        now = self._clock.now()
        answers: list[Entry] = []
        for recipient in recipients:
            holder = self._ledger.get((key, recipient), now)
            if holder is not None and holder != owner:
                answers.append(Entry.BUSY if holder else Entry.DONE)
            else:
                self._ledger.put((key, recipient), owner, now + lease, now)
                answers.append(Entry.OURS)
        return tuple(answers)

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """Record *done*, free the rest."""
        now = self._clock.now()
        for recipient in done:
            self._ledger.put((key, recipient), "", now + ttl, now)
        for recipient in free:
            if self._ledger.get((key, recipient), now) == owner:
                self._ledger.drop((key, recipient))

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """The entries go."""
        for recipient in recipients:
            self._ledger.drop((key, recipient))

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        """Nothing to end."""
