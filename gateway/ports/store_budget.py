"""The time that one decision may wait for the shared store, all its checks and calls together.

Each call has its own time, but calls of one phase follow each other: without a sum a slow store would cost a client
several of them. Who decides opens a budget; who calls the store asks what is left of it. What is called outside a
decision (the ledger, duties of the node) has its own time only.

Known gaps: calls at the same time count twice; what a phase did not use is not kept for the next one.
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

T = TypeVar("T")


class _Left:
    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


_left: ContextVar[_Left | None] = ContextVar("store_budget", default=None)


@contextmanager
def one_decision(seconds: float = DECISION_SECONDS) -> Iterator[None]:
    """All calls of the store inside have so many seconds together."""
    token = _left.set(_Left(seconds))
    try:
        yield
    finally:
        _left.reset(token)


async def within_budget(call: Awaitable[T]) -> T:
    """Wait for a call of the store for as long as the decision under way still may. Raises PortFailure('store',
    budget) when that is over."""
    left = _left.get()
    if left is None:
        return await call
    started = time.perf_counter()
    try:
        # also with nothing left: a call that need not wait is answered
        async with asyncio.timeout(max(0.0, left.seconds)):
            return await call
    except TimeoutError as error:
        raise PortFailure("store", Why.BUDGET, "this decision has waited long enough") from error
    finally:
        left.seconds -= time.perf_counter() - started
