"""One decision waits for the store for 0.3 s in all, however many calls it makes; outside of one each call has a time."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_sqlite import SqliteStore
from gateway.mail.finding import Why
from gateway.node.timed_store import TimedStore
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry, LedgerStore
from gateway.ports.store_budget import one_decision


class Clock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Slow(MemoryStore):
    """Each look takes a while."""

    seconds = 0.12

    async def get(self, key: str) -> str | None:
        await asyncio.sleep(self.seconds)
        return await super().get(key)


def told(store: LedgerStore) -> tuple[TimedStore, list[tuple[str, str]]]:
    calls: list[tuple[str, str]] = []
    return TimedStore(store, lambda op, result, _seconds: calls.append((op, result))), calls


async def test_calls_of_one_decision_add_up() -> None:
    store, calls = told(Slow(Clock()))
    started = time.monotonic()
    with one_decision(0.3):
        await store.get("a")
        for _ in range(3):
            with pytest.raises(PortFailure) as caught:
                for _ in range(3):
                    await store.get("a")
            assert caught.value.cause.why is Why.BUDGET
        await store.put("k", "v", 60)  # one that need not wait
    assert time.monotonic() - started < 2
    assert calls.count(("get", "budget")) == 3
    assert calls[-1] == ("put", "ok")


async def test_concurrent_calls_are_one_wait_and_the_next_decision_has_its_own() -> None:
    store, calls = told(Slow(Clock()))

    async def check(times: int) -> None:
        for _ in range(times):
            await store.get("a")

    with one_decision(1.0):
        await asyncio.gather(*(check(1) for _ in range(10)))
        await check(1)
    assert calls == [("get", "ok")] * 11
    with one_decision(0.3), pytest.raises(PortFailure):
        await asyncio.gather(check(4), check(4))
    with one_decision(0.3):
        await check(1)
    assert calls[-1] == ("get", "ok")


async def test_a_call_that_is_cut_off_from_outside_is_not_ok() -> None:
    store, calls = told(Slow(Clock()))
    for decision in (nullcontext(), one_decision(0.3)):
        with decision, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await store.get("a")
    assert calls == [("get", "budget")] * 2


async def test_what_is_no_decision_has_the_time_of_its_call() -> None:
    store, calls = told(Slow(Clock()))
    for _ in range(4):
        await store.get("a")
    assert calls == [("get", "ok")] * 4


async def test_a_disk_that_stalls_holds_nobody_up_for_longer_and_what_nobody_waits_for_is_not_done(
    tmp_path: Path,
) -> None:
    goes_on = threading.Event()
    inner = SqliteStore(tmp_path / "s")
    store, calls = told(inner)
    stuck = asyncio.create_task(inner.transaction(lambda _: goes_on.wait(60)))
    try:
        with pytest.raises(PortFailure) as caught:
            await asyncio.wait_for(store.begin("message", ["r@example.com"], "one", 60), 20)
    finally:
        goes_on.set()
    assert caught.value.cause.why is Why.TIMEOUT
    assert calls == [("ledger_begin", "timeout")]
    await stuck
    assert await store.begin("message", ["r@example.com"], "two", 60) == (Entry.OURS,)
    await store.close()
