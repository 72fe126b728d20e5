"""Two real nodes with one Redis: a shadow policy, recorded decisions against a candidate, and the daily comparison."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from debian import need
from dns_server import NsdServer
from mail_world import LISTED, NAMELESS, DkimKey, attempt, message, poll, scripted_mailstore, zones
from mail_world import policy as policy_with
from node_process import NodeProcess
from redis_server import RedisServer

from gateway.cli.main import main

GOOD = "127.0.0.5"
SITES = {"sites": ["dnsbl.example=127.0.0.2*5"]}


def candidate(folder: Path, name: str = "candidate.yaml") -> Path:
    """The policy in force, less the rule for listed clients, and with one that refuses a domain."""
    said = yaml.safe_load(policy_with())
    said["rules"] = [rule for rule in said["rules"] if not rule["id"].startswith("dnsbl")]
    said["rules"].append(
        {
            "id": "no-lunch",
            "at": "mail",
            "when": {"reverse_path_domain": "bank.example"},
            "then": "reject",
            "reason": "blocked",
        }
    )
    path = folder / name
    path.write_text(yaml.safe_dump(said, sort_keys=False))
    return path


def own_zones(key: DkimKey) -> dict[str, str]:
    """Those of the world, with one more client of sender.example."""
    found = zones(key)
    found["example"] = found["example"].replace("ip4:127.0.0.2", "ip4:127.0.0.0/28") + f"\nhost.sender A {GOOD}\n"
    found["0.0.127.in-addr.arpa"] += "5 PTR host.sender.example.\n"
    return found


CHANGES = [
    ("mail", "reject", "reject", "auth-policy", "blocked", ("+no-lunch", "-dmarc-reject"), 2),
    ("rcpt", "reject", "accept", "dnsbl", "", ("-dnsbl-reject",), 2),
]


def changes_of(said: dict[str, Any]) -> list[tuple[Any, ...]]:
    keys = ("phase", "before", "after", "reason_before", "reason_after")
    return sorted((*(row[key] for key in keys), tuple(row["rules"]), row["count"]) for row in said["changes"])


class Cluster:
    """Two nodes, one Redis, one name server, one mailstore."""

    def __init__(self, nodes: list[NodeProcess], folder: Path) -> None:
        self.nodes = nodes
        self.folder = folder

    def send(self, node: int, client: str, path: str, octets: bytes | None = None, **more: Any) -> tuple[int, str]:
        port = self.nodes[node].smtp_port
        return attempt(port, octets or message(path), reverse_path=path, client=client, **more).last

    def mxgw(self, *words: str, node: int = 0) -> tuple[int, Any]:
        """The command on a node: exit code and what it said as JSON."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = main([*words, "--config", str(self.nodes[node].config), "-o", "json"])
        return code, json.loads(said.getvalue()) if said.getvalue() else {}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("nsd")
    need("redis-server")
    folder = tmp_path_factory.mktemp("shadow")
    nodes: list[NodeProcess] = []
    with RedisServer() as redis, NsdServer(own_zones(DkimKey())) as dns, scripted_mailstore() as mailstore:
        try:
            for number in (1, 2):
                node = NodeProcess(
                    folder / f"mx{number}",
                    settings={
                        "hostname": f"mx{number}.example.com",
                        "workers": 1,
                        "store": redis.url,
                        "secret": "one-for-all-nodes",
                        "decisions": {"flush": 1},
                        "journal": {"file": "journal.jsonl", "content": True},
                        "limits": {"greeting_delay": 0},
                        "dns": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": 3.0},
                        "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{mailstore.port}"}],
                    },
                    policy=policy_with(),
                )
                nodes.append(node)
            for node in nodes:
                node.wait_ready()
            yield Cluster(nodes, folder)
        finally:
            for node in nodes:
                node.end()


def test_a_shadow_policy_tells_what_would_change_and_changes_nothing(cluster: Cluster) -> None:
    assert cluster.mxgw("policy", "shadow")[0] == 1
    file = candidate(cluster.folder)
    code, begun = cluster.mxgw("policy", "shadow", str(file), "--for", "1h")
    assert code == 0
    for node in cluster.nodes:
        poll(lambda node=node: node.events("shadow"), "the node has the candidate")
    replies = {
        name: [cluster.send(node, client, path)[0] for node in (0, 1)]
        for name, client, path in (
            ("good", GOOD, "ann@sender.example"),
            ("listed", LISTED, "ann@sender.example"),
            ("bank", NAMELESS, "ann@bank.example"),
        )
    }
    poll(lambda: cluster.mxgw("policy", "shadow")[1]["judged"] >= 6, "both nodes have said what they counted")
    code, report = cluster.mxgw("policy", "shadow", node=1)
    assert code == 0
    assert report["digest"] == begun["digest"]
    assert {name: said["judged"] for name, said in report["nodes"].items()} == {
        "mx1.example.com": 3,
        "mx2.example.com": 3,
    }
    assert replies == {"good": [250, 250], "listed": [554, 554], "bank": [550, 550]}
    assert changes_of(report) == CHANGES
    assert (report["judged"], report["changed"], report["balance"]["reject"], report["balance"]["accept"]) == (
        6,
        4,
        -2,
        2,
    )
    assert len({name for row in report["changes"] for name in row["examples"]}) == 4
    qids = {record["qid"] for node in cluster.nodes for record in node.events("transaction")}
    assert {name for row in report["changes"] for name in row["examples"]} <= qids
    assert cluster.mxgw("policy", "shadow", "--stop")[0] == 0
    assert cluster.mxgw("policy", "shadow", "--stop")[0] == 1
    for node in cluster.nodes:
        poll(lambda node=node: len(node.events("shadow")) == 2, "the node has ended it")
    cluster.send(0, LISTED, "ann@sender.example")
    code, after = cluster.mxgw("policy", "shadow")
    assert (code, after["running"], after["judged"]) == (0, False, 6)


def test_recorded_decisions_are_replayed_against_a_candidate(cluster: Cluster) -> None:
    file = candidate(cluster.folder)
    kept = poll(
        lambda: (
            (found := cluster.mxgw("policy", "diff", str(file), "--since", "1h"))[1]["effect"]["judged"] >= 7 and found
        ),
        "seven decisions are kept",
    )
    code, said = kept
    effect = said["effect"]
    assert code == 1
    assert (effect["judged"], effect["left_out"], effect["unchecked"], effect["missed"]) == (7, {}, 0, 0)
    assert [row[:6] for row in changes_of(effect)] == [row[:6] for row in CHANGES]
    log = cluster.folder / "nodes.log"
    log.write_text("\n".join(line for node in cluster.nodes for line in node.log))
    assert changes_of(cluster.mxgw("policy", "diff", str(file), "--log", str(log))[1]["effect"]) == changes_of(effect)
    # a record without its findings, one of a client that left, one that the wire decided, and one that somebody changed
    record = next(one for one in cluster.nodes[0].events("transaction") if one["result"] == "rejected")
    bad = [
        {**record, "truncated": True},
        {**record, "verdict": "none"},
        {**record, "reason": "too-big", "rules": []},
        {**record, "client_ip": "nobody"},
        {**record, "verdict": "accept", "reason": "accepted", "rules": []},
    ]
    log.write_text("\n".join(json.dumps(one) for one in bad))
    _, said = cluster.mxgw("policy", "diff", str(file), "--log", str(log))
    assert said["effect"]["judged"] == 0
    assert said["effect"]["left_out"] == dict.fromkeys(
        ("truncated", "no-verdict", "not-policy", "unreadable", "not-reproduced"), 1
    )
    code = main(["policy", "diff", str(file), "--log", str(log), "--config", str(cluster.nodes[0].config)])
    assert code == 1


# ---- recordings


def replayed(*words: str) -> tuple[int, Any]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(["replay", *words, "-o", "json"])
    return code, json.loads(said.getvalue())


def journal(node: NodeProcess) -> Path:
    return node.folder / "journal.jsonl"


def test_recordings_of_real_nodes_replay_offline_octet_by_octet(cluster: Cluster) -> None:
    for node in cluster.nodes:
        file = journal(node)
        poll(lambda node=node, file=file: file.exists() and len(file.read_text().splitlines()) >= 4, "it has recorded")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        code, said = replayed(str(file))
        assert (code, said["different"], said["faults"]) == (0, 0, [])
        qids = {record["qid"] for record in node.events("transaction")}
        assert {one["id"] for one in said["transactions"]} == qids
        assert all(one["content_checked"] and not one["not_recorded"] for one in said["transactions"])


def test_one_altered_dns_answer_changes_what_depends_on_it_only(cluster: Cluster) -> None:
    lines = journal(cluster.nodes[0]).read_text().splitlines()
    altered, whose = [], set()
    for line in lines:
        said = json.loads(line)
        for step in said.get("steps", ()):
            for answer in step["answers"]:
                if answer[0] == "dns" and "66.0.0.127.dnsbl.example" in answer[2] and answer[3] == "is":
                    answer[4]["of"]["status"]["is"] = "nxdomain"
                    answer[4]["of"]["records"] = {"tuple": []}
                    whose.add(said["record"]["qid"])
        altered.append(json.dumps(said))
    file = cluster.folder / "altered.jsonl"
    file.write_text("\n".join(altered))
    code, said = replayed(str(file))
    assert code == 1
    assert {one["id"] for one in said["transactions"] if one["differences"]} == whose != set()
    for one in said["transactions"]:
        fields = {difference["field"] for difference in one["differences"]}
        assert fields == (
            {"findings", "reason", "rbl", "rcpt", "rcpts", "reply", "result", "rules", "verdict"}
            if one["id"] in whose
            else set()
        )


def test_another_policy_shows_what_it_would_have_done(cluster: Cluster) -> None:
    code, said = replayed(str(journal(cluster.nodes[0])), "--policy", str(candidate(cluster.folder)))
    assert code == 1
    records = {record["qid"]: record for record in cluster.nodes[0].events("transaction")}
    for one in said["transactions"]:
        record = records[one["id"]]
        touched = record["client_ip"] == LISTED or record["from"] == "ann@bank.example"
        assert bool(one["differences"]) == touched
    assert main(["replay", str(journal(cluster.nodes[0])), "--policy", str(candidate(cluster.folder))]) == 1


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_text('{"schema": "mxgw/v1/recording"}\nnothing\n')
    code, said = replayed(str(file))
    assert (code, len(said["faults"])) == (65, 2)
    file.write_text("")
    assert main(["replay", str(file)]) == 65
    assert main(["replay", str(tmp_path / "none")]) == 66


# ---- alike


def test_nodes_that_decide_alike_and_one_that_does_not(cluster: Cluster) -> None:
    first, second = cluster.nodes
    code, said = cluster.mxgw("cluster", "verify")
    assert (code, said["mismatches"], sorted(said["nodes"])) == (0, 0, ["mx1.example.com", "mx2.example.com"])
    assert all(one["replayed"] >= 15 and not one["faults"] for one in said["nodes"].values())
    # recordings of the site's own, for all nodes
    code, said = cluster.mxgw("cluster", "verify", "--set", str(journal(first)))
    assert (code, {one["replayed"] for one in said["nodes"].values()}) == (0, {len(first.events("transaction"))})
    before = second.policy.read_text()
    second.policy.write_text(candidate(cluster.folder).read_text())
    second.kill(signal.SIGHUP)
    poll(lambda: first.metric("mxgw_cluster_verify_mismatch") > 0, "the first node alarms")
    poll(lambda: second.metric("mxgw_cluster_verify_mismatch") > 0, "the second node alarms")
    (alarm,) = first.events("verify")
    assert (alarm["level"], list(alarm["odd"])) == ("error", ["mx2.example.com"])
    code, said = cluster.mxgw("cluster", "verify", node=1)
    assert (code, sorted(said["nodes"]["mx2.example.com"]["odd"])) == (1, sorted(alarm["odd"]["mx2.example.com"]))
    assert main(["cluster", "verify", "--config", str(first.config)]) == 1
    second.policy.write_text(before)
    second.kill(signal.SIGHUP)
    poll(lambda: first.metric("mxgw_cluster_verify_mismatch") == 0, "all is well again")
    code, said = cluster.mxgw("cluster", "verify", "--packaged")
    assert (code, said["mismatches"]) == (0, 0)
