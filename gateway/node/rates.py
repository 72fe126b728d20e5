"""What became of transactions on this node: counted in each worker, summed and seen over a minute by the supervisor.

Known gaps: a worker that dies takes the counts of its last second along.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from gateway.cluster.canary import Counts
from gateway.ops.health import WorkerHealth
from gateway.ports.observer import Record

WINDOW: Final = 60.0
_EVENTS: Final = ("transaction", "reject")
_WORDS: Final = {"accepted": "accepted", "rejected": "rejected", "deferred": "deferred", "partly": "accepted"}


class Tally:
    """A worker's counts since its start. pass_on: who gets each record afterwards."""

    def __init__(self, pass_on: Callable[[Record], None]) -> None:
        self._pass_on = pass_on
        self.counts = Counts()

    def note(self, record: Record) -> None:
        """Count a decision record."""
        word = _WORDS.get(str(record.get("result", ""))) if record.get("event") in _EVENTS else None
        if word is not None:
            crashed = any(
                finding.get("cause", {}).get("why") == "crash" for finding in record.get("findings", {}).values()
            )
            self.counts += Counts(**{word: 1}, errors=int(crashed))
        self._pass_on(record)

    def said(self) -> dict[str, int]:
        """For the worker's beat."""
        return asdict(self.counts)


class Rates:
    """The node's: ``see`` about once a second."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last: dict[int, Counts] = {}
        self._seen: deque[tuple[float, Counts]] = deque()
        self.total = Counts()

    def see(self, workers: Iterable[WorkerHealth]) -> None:
        """Add what is new in the workers' beats."""
        now = self._monotonic()
        last = {}
        for worker in workers:
            counts = Counts(**worker.beat.get("results", {}))
            self.total += counts - self._last.get(worker.pid, Counts())
            last[worker.pid] = counts
        self._last = last
        self._seen.append((now, self.total))
        while self._seen[0][0] < now - WINDOW:
            self._seen.popleft()

    def per_minute(self) -> Mapping[str, Any]:
        """Over the last minute; a younger node: since its start."""
        counts = self.total - self._seen[0][1] if self._seen else Counts()
        return {"acc": counts.accepted, "def": counts.deferred, "rej": counts.rejected}
