"""The openspf suite for RFC 7208, 203 cases, through running nodes: processes of their own, PROXY v2, EHLO, MAIL, RCPT and
DATA over SMTP, a DNS server on sockets with the case's zone, a Maildir as mailstore; the result is what
Authentication-Results says there. Scenarios whose zones contradict each other have nodes of their own, so that nothing
is remembered from another zone.

What the grammar of SMTP refuses (an empty local part, a blank in EHLO) runs against the check itself, with the same DNS.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import authres
import pytest
import yaml
from node_process import NodeProcess

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_net import NetResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.spf import spf
from gateway.delivery.routes import Router
from gateway.mail.address import NULL, Mailbox, ReversePath
from gateway.mail.message import Message
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.policy.settings import SpfSettings
from gateway.ports import Ports
from tests.suites.dns_responder import DnsResponder
from tests.suites.suite_source import member
from tests.wire.client import RawClient

CASES = 203
NOT_SMTP = {"nolocalpart", "invalid-hello-macro", "toolonglabel", "emptylabel"}
"""Cases whose MAIL FROM or HELO the grammar of SMTP refuses."""
TIMEOUT = 0.5
"""Seconds for the first try at a DNS question that nobody answers."""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
POLICY = """
version: 1
mode: observe
checks:
  greylist: {mode: "off"}
  rate: {enabled: false}
  iprev: {enabled: false}
  helo: {resolve: false}
rules: []
"""


Zone = dict[str, Any]


def grouped(scenarios: list[Any]) -> list[tuple[Zone, list[Any]]]:
    """Scenarios that can share a zone, with that zone."""
    groups: list[tuple[Zone, list[Any]]] = []
    for scenario in scenarios:
        zone = {name.lower(): records for name, records in scenario["zonedata"].items()}
        for shared, members in groups:
            if all(repr(shared.get(name, records)) == repr(records) for name, records in zone.items()):
                shared.update(zone)
                members.append(scenario)
                break
        else:
            groups.append((zone, [scenario]))
    return groups


class Node:
    """A node with its DNS server; it starts while the one before still works."""

    def __init__(self, folder: Path, zone: Any) -> None:
        self.dns = DnsResponder(zone)
        host, port = self.dns.address
        self.process = NodeProcess(
            folder,
            {
                "hostname": "mx.example.net",
                "listeners": [{"address": "127.0.0.1:0", "proxy_protocol": {"trusted": ["127.0.0.0/8"]}}],
                "routes": [{"domains": ["our.example"], "mailstore": f"maildir:{folder / 'mail'}"}],
                "dns": {"servers": [f"{host}:{port}"], "timeout": TIMEOUT},
                "limits": {"greeting_delay": 0},
                "workers": 1,
            },
            POLICY,
        )

    def delivered(self) -> bytes:
        """The only message there is; it is taken away."""
        (file,) = self.process.maildir.rglob("new/*")
        octets = file.read_bytes()
        file.unlink()
        return octets

    def end(self) -> None:
        self.process.end()
        self.dns.close()


@contextmanager
def nodes(folder: Path, zones: list[Zone]) -> Iterator[Iterator[Node]]:
    """One node after another, the next one already on its way."""
    started: list[Node] = []

    def start(number: int) -> None:
        if number < len(zones):
            started.append(Node(folder / str(number), zones[number]))

    def one_by_one() -> Iterator[Node]:
        for number in range(len(zones)):
            start(number + 1)
            started[number].process.wait_ready()
            yield started[number]
            started[number].process.kill(signal.SIGTERM)

    try:
        start(0)
        yield one_by_one()
    finally:
        for one in started:
            one.end()


def proxy_v2(client: str) -> bytes:
    ip = ip_address(client)
    own = socket.inet_pton(
        socket.AF_INET6 if ip.version == 6 else socket.AF_INET, "::1" if ip.version == 6 else "127.0.0.1"
    )
    body = ip.packed + own + struct.pack("!HH", 40000, 25)
    return SIGNATURE + bytes([0x21, 0x21 if ip.version == 6 else 0x11]) + struct.pack("!H", len(body)) + body


def mail_argument(mailfrom: str) -> str:
    local_part, at, domain = mailfrom.rpartition("@")
    return f'"{local_part}"@{domain}' if at and " " in local_part else mailfrom


async def over_smtp(running: Node, case: dict[str, Any]) -> tuple[str, str]:
    """(word, octets at the mailstore), or ('refused', reply) where SMTP does not take HELO or MAIL."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.process.smtp_port)
    client = RawClient(reader, writer, 40)
    try:
        await client.send(proxy_v2(case["host"]))
        assert (await client.reply()).code == 220
        for command in (f"HELO {case['helo']}", f"MAIL FROM:<{mail_argument(case['mailfrom'])}>"):
            said = await client.ask(command)
            if said.code != 250:
                assert said.code // 100 == 5, (command, said)
                return "refused", str(said)
        assert (await client.ask("RCPT TO:<user@our.example>")).code == 250
        assert (await client.ask("DATA")).code == 354
        await client.send(b"From: a@nowhere.invalid\r\nSubject: x\r\n\r\nhi\r\n.\r\n")
        said = await client.reply()
        assert said.code == 250, said
        await client.send(b"QUIT\r\n")
    finally:
        writer.close()
    octets = running.delivered().decode()
    return word_of(octets, "mailfrom" if case["mailfrom"] else "helo"), octets


def word_of(octets: str, identity: str) -> str:
    """What a foreign reader finds in our field for one identity."""
    field = re.search(r"^Authentication-Results:(?:.|\n[ \t])*", octets.replace("\r\n", "\n"), re.MULTILINE)
    assert field, octets
    read = authres.AuthenticationResultsHeader.parse(field[0])
    assert read.authserv_id == "mx.example.net"
    words = [
        result.result
        for result in read.results
        if result.method == "spf" and any(item.type == "smtp" and item.name == identity for item in result.properties)
    ]
    assert len(words) == 1, field[0]
    return str(words[0])


async def by_check(running: Node, case: dict[str, Any]) -> str:
    path: ReversePath = NULL
    if case["mailfrom"]:
        local_part, _, domain = case["mailfrom"].rpartition("@")
        path = Mailbox(local_part, domain)
    tx = Transaction(
        "T", Connection("S", ip_address(case["host"])), 0.0, Hello("HELO", case["helo"]), Envelope(path), None,
        Message.parse(b"\r\n"),
    )  # fmt: skip
    clock = SystemClock()
    dns = NetResolver([running.dns.address], TIMEOUT)
    try:
        return (await spf(tx, Ports(dns, MemoryStore(clock), Router([]), clock), SpfSettings())).outcome.value
    finally:
        await dns.close()


@pytest.mark.timeout(240)
async def test_all_cases_of_the_openspf_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenarios = list(yaml.safe_load_all(member("pyspf", "test/rfc7208-tests.yml")))
    assert sum(len(scenario["tests"]) for scenario in scenarios) == CASES
    wrong, by_function, carried = [], set(), 0
    groups = grouped(scenarios)
    with nodes(tmp_path, [zone for zone, _ in groups]) as running:
        for (_, members), one in zip(groups, running, strict=True):
            for name, given in [item for scenario in members for item in scenario["tests"].items()]:
                case = {**given, "mailfrom": given["mailfrom"] or ""}
                word, octets = await over_smtp(one, case)
                if word == "refused":
                    by_function.add(name)
                    word = await by_check(one, case)
                else:
                    carried += 1
                expected = [case["result"]] if isinstance(case["result"], str) else case["result"]
                if word not in expected:
                    wrong.append(f"{name}: {word}, not {expected}\n{octets}")
    with capsys.disabled():
        print(
            f"\nopenspf RFC 7208: {CASES - len(wrong)} of {CASES}; {carried} over SMTP, {len(by_function)} by the check"
        )
    assert not wrong, "\n".join(wrong)
    assert by_function == NOT_SMTP
