"""The store in the process's own memory: for a lone worker, ``mxgw explain`` and tests.

Known gaps: forgotten at restart, not shared between workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gateway.adapters.store_greylist import ClientState, KeyState, marked, step
from gateway.adapters.store_tally import NOTHING, Kept, tally
from gateway.ports.clock import Clock
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion, Tally

_CAPACITY = 200_000
_PURGE_EVERY = 1000

_K = TypeVar("_K")
_V = TypeVar("_V")


class MemoryStore:
    """Implements ``ports.store.Store`` and ``ports.ledger.Ledger``. ``capacity``: entries of each kind; the oldest are
    dropped beyond it, since strangers choose the keys. Never raises."""

    def __init__(self, clock: Clock, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._keys: dict[str, KeyState] = {}
        self._clients: dict[str, ClientState] = {}
        self._counts: dict[tuple[Tally, str, float], Kept] = {}
        self._values: dict[str, tuple[str, float]] = {}
        self._ledger: dict[tuple[str, str], tuple[str, float]] = {}  # owner ('': done), until
        self._calls = 0

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """Ask and record."""
        now = self._purged()
        state = self._keys.get(question.key)
        client = self._clients.get(question.client_key)
        taken = step(
            now,
            question,
            state if state and state.expires > now else None,
            client if client and client.expires > now else None,
        )
        if taken.state:
            self._keys[question.key] = taken.state
        if taken.client:
            self._clients[question.client_key] = taken.client
        return taken.answer

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """Record them."""
        now = self._purged()
        for mark in marks:
            kept = marked(now, mark)
            if isinstance(kept, KeyState):
                self._keys[mark.key] = kept
            elif kept is not None:
                self._clients[mark.key] = kept
            else:
                (self._clients if mark.is_client else self._keys).pop(mark.key, None)

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """Add and return the counts of the windows that end now."""
        now = self._purged()
        names = [(counter.tally, counter.key, counter.window) for counter in counters]
        names = [(tally_, key, 0.0 if tally_ is Tally.HELD else window) for tally_, key, window in names]
        keep, answers = tally(now, counters, [self._counts.get(name, NOTHING) for name in names])
        for name, kept in zip(names, keep, strict=True):
            if kept is not None:
                self._counts[name] = kept
        return tuple(answers)

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Keep a value."""
        self._values[key] = (value, self._purged() + ttl)

    async def get(self, key: str) -> str | None:
        """The value, or None."""
        value, expires = self._values.get(key, ("", 0.0))
        return value if expires > self._clock.now() else None

    async def delete(self, key: str) -> None:
        """Forget a value."""
        self._values.pop(key, None)

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """Record *handing over*."""
        now = self._purged()
        answers: list[Entry] = []
        for recipient in recipients:
            holder, until = self._ledger.get((key, recipient), (owner, 0.0))
            if until > now and holder != owner:
                answers.append(Entry.BUSY if holder else Entry.DONE)
            else:
                self._ledger[key, recipient] = (owner, now + lease)
                answers.append(Entry.OURS)
        return tuple(answers)

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """Record *done*, free the rest."""
        until = self._purged() + ttl
        for recipient in done:
            self._ledger[key, recipient] = ("", until)
        for recipient in free:
            if self._ledger.get((key, recipient), ("", 0.0))[0] == owner:
                del self._ledger[key, recipient]

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """The entries go."""
        for recipient in recipients:
            self._ledger.pop((key, recipient), None)

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        """Nothing to end."""

    def _purged(self) -> float:
        now = self._clock.now()
        self._calls += 1
        if self._calls % _PURGE_EVERY == 0:
            self._keys = {key: state for key, state in self._keys.items() if state.expires > now}
            self._clients = {key: client for key, client in self._clients.items() if client.expires > now}
            self._counts = {key: kept for key, kept in self._counts.items() if kept.expires > now}
            self._values = {key: kept for key, kept in self._values.items() if kept[1] > now}
            self._ledger = {key: kept for key, kept in self._ledger.items() if kept[1] > now}
            _drop_oldest(self._keys, self._capacity)
            _drop_oldest(self._clients, self._capacity)
            _drop_oldest(self._counts, self._capacity)
            _drop_oldest(self._values, self._capacity)
            _drop_oldest(self._ledger, self._capacity)
        return now


def _drop_oldest(table: dict[_K, _V], capacity: int) -> None:
    for key in list(table)[: max(0, len(table) - capacity)]:
        del table[key]
