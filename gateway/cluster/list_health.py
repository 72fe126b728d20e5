"""From looks at a list to its state: out at once, back when it has been sound for a while.

Pure: no clock, no network. What is kept goes to the board as JSON, where all nodes read it.

Known gaps: none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Final

from gateway.cluster.list_probe import Look
from gateway.ports.lists import DISABLED, OK, STATES, ListState

LONGEST_HOLD: Final = 3600.0
"""Seconds. Resolvers in front of lists keep nothing longer, or ought not to."""


@dataclass(frozen=True, slots=True)
class Health:
    """A list as its looks have shown it. good: sound looks in a row since the last bad one; until: it stays out till
    then, since resolvers may still hold its wrong answers; at: time of the last look (both seconds since 1970); by: the
    node that looked."""

    state: str
    reason: str
    since: float
    at: float
    by: str
    good: int = 0
    until: float = 0.0

    @property
    def said(self) -> ListState:
        """For checks."""
        return ListState(self.state, self.reason, self.since)

    def as_text(self) -> str:
        """For the board."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of_text(cls, text: str) -> Health:
        """From the board. Raises ValueError."""
        try:
            found = cls(**json.loads(text))
            sound = found.state in STATES and all(isinstance(t, int | float) for t in (found.since, found.until))
        except TypeError as error:
            raise ValueError(str(error)) from error
        if not sound:
            raise ValueError(f"no such state: {found.state}")
        return found


def after(before: Health | None, seen: Look, now: float, node: str, back_after: int) -> Health:
    """The state after one more look. back_after: sound looks in a row after which a disabled list is ok again."""
    if seen.state == DISABLED:
        until = max(before.until if before else 0.0, now + min(float(seen.ttl), LONGEST_HOLD))
        since = before.since if before and before.state == DISABLED else now
        return Health(DISABLED, seen.reason, since, now, node, 0, until)
    if before is None or before.state != DISABLED:
        same = before is not None and (before.state, before.reason) == (seen.state, seen.reason)
        return Health(seen.state, seen.reason, before.since if before and same else now, now, node)
    good = before.good + 1 if seen.state == OK else 0
    if good >= back_after and now >= before.until:
        return Health(OK, "", now, now, node)
    return replace(before, at=now, by=node, good=good)


def worse(one: ListState, other: ListState) -> ListState:
    """The worse of two; the first where they are alike."""
    return other if (other.counts, STATES.index(one.state)) < (one.counts, STATES.index(other.state)) else one
