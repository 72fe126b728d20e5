"""Three real nodes behind nginx with the text of deploy/nginx, which the page shows: mail is spread, every client is known,
and a node that ends costs nobody a message."""

from __future__ import annotations

from pathlib import Path

from haproxy import free_port
from nodes import Nodes, numbered, send_all
from page import block, changed
from test_balancers_nginx import nginx


def test_three_nodes_share_the_mail_and_one_that_ends_is_left_out(nodes: Nodes, tmp_path: Path) -> None:
    front = free_port()
    for _ in range(3):
        nodes.add(header="required")
    text = changed(block("nginx"), front, [node.smtp_port for node in nodes.all])
    names = list(numbered(36))
    jobs = [(front, name, f"127.0.0.{20 + n % 6}") for n, name in enumerate(names)]
    with nginx(tmp_path, "stream", text, front):
        send_all(jobs[:24])
        records = nodes.wait_records(24)
        assert all(node.events("transaction") for node in nodes.all)
        assert {record["client_ip"] for record in records} == {f"127.0.0.{n}" for n in range(20, 26)}
        assert nodes.all[0].stop() == 0
        send_all(jobs[24:])
    kept = nodes.kept()
    assert set(kept) == set(names)
    assert set(kept.values()) == {1}
