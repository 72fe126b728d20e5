"""Whether the canary's rates leave their band, judged against the other nodes in the same time.

All nodes are asked by the same senders, so what the canary refuses or defers more than the others is the policy's
doing. Small numbers deceive: the band widens by three standard errors of the difference.

Known gaps: with no other node, or one without mail, the canary is held against shares of nothing refused, widened as
for twenty transactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

LEAST: Final = 10
"""Transactions of the canary before it is judged."""
_FEW: Final = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of transactions: accepted, rejected, deferred; errors: those in which a check of ours crashed."""

    accepted: int = 0
    rejected: int = 0
    deferred: int = 0
    errors: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.deferred

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            self.deferred + other.deferred,
            self.errors + other.errors,
        )

    def __sub__(self, other: Counts) -> Counts:
        return self + Counts(-other.accepted, -other.rejected, -other.deferred, -other.errors)


def out_of_band(canary: Counts, others: Sequence[Counts], band: float) -> str:
    """'' where all is well, or not enough is known; else what is out of its band. band: the share (0 to 1) by which
    a rate may be above that of the others."""
    if canary.total < LEAST:
        return ""
    rest = sum(others, Counts())
    for word in ("rejected", "deferred", "errors"):
        size = max(rest.total, _FEW)
        share, usual = getattr(canary, word) / canary.total, getattr(rest, word) / size
        pooled = (getattr(canary, word) + getattr(rest, word)) / (canary.total + size)
        noise = 3 * sqrt(pooled * (1 - min(1.0, pooled)) * (1 / canary.total + 1 / size))
        if share > usual + band + noise:
            return f"{word} {share:.0%} of {canary.total}, the others {usual:.0%} of {rest.total}"
    return ""
