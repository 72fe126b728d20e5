"""Redis fails over in the middle of a roll-out, between the push and the switch: three real nodes, a primary, a replica and
three Sentinels. Either way no two sessions begun after the switch have different policies, and the push says what happened."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from debian import need
from redis_server import RedisServer
from redis_worlds import SentinelRedis
from session_policies import Traffic, digest
from three_nodes import SOON, Client, Cluster, policy

from gateway.adapters.board_redis import RedisBoard
from gateway.cluster.membership import NODES
from gateway.cluster.rollout import Said, State, View
from gateway.cluster.rollout_board import look, say, state_of, take_step

T = TypeVar("T")


class Failing(Cluster):
    """Three nodes whose store is a primary with a replica and Sentinels."""

    def __init__(self, folder: Path, world: SentinelRedis) -> None:
        super().__init__(folder, world, cluster={"require_policy": True})
        self.world = world

    def push(self, name: str) -> subprocess.Popen[str]:
        """The operator's command, which waits until it knows."""
        words = ("policy", "push", self.file(name, policy(name)), "--reason", "OPS-F", "--wait")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MXGW_")}
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", *map(str, words), "--config", str(self.nodes["mx1"].config)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean,
        )  # fmt: skip

    def on_primary(self, what: Callable[[RedisBoard, View], Awaitable[T | None]]) -> T:
        """Look at it again and again until there is something. Past the Sentinels, lest a look takes their time."""

        async def watch() -> T:
            board = RedisBoard(self.world.master.url)
            try:
                end = time.monotonic() + SOON
                while time.monotonic() < end:
                    if (found := await what(board, await look(board))) is not None:
                        return found
                    await asyncio.sleep(0.002)
                raise AssertionError(f"not in {SOON:g} s")
            finally:
                await board.close()

        return asyncio.run(watch())

    def assert_one_policy(self, traffic: Traffic, old: str, state: State, decided: float) -> None:
        """Of all sessions begun after the switch, and after the time that was decided first."""
        judged, at, new = traffic.judged(), state.current.at, state.current.digest[:8]
        assert {(name, seen) for begun, name, seen in judged if begun >= at} == {(name, new) for name in self.nodes}
        # nodes switch early by what they do not know of the board's clock, and a session is judged after its beginning
        early = [seen for seen in judged if decided <= seen[0] < at - 2.0 and seen[2] != old[:8]]
        assert not early, (at, early)
        assert {seen for _, _, seen in judged} == {old[:8], new}

    def settled(self, digest: str) -> None:
        """All have it, mail flows everywhere, and some sessions have shown it."""
        self.wait(lambda: set(self.digests().values()) == {digest}, "all are alike")
        for node in self.nodes.values():
            self.wait(lambda node=node: Client(node.smtp_port).greeting.startswith("220"), "mail flows")
        time.sleep(0.5)


@contextmanager
def cut_off(primary: RedisServer) -> Iterator[None]:
    """What the primary sends its replica is lost."""
    told = primary.say("CLIENT", "LIST", "TYPE", "replica")
    place = re.search(r"\baddr=127\.0\.0\.1:(\d+)", told)
    assert place, told
    table = f"mxgw_failover_{primary.port}"
    rules = (
        f"table inet {table} {{ chain input {{ type filter hook input priority 0; policy accept; "
        f"tcp sport {primary.port} tcp dport {place[1]} drop; }}; }}"
    )
    subprocess.run([need("nft"), "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([need("nft"), "delete", "table", "inet", table], check=False)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Failing]:
    need("redis-server")
    with SentinelRedis() as world:
        made = Failing(tmp_path, world)
        try:
            made.start("mx1", "mx2", "mx3")
            made.wait(lambda: len(made.json("cluster", "status")["nodes"]) == 3, "all are on the board")
            yield made
        finally:
            for node in made.nodes.values():
                node.kill(signal.SIGCONT)  # a process that stands still does not end
            made.end()


async def decision(_: RedisBoard, view: View) -> Mapping[str, Any] | None:
    return view.decision


def test_the_primary_dies_between_the_push_and_the_switch(failing: Failing) -> None:
    (old,), new = set(failing.digests().values()), digest("first")
    with Traffic(failing) as traffic:
        pushing = failing.push("first")
        decided = failing.on_primary(decision)
        failing.world.master.stop()
        said, _ = pushing.communicate(timeout=60)
        failing.settled(new)
    print(said, decided)
    assert pushing.returncode == 0, said
    assert "; waiting" in said
    assert f"({new[:8]}): in force on all nodes since" in said
    assert failing.world.replica.figures("replication")["role"] == "master"
    state = failing.on_board(state_of)
    assert state.rollout is None
    failing.assert_one_policy(traffic, old, state, decided["at"])


def test_a_decision_that_the_failover_loses_is_followed_by_nobody(failing: Failing) -> None:
    (old,), new = set(failing.digests().values()), digest("second")
    late = failing.nodes["mx3"]
    os.kill(late.process.pid, signal.SIGSTOP)  # mx3 stands still, the test speaks for it

    async def lives(board: RedisBoard, _: View) -> bool:
        await board.write(NODES, "mx3.example.net", (await board.entries(NODES))["mx3.example.net"], 120)
        return True

    async def loaded(board: RedisBoard, view: View) -> bool | None:
        if (rollout := view.state.rollout) is None:
            return None
        await say(board, "mx3.example.net", Said(rollout.id, "loaded", new))
        ready = [node for node, said in view.said.items() if said.id == rollout.id and said.stage == "prepared"]
        return True if len(ready) == 2 else None

    async def decide(board: RedisBoard, view: View) -> Mapping[str, Any] | None:
        if view.decision is None:
            rollout = view.state.rollout
            assert rollout
            await take_step(board, replace(view, said=dict.fromkeys(view.roster, Said(rollout.id, "prepared", new))))
        return view.decision

    with Traffic(failing) as traffic:
        failing.on_primary(lives)
        pushing = failing.push("second")
        failing.on_primary(loaded)
        with cut_off(failing.world.master):
            decided = failing.on_primary(decide)
            failing.wait(lambda: {name for name, _ in traffic.refused} == {"mx1", "mx2"}, "they do not trust it")
            failing.world.master.stop()
            os.kill(late.process.pid, signal.SIGCONT)
            said, _ = pushing.communicate(timeout=60)
        state = failing.on_board(state_of)
        failing.settled(state.current.digest or old)
    print(said, decided, state)
    assert failing.world.replica.figures("replication")["role"] == "master"
    if state.current.digest:
        assert pushing.returncode == 0, said
        assert f"({new[:8]}): in force on all nodes since" in said
        assert state.current.at > decided["at"], "it was decided anew"
        failing.assert_one_policy(traffic, old, state, decided["at"])
    else:  # on a busy machine a node may be silent for too long
        assert pushing.returncode == 1, said
        assert "stopped: " in said
        assert {seen for _, _, seen in traffic.judged()} == {old[:8]}, "abandoned everywhere"


def test_a_push_that_the_failover_forgets_is_said_to_be_lost(failing: Failing) -> None:
    (old,) = set(failing.digests().values())
    with Traffic(failing) as traffic, cut_off(failing.world.master):
        pushing = failing.push("third")

        async def begun(_: RedisBoard, view: View) -> bool | None:
            return view.state.rollout is not None or None

        failing.on_primary(begun)
        failing.world.master.stop()
        said, _ = pushing.communicate(timeout=60)
        failing.settled(old)
    assert pushing.returncode == 1, said
    assert "lost: the store has forgotten it" in said
    assert {seen for _, _, seen in traffic.judged()} == {old[:8]}
