"""Debian's haproxy before three real nodes, with two configurations as operators write them: all nodes UP, mail flows.

A sends no header: the client's address is not known, the node says so and judges none. B sends v2 headers with its
clients and none with its checks, which say EHLO before anybody greeted them.
"""

from __future__ import annotations

import json
from pathlib import Path

from haproxy import SMTPCHK, TCP_CHECK, Haproxy, filled, free_port
from nodes import Nodes, numbered, send_all

UP = {"mta1": "UP L7OK", "mta2": "UP L7OK", "mta3": "UP L7OK"}
NONE_FAILED = dict.fromkeys(UP, 0)
NEEDS_THE_ADDRESS = ("iprev", "dnsbl", "rate", "spf", "pregreet", "greylist")


def test_configuration_a_without_headers(nodes: Nodes, tmp_path: Path) -> None:
    for header in ("optional", "optional", "never"):
        nodes.add(header=header)
    front = free_port()
    text = filled(SMTPCHK, [f"127.0.0.1:{node.smtp_port}" for node in nodes.all], [front])
    with Haproxy(tmp_path, text) as balancer:
        balancer.wait(UP)
        send_all([(front, name, "127.0.0.1") for name in numbered(12)])
        assert nodes.kept() == dict.fromkeys(numbered(12), 1)
        balancer.wait(UP)
        assert balancer.failed_checks() == NONE_FAILED
    for record in nodes.wait_records(12):
        assert record["client_known"] is False
        assert not set(NEEDS_THE_ADDRESS) & set(record["findings"])
    for node in nodes.all:
        (warning,) = node.events("client_unknown")
        assert warning["level"] == "warning"
        assert "no known address: no check judges it" in warning["message"]
        assert node.events("transaction"), "each has its share"
    nodes.assert_probes_left_nothing(12)
    kept = next((tmp_path / "mailstore").rglob("new/*")).read_text()
    assert "client.example (unknown" in kept.replace("\r\n", "\n"), kept


def test_configuration_b_with_v2_headers(nodes: Nodes, tmp_path: Path) -> None:
    port, fronts = free_port(), [free_port(), free_port()]
    places = [f"127.0.0.{number}:{port}" for number in (2, 3, 4)]
    for place in places:
        nodes.add(place)
    with Haproxy(tmp_path, filled(TCP_CHECK, places, fronts)) as balancer:
        balancer.wait(UP)
        clients = [f"127.0.0.{number + 10}" for number in range(12)]
        send_all(list(zip(fronts * 6, numbered(12), clients, strict=True)))
        assert nodes.kept() == dict.fromkeys(numbered(12), 1)
        balancer.wait(UP)
        assert balancer.failed_checks() == NONE_FAILED
    records = nodes.wait_records(12)
    assert {record["client_ip"] for record in records} == set(clients)
    assert all("client_known" not in record and record["proxy_ip"].startswith("127.") for record in records)
    assert {len(node.events("transaction")) for node in nodes.all} == {4}, "round robin over all"
    received = {file.read_text() for file in (tmp_path / "mailstore").rglob("new/*")}
    assert all(any(f"[{client}]" in text for text in received) for client in clients)
    assert nodes.records("client_unknown") == []
    nodes.assert_probes_left_nothing(12)
    assert not any("Traceback" in json.dumps(record) for record in nodes.all[0].records)
