"""Small values kept near: what ``get`` answered stays in this process for some seconds, so that a busy recipient costs
no round trip a message. Counters and greylisting always go to the shared store; while it is out, who passed greylisting
in this process's last day is known all the same, and so are values of the last week.

Known gaps: a value changed by another node is seen here up to ``near_ttl`` seconds later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from gateway.mail.finding import Why
from gateway.ports.clock import Clock
from gateway.ports.failure import PortFailure
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion, Seen, Store

_CAPACITY = 20_000
_NEAR_TTL = 30.0
_STALE_SECONDS = 7 * 86400.0
_PASSES = 50_000
_PASS_SECONDS = 86400.0
_GREYLIST_SECONDS = 0.25  # below the check's budget: what is near must still be told


def _every(key: str, value: str) -> bool:  # noqa: ARG001
    return True


class NearStore:
    """``ports.store.Store`` over another one. near_ttl in seconds; capacity counts values; keep(key, value) says what
    may be near at all. passes: how many greylisting keys are remembered."""

    def __init__(
        self,
        inner: Store,
        clock: Clock,
        near_ttl: float = _NEAR_TTL,
        capacity: int = _CAPACITY,
        keep: Callable[[str, str], bool] = _every,
        passes: int = _PASSES,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._near_ttl = near_ttl
        self._capacity = capacity
        self._may_keep = keep
        self._near: OrderedDict[str, tuple[str, float, float]] = OrderedDict()
        self._most_passes = passes
        self._passes: OrderedDict[str, float] = OrderedDict()

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """As the inner store. Where that does not answer in 0.25 s: KNOWN, and near, for keys that passed here in the
        last day; else PortFailure."""
        try:
            async with asyncio.timeout(_GREYLIST_SECONDS):
                answer = await self._inner.greylist(question)
        except PortFailure:
            if self._passed_here(question.key):
                return GreylistAnswer(Seen.KNOWN, near=True)
            raise
        except TimeoutError as error:
            if self._passed_here(question.key):
                return GreylistAnswer(Seen.KNOWN, near=True)
            raise PortFailure("store", Why.BUDGET, f"{_GREYLIST_SECONDS:g} s") from error
        if answer.seen in (Seen.PASSED, Seen.KNOWN, Seen.AUTO):
            self._passes[question.key] = self._clock.monotonic() + _PASS_SECONDS
            self._passes.move_to_end(question.key)
            if len(self._passes) > self._most_passes:
                self._passes.popitem(last=False)
        return answer

    def _passed_here(self, key: str) -> bool:
        return self._passes.get(key, 0.0) > self._clock.monotonic()

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """As the inner store."""
        await self._inner.greylist_mark(marks)

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """As the inner store."""
        return await self._inner.count(counters)

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Into both, near for at most ``near_ttl``."""
        self._keep(key, value, min(ttl, _STALE_SECONDS))
        await self._inner.put(key, value, ttl)

    async def get(self, key: str) -> str | None:
        """The near value, or the inner store's, which is then near. That there is none is always asked anew. While the
        inner store is out: what was near in the last 7 days; values know their own age."""
        near, now = self._near.get(key), self._clock.monotonic()
        if near and near[1] > now:
            return near[0]
        try:
            value = await self._inner.get(key)
        except PortFailure:
            if near and near[2] > now:
                return near[0]
            raise
        if value is not None:
            self._keep(key, value, _STALE_SECONDS)
        return value

    async def delete(self, key: str) -> None:
        """From both; other processes may keep theirs near for up to ``near_ttl``."""
        self._near.pop(key, None)
        await self._inner.delete(key)

    async def ping(self) -> None:
        """As the inner store."""
        await self._inner.ping()

    async def close(self) -> None:
        """As the inner store."""
        await self._inner.close()

    def _keep(self, key: str, value: str, seconds: float) -> None:
        if not self._may_keep(key, value):
            self._near.pop(key, None)
            return
        now = self._clock.monotonic()
        self._near[key] = (value, now + min(seconds, self._near_ttl), now + seconds)
        self._near.move_to_end(key)
        if len(self._near) > self._capacity:
            self._near.popitem(last=False)
