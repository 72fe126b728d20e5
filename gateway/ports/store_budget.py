"""The time that one decision may wait for the shared store, all its checks and calls together.

Each call has its own time, but calls of one phase follow each other: without a sum a slow store would cost a client
several of them. Who decides opens a budget; who calls the store asks what is left of it. What is called outside a
decision (the greeting, the ledger, duties of the node) has a time for each call, for behind a disk that stalls the
store has none.

Known gaps: what a phase did not use is not kept for the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure

DECISION_SECONDS: Final = 0.3
CALL_SECONDS: Final = 1.0

T = TypeVar("T")


class _Left:
    """What is left of a budget. Calls at the same time are one wait."""

    __slots__ = ("_calls", "_seconds", "_since")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls = 0
        self._since = 0.0

    def begin(self) -> float:
        """A call begins. Returns the seconds that it has."""
        now = time.perf_counter()
        if not self._calls:
            self._since = now
        self._calls += 1
        return max(0.0, self._seconds - (now - self._since))

    def end(self) -> None:
        """A call ends."""
        self._calls -= 1
        if not self._calls:
            self._seconds -= time.perf_counter() - self._since


_left: ContextVar[_Left | None] = ContextVar("store_budget", default=None)


@contextmanager
def one_decision(seconds: float = DECISION_SECONDS) -> Iterator[None]:
    """All calls of the store inside have so many seconds together."""
    token = _left.set(_Left(seconds))
    try:
        yield
    finally:
        _left.reset(token)


async def within_budget(call: Awaitable[T], alone: float = CALL_SECONDS) -> T:
    """Wait for a call of the store for as long as the decision under way still may, or, outside of one, for ``alone``
    seconds. Raises PortFailure('store', budget or, outside, timeout) when that is over."""
    left = _left.get()
    if left is None:
        try:
            async with asyncio.timeout(alone):
                return await call
        except TimeoutError as error:
            raise PortFailure("store", Why.TIMEOUT, f"no answer within {alone:g} s") from error
    try:
        # also with nothing left: a call that need not wait is answered
        async with asyncio.timeout(left.begin()):
            return await call
    except TimeoutError as error:
        raise PortFailure("store", Why.BUDGET, "this decision has waited long enough") from error
    finally:
        left.end()
