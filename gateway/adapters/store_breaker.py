"""A breaker: after some failures nobody waits for a dead server; one call at a time tries it again.

Known gaps: each process has its own; a fleet's trials are spread by chance only.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

_ERRORS = 4
_WITHIN = 10.0
_CALLS = 20
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_JITTER = 0.2


class Breaker:
    """Opens after 4 failures in 10 s, or when more than half of the last 20 calls failed. Open for 1 s, then one trial;
    each failed trial doubles the pause up to 30 s, give or take a fifth, lest a fleet comes back in step."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures: deque[float] = deque(maxlen=_ERRORS)
        self._calls: deque[bool] = deque(maxlen=_CALLS)
        self._pause = 0.0
        self._until = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """True while the server is believed dead (a trial may be allowed all the same)."""
        return self._pause > 0

    def allows(self) -> bool:
        """Whether a call may go out now. In an open breaker a True is the one trial of this pause."""
        if not self._pause:
            return True
        now = self._monotonic()
        if now < self._until:
            return False
        self._until = now + self._pause  # the others go on waiting until the trial has spoken
        self._trying = True
        return True

    def succeeded(self) -> None:
        """A call was answered."""
        if self._pause:
            self._pause, self._trying = 0.0, False
            self._failures.clear()
            self._calls.clear()
        self._calls.append(True)

    def failed(self) -> None:
        """A call was not answered."""
        now = self._monotonic()
        if self._pause:
            if self._trying:  # calls that began before it opened prolong nothing
                self._trying = False
                self._pause = min(self._pause * 2, _LONGEST_PAUSE)
                self._until = now + self._spread()
            return
        self._failures.append(now)
        self._calls.append(False)
        often = len(self._failures) == _ERRORS and now - self._failures[0] <= _WITHIN
        mostly = len(self._calls) == _CALLS and sum(self._calls) * 2 < _CALLS
        if often or mostly:
            self._pause = _FIRST_PAUSE
            self._until = now + self._spread()

    def _spread(self) -> float:
        return self._pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
