"""The watch over lists in hand-made time: how long a bad list can last, whoever dies; whose word counts where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.dns_zone import ZoneResolver
from gateway.cluster.list_hits import PLACE as HITS
from gateway.cluster.list_hits import Tally
from gateway.cluster.list_watch import ListWatch, Watched
from gateway.mail.finding import Why
from gateway.policy.load import load_text
from gateway.ports.failure import PortFailure
from gateway.ports.lists import ListState

SOUND = "2.0.0.127.l.test. A 127.0.0.2\n"
WORLD = "*.l.test. A 127.0.0.2\n"
BLOCKED = "*.l.test. A 127.255.255.255\n"
DEFAULTS = "version: 1\nchecks: {dnsbl: {sites: [l.test]}}\n"


class HandClock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Board(MemoryBoard):
    """One that can be out."""

    out = False

    async def entries(self, place: str) -> Mapping[str, str]:
        if self.out:
            raise PortFailure("store", Why.TIMEOUT, "out")
        return await super().entries(place)

    async def write(self, place: str, key: str, value: str, ttl: float | None = None) -> None:
        if self.out:
            raise PortFailure("store", Why.TIMEOUT, "out")
        await super().write(place, key, value, ttl)


class Node:
    """zone: what its resolvers answer."""

    def __init__(self, name: str, board: Board, clock: HandClock, policy: str = DEFAULTS) -> None:
        self.zone = SOUND
        self.looks = 0
        self.alive = True
        self.told: Mapping[str, Any] = {}
        self.states: Mapping[str, ListState] = {}
        self.faults: Sequence[str] = ()
        watched = Watched.of(load_text(policy, "policy.yaml"))
        self.watch = ListWatch(board, name, clock, lambda: watched, self._resolver, ["127.0.0.1"], self._tell, self)

    def _resolver(self) -> ZoneResolver:
        self.looks += 1
        return ZoneResolver.from_text(self.zone)

    def _tell(self, told: Mapping[str, Any]) -> None:
        self.told = told

    def list_states(self, states: Mapping[str, ListState]) -> None:
        self.states = states

    def resolver_faults(self, faults: Sequence[str]) -> None:
        self.faults = faults

    @property
    def state(self) -> str:
        return str(self.watch.state("l.test"))


class Cluster:
    def __init__(self, number: int = 2, policy: str = DEFAULTS) -> None:
        self.clock = HandClock()
        self.board = Board(self.clock)
        self.nodes = [Node(f"mx{n}", self.board, self.clock, policy) for n in range(1, number + 1)]

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.time += 1
            for node in self.nodes:
                if not node.alive:
                    continue
                for duty in (node.watch.turn, node.watch.check, node.watch.hits):
                    try:
                        await duty()
                    except PortFailure:
                        assert self.board.out

    async def until(self, state: str, nodes: Sequence[Node], most: int) -> int:
        for seconds in range(most + 1):
            if all(node.state == state for node in nodes):
                return seconds
            await self.pass_seconds(1)
        raise AssertionError(f"not {state} in {most} s: {[node.state for node in nodes]}")

    def answer(self, zone: str) -> None:
        for node in self.nodes:
            node.zone = zone

    @property
    def leader(self) -> Node:
        (found,) = (node for node in self.nodes if node.alive and node.watch.leads)
        return found


async def test_with_the_defaults_one_node_looks_and_all_are_told_within_60_s() -> None:
    cluster = Cluster(3)
    await cluster.pass_seconds(5)
    assert [node.looks for node in cluster.nodes] == [1, 1, 1]  # each at its start
    cluster.answer(WORLD)
    waited = await cluster.until("disabled:lists-the-world", cluster.nodes, 60)
    print(f"out on three nodes after {waited} s")
    cluster.answer(SOUND)
    assert await cluster.until("ok", cluster.nodes, 400) > 9 * 30  # ten looks, and the zone's TTL of 300 s
    await cluster.pass_seconds(600)
    others = [node.looks for node in cluster.nodes if node is not cluster.leader]
    assert max(others) <= 6 < cluster.leader.looks


@pytest.mark.parametrize("moment", range(0, 30, 7))
async def test_a_leader_that_dies_with_the_list_is_followed_in_time(moment: int) -> None:
    cluster = Cluster(3)
    await cluster.pass_seconds(40 + moment)
    cluster.leader.alive = False
    cluster.answer(WORLD)
    alive = [node for node in cluster.nodes if node.alive]
    assert await cluster.until("disabled:lists-the-world", alive, 60) <= 60


async def test_without_the_board_each_node_looks_for_itself() -> None:
    cluster = Cluster()
    await cluster.pass_seconds(40)
    cluster.board.out = True
    cluster.answer(WORLD)
    await cluster.until("disabled:lists-the-world", cluster.nodes, 60)
    cluster.board.out = False
    await cluster.pass_seconds(40)
    assert {node.state for node in cluster.nodes} == {"disabled:lists-the-world"}


async def test_a_node_with_bad_resolvers_goes_without_the_list_alone() -> None:
    cluster = Cluster()
    await cluster.pass_seconds(5)
    odd = next(node for node in cluster.nodes if node is not cluster.leader)
    odd.zone = BLOCKED
    await cluster.pass_seconds(310)
    assert odd.state == "disabled:excessive-queries"
    assert cluster.leader.state == "ok"
    assert odd.told["l.test"][:2] == ["disabled", "excessive-queries"]
    odd.zone = SOUND
    # from now on it looks as often as the leader does, so that it is back soon; resolvers may keep answers for 300 s
    await cluster.until("ok", [odd], 400)


async def test_a_leader_with_unfit_resolvers_gives_way_to_a_sound_node() -> None:
    cluster = Cluster()
    await cluster.pass_seconds(5)
    unfit = cluster.leader
    unfit.zone = BLOCKED.replace("255\n", "254\n")
    await cluster.pass_seconds(40)
    assert unfit.faults == ["public-resolver a list says so"]
    assert cluster.leader is not unfit
    await cluster.until("ok", [cluster.leader], 400)
    assert unfit.state == "disabled:public-resolver"
    # where all are unfit, one of them leads all the same
    cluster.leader.zone = unfit.zone
    await cluster.pass_seconds(60)
    assert cluster.leader.faults


async def test_a_new_leader_goes_on_where_the_old_one_ended() -> None:
    cluster = Cluster()
    cluster.answer(WORLD)
    await cluster.pass_seconds(5)
    first = cluster.leader
    cluster.answer(SOUND)
    await cluster.pass_seconds(200)
    await first.watch.leave()
    first.alive = False
    await cluster.pass_seconds(2)
    assert cluster.leader is not first
    assert cluster.leader.state == "disabled:lists-the-world"
    assert await cluster.until("ok", [cluster.leader], 200) > 0


async def test_a_node_that_starts_hears_at_once_what_the_cluster_knows() -> None:
    cluster = Cluster(1)
    cluster.answer(WORLD)
    await cluster.pass_seconds(3)
    late = Node("mx9", cluster.board, cluster.clock)
    await late.watch.turn()
    assert late.told["l.test"][:2] == ["disabled", "lists-the-world"]


async def test_public_resolvers_and_unwatched_lists() -> None:
    text = DEFAULTS.replace("[l.test]", "[l.test], unwatched: [l.test]")
    cluster = Cluster(1, text)
    cluster.answer("other.test. A 192.0.2.1\n")
    await cluster.pass_seconds(60)
    assert (cluster.nodes[0].state, cluster.nodes[0].looks) == ("ok", 0)
    cluster = Cluster(1)
    cluster.answer(SOUND + "*.invalid. A 203.0.113.1\n")
    await cluster.pass_seconds(2)
    assert cluster.nodes[0].faults == ["invents-answers 203.0.113.1 for a name below .invalid"]


async def test_hits_beyond_belief_put_a_list_out_on_all_nodes_though_its_test_points_are_sound() -> None:
    cluster = Cluster()
    await cluster.pass_seconds(5)
    yesterday = Tally()
    yesterday.add({"l.test": 5000}, {"l.test": 400}, cluster.clock.time - 5 * 3600, 60.0)
    yesterday.roll(cluster.clock.time - 4 * 3600, 60.0, ())
    await cluster.board.write(HITS, "mx7", yesterday.as_text(60.0))
    for node in cluster.nodes:
        node.watch.hear({"asked": {"l.test": 40}, "hits": {"l.test": 3}})
    await cluster.pass_seconds(10)
    assert {node.state for node in cluster.nodes} == {"ok"}
    for node in cluster.nodes:
        node.watch.hear({"asked": {"l.test": 200}, "hits": {"l.test": 190}})
    await cluster.until("disabled:hit-ratio", cluster.nodes, 60)
    assert cluster.leader.watch.state("l.test").is_asked
    # it is back after ten looks, which are sound only when the hits have gone down
    await cluster.until("ok", cluster.nodes, 500)


async def test_nonsense_on_the_board_harms_nobody() -> None:
    cluster = Cluster()
    await cluster.board.write("rbl", "l.test", "nonsense")
    await cluster.board.write("rbl-hits", "mx8", "[]")
    await cluster.pass_seconds(40)
    assert {node.state for node in cluster.nodes} == {"ok"}


async def test_a_list_without_test_points_is_told_as_a_warning_after_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mxgw.rbl")
    cluster = Cluster(1)
    cluster.answer("other.test. A 192.0.2.1\n")
    await cluster.pass_seconds(590)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    await cluster.pass_seconds(30)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert cluster.nodes[0].state == "degraded:no-test-point"


class AheadClock:
    """A host whose clock is two days ahead."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now() + 2 * 86400

    def monotonic(self) -> float:
        return self._clock.monotonic()


async def test_a_leader_whose_clock_is_ahead_keeps_no_list_out_for_longer() -> None:
    cluster = Cluster(2)
    cluster.nodes[0].watch._clock = AheadClock(cluster.clock)
    await cluster.pass_seconds(5)
    assert cluster.leader is cluster.nodes[0]
    cluster.answer(WORLD)
    await cluster.until("disabled:lists-the-world", cluster.nodes, 60)
    cluster.leader.alive = False
    cluster.answer(SOUND)
    await cluster.until("ok", cluster.nodes[1:], 500)
