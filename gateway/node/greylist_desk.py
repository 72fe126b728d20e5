"""A worker's greylist desk: the operator's entries on one side, metrics and what the supervisor is told on the other.

Known gaps: of more than 40 attempts a second only the counts are told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.checks.greylist_allow import AllowList
from gateway.mail.finding import Finding
from gateway.mail.transaction import Transaction
from gateway.ports.clock import Clock
from gateway.ports.greylist import DELAYS

NOTICE: Final = "greylist-allowed"
REPORT: Final = "greylist"
_TOLD: Final = ("first", "early", "passed", "expired", "learn")
_MOST: Final = 40


class Desk:
    """``ports.greylist.GreylistDesk``. on_attempt gets the state and the seconds that the client has waited."""

    def __init__(self, clock: Clock, on_attempt: Callable[[str, float], None]) -> None:
        self._clock = clock
        self._on_attempt = on_attempt
        self._list = AllowList()
        self._clear()

    def _clear(self) -> None:
        self._counts: Counter[str] = Counter()
        self._delays = [0] * (len(DELAYS) + 1)
        self._events: list[list[str | float]] = []

    def adopt(self, entries: Iterable[str]) -> None:
        """The operator's entries, all of them."""
        self._list.adopt(entries)

    def allowed(self, tx: Transaction) -> str:
        """The entry that names it, or ''."""
        return self._list.match(tx)

    def note(self, finding: Finding, window: float) -> None:
        """Count it, and keep it for the supervisor."""
        evidence = finding.evidence
        state = str(evidence.get("state", finding.reason))
        wait, waited = (float(value) if isinstance(value := evidence.get(name), int | float) else 0.0
                        for name in ("wait", "waited"))  # fmt: skip
        self._on_attempt(state, waited)
        self._counts[state] += 1
        if state == "passed":
            self._delays[bisect_left(DELAYS, waited)] += 1
        if state in _TOLD and len(self._events) < _MOST:
            self._events.append([self._clock.now(), state, str(evidence.get("key", "")), wait, waited, window])

    def take(self) -> dict[str, Any] | None:
        """What has gathered since the last time, for ``cluster.greylist.GreylistDuty.hear``; None: nothing."""
        if not self._counts:
            return None
        taken = {"counts": dict(self._counts), "delays": self._delays, "events": self._events}
        self._clear()
        return taken
