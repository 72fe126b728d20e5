"""A real node asks a real name server which AS a client comes from, and a rule decides by it."""

from __future__ import annotations

import contextlib
import json
import smtplib
import socket
from pathlib import Path

import pytest
from debian import need
from dns_server import NsdServer

from gateway.cli.main import main

POLICY = """\
version: 1
checks:
  asn: {ipv4_zone: origin.test, ipv6_zone: origin6.test}
  greylist: {mode: off}
  iprev: {enabled: false}
  helo: {enabled: false}
  spf: {enabled: false}
rules:
  - {id: bad-hosts, at: rcpt, when: {client.asn: [64496]}, then: reject}
  - {id: far-away, at: rcpt, when: {client.country: [AQ]}, then: defer}
outage: {dns: proceed}
"""
ZONES = {
    "origin.test": """
*.108.90.216 TXT "64496 23028 | 216.90.108.0/24 | US | arin | 1998-09-25"
*.8.8.8 TXT "15169|8.8.8.0/24|US|arin|"
*.9.9.9 TXT "this zone is for sale"
""",
    "origin6.test": """
*.0.6.8.4.1.0.0.2 TXT "15169 | 2001:4860::/32 | AQ | arin | 2005-03-14"
""",
}


class Behind(smtplib.SMTP):
    """A client behind a balancer that writes a PROXY header."""

    def __init__(self, client: str, port: int) -> None:
        self._line = (
            f"PROXY TCP{6 if ':' in client else 4} {client} {'::1' if ':' in client else '127.0.0.1'} 40000 25\r\n"
        )
        super().__init__("127.0.0.1", port, "client.example", timeout=60)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        opened = socket.create_connection((host, port), timeout)
        opened.sendall(self._line.encode("ascii"))
        return opened


def attempt(port: int, client: str) -> int:
    """The reply code of the end of data, or of a refused RCPT."""
    with contextlib.closing(Behind(client, port)) as session:
        session.ehlo()
        session.mail("ann@sender.example")
        code, _ = session.rcpt("user@example.com")
        return code if code >= 400 else session.data(b"From: <ann@sender.example>\r\nSubject: x\r\n\r\nx\r\n")[0]


def test_a_rule_by_as_number_holds_and_without_dns_nobody_is_refused(
    start_node, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    need("nsd")
    with NsdServer(ZONES) as server:
        node = start_node(
            settings={
                "listeners": [
                    {"address": "127.0.0.1:0", "name": "smtp", "proxy_protocol": {"trusted": ["127.0.0.0/8"]}}
                ],
                "dns": {"servers": [f"127.0.0.1:{server.port}"], "timeout": 3.0},
                "limits": {"greeting_delay": 0},
                "store": "memory://",
                "workers": 1,
            },
            policy=POLICY,
        )
        heard = {
            client: attempt(node.smtp_port, client)
            for client in ("216.90.108.31", "8.8.8.4", "9.9.9.9", "1.0.0.1", "2001:4860:4860::8888", "192.168.1.1")
        }
        assert heard == {
            "216.90.108.31": 554,
            "8.8.8.4": 250,
            "9.9.9.9": 250,
            "1.0.0.1": 250,
            "2001:4860:4860::8888": 451,
            "192.168.1.1": 250,
        }
        words = [
            "--ip",
            "216.90.108.31",
            "--helo",
            "x.example",
            "--from",
            "ann@sender.example",
            "--rcpt",
            "user@example.com",
        ]
        main(["explain", *words, "--config", str(node.config), "-o", "json"])
        told = json.loads(capsys.readouterr().out)
    (step,) = [step for step in told["steps"] if step["check"] == "asn"]
    assert step["finding"]["evidence"] == {"asn": ["64496", "23028"], "prefix": "216.90.108.0/24", "country": ["US"]}
    assert told["verdict"] == "reject"
    # the name server is away now; what is in the cache still counts
    assert attempt(node.smtp_port, "216.90.108.99") == 250
    assert attempt(node.smtp_port, "216.90.108.31") == 554
    node.wait(lambda: len(node.events("transaction")) == 8, "8 records")
    records = {record["client_ip"]: record for record in node.events("transaction")}
    refused = records["216.90.108.31"]
    assert refused["findings"]["asn"] == {
        "outcome": "none",
        "reason": "origin",
        "evidence": step["finding"]["evidence"],
    }
    assert (refused["verdict"], refused["reason"], refused["rules"]) == (
        "reject",
        "blocked",
        [{"id": "bad-hosts", "then": "reject"}],
    )
    assert records["8.8.8.4"]["findings"]["asn"]["evidence"]["asn"] == ["15169"]
    assert records["2001:4860:4860::8888"]["rules"] == [{"id": "far-away", "then": "defer"}]
    assert records["1.0.0.1"]["findings"]["asn"]["reason"] == "no-origin"
    assert records["192.168.1.1"]["findings"]["asn"]["reason"] == "not-asked"
    for client in ("9.9.9.9", "216.90.108.99"):
        assert records[client]["findings"]["asn"]["cause"]["port"] == "dns"
        assert records[client]["unknown"] == ["asn"]
    assert "for sale" not in "\n".join(node.log)
    assert node.metric("mxgw_dns_lookups_total", purpose="asn") >= 5
