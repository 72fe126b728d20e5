"""What is kept near saves round trips and never outlives its seconds."""

from __future__ import annotations

import pytest

from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_near import NearStore
from gateway.ports.failure import PortFailure


class HandClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


async def test_a_value_is_near_for_its_seconds_only() -> None:
    clock = HandClock()
    shared = MemoryStore(clock)
    near = NearStore(shared, clock, near_ttl=10)
    await shared.put("k", "old", 1000)
    assert await near.get("k") == "old"
    await shared.put("k", "new", 1000)
    assert await near.get("k") == "old"
    clock.seconds += 11
    assert await near.get("k") == "new"


async def test_absence_is_asked_anew_and_short_values_run_out() -> None:
    clock = HandClock()
    shared = MemoryStore(clock)
    near = NearStore(shared, clock, near_ttl=10)
    assert await near.get("k") is None
    await shared.put("k", "v", 1000)
    assert await near.get("k") == "v"
    await near.put("short", "s", 2)
    clock.seconds += 3
    assert await near.get("short") is None


async def test_the_oldest_leaves_when_it_is_full() -> None:
    clock = HandClock()
    shared = MemoryStore(clock)
    near = NearStore(shared, clock, capacity=2)
    for key in "abc":
        await near.put(key, key, 100)
        await shared.put(key, "changed", 100)
    assert [await near.get(key) for key in "bca"] == ["b", "c", "changed"]


async def test_what_is_deleted_is_not_near_either() -> None:
    clock = HandClock()
    shared = MemoryStore(clock)
    near = NearStore(shared, clock)
    await near.put("k", "v", 100)
    await near.delete("k")
    assert await near.get("k") is None
    assert await shared.get("k") is None


class Away:
    """A store that can be put out of reach."""

    def __init__(self, clock: HandClock) -> None:
        self.there, self.away, self.is_away = MemoryStore(clock), BrokenStore(), False

    async def get(self, key: str) -> str | None:
        return await (self.away if self.is_away else self.there).get(key)

    async def put(self, key: str, value: str, ttl: float) -> None:
        await (self.away if self.is_away else self.there).put(key, value, ttl)


async def test_while_the_store_is_out_values_of_the_last_week_are_told_but_none_beyond_its_time() -> None:
    clock = HandClock()
    store = Away(clock)
    near = NearStore(store, clock, near_ttl=10)  # type: ignore[arg-type]
    await near.put("long", "v", 30 * 86400)
    await near.put("short", "v", 60)
    await store.put("other", "v", 30 * 86400)
    assert await near.get("other") == "v"
    store.is_away = True
    clock.seconds += 6 * 86400
    assert await near.get("long") == "v"
    assert await near.get("other") == "v"
    for key in ("short", "never asked"):
        with pytest.raises(PortFailure):
            await near.get(key)
    clock.seconds += 2 * 86400
    with pytest.raises(PortFailure):
        await near.get("long")
    store.is_away = False
    assert await near.get("long") == "v"
