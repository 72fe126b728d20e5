"""The ledger of all stores: memory, SQLite and a real Redis hold to one contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from redis_server import RedisServer

from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_redis import RedisStore
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry, Ledger

OURS, BUSY, DONE = Entry.OURS, Entry.BUSY, Entry.DONE


Subject = tuple[Ledger, Callable[[float], Awaitable[None]]]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    if why := RedisServer.missing():
        pytest.skip(f"real component missing: {why}")
    with RedisServer() as server:
        yield server


async def test_what_is_handed_over_by_one_is_busy_for_the_others(subject: Subject) -> None:
    ledger, _ = subject
    assert await ledger.begin("m", ["a", "b"], "one", 60) == (OURS, OURS)
    assert await ledger.begin("m", ["b", "c"], "two", 60) == (BUSY, OURS)
    assert await ledger.begin("m", ["a", "c"], "one", 60) == (OURS, BUSY)
    assert await ledger.begin("other", ["a"], "two", 60) == (OURS,)


async def test_done_is_done_for_everybody_and_the_rest_is_free(subject: Subject) -> None:
    ledger, _ = subject
    await ledger.begin("m", ["a", "b", "c"], "one", 60)
    await ledger.settle("m", ["a"], ["b", "c"], "one", 60)
    assert await ledger.begin("m", ["a", "b"], "two", 60) == (DONE, OURS)
    assert await ledger.begin("m", ["a", "b", "c"], "one", 60) == (DONE, BUSY, OURS)


async def test_a_lease_runs_out(subject: Subject) -> None:
    ledger, passing = subject
    await ledger.begin("m", ["a"], "one", 0.3)
    assert await ledger.begin("m", ["a"], "two", 60) == (BUSY,)
    await passing(0.5)
    assert await ledger.begin("m", ["a"], "two", 60) == (OURS,)
    assert await ledger.begin("m", ["a"], "one", 60) == (BUSY,)


async def test_one_recipients_lease_does_not_end_with_a_shorter_one(subject: Subject) -> None:
    ledger, passing = subject
    await ledger.begin("m", ["a"], "one", 60)
    await ledger.begin("m", ["b"], "one", 0.2)
    await passing(0.4)
    assert await ledger.begin("m", ["a", "b"], "two", 60) == (BUSY, OURS)


async def test_done_is_remembered_for_its_time(subject: Subject) -> None:
    ledger, passing = subject
    await ledger.begin("m", ["a"], "one", 60)
    await ledger.settle("m", ["a"], [], "one", 0.4)
    assert await ledger.begin("m", ["a"], "two", 60) == (DONE,)
    await passing(0.6)
    assert await ledger.begin("m", ["a"], "two", 60) == (OURS,)


async def test_done_outlives_the_lease_that_it_began_with(subject: Subject) -> None:
    ledger, passing = subject
    await ledger.begin("m", ["a"], "one", 0.2)
    await ledger.settle("m", ["a"], [], "one", 60)
    await passing(0.4)
    assert await ledger.begin("m", ["a"], "two", 60) == (DONE,)


async def test_done_counts_without_a_beginning_and_after_another_has_begun(subject: Subject) -> None:
    ledger, _ = subject
    await ledger.settle("never begun", ["a"], [], "one", 60)
    assert await ledger.begin("never begun", ["a"], "two", 60) == (DONE,)
    await ledger.begin("m", ["a"], "two", 60)
    await ledger.settle("m", ["a"], [], "one", 60)
    assert await ledger.begin("m", ["a"], "two", 60) == (DONE,)


async def test_nobody_frees_what_another_has_begun_or_done(subject: Subject) -> None:
    ledger, _ = subject
    await ledger.begin("m", ["a"], "one", 60)
    await ledger.settle("m", [], ["a", "unheard"], "two", 60)
    assert await ledger.begin("m", ["a"], "two", 60) == (BUSY,)
    await ledger.settle("m", ["a"], [], "one", 60)
    await ledger.settle("m", [], ["a"], "one", 60)
    assert await ledger.begin("m", ["a"], "two", 60) == (DONE,)


async def test_what_is_forgotten_may_come_again(subject: Subject) -> None:
    ledger, _ = subject
    await ledger.settle("m", ["a", "b"], [], "one", 60)
    await ledger.forget("m", ["a", "never there"])
    assert await ledger.begin("m", ["a", "b"], "two", 60) == (OURS, DONE)


async def test_of_many_at_once_exactly_one_hands_over(subject: Subject) -> None:
    ledger, _ = subject
    answers = await asyncio.gather(*(ledger.begin("m", ["a"], f"owner{n}", 60) for n in range(20)))
    assert sorted(answer[0] for answer in answers) == ["busy"] * 19 + ["ours"]


async def test_names_of_any_kind(subject: Subject) -> None:
    ledger, _ = subject
    names = ["jörg@example.com", "a b@example.com", 'a"|\0@example.com', ""]
    assert await ledger.begin("k", names, "mx1:1:2", 60) == (OURS,) * 4
    await ledger.settle("k", names, [], "mx1:1:2", 60)
    assert await ledger.begin("k", names, "mx2", 60) == (DONE,) * 4


async def test_a_broken_store_says_so() -> None:
    broken = BrokenStore()
    with pytest.raises(PortFailure):
        await broken.begin("k", ["a"], "one", 60)
    with pytest.raises(PortFailure):
        await broken.settle("k", ["a"], [], "one", 60)
    with pytest.raises(PortFailure):
        await broken.forget("k", ["a"])


async def test_no_address_stands_in_redis_and_every_key_ends(redis_server: RedisServer) -> None:
    from redis.asyncio import Redis

    store = RedisStore(redis_server.url, secret=b"an own secret")
    await store.begin("alice@example.com", ["bob@example.com"], "mx1", 60)
    await store.settle("alice@example.com", ["bob@example.com"], [], "mx1", 3600)
    raw = Redis.from_url(redis_server.url)
    for key in await raw.keys("mxgw:*:ledger"):
        text = repr((key, await raw.hgetall(key)))
        assert "alice" not in text
        assert "bob" not in text
        assert 0 < await raw.pttl(key) <= 3_600_000
        assert await raw.memory_usage(key) < 300
    await store.close()
    await raw.aclose()
