"""Two real nodes with one Redis greylist as one: first seen here, accepted there; pools, VERP and SRS, auto-allow,
learning, the store gone, and the operator's commands against what they see."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from debian import need
from dns_server import NsdServer
from mail_world import attempt, message, poll, scripted_mailstore
from mail_world import policy as policy_with
from node_process import NodeProcess
from redis_server import RedisServer

from gateway.cli.main import main

DELAY = 1.0
AFTER = DELAY + 0.3
POOL = [f"127.0.1.{host}" for host in range(1, 21)]
ZONES = {
    "example": """
pool          TXT "v=spf1 ip4:127.0.1.0/27 -all"
forward       TXT "v=spf1 ip4:127.0.4.0/24 -all"
customer      TXT "v=spf1 include:amazonses.com -all"
allowed       TXT "v=spf1 ip4:127.0.5.0/24 -all"
learnt        TXT "v=spf1 ip4:127.0.6.0/24 -all"
""",
    "amazonses.com": """
@             TXT "v=spf1 ip4:127.0.3.0/24 -all"
""",
    "0.127.in-addr.arpa": "",
}
SECONDS = {"delay": DELAY, "delay_all": DELAY, "exempt_clients": []}


class Cluster:
    """Two nodes, one Redis, one mailstore."""

    def __init__(self, nodes: list[NodeProcess], redis: RedisServer) -> None:
        self.nodes = nodes
        self.redis = redis

    def send(self, node: int, client: str, path: str, to: str = "user@example.com") -> tuple[int, str]:
        return attempt(
            self.nodes[node].smtp_port, message(), reverse_path=path, to=(to,), client=client, hello="host.example"
        ).last

    def adopt(self, **greylist: Any) -> None:
        """Both nodes judge by this from now on."""
        for node in self.nodes:
            before = node.status()["policy"]["digest"]
            node.policy.write_text(policy_with(greylist={**SECONDS, **greylist}))
            node.kill(signal.SIGHUP)
            poll(lambda node=node, before=before: _adopted(node, before), "the policy is in force")

    def metric(self, name: str, **labels: str) -> float:
        return sum(node.metric(name, **labels) for node in self.nodes)

    def mxgw(self, *words: str) -> tuple[int, Any]:
        """The command on the first node: exit code and what it said as JSON."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = main(["greylist", words[0], "--config", str(self.nodes[0].config), *words[1:], "-o", "json"])
        return code, json.loads(said.getvalue()) if said.getvalue() else {}


def _adopted(node: NodeProcess, before: str) -> bool:
    status = node.status()
    digest = status["policy"]["digest"]
    return digest != before and all(worker["policy"] == digest for worker in status["workers"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("nsd")
    need("redis-server")
    nodes: list[NodeProcess] = []
    with RedisServer() as redis, NsdServer(ZONES) as dns, scripted_mailstore() as mailstore:
        try:
            for number in (1, 2):
                node = NodeProcess(
                    tmp_path_factory.mktemp("cluster") / f"mx{number}",
                    settings={
                        "hostname": f"mx{number}.example.com",
                        "workers": 1,
                        "store": redis.url,
                        "secret": "one-for-all-nodes",
                        "limits": {"greeting_delay": 0},
                        "dns": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": 3.0},
                        "routes": [{"domains": ["example.com", "other.test"], "mailstore": f"smtp://127.0.0.1:{mailstore.port}"}],
                    },
                    policy=policy_with(greylist=SECONDS),
                )  # fmt: skip
                nodes.append(node)
            for node in nodes:
                node.wait_ready()
            yield Cluster(nodes, redis)
        finally:
            for node in nodes:
                node.end()


def test_first_seen_on_one_node_and_accepted_on_the_other(cluster: Cluster) -> None:
    before = cluster.metric("mxgw_greylist_delay_seconds_count")
    code, text = cluster.send(0, "127.0.2.1", "ann@plain.example")
    begun = time.monotonic()
    assert code == 451
    assert re.fullmatch(r"4\.7\.1 Greylisted, please try again in 1 second \[\S+\]", text), text
    code, text = cluster.send(1, "127.0.2.77", "ann@plain.example")  # the same /24
    if time.monotonic() - begun < DELAY:
        assert code == 451
        assert re.search(r"again in 1 second \[", text), text
    time.sleep(max(0.0, begun + AFTER - time.monotonic()))
    assert cluster.send(1, "127.0.2.1", "ann@plain.example")[0] == 250
    assert cluster.send(0, "127.0.2.1", "ann@plain.example")[0] == 250
    assert cluster.metric("mxgw_greylist_total", outcome="first") >= 1
    assert cluster.metric("mxgw_greylist_total", outcome="passed") >= 1
    assert cluster.metric("mxgw_greylist_total", outcome="known") >= 1
    assert cluster.metric("mxgw_greylist_delay_seconds_count") == before + 1
    assert cluster.metric("mxgw_greylist_delay_seconds_sum") >= DELAY


def test_a_pool_of_twenty_with_spf_waits_once(cluster: Cluster) -> None:
    replies = [cluster.send(0, POOL[0], "news+1@pool.example")[0]]
    time.sleep(AFTER)
    for number, host in enumerate(POOL[1:], 1):
        replies.append(cluster.send(number % 2, host, f"news+{number}@pool.example", f"user{number}@example.com")[0])
    assert replies == [451] + [250] * 19


def test_a_large_senders_pool_never_waits(cluster: Cluster) -> None:
    before = cluster.metric("mxgw_greylist_total", outcome="bypass")
    assert cluster.send(0, "127.0.3.1", "shop@customer.example")[0] == 250
    assert cluster.metric("mxgw_greylist_total", outcome="bypass") == before + 1


def test_what_verp_and_srs_change_is_no_new_sender(cluster: Cluster) -> None:
    pairs = [
        ("bounces-8127-0100018c9d2a4b17@list.example", "bounces-8128-0200018c9d2affff@list.example"),
        ("srs0=aBcD=1x=orig.example=ann@fwd.example", "SRS0=zzzz=2Y=orig.example=ann@fwd.example"),
        ("prvs=1234abcdef=bob@tagged.example", "prvs=1235fedcba=bob@tagged.example"),
    ]
    for number, (first, _) in enumerate(pairs):
        assert cluster.send(0, f"127.0.{20 + number}.1", first)[0] == 451
    time.sleep(AFTER)
    for number, (_, second) in enumerate(pairs):
        assert cluster.send(1, f"127.0.{20 + number}.2", second)[0] == 250, second


def test_two_senders_that_passed_let_their_network_in(cluster: Cluster) -> None:
    for sender in ("ann", "ben"):
        assert cluster.send(0, "127.0.30.1", f"{sender}@auto.example")[0] == 451
    time.sleep(AFTER)
    for sender in ("ann", "ben"):
        assert cluster.send(1, "127.0.30.1", f"{sender}@auto.example")[0] == 250
    assert cluster.send(0, "127.0.30.9", "cid@auto.example")[0] == 250
    assert cluster.metric("mxgw_greylist_total", outcome="auto") >= 1


def test_what_is_learnt_need_not_wait_later(cluster: Cluster) -> None:
    cluster.adopt(mode="learn")
    assert cluster.send(0, "127.0.6.1", "ann@learnt.example")[0] == 250
    assert cluster.metric("mxgw_greylist_total", outcome="learn") >= 1
    cluster.adopt(mode="all")
    time.sleep(AFTER)
    assert cluster.send(1, "127.0.6.2", "ann@learnt.example")[0] == 250
    assert cluster.send(1, "127.0.40.1", "new@unlearnt.example")[0] == 451
    cluster.adopt()


def test_the_operators_commands_see_and_change_what_nodes_do(cluster: Cluster) -> None:
    assert cluster.send(1, "127.0.5.1", "ann@allowed.example")[0] == 451
    listed = poll(lambda: cluster.mxgw("list", "allowed.example")[1]["keys"], "the journal tells", pause=0.5)
    assert [(key["key"], key["nodes"]) for key in listed] == [("spf:allowed.example|example.com", ["mx2.example.com"])]
    attempted = ("--ip", "127.0.5.1", "--from", "ann@allowed.example", "--to", "user@example.com")
    assert cluster.mxgw("clear", "spf:allowed.example|example.com")[0] == 0
    code, found = cluster.mxgw("check", *attempted)
    assert (code, found["state"], found["key"]) == (1, "first", "spf:allowed.example|example.com")
    assert cluster.mxgw("pass", *attempted)[0] == 0
    assert cluster.send(0, "127.0.5.2", "ann@allowed.example")[0] == 250
    assert cluster.mxgw("clear", *attempted)[0] == 0
    assert cluster.mxgw("allow", "allowed.example", "--reason", "ticket 7")[0] == 0

    def let_pass(node: int) -> bool:
        cluster.send(node, "127.0.5.1", "ann@allowed.example", "user@other.test")
        found = cluster.nodes[node].events("transaction")
        return bool(found) and found[-1]["findings"]["greylist"]["reason"] == "allowed"

    for node in (0, 1):
        poll(lambda node=node: let_pass(node), "the nodes know whom the operator allowed", pause=0.5)
    figures = poll(
        lambda: (found := cluster.mxgw("stats")[1])["counts"].get("first", 0) >= 5 and found, "hourly counts", pause=1.0
    )
    assert set(figures["nodes"]) == {"mx1.example.com", "mx2.example.com"}
    assert figures["counts"]["passed"] >= 1
    assert figures["first_on_two_nodes"] == 0


def test_without_redis_nobody_waits_and_it_is_told(cluster: Cluster) -> None:
    assert cluster.send(0, POOL[0], "again@pool.example")[0] == 250
    cluster.redis.stop()
    try:
        assert cluster.send(0, "127.0.50.1", "ann@outage.example")[0] == 250
        assert cluster.send(0, "127.0.5.1", "late@allowed.example", "user@other.test")[0] == 250
        assert cluster.send(0, POOL[5], "again@pool.example")[0] == 250
        records = poll(
            lambda: (found := cluster.nodes[0].events("transaction"))[-1]["from"] == "again@pool.example" and found,
            "the records",
        )
        stranger, allowed, pool = (next(r for r in reversed(records) if r["from"] == path) for path in
                                   ("ann@outage.example", "late@allowed.example", "again@pool.example"))  # fmt: skip
        assert allowed["findings"]["greylist"]["reason"] == "allowed", "operators' entries stay in force"
        assert (stranger["greylist"], stranger["findings"]["greylist"]["outcome"]) == ("skipped_store", "temperror")
        assert (pool["greylist"], pool["findings"]["greylist"]["evidence"]["near"]) == ("known", True)
        assert cluster.nodes[0].metric("mxgw_greylist_total", outcome="skipped_store") >= 1
        assert cluster.nodes[0].metric("mxgw_failopen_total", check="greylist") >= 1
    finally:
        cluster.redis.start()


def test_a_node_with_another_secret_is_found_out(cluster: Cluster, start_node: Callable[..., NodeProcess]) -> None:
    odd = start_node(
        settings={
            "hostname": "mx3.example.com",
            "workers": 1,
            "store": cluster.redis.url,
            "secret": "another-secret-here",
            "limits": {"greeting_delay": 0},
        },
        policy=policy_with(greylist={**SECONDS, "mode": "all"}),
    )
    number = iter(range(1000))

    def told() -> bool:
        for node in (*cluster.nodes, odd):
            attempt(node.smtp_port, message(), reverse_path=f"ann@odd{next(number)}.example", client="127.0.60.1")
        return all(node.metric("mxgw_greylist_not_shared_total", cause="secret") for node in (cluster.nodes[0], odd))

    poll(told, "both sides say so", pause=0.5)
    assert any("the secret of" in record.get("message", "") for record in odd.events("greylist"))
    first = odd.metric("mxgw_greylist_total", outcome="first")
    assert odd.stop() == 0
    assert cluster.mxgw("stats")[1]["nodes"]["mx3.example.com"]["first"] == first > 0, "no count is lost at the end"
