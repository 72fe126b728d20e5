"""One node's part in a roll-out over a board in memory: what it refuses, what it takes over, what it tells the board."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from three_nodes import policy

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cluster.canary import Counts
from gateway.cluster.membership import Heartbeat, forget
from gateway.cluster.rollout import PREPARE_SECONDS, Generation, Phase, Rollout, Said, State
from gateway.cluster.rollout_board import PLACE, Bundle, begin, keep_bundle, look, state_of, take_step
from gateway.mail.finding import Why
from gateway.node.notices import Notices, Reports
from gateway.node.policy_duty import PolicyDuty
from gateway.node.policy_in_force import MOMENT, NEXT, PolicyInForce
from gateway.node.policy_keeper import Candidate
from gateway.node.policy_source import PolicyText
from gateway.ports.failure import PortFailure


def candidate(name: str, generation: Generation | None = None) -> Candidate:
    text = PolicyText(policy(name), name)
    parsed = text.parse()
    return Candidate(generation or Generation(), text, parsed)


class Keeper:
    """As ``PolicyKeeper``, in memory."""

    def __init__(self, in_force: Candidate, lineage: str = "") -> None:
        self.in_force, self.lineage = in_force, lineage
        self.kept: list[int] = []
        self.full = False

    def own(self, generation: Generation) -> Candidate:
        return candidate("base", generation)

    def adopt(self, found: Candidate) -> None:
        self.in_force = found

    def try_disk(self, _: Candidate) -> None:
        if self.full:
            raise OSError(28, "No space left on device", str(Path("state")))

    def keep(self, found: Candidate, lineage: str) -> None:
        self.lineage = lineage
        self.kept.append(found.generation.number)


class Node:
    """A duty with no worker."""

    def __init__(
        self, board: MemoryBoard, name: str = "mx1", keeper: Keeper | None = None, canary_alone: float = 15.0
    ) -> None:
        self.board, self.name = board, name
        self.keeper: Any = keeper or Keeper(candidate("base"))
        self.odd: list[str] = []
        self.shut = False
        self.notices = Notices()
        self.reports = Reports()
        self.workers: frozenset[int] = frozenset()
        self.duty = PolicyDuty(
            board, name, self.keeper, self.notices, self.reports,
            workers=lambda: self.workers, counts=Counts, on_odd=self._hear_odd,
            canary_alone=canary_alone,
        )  # fmt: skip

    def _hear_odd(self, why: str, served_elsewhere: bool) -> None:
        self.odd.append(why)
        self.shut = served_elsewhere

    @property
    def generation(self) -> int:
        return int(self.keeper.in_force.generation.number)

    async def join(self) -> None:
        await Heartbeat(self.board, self.name, lambda: {"policy": self.keeper.in_force.policy.digest}).turn()


async def until(what: Callable[[], bool], *nodes: Node, seconds: float = 20.0) -> None:
    """Turn the nodes' duties until it is so."""

    async def turns(node: Node) -> None:
        while True:
            await node.duty.turn()
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(turns(node)) for node in nodes]
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        for task in tasks:
            assert not task.done(), task.exception()
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ended(board: MemoryBoard, node: Node, target: Generation, bundle: Bundle) -> str:
    """How a roll-out of it goes."""
    await node.join()
    await begin(board, target, bundle, Rollout("", target))
    state = State()

    async def watch() -> None:
        nonlocal state
        while (found := await state_of(board)).rollout is not None:
            await asyncio.sleep(0.02)
        state = found

    task = asyncio.create_task(watch())
    await until(task.done, node)
    assert state.ended is not None
    assert node.generation == state.current.number == 0
    return f"{state.ended.outcome}: {state.ended.why}"


async def test_a_version_that_does_not_know_a_key_stops_it() -> None:
    board = MemoryBoard(SystemClock())
    text = policy("one") + "sundial: {enabled: true}\n"
    why = await ended(board, Node(board), Generation(digest="ab12"), Bundle(text, "newer.yaml"))
    assert why.startswith("stopped: mx1 cannot load it: newer.yaml:")
    assert "sundial" in why


async def test_a_version_to_which_it_means_something_else_stops_it() -> None:
    board = MemoryBoard(SystemClock())
    why = await ended(board, Node(board), Generation(digest="ab12"), Bundle(policy("one"), "one.yaml"))
    assert "means" in why
    assert "this node's version" in why


async def test_a_full_disk_stops_it() -> None:
    board = MemoryBoard(SystemClock())
    node = Node(board)
    node.keeper.full = True
    one = candidate("one")
    assert "No space left" in await ended(board, node, Generation(digest=one.policy.digest), Bundle(one.text.text, "o"))


async def test_a_worker_that_has_not_compiled_or_promised_holds_it_up() -> None:
    board, one = MemoryBoard(SystemClock()), candidate("one")
    node = Node(board)
    node.workers = frozenset({7})
    await node.join()
    rollout = await begin(board, Generation(digest=one.policy.digest), Bundle(one.text.text, "o"), Rollout("", one.generation))
    await until(lambda: NEXT in node.notices.last, node)
    seen = await look(board)
    assert not seen.said
    node.reports.tell("policy", {"pid": 7, "key": rollout.id, "digest": one.policy.digest})
    await until(lambda: MOMENT in node.notices.last, node)
    seen = await look(board)
    assert seen.said["mx1"].stage == "loaded"
    assert seen.state.rollout is not None
    assert seen.state.rollout.phase is Phase.PREPARE
    assert node.notices.last[MOMENT]["until"] is not None
    assert node.generation == 0
    node.reports.tell("policy", {"pid": 7, "key": rollout.id, "prepared": True})
    await until(lambda: node.generation == 1, node)
    assert node.keeper.kept == [1]
    assert node.duty.in_doubt() == ""


async def worker_that_starts_now(node: Node) -> PolicyInForce:
    worker = PolicyInForce(node.keeper.in_force.policy, lambda _: None)
    if said := node.notices.last.get(NEXT):
        worker.told_next(said)
    if said := node.notices.last.get(MOMENT):
        worker.told_moment(said)
    await worker.caught_up()
    return worker


async def test_a_worker_that_starts_later_serves_what_its_siblings_serve() -> None:
    board, one, two = MemoryBoard(SystemClock()), candidate("one"), candidate("two")
    node = Node(board)
    await node.join()
    own = Generation()
    await begin(board, own, None, Rollout("", own))
    await until(lambda: node.generation == 1, node)
    # the own file was changed, and read again on SIGHUP
    node.keeper.adopt(replace(one, generation=node.keeper.in_force.generation))
    worker = await worker_that_starts_now(node)
    assert worker().digest == one.policy.digest
    # in the next roll-out too, it is not shut for what it does not know of the one before
    node.workers = frozenset({7})
    await begin(board, Generation(digest=two.policy.digest), Bundle(two.text.text, "two"), Rollout("", two.generation))
    await until(lambda: NEXT in node.notices.last, node)
    worker = await worker_that_starts_now(node)
    assert (worker.shut(), worker().digest) == ("", one.policy.digest)


class Gone(MemoryBoard):
    """One that is away now and then."""

    away = False

    async def entries(self, place: str) -> Mapping[str, str]:
        if self.away:
            raise PortFailure("store", Why.REFUSED)
        return await super().entries(place)


async def test_a_canary_that_went_back_alone_is_one_again_when_the_board_is_back() -> None:
    board, one = Gone(SystemClock()), candidate("one")
    node = Node(board, canary_alone=0.1)
    await node.join()
    plan = Rollout("", one.generation, canary="mx1", watch=60.0)
    await begin(board, Generation(digest=one.policy.digest), Bundle(one.text.text, "one"), plan)
    base = node.keeper.in_force.policy.digest
    for turn in range(2):
        await until(lambda: node.keeper.in_force.policy.digest == one.policy.digest, node)
        board.away = True
        end = time.monotonic() + 20
        while node.keeper.in_force.policy.digest != base:
            assert time.monotonic() < end, turn
            with contextlib.suppress(PortFailure):
                await node.duty.turn()
            await asyncio.sleep(0.05)
        board.away = False


class Primary(MemoryBoard):
    """One with a replica, which lags or does not."""

    lags = False

    async def replicated(self) -> bool:
        return not self.lags


async def promised(board: MemoryBoard, node: Node, name: str) -> Rollout:
    """Begin a roll-out; the node has one worker, which has compiled it and has been asked to promise."""
    one = candidate(name)
    node.workers = frozenset({7})
    await node.join()
    rollout = await begin(board, Generation(digest=one.policy.digest), Bundle(one.text.text, name), Rollout("", one.generation))
    await until(lambda: NEXT in node.notices.last, node)
    node.reports.tell("policy", {"pid": 7, "key": rollout.id, "digest": one.policy.digest})
    return rollout


async def test_a_decision_that_a_failover_may_take_back_is_not_followed() -> None:
    board = Primary(SystemClock())
    node = Node(board)
    rollout = await promised(board, node, "one")
    await until(lambda: MOMENT in node.notices.last, node)
    board.lags = True
    node.reports.tell("policy", {"pid": 7, "key": rollout.id, "prepared": True})
    end = time.monotonic() + 20
    while (view := await look(board)).decision is None or not node.duty.in_doubt():
        assert time.monotonic() < end, view
        if view.decision is None:  # its own look does not count, so it decides nothing: another node does
            await take_step(board, replace(view, said={"mx1": Said(rollout.id, "prepared")}))
        with contextlib.suppress(PortFailure):
            await node.duty.turn()
        await asyncio.sleep(0.05)
    lost = view.decision["at"]
    assert node.generation == 0
    assert node.notices.last[MOMENT]["at"] is None, "no worker was told to switch"
    # the replica has become the primary, without the decision
    await board.erase(PLACE, f"decision:{rollout.id}")
    board.lags = False
    await until(lambda: node.generation == 1, node)
    assert (await state_of(board)).current.at > lost
    assert node.duty.in_doubt() == ""


class Clock(SystemClock):
    """One that can be put forward."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def test_without_a_replica_that_confirms_nobody_promises_and_the_rollout_stops() -> None:
    clock = Clock()
    board = Primary(clock)
    node = Node(board)
    board.lags = True
    await promised(board, node, "one")
    said = Said("", "")

    async def hear() -> None:
        nonlocal said
        while not said.why:
            await asyncio.sleep(0.02)
            said = (await look(board)).said.get("mx1", said)

    heard = asyncio.create_task(hear())
    await until(heard.done, node)
    assert (said.stage, said.why) == ("loaded", "no replica of the store confirms what stands there")
    assert MOMENT not in node.notices.last, "it serves on, and turns nobody away"
    clock.ahead += PREPARE_SECONDS
    await node.join()
    state = State()

    async def end() -> None:
        nonlocal state
        while (state := await state_of(board)).rollout is not None:
            await asyncio.sleep(0.02)

    ended = asyncio.create_task(end())
    await until(ended.done, node)
    assert state.ended is not None
    assert state.ended.outcome == "stopped"
    two = candidate("two")
    await begin(board, Generation(digest=two.policy.digest), Bundle(two.text.text, "two"), Rollout("", two.generation))


async def test_a_node_takes_over_what_was_decided_before_it_came() -> None:
    board, one = MemoryBoard(SystemClock()), candidate("one")
    current = Generation(4, one.policy.digest, "one.yaml", at=time.time() - 60)
    await keep_bundle(board, current.digest, Bundle(one.text.text, "one.yaml"))
    await board.write(PLACE, "state", State("line", current).encode())
    node = Node(board)
    await node.duty.first_look()
    assert (node.generation, node.keeper.in_force.policy.digest) == (4, one.policy.digest)
    assert (node.keeper.lineage, node.keeper.kept) == ("line", [4])


async def test_a_node_without_a_copy_takes_the_text_that_means_something_else_to_it_and_is_odd() -> None:
    board, one = MemoryBoard(SystemClock()), candidate("one")
    current = Generation(4, "ab12", "one.yaml", at=time.time() - 60)
    await keep_bundle(board, current.digest, Bundle(one.text.text, "one.yaml"))
    await board.write(PLACE, "state", State("line", current).encode())
    node = Node(board)
    await node.duty.first_look()
    assert (node.generation, node.keeper.in_force.policy.digest) == (4, one.policy.digest)
    assert node.keeper.kept == [4]
    assert node.odd[-1] == f"generation 4 (ab12) means {one.policy.digest[:8]} to this node's version of the program"
    await node.duty.turn()
    assert node.keeper.kept == [4], "once"


async def test_an_empty_or_older_board_is_told_and_that_of_another_cluster_is_not() -> None:
    one = candidate("one")
    kept = replace(one, generation=Generation(4, one.policy.digest, "one.yaml", at=1000.0))
    board = MemoryBoard(SystemClock())
    node = Node(board, keeper=Keeper(kept, "line"))
    await node.duty.first_look()
    assert (await state_of(board)).current == kept.generation
    # a fail-over lost the last writes
    await board.write(PLACE, "state", State("line", Generation(3, "ab12")).encode())
    await node.duty.first_look()
    assert (await state_of(board)).current == kept.generation
    # a node that was moved here from another cluster brings nothing along
    other = Node(board, "mx9", Keeper(replace(kept, generation=Generation(9, "cd34")), "elsewhere"))
    await other.duty.first_look()
    assert (other.generation, other.keeper.lineage) == (4, "line")


async def test_an_upgrade_of_all_nodes_turns_no_node_away() -> None:
    board = MemoryBoard(SystemClock())
    current = Generation(4, "ab12", "one.yaml", at=1000.0)
    await board.write(PLACE, "state", State("line", current).encode())
    # to the new version the pushed text means something else
    node = Node(board, keeper=Keeper(replace(candidate("one"), generation=current), "line"))
    for said, shut in (
        ({"policy": "ab12", "odd": "", "draining": False}, True),
        ({"policy": "ab12", "odd": "", "draining": True}, False),
        ({"policy": "cd34", "odd": "generation 4 means cd34", "draining": False}, False),
    ):
        await Heartbeat(board, "mx2", lambda said=said: said).turn()  # type: ignore[misc]
        await node.duty.turn()
        assert "means" in node.odd[-1]
        assert node.shut is shut
    await forget(board, "mx2")
    await node.duty.turn()
    assert (node.odd[-1] != "", node.shut) == (True, False)


async def test_what_a_newer_version_wrote_makes_the_node_odd_and_changes_nothing() -> None:
    board = MemoryBoard(SystemClock())
    await board.write(PLACE, "state", '{"rollout": null, "ended": null, "current": {"colour": 1}}')
    node = Node(board)
    await node.duty.turn()
    assert "cannot be read" in node.odd[-1]
    assert node.generation == 0
