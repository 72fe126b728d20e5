"""Two nodes, one Redis, a real name server: a list that lists the world is out on both within 60 s, and comes back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rbl_world import (
    SOUND,
    WORLD,
    NodeProcess,
    NsdServer,
    RedisServer,
    command,
    node,
    policy,
    state_is,
    states,
    try_to_send,
    until,
)

HOLDS_66 = "66.0.0.127 1 A 127.0.0.2\n"
NUMBER = count(1)


class World:
    """Lists bad.test and good.test of weight 5; both hold 127.0.0.66."""

    def __init__(self, folder: Path, server: NsdServer, redis: RedisServer) -> None:
        self.server, self.redis = server, redis
        text = policy(["bad.test*5", "good.test*5"], domain_sites=["names.test"], node_check_every=300)
        self.nodes = [
            node(folder / name, server, text, hostname=f"{name}.example.net", store=redis.url) for name in ("mx1", "mx2")
        ]

    def stranger(self, one: NodeProcess) -> int:
        """What a client hears that nobody has asked about before."""
        return try_to_send(one, f"127.0.3.{next(NUMBER)}")[0]

    def both(self, name: str, state: str) -> float:
        return until(lambda: all(state_is(one, name, state) for one in self.nodes), f"{name} is {state}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    zones = {
        "bad.test": SOUND + HOLDS_66,
        "good.test": SOUND + HOLDS_66,
        "names.test": "test 1 A 127.0.1.2\nspam.example 1 A 127.0.1.2\n",
    }
    with NsdServer(zones) as server, RedisServer() as redis:
        made = World(tmp_path_factory.mktemp("rbl"), server, redis)
        try:
            for one in made.nodes:
                one.wait_ready()
            yield made
        finally:
            for one in made.nodes:
                one.end()


def test_a_list_that_lists_the_world_is_out_on_both_nodes_and_back_after_ten_sound_looks(world: World) -> None:
    for one in world.nodes:
        until(lambda n=one: try_to_send(n, "127.0.0.66")[0] == 554, "a client that is listed is refused")
        assert world.stranger(one) == 250
    world.server.change("bad.test", WORLD)
    waited = world.both("bad.test", "disabled")
    print(f"out of every decision on both nodes after {waited:.2f} s, with looks each 0.2 s")
    for one in world.nodes:
        # the workers hear of it a moment after the log does
        until(lambda n=one: world.stranger(n) == 250, "strangers are served")
        # the sound list still counts; a question may be lost while the name server reads its zones
        until(lambda n=one: try_to_send(n, "127.0.0.66")[0] == 554, "the sound list counts")
        until(lambda n=one: n.metric("mxgw_rbl_list_state", list="bad.test", state="disabled") == 1, "the metric")
        assert one.metric("mxgw_rbl_list_state", list="good.test", state="ok") == 1
        alarm = next(line for line in one.events("rbl") if line.get("state") == "disabled")
        assert (alarm["level"], alarm["list"], alarm["reason"]) == ("error", "bad.test", "lists-the-world")
        found = [line["findings"]["dnsbl"]["evidence"].get("out_lists") for line in one.events("transaction")]
        assert ["bad.test disabled:lists-the-world"] in found
    # one state: the looks of one node are what both go by
    assert len({line["by"] for one in world.nodes for line in one.events("rbl") if line.get("by")}) == 1
    code, told, _ = command(world.nodes[1].config, "rbl", "health")
    shown = {row["list"]: row for row in told["lists"]}
    assert (code, shown["bad.test"]["now"]["reason"]) == (1, "lists-the-world")
    assert shown["bad.test"]["cluster"]["state"] == "disabled"
    assert (shown["good.test"]["now"]["state"], shown["names.test"]["now"]["state"]) == ("ok", "ok")
    attempt = ("--ip", "127.0.4.9", "--from", "a@sender.example", "--rcpt", "user@example.com")
    told = command(world.nodes[0].config, "explain", *attempt)[1]
    step = next(step for step in told["steps"] if step["check"] == "dnsbl")
    assert step["finding"]["evidence"]["out_lists"] == ["bad.test disabled:lists-the-world"]
    world.server.change("bad.test", SOUND + HOLDS_66)
    print(f"back {world.both('bad.test', 'ok'):.2f} s after it was sound: 10 looks")
    assert states(world.nodes[0], "bad.test") == ["disabled", "ok"]
    assert command(world.nodes[0].config, "rbl", "health")[0] == 0


def test_error_codes_never_count_and_put_the_list_out(world: World) -> None:
    world.server.change("bad.test", "* 1 A 127.255.255.254\n")
    world.both("bad.test", "disabled")
    assert [world.stranger(one) for one in world.nodes] == [250, 250]
    for one in world.nodes:
        assert "public-resolver" in [line.get("reason") for line in one.events("rbl")]
    until(
        lambda: any(n.metric("mxgw_rbl_resolver_fault", fault="public-resolver") == 1 for n in world.nodes), "it is told"
    )
    world.server.change("bad.test", SOUND)
    world.both("bad.test", "ok")


def test_the_question(world: World) -> None:
    config = world.nodes[0].config
    code, told, _ = command(config, "rbl", "check", "127.0.0.66")
    assert code == 1
    assert {row["list"]: row["result"] for row in told["lists"]} == {"bad.test": "not listed", "good.test": "listed"}
    assert command(config, "rbl", "check", "127.0.0.67")[0] == 0
    code, told, _ = command(config, "rbl", "check", "spam.example")
    assert (code, told["lists"][0]["list"], told["lists"][0]["answers"]) == (1, "names.test", ["127.0.1.2"])
    assert command(config, "rbl", "check", "ham.example")[0] == 0
    assert command(config, "rbl", "check", "no domain")[0] == 64


def test_without_redis_and_with_the_leader_gone_each_node_sees_for_itself(world: World) -> None:
    first = next(line["by"] for line in world.nodes[0].events("rbl") if line.get("by"))
    leader = next(one for one in world.nodes if one.folder.name == first.partition(".")[0])
    other = next(one for one in world.nodes if one is not leader)
    world.redis.stop()
    world.server.change("good.test", WORLD)
    world.both("good.test", "disabled")
    world.redis.start()
    world.server.change("good.test", SOUND)
    world.both("good.test", "ok")
    leader.end()
    world.server.change("good.test", WORLD)
    waited = until(lambda: state_is(other, "good.test", "disabled"), "the other node leads", 60)
    print(f"with the leader gone: out after {waited:.2f} s")
    # its state stands on the board, so it leads now
    until(
        lambda: any(
            (row["cluster"] or {}).get("by") == f"{other.folder.name}.example.net"
            for row in command(other.config, "rbl", "health")[1]["lists"]
        ),
        "the state is the cluster's",
    )
