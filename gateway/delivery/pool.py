"""Idle sessions of one mailstore, kept for the next transaction; the number of all sessions is bounded.

Known gaps: the bound is a worker's own; a node with four workers may hold four times as many sessions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway.delivery.session import Dialect, Session, open_session
from gateway.delivery.wire import Deadline
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure

_TRANSACTIONS: Final = 100  # then a session ends, so that balancers before the mailstore can spread the load


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """sessions: at most at once; idle: kept at most; idle_seconds: kept for so long."""

    sessions: int = 50
    idle: int = 8
    idle_seconds: float = 30.0


class Pool:
    """Lends sessions. A session comes back only after a clean end of its use; else it is cut."""

    def __init__(self, dialect: Dialect, limits: PoolLimits) -> None:
        self._dialect = dialect
        self._limits = limits
        self._idle: deque[Session] = deque()
        self._places = asyncio.Semaphore(limits.sessions)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Sessions that wait for work."""
        return len(self._idle)

    @asynccontextmanager
    async def session(
        self, deadline: Deadline, *, fresh: bool = False, own_name: bool = False
    ) -> AsyncIterator[Session]:
        """A session for one transaction. fresh: not a kept one. own_name: none that was told of a client by XCLIENT.
        Raises PortFailure; overload when all places stay taken until the deadline."""
        try:
            async with deadline.phase("pool", self._dialect.timeouts.connect):
                await self._places.acquire()
        except PortFailure as failure:
            raise PortFailure("mailstore", Why.OVERLOAD, f"{self._limits.sessions} sessions are busy") from failure
        try:
            session = (None if fresh else self._take(own_name)) or await open_session(self._dialect, deadline)
            session.transactions += 1
            clean = False
            try:
                yield session
                clean = True
            finally:
                if clean:
                    self._keep(session)
                else:
                    session.wire.abort()
        finally:
            self._places.release()

    def _take(self, own_name: bool) -> Session | None:
        self._sweep()
        for session in reversed(self._idle):  # the youngest: the least likely to be dead
            if not (own_name and session.client is not None):
                self._idle.remove(session)
                session.answered = False
                return session
        return None

    def _keep(self, session: Session) -> None:
        if self._closed or session.transactions >= _TRANSACTIONS or not session.wire.alive:
            session.wire.quit()
            return
        session.idle_since = asyncio.get_running_loop().time()
        self._idle.append(session)
        if len(self._idle) > self._limits.idle:
            self._idle.popleft().wire.quit()
        self._arm()

    def _arm(self) -> None:
        if self._sweeper is None and self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._timer)

    def _timer(self) -> None:
        self._sweeper = None
        self._sweep()
        self._arm()

    def _sweep(self) -> None:
        oldest = asyncio.get_running_loop().time() - self._limits.idle_seconds
        kept = deque[Session]()
        for session in self._idle:
            if session.wire.alive and session.idle_since > oldest:
                kept.append(session)
            else:
                session.wire.quit()
        self._idle = kept

    async def close(self) -> None:
        """QUIT to all idle sessions; those in use end when they come back."""
        self._closed = True
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        while self._idle:
            self._idle.pop().wire.quit()
        await asyncio.sleep(0)  # lets the transports close
