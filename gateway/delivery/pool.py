"""Sessions of one mailstore: idle ones are kept for the next transaction, the number of all is bounded, and failures
to get one open the breaker, behind which a probe looks for the mailstore's return.

Known gaps: the bound is a worker's own (a node gives each worker an equal share of ``sessions=``).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway.delivery import xclient
from gateway.delivery.breaker import Breaker, Health, Standing
from gateway.delivery.session import Dialect, Session, open_session
from gateway.delivery.wire import ClosingReply, ConnectionLost, Deadline
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure

log = logging.getLogger("mxgw.delivery")

_CALLOUT_SHARE: Final = 4  # callouts have at most one session in four, or one
_CALLOUT_WAIT: Final = 2.0  # twice at most: then there is time left to use what is remembered
_TRANSACTIONS: Final = 100  # then a session ends, so that balancers before the mailstore can spread the load


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """sessions: at most at once; idle: kept at most; idle_seconds: kept for so long; waiting: hand-overs that may wait
    for a session, each with its message in memory; rate: messages a second, 0 for no limit."""

    sessions: int = 50
    idle: int = 8
    idle_seconds: float = 30.0
    waiting: int = 200
    rate: float = 0.0


class Pool:
    """Lends sessions. A session comes back only after a clean end of its use; else it is cut."""

    def __init__(self, dialect: Dialect, limits: PoolLimits, jitter: Callable[[], float] = random.random) -> None:
        self._dialect = dialect
        self._limits = limits
        self._breaker = Breaker(jitter)
        self._idle: deque[Session] = deque()
        self._places = asyncio.Semaphore(limits.sessions)
        # who only asks shall not stand before those who have a message
        self._callouts = asyncio.Semaphore(max(1, limits.sessions // _CALLOUT_SHARE))
        self._lent = 0
        self._waiting = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        self._probe_at = 0.0
        self._closed = False

    @property
    def idle(self) -> int:
        """Sessions that wait for work."""
        return len(self._idle)

    @property
    def ready(self) -> bool:
        """Whether one of them was told of no client."""
        return any(session.client is None and session.wire.alive for session in self._idle)

    def standing(self) -> Standing:
        """Free, busy or down."""
        if not self._breaker.up:
            return Standing.DOWN
        return Standing.BUSY if self._places.locked() else Standing.FREE

    def health(self) -> Health:
        """For /statusz."""
        breaker = self._breaker
        retry_in = 0.0 if breaker.up else max(0.0, self._probe_at - asyncio.get_running_loop().time())
        sessions = self._lent + len(self._idle)
        name = str(self._dialect.url)
        return Health(name, breaker.up, breaker.failures, retry_in, breaker.detail, sessions, self._waiting)

    @asynccontextmanager
    async def session(
        self,
        deadline: Deadline,
        *,
        fresh: bool = False,
        client: xclient.Attributes | None = None,
        most_wait: float = math.inf,
    ) -> AsyncIterator[Session]:
        """A session for one transaction. fresh: not a kept one. client: on whose behalf; None: our own.
        Raises PortFailure; overload when the breaker is open, too many wait already, or all places stay taken for half
        of the time that is left, or ``most_wait`` seconds."""
        await self._place(min(most_wait, deadline.left / 2))
        self._lent += 1
        try:
            kept = None if fresh else self._take(client)
            session = kept or await self._open(deadline)
            session.transactions += 1
            session.begun = clean = False
            try:
                yield session
                clean = True
            except PortFailure as failure:
                # that a kept session had died in our absence says nothing; the next one will
                if not session.begun and (kept is None or session.answered):
                    self._silence(failure)
                raise
            finally:
                if session.begun:
                    self._breaker.answered()
                if clean:
                    self._keep(session)
                else:
                    session.wire.abort()
        finally:
            self._lent -= 1
            self._places.release()

    @asynccontextmanager
    async def callout(self, deadline: Deadline, *, fresh: bool = False) -> AsyncIterator[Session]:
        """A session for a question of our own. Few have one, or wait for one among the hand-overs, at the same time;
        they wait 2 s for each. Raises PortFailure as ``session`` does."""
        try:
            async with asyncio.timeout(max(0.0, min(_CALLOUT_WAIT, deadline.left / 2))):
                await self._callouts.acquire()
        except TimeoutError:
            raise PortFailure("mailstore", Why.OVERLOAD, "too many callouts wait") from None
        try:
            async with self.session(deadline, fresh=fresh, most_wait=_CALLOUT_WAIT) as session:
                yield session
        finally:
            self._callouts.release()

    async def _place(self, most_wait: float) -> None:
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        self._refuse_while_down()
        if self._waiting >= self._limits.waiting:
            raise PortFailure("mailstore", Why.OVERLOAD, f"{self._waiting} hand-overs wait for a session")
        self._waiting += 1
        try:
            # the other half is for the hand-over: a dot whose reply nobody can wait for makes duplicates
            async with asyncio.timeout(max(0.0, most_wait)):
                await self._places.acquire()
        except TimeoutError:
            raise PortFailure("mailstore", Why.OVERLOAD, f"{self._limits.sessions} sessions are busy") from None
        finally:
            self._waiting -= 1

    def _refuse_while_down(self) -> None:
        if not self._breaker.up:
            self._watch()
            raise PortFailure("mailstore", Why.OVERLOAD, f"down: {self._breaker.detail}")

    def _watch(self) -> None:
        # a probe that crashed shall not leave the mailstore down for ever
        if not self._closed and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._probes(), name=f"probe {self._dialect.url}")

    async def _open(self, deadline: Deadline) -> Session:
        # a kept session may be used while the breaker is open: a mailstore that is full refuses new ones only
        self._refuse_while_down()
        while self._idle and self._lent + len(self._idle) > self._limits.sessions:
            self._idle.popleft().wire.quit()
        try:
            session = await open_session(self._dialect, deadline)
        except PortFailure as failure:
            # our own budget that was all but spent says nothing of the mailstore
            if failure.cause.why is not Why.BUDGET and self._breaker.failed(str(failure.cause)):
                self._down(failure)
            raise
        self._breaker.greeted()
        return session

    def _silence(self, failure: PortFailure) -> None:
        hung = failure.cause.why is Why.TIMEOUT or isinstance(failure, ConnectionLost)
        # 421 is an answer
        if hung and not isinstance(failure, ClosingReply) and self._breaker.silent(str(failure.cause)):
            self._down(failure)

    def _down(self, failure: PortFailure) -> None:
        log.error("%s is down: %s", self._dialect.url, failure.cause, extra={"event": "mailstore"})
        self._watch()

    async def _probes(self) -> None:
        """No client pays for the question whether a dead mailstore is back."""
        timeouts = self._dialect.timeouts
        while not self._breaker.up:
            pause = self._breaker.pause()
            self._probe_at = asyncio.get_running_loop().time() + pause
            await asyncio.sleep(pause)
            async with self._places:
                try:
                    session = await open_session(self._dialect, Deadline.after(timeouts.connect + timeouts.command))
                    await session.probe(Deadline.after(timeouts.command))
                except PortFailure as failure:
                    if not self._breaker.up:
                        self._breaker.probe_failed(str(failure.cause))
                    continue
            if self._breaker.succeeded():
                log.warning("%s is up again", self._dialect.url, extra={"event": "mailstore"})
            self._keep(session)

    def _take(self, client: xclient.Attributes | None) -> Session | None:
        self._sweep()
        for session in reversed(self._idle):  # the youngest: the least likely to be dead
            if session.serves(client):
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
        if len(self._idle) > min(self._limits.idle, self._limits.sessions):
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
        if self._probe:
            self._probe.cancel()
            await asyncio.wait([self._probe])
        while self._idle:
            self._idle.pop().wire.quit()
        await asyncio.sleep(0)  # lets the transports close
