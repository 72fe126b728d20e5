"""Nodes see each other on the board; duties go on whatever becomes of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from gateway.adapters.board_memory import MemoryBoard
from gateway.cluster.agent import Agent, Duty
from gateway.cluster.membership import Heartbeat, members
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from node_process import NodeProcess
from redis_server import RedisServer


class FakeClock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


async def test_a_silent_node_is_gone_after_fifteen_seconds() -> None:
    clock = FakeClock()
    board = MemoryBoard(clock)
    for name in ("mx1", "mx2"):
        await Heartbeat(board, name, lambda: {"policy": "ab12"}).turn()
    assert set(await members(board)) == {"mx1", "mx2"}
    clock.time += 10
    await Heartbeat(board, "mx1", lambda: {"policy": "cd34"}).turn()
    clock.time += 10
    assert {name: said["policy"] for name, said in (await members(board)).items()} == {"mx1": "cd34"}
    await Heartbeat(board, "mx1", dict).leave()
    assert await members(board) == {}


async def test_a_duty_that_fails_stops_nobody_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[str] = []
    out = True
    clock = FakeClock()

    async def board() -> None:
        turns.append("board")
        if out:
            raise PortFailure("store", Why.TIMEOUT, "nobody answers")

    async def broken() -> None:
        turns.append("broken")
        raise ZeroDivisionError

    def told(text: str) -> int:
        return sum(text in record.message for record in caplog.records)

    agent = Agent([Duty("a", 0.01, board), Duty("b", 0.01, board), Duty("c", 0.01, broken)], clock.monotonic)
    with caplog.at_level("INFO"):
        task = asyncio.create_task(agent.run())
        while len(turns) < 30:
            await asyncio.sleep(0.01)
        assert not agent.reachable
        assert turns.count("broken") > 3
        assert told("duty c failed") == 1
        clock.time += 61
        while told("duty c failed") < 2:
            await asyncio.sleep(0.01)
        assert not agent.reachable
        out = False
        while not agent.reachable:
            await asyncio.sleep(0.01)
        task.cancel()
    assert (told("does not answer"), told("answers again"), told("duty c failed")) == (1, 1, 2)
    assert all(record.exc_info for record in caplog.records if "duty c failed" in record.message)


def test_nodes_of_one_redis_see_each_other_and_a_stopped_one_leaves(tmp_path: Path) -> None:
    if why := RedisServer.missing():
        pytest.skip(why)
    from gateway.adapters.board_redis import RedisBoard

    async def seen() -> dict[str, str]:
        board = RedisBoard(server.url)
        try:
            return {name: said["policy"] for name, said in (await members(board)).items()}
        finally:
            await board.close()

    with RedisServer() as server:
        nodes = [
            NodeProcess(tmp_path / name, {"hostname": f"{name}.example.net", "store": server.url})
            for name in ("mx1", "mx2")
        ]
        try:
            for node in nodes:
                node.wait_ready()
            nodes[0].wait(lambda: len(asyncio.run(seen())) == 2, "both are on the board")
            digests = asyncio.run(seen())
            assert set(digests) == {"mx1.example.net", "mx2.example.net"}
            assert set(digests.values()) == {nodes[0].status()["policy"]["digest"]}
            assert nodes[1].stop() == 0
            assert set(asyncio.run(seen())) == {"mx1.example.net"}
        finally:
            for node in nodes:
                node.end()
