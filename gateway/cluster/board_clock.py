"""The board's clock as a node knows it: how far it is from the node's monotonic clock, and how surely.

Half of a question's round trip is the most by which its answer can be off; afterwards quartzes part by less than a
thousandth. All nodes that switch at one time of the board therefore need no NTP.

Known gaps: a fail-over to a server whose clock differs is noticed at the next question only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway.ports.board import Board

DRIFT: Final = 0.001
_STALE: Final = 30.0


class BoardClock:
    """Times are seconds: the board's since 1970, the node's as ``time.monotonic`` has them (one for all processes of a
    machine)."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = 0.0
        self._error = float("inf")
        self._asked = 0.0

    async def measure(self, board: Board) -> float:
        """Ask once; the better of what was known and this is kept. Returns the board's time. Raises PortFailure."""
        before = self._monotonic()
        now = await board.now()
        after = self._monotonic()
        error = (after - before) / 2
        if error < self.uncertainty() or after - self._asked > _STALE:
            self._offset, self._error, self._asked = now - (before + after) / 2, error, after
        return now

    def uncertainty(self) -> float:
        """Seconds by which ``not_after`` may be early, twice at most."""
        return self._error + (self._monotonic() - self._asked) * DRIFT

    def not_after(self, board_time: float) -> float:
        """A moment of the monotonic clock that is surely not after this one of the board, and as late as may be. Only
        after ``measure``."""
        ahead = max(0.0, board_time - self._offset - self._monotonic())
        return board_time - self._offset - self.uncertainty() - ahead * DRIFT
