"""Balancer configurations as guides print them are accepted by HAProxy word by word; weights, stickiness and caps of
docs/load-balancers.md; our silence is shorter than such balancers' patience; DNAT keeps the client."""

from __future__ import annotations

import re
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest
from debian import need
from haproxy import SMTPCHK, TCP_CHECK, Haproxy, free_port
from node_process import NodeProcess
from nodes import Nodes, numbered, send, send_all
from page import PAGE, block, changed

from gateway.mail import limits

sys.path.append(str(Path(__file__).parents[1] / "cluster"))

from network import Network

PRINTED = {
    "A": (SMTPCHK, {"maxconn": 50000, "bind": ["*:25"], "port": 25}),
    "B": (TCP_CHECK, {"maxconn": 10000, "bind": [":25", ":587"], "port": 25}),
}


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_haproxy_accepts_what_guides_print(name: str, tmp_path: Path) -> None:
    text, words = PRINTED[name]
    (tmp_path / "haproxy.cfg").write_text(text.format(node=[f"10.0.0.1{n}:25" for n in (1, 2, 3)], **words))
    done = subprocess.run(
        [need("haproxy"), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_we_are_never_silent_for_a_minute() -> None:
    """``timeout server 1m`` is the shortest that guides print."""
    assert limits.ANSWER_BUDGET < 60
    assert limits.MAILSTORE_DOT < limits.ANSWER_BUDGET
    assert limits.TARPIT_SECONDS < 60


def with_words(front: int, ports: list[int]) -> str:
    """The page's configuration with the page's further words in it."""
    page = PAGE.read_text(encoding="utf-8")
    for words in ("`weight 30`", "`stick-table type ipv6 size 100k expire 30m`", "`stick on src`", "`maxconn 500`"):
        assert words in page, words
    text = changed(block("haproxy"), front, ports, maxconn_20000="maxconn 500", balance_leastconn="balance roundrobin")
    text = re.sub(r"(?m)^.*stats socket.*\n", "", text)
    text = re.sub(r"(?m)^(    server mx1 .*)$", r"\1 weight 30", text)
    text = re.sub(r"(?m)^(    server mx[23] .*)$", r"\1 weight 10 maxconn 500", text)
    assert text.count("weight") == 3
    return text


def test_weights_give_predictable_shares_and_a_table_keeps_a_client_with_its_node(nodes: Nodes, tmp_path: Path) -> None:
    front, ports = free_port(), [free_port() for _ in range(3)]
    for port in ports:
        nodes.add(f"127.0.0.1:{port}")
    up = dict.fromkeys(("mx1", "mx2", "mx3"), "UP")

    def shares() -> list[int]:
        return [len(node.events("transaction")) for node in nodes.all]

    (tmp_path / "weights").mkdir()
    with Haproxy(tmp_path / "weights", with_words(front, ports)) as balancer:
        balancer.wait(up)
        for name in numbered(10):
            send(front, name)
    # address and port, as in the balancer's own log line
    ends = {(record["client_ip"], record["client_port"]) for record in nodes.wait_records(10)}
    assert len(ends) == 10
    assert shares() == [6, 2, 2]

    sticky = with_words(front, ports) + "    stick-table type ipv6 size 100k expire 30m\n    stick on src\n"
    (tmp_path / "sticky").mkdir()
    with Haproxy(tmp_path / "sticky", sticky) as balancer:
        balancer.wait(up)
        send_all([(front, name, "127.0.0.9") for name in list(numbered(15))[10:11]])
        for name in list(numbered(15))[11:]:
            send(front, name, "127.0.0.9")
    nodes.wait_records(15)
    assert sorted(now - before for now, before in zip(shares(), [6, 2, 2], strict=True)) == [0, 0, 5]


RULES = """\
table ip mx {
    chain in {
        type nat hook prerouting priority dstnat
        ip daddr 203.0.113.80 tcp dport 25 dnat to numgen inc mod 2 map { 0 : 198.51.100.1, 1 : 198.51.100.2 }
    }
}
"""


def test_dnat_in_turn_keeps_the_clients_address(tmp_path: Path) -> None:
    """A router with DNAT and no SNAT before two nodes, whose way back leads through it."""
    assert RULES.splitlines()[3].strip() in PAGE.read_text(encoding="utf-8")
    places = {
        "router": ("203.0.113.80/32", "198.51.100.254/32"),
        "mx1": ("198.51.100.1/32",),
        "mx2": ("198.51.100.2/32",),
        "client": ("203.0.113.90/32",),
    }
    with Network(places) as net:
        for place, via in (("mx1", "198.51.100.254"), ("mx2", "198.51.100.254"), ("client", "203.0.113.80")):
            for words in (
                ["ip", "route", "flush", "table", "main"],
                ["ip", "route", "add", via, "dev", "eth0"],
                ["ip", "route", "add", "default", "via", via, "dev", "eth0", "onlink"],
            ):
                subprocess.run([*net.within(place), *words], check=True, timeout=30)
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run([*net.within("router"), "sh", "-c", forward], check=True, timeout=30)
        subprocess.run([*net.within("router"), need("nft"), "-f", "-"], input=RULES, text=True, check=True, timeout=30)
        running = []
        try:
            for place in ("mx1", "mx2"):
                settings = {
                    "listeners": [{"address": "0.0.0.0:25", "name": "smtp"}],
                    "workers": 1,
                    "limits": {"greeting_delay": 0},
                }
                with net.inside(place):
                    running.append(NodeProcess(tmp_path / place, settings, "version: 1\nmode: observe\nrules: []\n"))
            for place, node in zip(("mx1", "mx2"), running, strict=True):
                with net.inside(place):
                    node.wait_ready()
            for _ in range(2):
                with net.inside("client"):
                    client = smtplib.SMTP("203.0.113.80", 25, "client.example", timeout=30)
                with client:
                    client.sendmail("a@sender.example", ["user@example.com"], b"Subject: x\r\n\r\nx\r\n")
            for node in running:
                node.wait(lambda node=node: node.events("transaction"), "one message each")
                assert [record["client_ip"] for record in node.events("transaction")] == ["203.0.113.90"]
        finally:
            for node in running:
                node.end()
