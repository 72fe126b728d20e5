"""The duties behind shadow and verify over a board in memory: what is due when, restarts, alarms, faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cluster import shadow
from gateway.cluster.membership import NODES
from gateway.cluster.verify import (
    DAILY,
    Run,
    VerifyDuty,
    compare,
    digest_of,
    give_order,
    live_nodes,
    put_set,
    seal_of,
    words,
)
from gateway.policy.compare import Change, Tally


class Node:
    """A node whose replays give what it is told."""

    def __init__(self, board: MemoryBoard, name: str, secret: bytes = b"a secret of the cluster") -> None:
        self.time = 0.0
        self.policy = "p1"
        self.digests: Mapping[str, str] = {"x": "1", "y": "2"}
        self.runs: list[str | None] = []
        self.results: list[int] = []
        self.duty = VerifyDuty(
            board, seal_of(secret), name, self._replay, lambda: self.policy, self.results.append, lambda: self.time
        )

    async def _replay(self, text: str | None) -> Run:
        self.runs.append(text)
        return Run(digest_of(text or "packaged"), self.policy, "1", self.digests if text != "" else {})

    async def turns(self, number: int, seconds: float = 1.0) -> None:
        for _ in range(number):
            self.time += seconds
            await self.duty.turn()


async def test_a_node_replays_soon_after_its_start_daily_and_when_its_policy_changes() -> None:
    node = Node(MemoryBoard(SystemClock()), "a")
    await node.turns(10)
    assert not node.runs
    await node.turns(20)
    assert node.runs == [None]
    await node.turns(100)
    assert node.runs == [None]
    await node.turns(1, DAILY)
    assert node.runs == [None, None]
    node.policy = "p2"
    await node.turns(1)
    assert len(node.runs) == 3


async def test_an_order_is_answered_at_once_and_an_old_one_is_not() -> None:
    board = MemoryBoard(SystemClock())
    await give_order(board)
    node = Node(board, "a")
    await node.turns(5)
    assert not node.runs
    order = await give_order(board)
    await node.turns(1)
    assert len(node.runs) == 1
    assert (await words(board))["a"].order == order


async def test_a_difference_must_last_to_be_an_alarm_and_ends_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mxgw.cluster")
    board = MemoryBoard(SystemClock())
    await board.write(NODES, "a", "{}")
    await board.write(NODES, "b", "{}")
    one, two = Node(board, "a"), Node(board, "b")
    two.digests = {"x": "1", "y": "other"}
    await give_order(board)
    for node in (one, two):
        await node.turns(25)
    two.policy = "p2"
    await two.turns(1)
    assert max(two.results[:4]) == 0
    for node in (one, two):
        await node.turns(20)
    assert (one.results[-1], two.results[-1]) == (1, 1)
    alarms = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.odd for record in alarms] == [{"b": ["y"]}] * 2  # type: ignore[attr-defined]
    two.digests, two.policy = one.digests, "p3"
    for node in (two, one):
        await node.turns(2)
    assert (one.results[-1], two.results[-1]) == (0, 0)


async def test_a_set_of_the_site_is_read_by_those_who_know_the_secret() -> None:
    board = MemoryBoard(SystemClock())
    one, other = Node(board, "a"), Node(board, "b", b"another secret here")
    await put_set(board, seal_of(b"a secret of the cluster"), "lines\n")
    for node in (one, other):
        await node.turns(30)
    assert one.runs == ["lines\n"]
    found = compare(await words(board), digest_of("lines\n"), await live_nodes(board))
    assert "x" in found.odd["b"] or "secret" in found.odd["b"][0]
    assert found.mismatches > 0
    with pytest.raises(ValueError, match="larger"):
        import random

        await put_set(board, seal_of(b""), random.Random(1).randbytes(1_500_000).hex())


class Shadowed:
    """A node's shadow duty, and what its workers were told."""

    def __init__(self, board: MemoryBoard, name: str, fault: str = "") -> None:
        self.told: list[Any] = []
        self._fault = fault
        self.duty = shadow.ShadowDuty(board, name, self._loads, self.told.append)

    async def _loads(self, text: str, name: str) -> str:
        return self._fault

    def counted(self, order: str, number: int) -> None:
        tally = Tally()
        for n in range(number):
            tally.note(Change("content", "accept", "reject", "", "loop", ("+loop",)), f"Q{n}")
        self.duty.hear({"id": order, "tally": tally.as_json()})


async def test_counts_outlive_a_restart_and_the_end_of_the_order() -> None:
    board = MemoryBoard(SystemClock())
    assert await shadow.report(board) is None
    order = await shadow.start(board, "text", "p.yaml", "d" * 64, "ann", 60.0)
    node = Shadowed(board, "a")
    await node.duty.turn()
    assert node.told == [{"id": order.id, "text": "text", "name": "p.yaml"}]
    node.counted(order.id, 3)
    node.counted("another order", 5)
    await node.duty.turn()
    again = Shadowed(board, "a")
    await again.duty.turn()
    again.counted(order.id, 2)
    await again.duty.turn()
    found = await shadow.report(board)
    assert found
    assert (found.running, found.total.judged, found.total.changed) == (True, 5, 5)
    assert await shadow.stop(board)
    await again.duty.turn()
    assert again.told[-1] is None
    found = await shadow.report(board)
    assert found
    assert (found.running, found.total.judged) == (False, 5)
    # a new order begins at zero
    await shadow.start(board, "text", "q.yaml", "e" * 64, "ann", 60.0)
    await again.duty.turn()
    found = await shadow.report(board)
    assert found
    assert (found.order.name, found.total.judged, found.running) == ("q.yaml", 0, True)
    with pytest.raises(ValueError, match="larger"):
        await shadow.start(board, "x" * (shadow.TEXT_OCTETS + 1), "p", "d", "ann", 60.0)


async def test_a_node_that_cannot_load_the_candidate_says_so_and_judges_nothing() -> None:
    board = MemoryBoard(SystemClock())
    await shadow.start(board, "text", "p.yaml", "d" * 64, "ann", 60.0)
    node = Shadowed(board, "a", "p.yaml:3: rules: is not known here")
    await node.duty.turn()
    assert node.told == [None]
    found = await shadow.report(board)
    assert found
    assert found.nodes["a"].fault == "p.yaml:3: rules: is not known here"
