"""Limits of one worker alone, for the time that the shared store is out.

Each worker allows its share of a limit, half as much again: traffic is never spread evenly.

Known gaps: begins at nothing when the store fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.adapters.store_tally import NOTHING, Kept, tally
from gateway.ports.clock import Clock
from gateway.ports.store import Counter, Tally

_CAPACITY = 50_000
_MORE = 1.5


class LocalLimiter:
    """``ports.presence.Limiter``. workers: how many serve in the whole cluster now."""

    def __init__(self, clock: Clock, workers: Callable[[], int], capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._workers = workers
        self._capacity = capacity
        self._kept: dict[tuple[str, float], Kept] = {}

    def count(self, counters: Sequence[Counter], limits: Sequence[float]) -> tuple[float, ...]:
        """Count; a number above its limit is one above our share."""
        now, share = self._clock.now(), min(1.0, _MORE / max(1, self._workers()))
        ours = [max(1.0, limit * share) if limit else 0.0 for limit in limits]
        scaled = [
            replace(counter, limit=own if counter.limit else 0.0) for counter, own in zip(counters, ours, strict=True)
        ]
        names = [(f"{counter.tally}|{counter.key}", counter.window) for counter in counters]
        keep, answers = tally(now, scaled, [self._kept.get(name, NOTHING) for name in names])
        for name, counter, kept in zip(names, counters, keep, strict=True):
            # what we hold ourselves is known without counting
            if kept is not None and counter.tally is not Tally.HELD:
                self._kept.pop(name, None)
                self._kept[name] = kept
        self._shrink(now)
        return tuple(
            counter.amount if counter.tally is Tally.HELD else answer * limit / own if limit else answer
            for counter, answer, limit, own in zip(counters, answers, limits, ours, strict=True)
        )

    def _shrink(self, now: float) -> None:
        if len(self._kept) <= self._capacity:
            return
        self._kept = {name: kept for name, kept in self._kept.items() if kept.expires > now}
        for name in list(self._kept)[: max(0, len(self._kept) - self._capacity // 2)]:
            del self._kept[name]
