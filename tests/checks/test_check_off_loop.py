"""Work beside the loop, given up: one that runs is waited for, one that has not begun never begins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.checks.off_loop import off_loop


async def test_a_job_that_waits_for_a_thread_is_given_up_at_once_and_never_begins() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    gate, begun = threading.Event(), []
    busy = asyncio.create_task(asyncio.to_thread(gate.wait))
    await asyncio.sleep(0)
    job = asyncio.create_task(off_loop(lambda _: begun.append(1)))
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job, 0.1)
        assert not busy.done()
    finally:
        gate.set()
    await busy
    await asyncio.to_thread(lambda: None)
    assert not begun


async def test_a_job_at_work_is_asked_to_stop_and_waited_for() -> None:
    running, told = threading.Event(), []

    def work(stopped: Callable[[], bool]) -> None:
        running.set()
        while not stopped():
            pass
        told.append("stopped")

    job = asyncio.create_task(off_loop(work))
    await asyncio.to_thread(running.wait)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert told == ["stopped"]
