"""Messages a second to one mailstore: each hand-over waits for its turn, but not for more than half of the
budget: the hand-over needs the rest.

The algorithm is a leaky bucket of virtual time: each message moves the time of the next one on by 1/rate; up to one
second's worth may go in a burst.

Known gaps: a worker's own count; a node gives each of its workers an equal share.
"""

from __future__ import annotations

import asyncio

from gateway.delivery.wire import Deadline
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure


class Pace:
    """rate: messages a second; 0: as many as come."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._interval = 1 / rate if rate else 0.0
        self._burst = max(0.0, 1.0 - self._interval)
        self._next = 0.0

    @property
    def wait(self) -> float:
        """Seconds that the next message would have to wait; 0 or less: none."""
        return self._next - self._burst - asyncio.get_running_loop().time() if self._rate else 0.0

    async def turn(self, deadline: Deadline) -> None:
        """Until it is this message's turn. Raises PortFailure(overload) at once where that would take more than half of
        the time left."""
        if not self._rate:
            return
        wait = self.wait
        if wait > deadline.left / 2:
            raise PortFailure("mailstore", Why.OVERLOAD, f"its rate of {self._rate:g} messages a second is used up")
        self._next = max(self._next, asyncio.get_running_loop().time()) + self._interval
        if wait > 0:
            await asyncio.sleep(wait)
