"""What every contract test of this folder runs over: memory, SQLite, and Redis in all its shapes as real servers.

Redis has its own clock, so its tests wait; one test therefore runs over all servers at the same time (``servers``), and
a failure names the one that failed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from debian import need
from redis_server import RedisServer
from store_subjects import KINDS, UNHURRIED, HandClock, RedisShapes

from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_redis import RedisStore
from gateway.adapters.store_sqlite import SqliteStore
from gateway.ports.ledger import LedgerStore


@pytest.fixture(scope="session")
def redis_shapes() -> Iterator[RedisShapes]:
    for program in ("redis-server", "redis-cli"):
        need(program)
    with ExitStack() as stack:
        yield RedisShapes(stack)


@pytest.fixture(scope="session")
def redis_server(redis_shapes: RedisShapes) -> RedisServer:
    return redis_shapes.single


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test over ``servers`` gets one subject for each, and runs over them together."""
    if isinstance(item, pytest.Function) and getattr(item, "callspec", None):
        if item.callspec.params.get("subject") == "servers":
            item.obj = _over_all(item.obj)


def _over_all(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def over_all(*, subject: Mapping[str, Any], **given: Any) -> None:
        async def one(kind: str, each: Any) -> None:
            try:
                await test(subject=each, **given)
            except BaseException as error:
                error.add_note(f"over {kind}://")
                raise

        async with asyncio.TaskGroup() as group:
            for kind, each in subject.items():
                group.create_task(one(kind, each))

    return over_all


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A store and a way to let seconds pass; for ``servers`` such a pair for each scheme."""
    clock = HandClock()
    opened: dict[str, LedgerStore] = {}
    if request.param == "memory":
        opened["memory"] = MemoryStore(clock)
    elif request.param == "sqlite":
        opened["sqlite"] = SqliteStore(tmp_path / "state.sqlite", clock)
    else:
        shapes: RedisShapes = request.getfixturevalue("redis_shapes")
        secret = request.node.nodeid.encode()  # another secret, other keys
        opened |= {kind: RedisStore(url, secret, patience=UNHURRIED) for kind, url in shapes.urls.items()}
    if request.param == "servers":
        yield {kind: (store, asyncio.sleep) for kind, store in opened.items()}
    else:
        yield opened[request.param], clock.advance
    for store in opened.values():
        await store.close()
