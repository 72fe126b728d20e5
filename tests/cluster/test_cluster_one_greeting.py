"""Nodes behind one balancer or one Anycast address greet with one name; in the cluster each has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis_server import RedisServer
from three_nodes import Client, Cluster, cluster, policy

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cluster.drift import drifts
from gateway.cluster.membership import Heartbeat, members
from gateway.cluster.rollout import Generation
from gateway.cluster.rollout_board import SAID

GREETING = "mx.example.net"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with one hostname and a name of their own."""
    if why := RedisServer.missing():
        pytest.skip(why)
    with cluster(tmp_path_factory.mktemp("pair")) as made:
        made.start("edge-a", hostname=GREETING, node="edge-a")
        made.start("edge-b", hostname=GREETING, node="edge-b")
        made.wait(lambda: len(made.json("cluster", "status")["nodes"]) == 2, "both are on the board")
        yield made


def test_both_have_a_row_and_greet_alike(pair: Cluster) -> None:
    text = pair.mxgw("cluster", "status")[1]
    assert "go by this name" not in text
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["edge-a", "edge-b"]
    for name, node in pair.nodes.items():
        client = Client(node.smtp_port)
        assert client.greeting.startswith(f"220 {GREETING} ")
        client.say("EHLO client.example")
        assert client.say("MAIL FROM:<a@base.example>").startswith("250")
        assert client.say("RCPT TO:<user@example.com>").startswith("554")
        client.say("QUIT")
        client.close()
        node.wait(lambda node=node: node.events("transaction"), "its record")
        assert {record["node"] for record in node.records} == {name}
        assert (node.status()["hostname"], node.status()["node"]) == (GREETING, name)


def test_one_is_drained_and_the_other_serves_on(pair: Cluster) -> None:
    assert pair.mxgw("cluster", "drain", "edge-a", "--wait", "20") == (0, "edge-a: drained\n")
    pair.wait(
        lambda: Client(pair.nodes["edge-a"].smtp_port).greeting.startswith("421 4.3.2"), "edge-a sends clients away"
    )
    assert Client(pair.nodes["edge-b"].smtp_port).greeting.startswith("220")
    assert pair.nodes["edge-b"].get("/readyz")[0] == 200
    assert pair.mxgw("cluster", "undrain", "edge-a")[0] == 0
    pair.wait(lambda: pair.nodes["edge-a"].get("/readyz")[0] == 200, "it serves again")


def test_a_pushed_policy_waits_for_the_word_of_both(pair: Cluster) -> None:
    code, text = pair.mxgw("policy", "push", pair.file("one", policy("one")), "--reason", "x", "--wait")
    assert code == 0, text
    assert set(pair.on_board(lambda board: board.entries(SAID))) == {"edge-a", "edge-b"}
    assert len(set(pair.digests().values())) == 1
    assert pair.generations() == {1}


async def test_two_nodes_by_one_name_are_told() -> None:
    board = MemoryBoard(SystemClock())
    state = {"policy": "d", "version": "1", "ehlo": []}
    first, second = Heartbeat(board, "mx1", lambda: state), Heartbeat(board, "mx1", lambda: state)

    async def told() -> list[str]:
        return drifts(await members(board), Generation(), await board.now())

    await first.turn()
    await first.turn()
    # a node that starts again finds the heartbeat of the run before
    await second.turn()
    await second.turn()
    assert await told() == []
    await first.turn()
    assert await told() == ["mx1: two nodes go by this name and are seen as one; give each its own `node`"]
    await second.turn()
    assert len(await told()) == 1
