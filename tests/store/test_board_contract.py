"""One contract for all boards: memory, SQLite and a real Redis."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from store_subjects import KINDS, UNHURRIED, HandClock, RedisShapes

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.board_redis import RedisBoard
from gateway.adapters.board_sqlite import SqliteBoard
from gateway.ports.board import Board
from gateway.ports.failure import PortFailure

Subject = tuple[Board, Callable[[float], Awaitable[None]]]


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A board and a way to let seconds pass; for ``servers`` such a pair for each scheme."""
    clock = HandClock()
    opened: dict[str, Board] = {}
    if request.param == "memory":
        opened["memory"] = MemoryBoard(clock)
    elif request.param == "sqlite":
        opened["sqlite"] = SqliteBoard(tmp_path / "state.sqlite", clock)
    else:
        shapes: RedisShapes = request.getfixturevalue("redis_shapes")
        opened |= {kind: RedisBoard(url, patience=UNHURRIED) for kind, url in shapes.urls.items()}
    if request.param == "servers":
        yield {kind: (board, asyncio.sleep) for kind, board in opened.items()}
    else:
        yield opened[request.param], clock.advance
    for board in opened.values():
        await board.close()


async def test_entries_of_a_place(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, _ = subject
    place = request.node.name
    assert await board.entries(place) == {}
    assert await board.read(place, "a") is None
    await board.write(place, "b", "2\nwith: colon and ü")
    await board.write(place, "a", "1", 60)
    await board.write("elsewhere " + place, "a", "other")
    assert await board.entries(place) == {"a": "1", "b": "2\nwith: colon and ü"}
    assert list(await board.entries(place)) == ["a", "b"]
    await board.write(place, "a", "")
    assert await board.read(place, "a") == ""
    await board.erase(place, "a")
    await board.erase(place, "a")
    assert await board.entries(place) == {"b": "2\nwith: colon and ü"}


async def test_an_entry_runs_out_and_others_stay(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, passing = subject
    place = request.node.name
    await board.write(place, "short", "x", 0.3)
    await board.write(place, "long", "y", 60)
    await board.write(place, "always", "z")
    await passing(0.5)
    assert await board.read(place, "short") is None
    assert await board.entries(place) == {"always": "z", "long": "y"}


async def test_a_place_whose_entries_all_run_out(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, passing = subject
    place = request.node.name
    await board.write(place, "a", "x", 0.4)
    await board.write(place, "b", "x", 0.2)
    await passing(0.3)
    assert await board.entries(place) == {"a": "x"}
    await passing(0.3)
    assert await board.entries(place) == {}


async def test_swap_is_done_only_from_the_value_named(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, passing = subject
    place = request.node.name
    assert not await board.swap(place, "k", "old", "new")
    assert await board.swap(place, "k", None, "one")
    assert not await board.swap(place, "k", None, "two")
    assert await board.swap(place, "k", "one", "two")
    assert await board.read(place, "k") == "two"
    assert not await board.swap(place, "k", "one", None)
    assert await board.swap(place, "k", "two", None)
    assert await board.read(place, "k") is None
    assert await board.swap(place, "k", None, "lease", 0.2)
    await passing(0.4)
    assert await board.swap(place, "k", None, "next lease", 5)


async def test_of_many_swaps_one_wins(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, _ = subject
    won = await asyncio.gather(*(board.swap(request.node.name, "leader", None, str(n), 9) for n in range(20)))
    assert sum(won) == 1
    assert await board.read(request.node.name, "leader") == str(won.index(True))


async def test_a_journal_forgets_by_age(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, wait = subject
    journal = request.node.name
    await board.forget(journal, await board.now())
    await board.append(journal, "old", keep=5, ttl=60)
    await wait(0.2)
    between = await board.now()
    await wait(0.2)
    await board.append(journal, "young", keep=5, ttl=60)
    await board.forget("another " + journal, await board.now())
    await board.forget(journal, between)
    assert [line.value for line in await board.lines(journal)] == ["young"]


async def test_a_journal_in_order_and_bounded(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, passing = subject
    journal = request.node.name
    assert await board.lines(journal) == []
    for n in range(7):
        await board.append(journal, f"line {n}", keep=5, ttl=5)
    lines = await board.lines(journal)
    assert [line.value for line in lines] == [f"line {n}" for n in range(2, 7)]
    assert [line.number for line in lines] == sorted({line.number for line in lines})
    assert abs(lines[0].time - await board.now()) < 60
    assert [line.value for line in await board.lines(journal, after=lines[2].number)] == ["line 5", "line 6"]
    assert [line.value for line in await board.lines(journal, limit=2)] == ["line 2", "line 3"]
    assert [line.value for line in await board.latest(journal, limit=2)] == ["line 6", "line 5"]
    assert [line.value for line in await board.latest(journal, before=lines[1].number)] == ["line 2"]
    assert await board.lines("another " + journal) == []
    await passing(0)


async def test_a_journal_is_gone_after_its_time(subject: Subject, request: pytest.FixtureRequest) -> None:
    board, passing = subject
    await board.append(request.node.name, "x", keep=5, ttl=0.2)
    await passing(0.4)
    assert await board.lines(request.node.name) == []
    assert await board.latest(request.node.name) == []


async def test_two_processes_see_one_sqlite_board(tmp_path: Path) -> None:
    clock = HandClock()
    one, two = SqliteBoard(tmp_path / "s.sqlite", clock), SqliteBoard(tmp_path / "s.sqlite", clock)
    await one.write("p", "k", "v")
    assert await two.entries("p") == {"k": "v"}
    await one.close()
    await two.close()


async def test_looks_at_a_sqlite_board_do_not_wait_for_who_writes(tmp_path: Path) -> None:
    board = SqliteBoard(tmp_path / "s.sqlite", HandClock())
    await board.write("p", "k", "v")
    await board.append("j", "line", keep=5, ttl=60)
    with closing(sqlite3.connect(tmp_path / "s-board.sqlite", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert await board.read("p", "k") == "v"
        assert await board.entries("p") == {"k": "v"}
        assert [line.value for line in await board.latest("j")] == ["line"]
        with pytest.raises(PortFailure):
            await board.write("p", "k", "w")
    await board.close()


async def test_journals_that_have_run_out_leave_the_sqlite_file(tmp_path: Path) -> None:
    clock = HandClock()
    board = SqliteBoard(tmp_path / "s.sqlite", clock)
    await board.append("alive", "old line", keep=500, ttl=60)
    for number in range(10):
        await board.append(f"trace {number}", "x", keep=500, ttl=60)
    await clock.advance(50)
    await board.append("alive", "line", keep=500, ttl=600)
    await clock.advance(50)
    await board.append("alive", "new line", keep=500, ttl=600)
    with closing(sqlite3.connect(tmp_path / "s-board.sqlite")) as file:
        left = file.execute("SELECT name, value FROM journal ORDER BY number").fetchall()
    assert left == [("alive", "old line"), ("alive", "line"), ("alive", "new line")]
    await board.close()


async def test_a_dead_server_is_a_port_failure() -> None:
    board = RedisBoard("redis://127.0.0.1:1/0")
    with pytest.raises(PortFailure):
        await board.entries("p")
    await board.close()


async def test_every_place_that_runs_out_has_an_end_in_the_server(redis_server: RedisServer) -> None:
    import redis.asyncio

    board = RedisBoard(redis_server.url)
    client = redis.asyncio.Redis.from_url(redis_server.url)
    await board.write("ends", "k", "v", 60)
    await board.append("ends", "v", keep=10, ttl=60)
    await board.write("stays", "k", "v", 60)
    await board.write("stays", "j", "v")
    assert await client.pttl("mxgw:place:ends") > 0
    assert await client.pttl("mxgw:journal:ends") > 0
    assert await client.pttl("mxgw:place:stays") == -1
    await board.close()
    await client.aclose()
