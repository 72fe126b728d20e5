"""Counts that several ask for in the same moment go to Redis as one call of count.lua.

The checks of one phase start together, so what they count costs the phase one round trip, as the calls of different
sessions that meet do. A key never stands twice in one call, for the script looks at all keys before it writes any.

Known gaps: who asks one turn of the event loop later makes a call of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

Words = tuple[int | str, ...]
"""How one key is counted, as count.lua wants it."""
Ask = Callable[[Sequence[str], Sequence[Words]], Awaitable[Sequence[float]]]
"""Keys and the words of each; a number for each."""

_MOST: Final = 200


class _Call:
    __slots__ = ("answer", "keys", "words")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.words: list[Words] = []
        self.answer: asyncio.Task[Sequence[float]] | None = None


class GatheredCounts:
    """ask: one round trip. What it raises, all hear who asked together."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._next: _Call | None = None

    async def count(self, keys: Sequence[str], words: Sequence[Words]) -> Sequence[float]:
        """A number for each key. One who leaves takes the answer from nobody else."""
        call = self._next
        if call is None or len(call.keys) + len(keys) > _MOST or not set(call.keys).isdisjoint(keys):
            call = self._next = _Call()
            call.answer = asyncio.create_task(self._go(call))
            call.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        start = len(call.keys)
        call.keys += keys
        call.words += words
        assert call.answer is not None
        return (await asyncio.shield(call.answer))[start : start + len(keys)]

    async def _go(self, call: _Call) -> Sequence[float]:
        # it begins a turn of the loop later: who asked in the same turn is in it
        if self._next is call:
            self._next = None
        return await self._ask(call.keys, call.words)
