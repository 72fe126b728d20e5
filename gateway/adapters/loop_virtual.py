"""An event loop whose time jumps: where nobody has anything to do but wait, the wait is over at once.

So a replay of a look-up that ran into its budget of 20 seconds takes none. While a thread works (a big body is hashed),
time passes as it does.

Known gaps: there is no network on it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """jump: told of a wait in seconds; returns whether it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.jump: Callable[[float], bool] = lambda _seconds: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, without waiting for what only time brings."""
        if ready := super().select(0):
            return ready
        if timeout is not None and (timeout <= 0 or self.jump(timeout)):
            return []
        return super().select(timeout)


class VirtualLoop(asyncio.SelectorEventLoop):
    """For ``asyncio.Runner(loop_factory=VirtualLoop)``."""

    def __init__(self) -> None:
        selector = _Selector()
        self._skipped = 0.0
        self._threads = 0
        super().__init__(selector)
        selector.jump = self._jump

    def time(self) -> float:
        """Seconds, with those that were skipped."""
        return super().time() + self._skipped

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As any loop; noted while it works."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future: Any) -> None:
        self._threads -= 1

    def _jump(self, seconds: float) -> bool:
        if self._threads:
            return False
        self._skipped += seconds
        return True
