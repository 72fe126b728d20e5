"""Stores that are out, broken or overloaded say so in PortFailure and in time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.adapters.board_redis import RedisBoard
from gateway.adapters.redis_client import Patience
from gateway.adapters.store_breaker import Breaker
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_open import open_store
from gateway.adapters.store_redis import RedisStore
from gateway.adapters.store_sqlite import SqliteStore
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.store import Counter, GreylistQuestion, Seen
from gateway.ports.store_state import StateChange, StoreState

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from redis_server import RedisServer
from store_subjects import HandClock, RedisShapes

T = TypeVar("T")
QUESTION = GreylistQuestion("user@example.org", "192.0.2.0/24", 60, 3600, 3600, 2)


class FakeTime:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    if why := RedisServer.missing():
        pytest.skip(why)
    with RedisServer() as server:
        yield server


# ---- redis


async def test_a_dead_server_fails_at_once_then_the_breaker_opens() -> None:
    server_time = FakeTime()
    store = RedisStore("redis://127.0.0.1:1/0", breaker=Breaker(server_time))
    for _ in range(4):
        with pytest.raises(PortFailure) as caught:
            await store.greylist(QUESTION)
        assert caught.value.cause.why is Why.REFUSED
    with pytest.raises(PortFailure) as caught:
        await store.greylist(QUESTION)
    assert caught.value.cause.why is Why.OVERLOAD
    await store.close()


async def in_the_end(call: Callable[[], Awaitable[T]]) -> T:
    for _ in range(200):
        try:
            return await call()
        except PortFailure:
            await asyncio.sleep(0.1)
    return await call()


async def test_a_cluster_that_is_gone_is_a_port_failure_and_comes_back(redis_shapes: RedisShapes) -> None:
    store = RedisStore(redis_shapes.urls["cluster"], b"its own", patience=Patience(connect=0.5, command=0.5))
    await in_the_end(lambda: store.put("k", "v", 60))
    for node in redis_shapes.cluster.nodes:
        node.pause()
    try:
        for _ in range(4):
            with pytest.raises(PortFailure):
                await store.get("k")
        assert store.state is StoreState.DOWN
    finally:
        for node in redis_shapes.cluster.nodes:
            node.resume()
    assert await in_the_end(lambda: store.get("k")) == "v"
    assert store.state is StoreState.UP
    await store.close()
    nowhere = RedisStore("cluster://127.0.0.1:1")
    with pytest.raises(PortFailure):
        await nowhere.get("k")
    await nowhere.close()


async def test_a_stalled_server_costs_little_and_comes_back(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url)
    assert (await store.greylist(QUESTION)).seen is Seen.FIRST
    redis_server.pause()
    started = time.monotonic()
    with pytest.raises(PortFailure) as caught:
        await store.greylist(QUESTION)
    assert caught.value.cause.why is Why.TIMEOUT
    assert time.monotonic() - started < 3
    redis_server.resume()
    assert (await store.greylist(QUESTION)).seen is Seen.EARLY
    await store.close()


async def test_a_restart_forgets_scripts_and_nobody_notices(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url)
    await store.count([Counter("a", 1, 60)])
    redis_server.stop()
    redis_server.start()
    with pytest.raises(PortFailure):
        await store.ping()  # the pooled connection is gone
    assert await store.count([Counter("a", 1, 60)]) == (1.0,)
    await store.close()


async def test_keys_show_no_address_and_all_have_a_ttl(redis_server: RedisServer) -> None:
    from redis.asyncio import Redis

    store = RedisStore(redis_server.url, b"secret")
    await store.greylist(QUESTION)
    await store.greylist(GreylistQuestion("k2", "client", 0, 60, 60, 2))
    await store.greylist(GreylistQuestion("k2", "client", 0, 60, 60, 2))
    await store.count([Counter("connections:192.0.2.0/24", 1, 60)])
    await store.put("rcpt:user@example.org", "yes", 60)
    plain = Redis.from_url(redis_server.url, decode_responses=True)
    keys = [key async for key in plain.scan_iter()]
    assert len(keys) == 5
    for key in keys:
        assert key.startswith("mxgw:{")
        assert "example" not in key
        assert "192.0" not in key
        assert await plain.ttl(key) > 0
    await plain.aclose()
    await store.close()


def test_the_breaker_opens_tries_and_backs_off() -> None:
    now = FakeTime()
    breaker = Breaker(now)
    for _ in range(3):
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    now.time = 1.3
    assert breaker.allows()
    assert not breaker.allows(), "one trial at a time"
    breaker.failed()
    now.time += 1.5
    assert not breaker.allows()
    now.time += 1.0
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.open


def test_it_opens_when_more_than_half_of_twenty_calls_failed_however_slowly() -> None:
    now = FakeTime()
    breaker = Breaker(now)
    for number in range(40):
        breaker.failed() if number % 2 else breaker.succeeded()
        now.time += 4
    assert not breaker.open, "half is not more than half"
    breaker.failed()
    assert breaker.open


def test_calls_that_began_before_it_opened_prolong_no_pause() -> None:
    now = FakeTime()
    breaker = Breaker(now)
    for _ in range(30):
        breaker.failed()
    now.time = 1.3
    assert breaker.allows()


async def test_who_breaks_off_after_waiting_counts_as_a_failure_and_who_leaves_at_once_does_not(
    redis_server: RedisServer,
) -> None:
    changes: list[StateChange] = []
    store = RedisStore(redis_server.url, on_state=changes.append)
    await store.ping()
    redis_server.pause()
    for seconds, number in ((0.01, 6), (0.12, 4)):
        assert not changes
        for _ in range(number):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.get("k"), seconds)
    assert [(change.before, change.after) for change in changes] == [(StoreState.UP, StoreState.DOWN)]
    redis_server.resume()
    await store.ping()
    assert store.state is StoreState.UP
    assert len(changes) == 2
    await store.close()


async def test_a_full_server_takes_no_writes_and_still_answers(redis_server: RedisServer) -> None:
    changes: list[StateChange] = []
    store = RedisStore(redis_server.url, on_state=changes.append)
    passed = GreylistQuestion("known", "client", 0, 60, 60, 2)
    for _ in range(2):
        await store.greylist(passed)
    redis_server.say("CONFIG", "SET", "maxmemory", "1mb")
    for number in range(6):
        with pytest.raises(PortFailure, match=r"full: .*maxmemory"):
            await store.greylist(GreylistQuestion(f"new {number}", "client", 60, 60, 60, 2))
    assert store.state is StoreState.FULL, "a refused write opens no breaker"
    assert (await store.greylist(passed)).seen is Seen.KNOWN
    assert [change.after for change in changes] == [StoreState.FULL]
    await store.close()


async def test_a_replica_takes_no_writes_and_still_answers(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url)
    await store.put("k", "v", 60)
    redis_server.say("REPLICAOF", "127.0.0.1", "1")
    for _ in range(6):
        with pytest.raises(PortFailure, match="read-only: "):
            await store.put("k", "w", 60)
    assert store.state is StoreState.READ_ONLY
    assert await store.get("k") == "v"
    await store.close()


@pytest.mark.parametrize(
    ("options", "rights", "answer"),
    [((), ("-role", "-wait"), "permissions"), (("--rename-command", "ROLE", "other"), (), "unknown command")],
    ids=["right", "command"],
)
async def test_what_the_server_does_not_do_for_us_opens_no_breaker(
    options: tuple[str, ...], rights: tuple[str, ...], answer: str
) -> None:
    if why := RedisServer.missing():
        pytest.skip(why)
    with RedisServer(*options) as server:
        server.say("ACL", "SETUSER", "default", "+@all", *rights)
        board = RedisBoard(server.url)
        for _ in range(6):
            with pytest.raises(PortFailure, match=answer) as caught:
                await board.replicated()
            assert caught.value.cause.why is Why.REFUSED
        await board.write("orders", "mx1", "drain")
        assert await board.read("orders", "mx1") == "drain"
        await board.close()


async def test_a_crowd_of_ours_waits_for_a_place_and_then_says_so(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, patience=Patience(connect=1, command=2, wait=0.05, whole=2, connections=2))
    await store.ping()
    redis_server.pause()
    calls = [asyncio.create_task(store.get("k")) for _ in range(5)]
    await asyncio.sleep(0.4)
    redis_server.resume()
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = [result for result in results if isinstance(result, PortFailure)]
    assert [failure.cause.why for failure in failures] == [Why.OVERLOAD] * 3
    assert store.state is StoreState.UP
    await store.close()


def test_failures_far_apart_do_not_open_it() -> None:
    now = FakeTime()
    breaker = Breaker(now)
    for _ in range(10):
        breaker.failed()
        breaker.succeeded()
        now.time += 4
    assert breaker.allows()


# ---- others


async def test_a_broken_store_always_raises() -> None:
    store = BrokenStore(Why.TIMEOUT)
    for call in (store.greylist(QUESTION), store.count([]), store.get("a"), store.put("a", "b", 1), store.delete("a"), store.ping()):
        with pytest.raises(PortFailure):
            await call


async def test_urls(tmp_path: Path) -> None:
    assert isinstance(open_store("", tmp_path), SqliteStore)
    assert isinstance(open_store("sqlite:///x/y", tmp_path), SqliteStore)
    assert isinstance(open_store("memory://", tmp_path), MemoryStore)
    for url in ("redis://h:1/0", "rediss://u:p@h/0", "sentinel://h:1,g:2/name/1", "cluster://127.0.0.1:1"):
        store = open_store(url, tmp_path)
        assert isinstance(store, RedisStore)
        await store.close()


@pytest.mark.parametrize(
    "url", ["mysql://h", "redis", "sqlite://x/y", "sentinel://h:1", "sentinel://h:x/n", "redis://h:notaport/0"]
)
def test_urls_that_cannot_be(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="store:"):
        open_store(url, tmp_path)


async def test_the_memory_store_is_bounded() -> None:
    store = MemoryStore(type("C", (), {"now": lambda _: 1.0, "monotonic": lambda _: 1.0})(), capacity=10)
    for number in range(2000):
        await store.put(str(number), "v", 60)
    assert await store.get("0") is None
    assert await store.get("1999") == "v"


async def test_in_memory_what_has_run_out_makes_room_for_what_has_not() -> None:
    clock = HandClock()
    store = MemoryStore(clock, capacity=100)
    await store.put("kept", "v", 3600)
    for turn in range(20):
        for number in range(60):
            await store.put(f"{turn} {number}", "v", 10)
        await clock.advance(20)
    assert await store.get("kept") == "v"
    assert await store.get("19 59") is None
