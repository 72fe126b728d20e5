"""Counts of the same moment go to Redis in one call, and each still gets its own numbers."""

from __future__ import annotations

import asyncio

import pytest
import redis
from redis_server import RedisServer
from store_subjects import UNHURRIED

from gateway.adapters.redis_gathered import GatheredCounts
from gateway.adapters.store_redis import RedisStore
from gateway.ports.store import Counter, Tally


def scripts_run(server: RedisServer) -> int:
    stats = redis.Redis(port=server.port).info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


async def test_the_checks_of_a_phase_ask_in_one_call(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, b"gathered one", patience=UNHURRIED)
    await store.count([Counter("messages:a", 3, 60)])
    before = scripts_run(redis_server)
    looks = [Counter("messages:a", 0, 60), Counter("errors:a", 0, 60)]
    standing = [Counter("good:a", 2, 3600, Tally.DECAY)]
    (messages, errors), (good,) = await asyncio.gather(store.count(looks), store.count(standing))
    assert (round(messages), errors, round(good)) == (3, 0, 2)
    assert scripts_run(redis_server) == before + 1
    await store.close()


async def test_nothing_is_lost_where_many_add_to_the_same(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, b"gathered two", patience=UNHURRIED)
    answers = await asyncio.gather(*(store.count([Counter("connections:a", 1, 3600)]) for _ in range(10)))
    assert sorted(round(number) for (number,) in answers) == list(range(1, 11))
    await store.close()


async def test_all_or_nothing_is_about_the_own_call(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, b"gathered three", patience=UNHURRIED)
    over = [Counter("messages:a", 2, 3600, limit=1.0)]
    within = [Counter("messages:b", 1, 3600, limit=1.0)]
    await asyncio.gather(store.count(over), store.count(within), store.count([Counter("errors:c", 1, 3600)]))
    kept = [Counter(key, 0, 3600) for key in ("messages:a", "messages:b", "errors:c")]
    assert [round(number) for number in await store.count(kept)] == [0, 1, 1]
    await store.close()


async def test_who_leaves_takes_nothing_from_the_others_and_a_failure_is_heard_by_all() -> None:
    gate, fails = asyncio.Event(), [False]

    async def ask(keys: object, _words: object) -> list[float]:
        await gate.wait()
        if fails[0]:
            raise ConnectionError("away")
        return [float(str(key)) for key in keys]  # type: ignore[attr-defined]

    counts = GatheredCounts(ask)
    one, other = (asyncio.create_task(counts.count([key], [()])) for key in ("1", "2"))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await other == [2.0]
    fails[0] = True
    heard = await asyncio.gather(counts.count(["1"], [()]), counts.count(["2"], [()]), return_exceptions=True)
    assert [type(each) for each in heard] == [ConnectionError, ConnectionError]
    with pytest.raises(ConnectionError):
        await counts.count(["3"], [()])
