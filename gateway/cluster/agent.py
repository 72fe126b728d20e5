"""A node's duties: small works over the board, each again and again, beside the mail and never in its way.

A duty that fails is tried again at its next turn, and nobody waits for it; that the board is out, or back, is said
once. Turns are a little irregular, lest a fleet asks in step.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.ports.failure import PortFailure

log = logging.getLogger("mxgw.cluster")

_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Duty:
    """name: for the log. period: seconds from the end of one turn to the next. turn: one turn; raises PortFailure when
    the board is out."""

    name: str
    period: float
    turn: Callable[[], Awaitable[None]]


class Agent:
    """Does duties until it is cancelled. on_state is told whether the board answers, at each change."""

    def __init__(self, duties: Sequence[Duty], on_state: Callable[[bool], None] | None = None) -> None:
        self._duties = tuple(duties)
        self._on_state = on_state
        self._out: set[str] = set()

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
        except Exception:
            # an error of ours in one duty must end neither the others nor the node
            log.exception("duty %s failed", duty.name, extra={"event": "cluster"})
        else:
            self._note(duty, "")

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
        if self._on_state:
            self._on_state(self.reachable)
