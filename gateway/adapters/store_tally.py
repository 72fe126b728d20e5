"""How the stores of one host count: sliding windows, sums that decay, and what owners hold. Pure; count.lua does the
same in Redis.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.ports.store import Counter, Tally

HALVES_KEPT = 12
"""A sum that decays is forgotten after so many half-lives without an addition: a 4,096th is left."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one counter. at: number of the fixed window (WINDOW) or time of the sum (DECAY). held: by owner
    its number and the end of its lease."""

    at: float = 0.0
    current: float = 0.0
    previous: float = 0.0
    expires: float = 0.0
    held: Mapping[str, tuple[float, float]] = field(default_factory=dict)


NOTHING = Kept()


def tally(now: float, counters: Sequence[Counter], kept: Sequence[Kept]) -> tuple[list[Kept | None], list[float]]:
    """One call of ``Store.count``: for each counter what is to be kept now (None: as before), and the answers."""
    pairs = zip(counters, kept, strict=True)
    before = [NOTHING if counter.forget else _at(now, counter, one) for counter, one in pairs]
    added = [_added(now, counter, one) for counter, one in zip(counters, before, strict=True)]
    answers = [_number(now, counter, one) for counter, one in zip(counters, added, strict=True)]
    over = any(0 < counter.limit < answer for counter, answer in zip(counters, answers, strict=True))
    result: list[Kept | None] = []
    for counter, old, new in zip(counters, before, added, strict=True):
        writes = not (over and counter.limit > 0) and (counter.amount != 0 or bool(counter.owner))
        result.append(new if writes else old if counter.forget else None)
    return result, answers


def _at(now: float, counter: Counter, kept: Kept) -> Kept:
    """The same thing as it stands now."""
    if counter.tally is Tally.HELD:
        return Kept(held={owner: lease for owner, lease in kept.held.items() if lease[1] > now}, expires=kept.expires)
    if counter.tally is Tally.DECAY:
        return Kept(now, kept.current * 0.5 ** (max(0.0, now - kept.at) / counter.window), 0.0, kept.expires)
    bucket = now // counter.window
    if kept.at == bucket:
        return kept
    return Kept(bucket, 0.0, kept.current if kept.at == bucket - 1 else 0.0, kept.expires)


def _added(now: float, counter: Counter, kept: Kept) -> Kept:
    if counter.tally is Tally.HELD:
        if not counter.owner:
            return kept
        held = {owner: lease for owner, lease in kept.held.items() if owner != counter.owner}
        if counter.amount > 0:
            held[counter.owner] = (counter.amount, now + counter.window)
        return Kept(held=held, expires=max((end for _, end in held.values()), default=0.0))
    at = now if counter.tally is Tally.DECAY else now // counter.window
    lasts = counter.window * (HALVES_KEPT if counter.tally is Tally.DECAY else 2)
    return Kept(at, kept.current + counter.amount, kept.previous, now + lasts)


def _number(now: float, counter: Counter, kept: Kept) -> float:
    if counter.tally is Tally.HELD:
        return float(sum(number for number, _ in kept.held.values()))
    if counter.tally is Tally.DECAY:
        return kept.current
    # what was taken back after its window had changed may leave a little below nothing
    return max(0.0, kept.current + kept.previous * (1.0 - (now % counter.window) / counter.window))
