"""The openspf suite for RFC 7208, 203 cases, through a running node: PROXY v2, EHLO, MAIL, RCPT, DATA over SMTP, DNS over
sockets, a Maildir as mailstore; the result is what Authentication-Results says there.

What the grammar of SMTP refuses (an empty local part, a blank in EHLO) runs against the check itself, with the same DNS.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import authres
import pytest
import yaml

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_cache import CachingResolver
from gateway.adapters.dns_net import NetResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.spf import spf
from gateway.config import RouteSettings, Settings
from gateway.mail.address import NULL, Mailbox, ReversePath
from gateway.mail.limits import WireLimits
from gateway.mail.message import Message
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.node.compose import identity_of, router_for
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.policy.settings import SpfSettings
from gateway.ports import Ports
from gateway.ports.dns import Answer
from gateway.ports.observer import NullObserver
from gateway.reception import Services
from gateway.smtp.listener import SmtpServer, make_listening_socket
from tests.suites.dns_responder import DnsResponder, dns_responder
from tests.suites.suite_source import member
from tests.wire.client import RawClient

CASES = 203
NOT_SMTP = {"nolocalpart", "invalid-hello-macro", "toolonglabel", "emptylabel"}
"""Cases whose MAIL FROM or HELO the grammar of SMTP refuses."""
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


class Current:
    """The resolver of the scenario that runs now: a new one each time, so that nothing is remembered between them."""

    def __init__(self, responder: DnsResponder) -> None:
        self._responder = responder
        self._inner: CachingResolver | None = None

    async def renew(self, zone: Any) -> None:
        await self.close()
        self._responder.serve(zone)
        self._inner = CachingResolver(NetResolver([self._responder.address], timeout=0.7, tries=1), SystemClock())

    async def lookup(self, name: str, rtype: str) -> Answer:
        assert self._inner is not None
        return await self._inner.lookup(name, rtype)

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()


class Node:
    """A server with the product's own router, Maildir, pipeline and policy; only DNS can be renewed."""

    def __init__(self, port: int, dns: Current, maildir: Path, ports: Ports) -> None:
        self.port, self.dns, self.maildir, self.ports = port, dns, maildir, ports

    def delivered(self) -> bytes:
        """The only message there is; it is taken away."""
        (file,) = self.maildir.rglob("new/*")
        octets = file.read_bytes()
        file.unlink()
        return octets


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[Node]:
    maildir = folder / "mail"
    settings = Settings(
        hostname="mx.example.net",
        routes=(RouteSettings(domains=("our.example",), mailstore=(f"maildir:{maildir}",)),),
        state_dir=folder,
    )
    router, clock = router_for(settings), SystemClock()
    policy = load_text(POLICY, "suite.yaml")
    with dns_responder() as responder:
        dns = Current(responder)
        ports = Ports(dns, MemoryStore(clock), router, clock)
        quick = WireLimits(greeting_delay=0)
        services = Services(identity_of(settings), Pipeline(ports), lambda: policy, router, NullObserver(), quick)
        server = SmtpServer(services, tls=lambda: None)
        await server.start(make_listening_socket("127.0.0.1", 0), "suite", [ip_network("127.0.0.0/8")])
        try:
            yield Node(server.addresses[0][1], dns, maildir, ports)
        finally:
            await server.close()
            await dns.close()
            await router.close()


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
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
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
    return (await spf(tx, running.ports, SpfSettings())).outcome.value


@pytest.mark.timeout(240)
async def test_all_cases_of_the_openspf_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenarios = list(yaml.safe_load_all(member("pyspf", "test/rfc7208-tests.yml")))
    assert sum(len(scenario["tests"]) for scenario in scenarios) == CASES
    wrong, by_function, carried = [], set(), 0
    async with node(tmp_path) as running:
        for scenario in scenarios:
            await running.dns.renew(scenario["zonedata"])
            for name, given in scenario["tests"].items():
                case = {**given, "mailfrom": given["mailfrom"] or ""}
                word, octets = await over_smtp(running, case)
                if word == "refused":
                    by_function.add(name)
                    word = await by_check(running, case)
                else:
                    carried += 1
                expected = [case["result"]] if isinstance(case["result"], str) else case["result"]
                if word not in expected:
                    wrong.append(f"{scenario['description']}: {name}: {word}, not {expected}\n{octets}")
    with capsys.disabled():
        print(
            f"\nopenspf RFC 7208: {CASES - len(wrong)} of {CASES}; {carried} over SMTP, {len(by_function)} by the check"
        )
    assert not wrong, "\n".join(wrong)
    assert by_function == NOT_SMTP
