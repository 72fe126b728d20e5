"""A roll-out step by step: who is waited for, what stops it, and why no late decision can stand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.adapters.board_memory import MemoryBoard
from gateway.cluster import rollout_board
from gateway.cluster.board_clock import BoardClock
from gateway.cluster.canary import Counts, out_of_band
from gateway.cluster.drift import drifts, odd_one
from gateway.cluster.membership import Heartbeat
from gateway.cluster.rollout import GATE, LEAD, LEASE, Ended, Generation, Phase, Rollout, Said, State, View, decode, due
from gateway.cluster.rollout_board import Bundle, begin, bundle_of, look, say, state_of, take_step
from gateway.mail.finding import Why
from gateway.node.policy_in_force import PolicyInForce
from gateway.policy.difference import differences
from gateway.policy.load import load_packaged, load_text
from gateway.ports.failure import PortFailure

TARGET = Generation(4, "ab12", "p.yaml", "OPS-1", "anna")
ROLLOUT = Rollout("r1", TARGET, Phase.LOADING, 100.0)
LIVE = frozenset({"mx1", "mx2"})


class FakeClock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def view(rollout: Rollout = ROLLOUT, said: dict[str, Said] | None = None, **changes: Any) -> View:
    found = View("", State("line", rollout=rollout), said=said or {}, live=LIVE, roster=LIVE)
    return replace(found, **changes)


def said(stage: str, *nodes: str, digest: str = "ab12", why: str = "", counts: Counts | None = None) -> dict[str, Said]:
    return {node: Said("r1", stage, digest, why, counts or Counts()) for node in nodes}


def test_all_live_nodes_load_before_anything_changes() -> None:
    assert due(view(said=said("loaded", "mx1")), 101.0) is None
    step = due(view(said=said("loaded", "mx1", "mx2")), 101.0)
    assert step is not None
    assert step.state is not None
    assert step.state.rollout is not None
    assert step.state.rollout.phase is Phase.PREPARE
    prepare = replace(ROLLOUT, phase=Phase.PREPARE)
    assert due(view(prepare, said("loaded", "mx1", "mx2")), 101.0) is None
    step = due(view(prepare, said("prepared", "mx1", "mx2")), 101.0)
    assert step is not None
    assert step.commit


@pytest.mark.parametrize(
    ("found", "now", "why"),
    [
        (view(said=said("failed", "mx2", why="disk full")), 101.0, "mx2 cannot load it: disk full"),
        (view(said=said("loaded", "mx1")), 161.0, "no word from mx2 in 60 s"),
        (view(roster=LIVE | {"mx3"}), 101.0, "mx3 is silent"),
        (view(said=said("loaded", "mx1") | said("loaded", "mx2", digest="cd34")), 101.0, "files differ: mx1 ab12, mx2 cd"),
        (view(replace(ROLLOUT, canary="mx9")), 101.0, "there is no node mx9"),
        (view(replace(ROLLOUT, phase=Phase.PREPARE), said("prepared", "mx1")), 116.0, "mx2 did not prepare in 15 s"),
        (
            view(replace(ROLLOUT, phase=Phase.PREPARE), said("loaded", "mx1", "mx2", why="no replica")),
            116.0,
            "mx1 (no replica), mx2 (no replica) did not prepare in 15 s",
        ),
    ],
)
def test_what_stops_a_rollout(found: View, now: float, why: str) -> None:
    step = due(found, now)
    assert step is not None
    assert why in step.stop
    assert not step.commit


def test_a_dead_node_is_left_out_only_by_name() -> None:
    left_out = view(replace(ROLLOUT, without=("mx3",)), said("loaded", "mx1", "mx2"), roster=LIVE | {"mx3"})
    step = due(left_out, 101.0)
    assert step is not None
    assert not step.stop


def test_the_state_survives_the_board_and_a_newer_one_is_told() -> None:
    state = State("line", TARGET, Generation(), ROLLOUT, Ended("r0", 3, "stopped", "why"), ("ab12",))
    assert decode(state.encode()) == state
    assert state.next_number == 5
    with pytest.raises(ValueError, match="cannot be read"):
        decode('{"rollout": null, "ended": null, "current": {"number": 1, "colour": 2}}')


async def test_a_decision_that_comes_late_does_not_stand() -> None:
    assert LEAD >= LEASE + GATE
    clock = FakeClock()

    class Slow(MemoryBoard):
        """Between the mark and the decision its user is held up."""

        held = 0.0

        async def now(self) -> float:
            found = await super().now()
            clock.time += self.held
            return found

    board = Slow(clock)
    await Heartbeat(board, "mx1", dict).turn()
    begun = await begin(board, TARGET, Bundle("text", "p.yaml"), Rollout("", TARGET))
    await say(board, "mx1", Said(begun.id, "loaded", "ab12"))
    assert await take_step(board, await look(board))
    await say(board, "mx1", Said(begun.id, "prepared", "ab12"))
    board.held = GATE + 0.1
    assert not await take_step(board, await look(board))
    assert (await look(board)).decision is None
    board.held = 0.0
    assert await take_step(board, await look(board))
    decision = (await look(board)).decision
    assert decision is not None
    assert decision["at"] == pytest.approx(clock.time + LEAD, abs=0.001)
    # and once there is a decision, nobody can stop it
    clock.time += 60
    assert await take_step(board, await look(board))
    state = await state_of(board)
    assert (state.current.number, state.current.at, state.rollout) == (1, decision["at"], None)


class Beaten(MemoryBoard):
    """One on which somebody else is quicker with the state."""

    beaten = True

    async def swap(self, place: str, key: str, before: str | None, after: str | None, ttl: float | None = None) -> bool:
        return not self.beaten and await super().swap(place, key, before, after, ttl)


async def test_no_text_stays_of_a_rollout_that_did_not_begin() -> None:
    clock = FakeClock()
    board = Beaten(clock)
    with pytest.raises(rollout_board.UnderWay):
        await begin(board, TARGET, Bundle("one", "p.yaml"), Rollout("", TARGET))
    clock.time += 3601
    assert await bundle_of(board, TARGET.digest) is None
    board.beaten = False
    await begin(board, TARGET, Bundle("one", "p.yaml"), Rollout("", TARGET))
    with pytest.raises(rollout_board.UnderWay):
        await begin(board, replace(TARGET, digest="cd34"), Bundle("two", "p.yaml"), Rollout("", TARGET))
    assert await bundle_of(board, "cd34") is None
    clock.time += 86400
    assert await bundle_of(board, TARGET.digest) == Bundle("one", "p.yaml")


class Cut(MemoryBoard):
    """One that the command reaches no more once its roll-out has begun."""

    cut = True

    async def write(self, place: str, key: str, value: str, ttl: float | None = None) -> None:
        if self.cut and place.startswith("bundle:") and ttl is None:
            raise PortFailure("store", Why.REFUSED)
        await super().write(place, key, value, ttl)


async def test_the_text_stays_where_the_command_ended_right_after_the_beginning() -> None:
    clock = FakeClock()
    board = Cut(clock)
    await Heartbeat(board, "mx1", dict).turn()
    with pytest.raises(PortFailure):
        await begin(board, TARGET, Bundle("one", "p.yaml"), Rollout("", TARGET))
    board.cut = False
    begun = (await state_of(board)).rollout
    assert begun is not None
    await say(board, "mx1", Said(begun.id, "loaded", TARGET.digest))
    assert await take_step(board, await look(board))
    clock.time += 3601
    assert (await state_of(board)).rollout is not None
    assert await bundle_of(board, TARGET.digest) == Bundle("one", "p.yaml")


async def test_of_several_nodes_one_takes_each_step() -> None:
    board = MemoryBoard(FakeClock())
    for node in ("mx1", "mx2", "mx3"):
        await Heartbeat(board, node, dict).turn()
    begun = await begin(board, TARGET, None, Rollout("", TARGET))
    with pytest.raises(rollout_board.UnderWay):
        await begin(board, TARGET, None, Rollout("", TARGET))
    for stage in ("loaded", "prepared"):
        for node in ("mx1", "mx2", "mx3"):
            await say(board, node, Said(begun.id, stage, "ab12"))
        seen = await look(board)
        moved = await asyncio.gather(*(take_step(board, seen) for _ in range(3)))
        assert sum(moved) == 1
    seen = await look(board)
    assert sum(await asyncio.gather(*(take_step(board, seen) for _ in range(3)))) == 1
    events = [line.value for line in await board.lines(rollout_board.HISTORY)]
    assert [word for word in ("begun", "prepare", "done") if sum(f'"{word}"' in line for line in events) == 1]
    assert len(events) == 3


def test_a_canary_is_judged_against_the_others() -> None:
    quiet = Counts(accepted=90, rejected=10)
    assert out_of_band(Counts(accepted=9), [quiet], 0.1) == ""
    assert out_of_band(Counts(accepted=85, rejected=15), [quiet, quiet], 0.1) == ""
    assert "rejected 60% of 100, the others 10% of 200" in out_of_band(
        Counts(accepted=40, rejected=60), [quiet, quiet], 0.1
    )
    assert "deferred" in out_of_band(Counts(accepted=40, deferred=60), [quiet], 0.1)
    assert "errors" in out_of_band(Counts(accepted=100, errors=60), [quiet], 0.1)
    # a wave of junk that all nodes see is not the policy's doing
    junk = Counts(accepted=10, rejected=90)
    assert out_of_band(junk, [junk], 0.1) == ""
    assert "rejected" in out_of_band(Counts(rejected=12), [], 0.1)


async def test_a_moment_is_never_after_that_of_the_board() -> None:
    clock = FakeClock()
    local = 50.0

    class Far(MemoryBoard):
        async def now(self) -> float:
            nonlocal local
            local += 0.3
            found = await super().now()
            local += 0.1
            return found

    known = BoardClock(lambda: local)
    await known.measure(Far(clock))
    # the board said its time at 50.3; we know only that it was between 50.0 and 50.4
    assert 50.3 + 2.0 - 2 * 0.21 <= known.not_after(clock.time + 2.0) <= 50.3 + 2.0


class _Worker:
    """A worker's policy with a clock in our hand."""

    def __init__(self) -> None:
        self.time = 10.0
        self.reports: list[dict[str, Any]] = []
        self.old, self.new = load_packaged("default"), load_packaged("observe")
        self.policy = PolicyInForce(self.old, lambda said: self.reports.append(dict(said)), lambda: self.time)

    async def next(self, name: str = "observe") -> None:
        text = (rollout_board.__file__.rpartition("/cluster/")[0]) + f"/policies/{name}.yaml"
        with open(text, encoding="utf-8") as file:
            self.policy.told_next({"key": "k", "text": file.read(), "name": "n"})

    def moment(self, at: float | None = None, until: float | None = None, hold: float | None = None) -> None:
        self.policy.told_moment({"key": "k", "at": at, "until": until, "hold": hold})


async def test_a_worker_that_was_stopped_over_the_switch_serves_the_new_policy() -> None:
    worker = _Worker()
    await worker.next()
    await worker.policy.caught_up()
    assert worker.reports[-1]["digest"] == worker.new.digest
    worker.moment(at=12.0)
    worker.time = 11.999
    assert worker.policy() is worker.old
    worker.time = 60.0
    assert worker.policy().digest == worker.new.digest
    assert worker.policy.shut() == ""


async def test_a_worker_that_is_late_turns_clients_away() -> None:
    worker = _Worker()
    worker.moment(until=11.5, hold=40.0)
    assert worker.reports == [{"pid": worker.reports[0]["pid"], "key": "k", "prepared": True}]
    assert worker.policy.shut() == ""
    worker.time = 11.5
    assert "not known" in worker.policy.shut()
    worker.moment(at=12.0)  # it hears of the switch at last, and has not compiled
    assert worker.policy.shut() == ""
    worker.time = 12.0
    assert "not compiled" in worker.policy.shut()
    await worker.next()
    await worker.policy.caught_up()
    assert worker.policy.shut() == ""
    assert worker.policy().digest == worker.new.digest


def test_a_promise_ends_lest_mail_stands_still() -> None:
    worker = _Worker()
    worker.moment(until=11.5, hold=41.5)
    worker.time = 41.5
    assert worker.policy.shut() == ""
    assert worker.policy() is worker.old


def _beat(**changes: Any) -> dict[str, Any]:
    one = {"names": ["mx.example.net"], "kind": "ecdsa", "sha256": "aa", "not_after": 1e9}
    return {"policy": "ab", "version": "1", "ehlo": ["DSN"], "certificates": [one], "generation": 0, **changes}


def test_drift_names_what_differs() -> None:
    nodes = {"mx1": _beat(), "mx2": _beat(), "mx3": _beat()}
    assert drifts(nodes, Generation(), 0.0) == []
    nodes["mx3"] = _beat(
        policy="cd34", version="2", ehlo=["DSN", "PRDR"],
        certificates=[{"names": ["mx.example.net"], "kind": "ecdsa", "sha256": "bb", "not_after": 1000.0}],
    )  # fmt: skip
    assert drifts(nodes, Generation(), 2000.0) == [
        "mx3 runs another policy (cd34, generation 0)",
        "mx3 has another version (2)",
        "mx3 has other EHLO words (DSN, PRDR)",
        "mx3: its certificate for mx.example.net (ecdsa) has expired",
        "mx3 shows another certificate for mx.example.net (ecdsa)",
    ]
    # what was pushed counts, not what most nodes have
    assert len(drifts({"mx1": _beat(), "mx2": _beat(policy="cd")}, Generation(1, "cd"), 2000.0)) == 1


def test_the_odd_one_is_never_half_of_the_nodes() -> None:
    assert odd_one({"a": "x", "b": "x", "c": "y"}, "c", "y") == "2 of 3 nodes have policy x, this one y"
    assert odd_one({"a": "x", "b": "x", "c": "y"}, "a", "x") == ""
    assert odd_one({"a": "x", "b": "y"}, "b", "y") == ""
    assert odd_one({}, "a", "x") == ""


def test_a_difference_is_told_by_what_decides() -> None:
    rule = "{id: big, at: rcpt, when: {reverse_path_domain: a.example}, then: reject, reason: %s}"
    before = load_text("version: 1\nrules:\n  - " + rule % "blocked", "before")
    after = load_text(
        "version: 1\nmode: observe\nchecks: {greylist: {enabled: false}}\nrules:\n  - " + rule % "auth-policy"
        + "\n  - {id: more, at: rcpt, when: {recipient: 'x@example.com'}, then: reject, reason: blocked}\n", "after"
    )  # fmt: skip
    assert differences(before, before) == []
    assert differences(before, after) == [
        "~ rule big.reason: blocked -> auth-policy",
        "+ rule more: reject",
        "~ checks.greylist.enabled: True -> False",
        "~ mode: enforce -> observe",
    ]
