"""How long the event loop is held, in CPU time of its thread: what other programs do on the machine does not count."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

HELD = 0.050
"""Seconds of CPU for which nothing may hold the loop."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds: longest time the loop was held, CPU of its thread, CPU of the whole process, wall."""

    held: float
    loop: float
    all: float
    wall: float

    def line(self, name: str) -> str:
        """One line of the table."""
        return (
            f"{name:44} held {self.held * 1000:6.1f} ms, CPU {self.loop * 1000:6.1f} ms on the loop, "
            f"{self.all * 1000:7.1f} ms in all, wall {self.wall:5.2f} s"
        )


async def measured(work: Awaitable[T]) -> tuple[T, Figures]:
    """Run ``work`` beside a ticker: between two of its ticks lies the CPU time of whatever held the loop."""
    held, done = 0.0, False
    # what the test run has left in memory is not what the collector would walk through in a node
    gc.collect()
    gc.freeze()

    async def tick() -> None:
        nonlocal held
        last = time.thread_time()
        while not done:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            held, last = max(held, now - last), now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
    try:
        result = await work
    finally:
        wall, process, thread = time.perf_counter() - wall, time.process_time() - process, time.thread_time() - thread
        done = True
        await ticker
        gc.unfreeze()
    return result, Figures(held, thread, process, wall)
