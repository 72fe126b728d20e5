"""How the shared store is, as a port: one word that operators read in logs, metrics and /statusz.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class StoreState(StrEnum):
    """Closed: it is a metric label."""

    UP = "up"
    FULL = "full"  # it takes no writes for want of memory; reads go on
    READ_ONLY = "read-only"  # it takes no writes: a replica, or a disk it cannot save to; reads go on
    DOWN = "down"  # the breaker is open: nobody waits for it


@dataclass(frozen=True, slots=True)
class StateChange:
    """From one state to another, and what the server or the network said last."""

    before: StoreState
    after: StoreState
    detail: str = ""


OnState = Callable[[StateChange], None]
"""Told of each change; must return at once."""


def nobody_told(change: StateChange) -> None:
    """Nobody wants to know."""
