"""A store that counts and times the calls of another, and keeps them within the time of the decision under way; all but
``settle``, which is to reach the store even if late: its caller waits as long as it likes.

Known gaps: none.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry, LedgerStore
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion
from gateway.ports.store_budget import within_budget

T = TypeVar("T")


class TimedStore:
    """``ports.store.Store`` and ``ports.ledger.Ledger``. on_op gets the call's name, ``ok`` or why it
    failed, and seconds."""

    def __init__(self, inner: LedgerStore, on_op: Callable[[str, str, float], None]) -> None:
        self._inner = inner
        self._on_op = on_op

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """As the inner store."""
        return await self._timed("greylist", self._inner.greylist(question))

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """As the inner store."""
        await self._timed("greylist_mark", self._inner.greylist_mark(marks))

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """As the inner store."""
        return await self._timed("count", self._inner.count(counters))

    async def put(self, key: str, value: str, ttl: float) -> None:
        """As the inner store."""
        await self._timed("put", self._inner.put(key, value, ttl))

    async def get(self, key: str) -> str | None:
        """As the inner store."""
        return await self._timed("get", self._inner.get(key))

    async def delete(self, key: str) -> None:
        """As the inner store."""
        await self._timed("delete", self._inner.delete(key))

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """As the inner store."""
        return await self._timed("ledger_begin", self._inner.begin(key, recipients, owner, lease))

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """As the inner store."""
        await self._timed("ledger_settle", self._inner.settle(key, done, free, owner, ttl), is_bounded=False)

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """As the inner store."""
        await self._timed("ledger_forget", self._inner.forget(key, recipients))

    async def ping(self) -> None:
        """As the inner store."""
        await self._timed("ping", self._inner.ping())

    async def close(self) -> None:
        """As the inner store."""
        await self._inner.close()

    async def _timed(self, op: str, call: Awaitable[T], *, is_bounded: bool = True) -> T:
        # an asker that is cancelled has run out of time
        started, result = time.perf_counter(), "budget"
        try:
            answer = await (within_budget(call) if is_bounded else call)
            result = "ok"
            return answer
        except PortFailure as failure:
            result = failure.cause.why.value
            raise
        finally:
            self._on_op(op, result, time.perf_counter() - started)
