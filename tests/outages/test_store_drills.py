"""Redis hangs, dies, is full, becomes a replica, cannot be reached, fails over: under a constant load through a real node
no client hears 5yz, nobody waits for it, the replies are those of docs/redis.md, and nobody storms it when it is back."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from debian import need
from mail_world import policy, poll, scripted_mailstore
from node_process import NodeProcess
from redis import Redis
from redis_server import RedisServer
from redis_worlds import SentinelRedis
from store_load import CHECKS, FRIENDS, Session, StoreLoad

OUT = 1.8
"""Seconds for which each is away."""
PATIENCE = 1.2
"""Seconds of a phase at most: 0.3 for the store, the rest for a busy machine. A client library's defaults wait for 5."""


def start(folder: Path, url: str, mailstore: int) -> NodeProcess:
    node = NodeProcess(
        folder,
        {
            "store": url, "workers": 1, "secret": "of the drills, long enough", "limits": {"greeting_delay": 0},
            "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{mailstore}", "recipients": "accept"}],
        },
        policy(**CHECKS),
    )  # fmt: skip
    node.wait_ready()
    return node


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    need("redis-server")
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def node(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with scripted_mailstore() as mailstore:
        node = start(tmp_path_factory.mktemp("drills") / "node", redis.url, mailstore.port)
        yield node
        node.end()


def records(node: NodeProcess, sessions: list[Session]) -> list[dict[str, Any]]:
    """Their decision records."""
    wanted = {session.who for session in sessions}

    def found() -> list[dict[str, Any]]:
        seen = [record for record in node.events("transaction") if record.get("from") in wanted]
        return seen if {record["from"] for record in seen} == wanted else []

    return poll(found, "all decision records")


def counted(redis: RedisServer) -> tuple[int, int]:
    figures = redis.figures("stats")
    return int(figures["total_connections_received"]), int(figures["total_commands_processed"])


def serves(load: StoreLoad, since: float) -> bool:
    """Whether strangers are greylisted and friends let in, as with a sound store."""
    friends = [one.last for one in load.of("known", since)][-FRIENDS:]
    return load.codes("new", since)[451] >= 3 and friends == [250] * FRIENDS


class Drill:
    """One outage under load. Printed: the figures that docs/redis.md shows."""

    def __init__(self, name: str, node: NodeProcess, redis: RedisServer | None) -> None:
        self.name, self.node, self.redis = name, node, redis

    def run(self, harm: Callable[[], Any], mend: Callable[[], Any] | None) -> None:
        """mend: None where it mends itself."""
        node = self.node
        failopen = node.metric("mxgw_failopen_total", check="greylist")
        told = len(node.events("store_state"))
        with StoreLoad(node.smtp_port) as load:
            since = time.monotonic()
            poll(lambda: serves(load, since), "the node greylists")
            commands = counted(self.redis)[1] if self.redis else 0
            quiet = time.monotonic()
            time.sleep(0.6)
            usual = (counted(self.redis)[1] - commands) / (time.monotonic() - quiet) if self.redis else 0.0
            self.begun = time.monotonic()
            harm()
            if mend:
                time.sleep(OUT)
                self.ended = time.monotonic()
                mend()
            else:
                self.ended = poll(lambda: self._first_greylisted(load, self.begun), "greylisting is back")
            before = counted(self.redis) if self.redis else (0, 0)
            if self.redis:
                time.sleep(1.0)
            after = counted(self.redis) if self.redis else (0, 0)
            first = poll(lambda: self._first_greylisted(load, self.ended), "greylisting is back")
        self.load, self.states = load, [line["state"] for line in node.events("store_state")[told:]]
        self.connections, self.commands = after[0] - before[0], after[1] - before[1]
        self.recovery, self.usual = first - (self.ended if mend else self.begun), usual
        # what was under way when it began or ended may have met either
        self.during = [one for one in load.sessions if self.begun + 0.3 <= one.began < self.ended - 1.0]
        self.failopen = node.metric("mxgw_failopen_total", check="greylist") - failopen

    @staticmethod
    def _first_greylisted(load: StoreLoad, since: float) -> float:
        """When the first stranger came who was told to come again; 0: none yet."""
        return min((one.began for one in load.of("new", since) if one.last == 451), default=0.0)

    def judge(self, *, near: bool | None = True) -> list[dict[str, Any]]:
        """What holds for every outage. near: friends were known by this process, not by the store; None: by either."""
        load = self.load
        everybody = load.sessions
        assert not [one for one in everybody if one.fault], [one for one in everybody if one.fault][:3]
        assert not [one for one in everybody if max(one.codes) >= 500]
        strangers = [one for one in self.during if one.kind == "new"]
        assert strangers
        assert {one.last for one in strangers} == {250}, "open: no stranger waits"
        assert {one.last for one in self.during if one.kind == "known"} == {250}
        flood = [one.last for one in self.during if one.kind == "flood"]
        assert flood.count(250) <= 2, "the limit goes on: one message, counted here, and one that was under way"
        assert flood.count(451) + flood.count(450) + flood.count(421) >= len(flood) - 2
        seen = records(self.node, self.during)
        waits = [record["t"].get(phase, 0.0) for record in seen for phase in ("connect", "mail", "rcpt")]
        slowest = max(one.slowest for one in everybody)
        print(
            f"\n{self.name}: {len(everybody)} sessions, 0 times 5yz; {len(self.during)} in the outage, "
            f"longest phase {max(waits) * 1000:.0f} ms, longest step {slowest * 1000:.0f} ms; "
            f"fail-open {self.failopen:.0f}; states {' '.join(self.states)}; back after {self.recovery:.1f} s; "
            f"first second: {self.connections} connections, {self.commands} commands (usual {self.usual:.0f})"
        )
        assert max(waits) < PATIENCE
        open_ones = [record for record in seen if record["from"].startswith("new") and record["result"] == "accepted"]
        causes = [record["findings"]["greylist"].get("cause", {}) for record in open_ones]
        assert all(cause.get("port") == "store" for cause in causes)
        assert self.failopen >= len(open_ones) > 0
        friends = [record["findings"]["greylist"] for record in seen if record["from"].startswith("known")]
        assert near is None or near == all(finding["evidence"].get("near") for finding in friends)
        if self.redis:
            assert self.connections <= 40, "32 of the worker and a few of the supervisor"
            assert self.commands <= 10 * self.usual + 100
        return seen


def test_it_hangs(node: NodeProcess, redis: RedisServer) -> None:
    drill = Drill("SIGSTOP", node, redis)
    drill.run(redis.pause, redis.resume)
    drill.judge()
    assert drill.states[0] == "down"
    assert drill.states[-1] == "up"


def test_it_is_killed_and_comes_back_empty(node: NodeProcess, redis: RedisServer) -> None:
    drill = Drill("SIGKILL", node, redis)
    drill.run(redis.stop, redis.start)
    seen = drill.judge()
    assert drill.states[0] == "down"
    floods = [record["findings"]["rate"] for record in seen if record["from"].startswith("flood")]
    assert any(finding["evidence"].get("local") for finding in floods), "the record says who counted"


def test_it_is_full(node: NodeProcess, redis: RedisServer) -> None:
    drill = Drill("maxmemory 1mb", node, redis)
    drill.run(
        lambda: redis.say("CONFIG", "SET", "maxmemory", "1mb"), lambda: redis.say("CONFIG", "SET", "maxmemory", "0")
    )
    drill.judge(near=False)
    assert drill.states[0] == "full"
    assert "down" not in drill.states, "reads go on"


def test_a_nodes_connections_bear_its_name_and_are_few(node: NodeProcess, redis: RedisServer) -> None:
    clients = [dict(word.partition("=")[::2] for word in line.split()) for line in redis.say("CLIENT", "LIST").splitlines()]
    ours = [client["name"] for client in clients if client["name"].startswith("mxgw")]
    assert "mxgw:mx.example.com" in ours
    assert len(ours) <= 32 + 8, "32 of the workers, some of the supervisor"


def test_it_has_become_a_replica(node: NodeProcess, redis: RedisServer) -> None:
    drill = Drill("READONLY", node, redis)
    drill.run(lambda: redis.say("REPLICAOF", "127.0.0.1", "1"), lambda: redis.say("REPLICAOF", "NO", "ONE"))
    drill.judge(near=False)
    assert drill.states[0] == "read-only"
    assert "down" not in drill.states


def test_nothing_reaches_it(node: NodeProcess, redis: RedisServer) -> None:
    nft = need("nft")
    table = f"mxgw_drill_{redis.port}"

    def lose() -> None:
        rules = (
            f"table inet {table} {{ chain input {{ type filter hook input priority 0; policy accept; "
            f"tcp dport {redis.port} drop; tcp sport {redis.port} drop; }}; }}"
        )
        subprocess.run([nft, "-f", "-"], input=rules, text=True, check=True)

    def find() -> None:
        subprocess.run([nft, "delete", "table", "inet", table], check=False, capture_output=True)

    drill = Drill("network loss", node, redis)
    try:
        drill.run(lose, find)
    finally:
        find()
    drill.judge()
    assert drill.states[0] == "down"


def test_no_address_of_all_this_stands_in_it_and_every_key_ends(node: NodeProcess, redis: RedisServer) -> None:
    with StoreLoad(node.smtp_port) as load:
        poll(lambda: len(load.sessions) >= 16, "some sessions")
    client = Redis(port=redis.port)
    keys = list(client.scan_iter())
    kinds = sorted({re.sub(rb"\{.*\}|:[\w-]{22}$", b"*", key).decode() for key in keys})
    print(f"\n{len(keys)} keys: {' '.join(kinds)}")
    for key in keys:
        assert client.pttl(key) > 0, f"{key!r} has no end"
        octets = repr((key, client.dump(key)))
        for address in ("sender.example", "user@", "127.61.", "127.62.", "127.128."):
            assert address not in octets, key
    assert len(keys) >= 10
    client.close()


def test_it_fails_over(tmp_path: Path) -> None:
    need("redis-server")
    with SentinelRedis() as world, scripted_mailstore() as mailstore:
        node = start(tmp_path / "node", world.url, mailstore.port)
        try:
            drill = Drill("Sentinel fail-over", node, None)
            drill.run(world.master.stop, None)
            drill.judge(near=None)
            assert drill.states[0] == "down"
            assert world.replica.figures("replication")["role"] == "master"
            ours = world.replica.say("CLIENT", "LIST").count(" name=mxgw")
            print(f"the new master has {ours} connections of the node")
            assert 0 < ours <= 40
        finally:
            node.end()
