"""A node's duties: small works over the board, each again and again, beside the mail and never in its way.

A duty that fails is tried again at its next turn, and nobody waits for it; that the board is out, or back, is said
once. An error of ours is told with its traceback, at most once a minute where it is the same again. Turns are a little
irregular, lest a fleet asks in step.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.ports.failure import PortFailure

log = logging.getLogger("mxgw.cluster")

_JITTER = 0.1
_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Duty:
    """name: for the log. period: seconds from the end of one turn to the next. turn: one turn; raises PortFailure when
    the board is out."""

    name: str
    period: float
    turn: Callable[[], Awaitable[None]]


class Agent:
    """Does duties until it is cancelled. monotonic: the clock."""

    def __init__(self, duties: Sequence[Duty], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._duties = tuple(duties)
        self._monotonic = monotonic
        self._out: set[str] = set()
        self._faults: dict[str, tuple[type[Exception], float]] = {}

    @property
    def reachable(self) -> bool:
        """Whether the last turns found the board."""
        return not self._out

    async def run(self) -> None:
        """All duties beside each other."""
        async with asyncio.TaskGroup() as group:
            for duty in self._duties:
                group.create_task(self._repeat(duty), name=f"duty {duty.name}")

    async def _repeat(self, duty: Duty) -> None:
        while True:
            await self.once(duty)
            await asyncio.sleep(duty.period * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret

    async def once(self, duty: Duty) -> None:
        """One turn. A failure is noted and logged."""
        try:
            await duty.turn()
        except PortFailure as failure:
            self._note(duty, str(failure.cause))
        except Exception as error:
            # an error of ours in one duty must end neither the others nor the node
            if self._is_news(duty, type(error)):
                log.exception("duty %s failed", duty.name, extra={"event": "cluster"})
        else:
            self._note(duty, "")

    def _is_news(self, duty: Duty, kind: type[Exception]) -> bool:
        now = self._monotonic()
        before, told = self._faults.get(duty.name, (None, 0.0))
        if kind is before and now - told < _AGAIN_SECONDS:
            return False
        self._faults[duty.name] = kind, now
        return True

    def _note(self, duty: Duty, why: str) -> None:
        before = self.reachable
        if why:
            self._out.add(duty.name)
        else:
            self._out.discard(duty.name)
        if self.reachable == before:
            return
        if self.reachable:
            log.info("the cluster's board answers again", extra={"event": "store", "state": "ok"})
        else:
            log.warning("the cluster's board does not answer: %s", why, extra={"event": "store", "state": "out"})
