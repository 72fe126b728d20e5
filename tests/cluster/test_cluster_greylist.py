"""What nodes tell each other of greylisting: the operator's entries, a journal that only they can read, counts by hour,
and keys that are a first attempt on two nodes, which proves that the state is not shared."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway.adapters.board_memory import MemoryBoard
from gateway.cluster.greylist import (
    ALLOWED,
    JOURNAL,
    LINE_CHARACTERS,
    Event,
    GreylistDuty,
    hours,
    journal,
    publish,
    seal_of,
)
from gateway.cluster.journal import DecisionDuty, decisions
from gateway.cluster.journal import seal_of as decisions_seal
from gateway.cluster.sealed import Seal
from gateway.mail.finding import Finding, Outcome, Why
from gateway.node.greylist_desk import Desk
from gateway.ports.failure import PortFailure

NOW = 1_800_000_000.0
KEY = "net:192.0.2.0/24|ann@example.org|user@example.com"


class FakeClock:
    time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Node:
    """One node's duty and a worker's desk."""

    def __init__(self, board: MemoryBoard, name: str, clock: FakeClock, secret: bytes = b"cluster") -> None:
        self.told: list[list[str]] = []
        self.not_shared: list[tuple[str, int]] = []
        self.attempts: list[tuple[str, float]] = []
        self.desk = Desk(clock, lambda state, waited: self.attempts.append((state, waited)))
        self.duty = GreylistDuty(
            board,
            seal_of(secret),
            name,
            self.told.append,
            lambda cause, number: self.not_shared.append((cause, number)),
        )

    def attempt(self, state: str, key: str = KEY, **evidence: Any) -> None:
        self.desk.note(Finding("greylist", Outcome.PASS, state, {"state": state, "key": key, **evidence}), 86400.0)

    async def turn(self) -> None:
        if gathered := self.desk.take():
            self.duty.hear(gathered)
        await self.duty.turn()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def board(clock: FakeClock) -> MemoryBoard:
    return MemoryBoard(clock)


async def pair(board: MemoryBoard, clock: FakeClock, other_secret: bytes = b"cluster") -> tuple[Node, Node]:
    one, two = Node(board, "mx1", clock), Node(board, "mx2", clock, other_secret)
    await one.turn()
    await two.turn()
    return one, two


async def test_entries_reach_the_workers(board: MemoryBoard, clock: FakeClock) -> None:
    node = Node(board, "mx1", clock)
    await board.write(ALLOWED, "example.org", "{}", 100.0)
    await board.write(ALLOWED, "192.0.2.0/24", "{}")
    await node.turn()
    clock.time += 101
    await node.turn()
    assert node.told == [["192.0.2.0/24", "example.org"], ["192.0.2.0/24"]]


async def test_the_journal_can_be_read_with_the_secret_only(board: MemoryBoard, clock: FakeClock) -> None:
    node = Node(board, "mx1", clock)
    node.attempt("first", wait=120.0)
    node.attempt("known")
    await node.turn()
    clock.time += 130
    node.attempt("passed", waited=130.0)
    await node.turn()
    kept = "".join(line.value for line in await board.latest(JOURNAL))
    assert "example" not in kept
    events, strangers = await journal(board, seal_of(b"cluster"), NOW)
    assert not strangers
    assert events == [
        Event("mx1", NOW, "first", KEY, 120.0, 0.0, 86400.0),
        Event("mx1", NOW + 130, "passed", KEY, 0.0, 130.0, 86400.0),
    ]
    assert await journal(board, seal_of(b"cluster"), NOW + 100) == (events[1:], set())
    assert await journal(board, seal_of(b"other"), NOW) == ([], {"mx1"})


async def test_the_journal_is_read_over_many_pages(board: MemoryBoard, clock: FakeClock) -> None:
    for number in range(450):
        clock.time = NOW + number
        await publish(board, seal_of(b""), "mx1", [Event("mx1", NOW + number, "first", f"net:{number}")])
    for since, expected in ((NOW, 450), (NOW + 300, 150), (NOW + 1000, 0)):
        events, _ = await journal(board, seal_of(b""), since)
        assert [event.key for event in events] == [f"net:{number}" for number in range(450 - expected, 450)]


def test_a_seal_opens_its_own_texts_only() -> None:
    seal = Seal(b"secret", "a")
    closed = seal.close("ann@example.org \udcff")
    assert seal.open(closed) == "ann@example.org \udcff"
    assert Seal(b"secret", "b").open(closed) is None
    for foreign in ("", "x", "AAAA", closed[:-8], "ä"):
        assert seal.open(foreign) is None


async def test_first_on_two_nodes_is_proof_that_nothing_is_shared(
    board: MemoryBoard, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await pair(board, clock)
    one.attempt("first")
    await one.turn()
    clock.time += 200
    two.attempt("first")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await two.turn()
            await one.turn()
    assert one.not_shared == two.not_shared == [("first", 1)]
    assert "greylisting is not shared" in caplog.text
    await two.duty.count()
    assert [hour.not_shared for hour in await hours(board)] == [1]


@pytest.mark.parametrize("between", ["passed", "expired", "cleared", "nothing for a day", "early"])
async def test_first_twice_is_no_proof_after_a_pass_or_the_window(
    board: MemoryBoard, clock: FakeClock, between: str
) -> None:
    one, two = await pair(board, clock)
    one.attempt("first")
    await one.turn()
    clock.time += 86401 if between == "nothing for a day" else 200
    if between == "cleared":
        await publish(board, seal_of(b"cluster"), "operator", [Event("operator", clock.time, "cleared", KEY)])
    elif between != "nothing for a day":
        two.attempt(between)
        await two.turn()
    await one.turn()
    two.attempt("first")
    await two.turn()
    await one.turn()
    assert one.not_shared == ([("first", 1)] if between == "early" else [])


async def test_another_secret_is_noticed(board: MemoryBoard, clock: FakeClock) -> None:
    one, two = await pair(board, clock, other_secret=b"forgotten")
    one.attempt("first")
    await one.turn()
    await two.turn()
    assert two.not_shared == [("secret", 1)]


async def test_counts_are_kept_by_hour_and_go_on_after_a_restart(board: MemoryBoard, clock: FakeClock) -> None:
    node = Node(board, "mx1", clock)
    for state in ("first", "first", "bypass"):
        node.attempt(state)
    node.attempt("passed", waited=130.0)
    for _ in range(5):
        await node.turn()
    again = Node(board, "mx1", clock)
    again.attempt("first")
    await again.turn()
    await again.duty.count()
    clock.time += 3600
    again.attempt("passed", waited=100_000.0)
    await again.turn()
    await again.duty.count()
    first, second = sorted(await hours(board), key=lambda hour: hour.hour)
    assert first.counts == {"first": 3, "passed": 1, "bypass": 1}
    assert (first.delays[2], sum(first.delays)) == (1, 1), "between 120 and 180 s"
    assert (second.counts, second.delays[-1]) == ({"passed": 1}, 1)
    assert node.attempts == [("first", 0.0), ("first", 0.0), ("bypass", 0.0), ("passed", 130.0)]


async def test_a_flood_is_counted_though_not_told(board: MemoryBoard, clock: FakeClock) -> None:
    node = Node(board, "mx1", clock)
    for number in range(1000):
        node.attempt("first", key=f"net:{number}")
    await node.turn()
    assert len((await journal(board, seal_of(b"cluster"), 0))[0]) == 40
    for number in range(1000):
        node.attempt("first", key=f"net:{number}" + "x" * 600)
    await node.turn()
    await node.duty.count()
    assert [hour.counts["first"] for hour in await hours(board)] == [2000]
    lines = await board.latest(JOURNAL)
    assert max(len(line.value) for line in lines) < 1.4 * LINE_CHARACTERS + 100, "long names take no more room"


class Meanwhile(MemoryBoard):
    """Something happens while a line is being written; then the board may be out."""

    def __init__(self, clock: FakeClock, happens: Callable[[], None]) -> None:
        super().__init__(clock)
        self._happens = happens
        self.out = False

    async def append(self, journal: str, value: str, keep: int, ttl: float) -> None:
        self._happens()
        if self.out:
            raise PortFailure("store", Why.TIMEOUT, "out")
        await super().append(journal, value, keep, ttl)


async def test_what_is_heard_while_the_journal_is_written_is_written_next(clock: FakeClock) -> None:
    def more() -> None:
        node.attempt("first", f"later {len(node.told)}", wait=120.0)
        node.duty.hear(node.desk.take() or {})

    board = Meanwhile(clock, more)
    node = Node(board, "mx1", clock)
    node.attempt("first", wait=120.0)
    await node.turn()
    await node.turn()
    events, _ = await journal(board, seal_of(b"cluster"), NOW)
    assert [event.key for event in events] == [KEY, "later 1"]


def numbered(letter: str, count: int) -> list[str]:
    return [json.dumps({"qid": f"{letter}{number}"}) for number in range(count)]


async def test_decisions_heard_while_others_are_written_are_neither_lost_nor_told_as_missed(clock: FakeClock) -> None:
    def more() -> None:
        duty.hear({"missed": 1, "records": numbered("M", 1950)})

    board = Meanwhile(clock, more)
    duty = DecisionDuty(board, decisions_seal(b"cluster"), "mx1", lines=100, seconds=3600, flush=0)
    duty.hear({"missed": 3, "records": numbered("Q", 100)})
    board.out = True
    with pytest.raises(PortFailure):
        await duty.turn()
    assert len(duty._gathered) == 2000
    board.out, board._happens = False, lambda: None
    await duty.leave()
    found = await decisions(board, decisions_seal(b"cluster"))
    assert [record["qid"] for record in reversed(found.records)] == [
        *(f"Q{number}" for number in range(50, 100)),
        *(f"M{number}" for number in range(1950)),
    ]
    assert found.missed == 3 + 1 + 50

    duty.hear({"missed": 0, "records": numbered("R", 100)})
    happens = [more]
    board._happens = lambda: happens.pop()() if happens else None
    await duty.leave()
    after = await decisions(board, decisions_seal(b"cluster"))
    assert after.missed == found.missed + 1
    assert len(after.records) == 2000 + 100 + 1950
