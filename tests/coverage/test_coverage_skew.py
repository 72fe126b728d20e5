"""Uneven load is explained: which sender's mail comes to which node."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.evidence.record import timestamp
from gateway.evidence.skew import skew_of


def record(node: str, sender: str, client: str = "192.0.2.7") -> dict[str, str]:
    return {
        "event": "transaction", "verdict": "accept", "time": timestamp(time.time()), "node": node, "from": sender, "client_ip": client,
    }  # fmt: skip


RECORDS = [
    *(record("mx1", "news@big.example") for _ in range(30)),
    *(record(f"mx{number % 2 + 1}", "ann@small.example", f"198.51.100.{number}") for number in range(6)),
    record("mx2", "", "2001:db8::1"),
    {**record("mx2", "x@refused.example"), "event": "reject"},
]


def test_a_sender_that_holds_on_to_one_node_is_named() -> None:
    found = skew_of(RECORDS)
    assert (found.total, found.nodes) == (37, {"mx1": 33, "mx2": 4})
    assert [(one.name, one.count, one.one_node) for one in found.parties] == [
        ("big.example", 30, True),
        ("small.example", 6, False),
        ("<>", 1, False),
    ]
    assert [one.name for one in skew_of(RECORDS, "network").parties] == [
        "192.0.2.0/24",
        "198.51.100.0/24",
        "2001:db8::/64",
    ]


def test_the_command_reads_the_nodes_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for node in ("mx1", "mx2"):
        (tmp_path / node).write_text("".join(json.dumps(one) + "\n" for one in RECORDS if one["node"] == node))
    logs = ["--log", str(tmp_path / "mx1"), "--log", str(tmp_path / "mx2")]
    assert main(["cluster", "skew", *logs]) == 0
    text = capsys.readouterr().out
    assert "big.example" in text
    assert "81 %" in text
    assert "mx1 30 (only)" in text
    assert main(["cluster", "skew", *logs, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nodes"] == {"mx1": 33, "mx2": 4}
    assert found["senders"][0] == {"name": "big.example", "count": 30, "nodes": {"mx1": 30}, "one_node": True}
    (tmp_path / "empty").touch()
    assert main(["cluster", "skew", "--log", str(tmp_path / "empty")]) == 1
