"""A balancer's own connections: answered as it expects, and never a client, an early talker, an error or a record."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from client import CLOSED, connect
from house import house

from gateway.smtp.identify import HeaderUse
from gateway.smtp.proxy import SIGNATURE_V2

LOCAL = (ip_network("127.0.0.0/8"),)
ELSEWHERE = (ip_network("10.0.0.0/8"),)
V4 = ip_address("192.0.2.7").packed + ip_address("198.51.100.1").packed + struct.pack("!HH", 5000, 25)


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE_V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack("!H", len(value)) + value


HEADERS_OF_PROBES = {
    "v2 local": v2(0, 0, b""),
    "v2 local with addresses": v2(0, 0x11, V4),
    "v1 unknown": b"PROXY UNKNOWN\r\n",
    "v1 unknown with words": b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n",
    "v2 without address": v2(1, 0, b""),
    "silence": b"",
}


@pytest.mark.parametrize("name", HEADERS_OF_PROBES)
async def test_a_probe_that_waits_for_the_greeting(name: str) -> None:
    async with house(proxy_trusted=LOCAL, sessions_per_client=1) as h, connect(h.port) as c:
        await c.send(HEADERS_OF_PROBES[name])
        assert (await c.reply()).code == 220
        assert (await c.ask("HELO lb.example.com")).code == 250
        assert (await c.ask("NOOP")).code == 250
        assert (await c.ask("QUIT")).code == 221
        assert await c.reply() == CLOSED
        await asyncio.sleep(0)
        assert (h.watcher.connections, h.watcher.records) == (["probe"], [])


@pytest.mark.parametrize("header", [b"", v2(0, 0, b"")])
async def test_a_probe_that_says_hello_first_gets_no_greeting(header: bytes) -> None:
    """haproxy's tcp-check: the first octets that it reads must be a 250."""
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as c:
        assert (await c.ask(header + b"EHLO lb.example.com")).code == 250
        assert (await c.ask("QUIT")).code == 221
        assert h.watcher.connections == ["probe"]


async def test_mail_in_a_probe_is_refused_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """A balancer that was told to send headers and does not: nobody's mail may pass as the balancer's."""
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        assert (await c.ask("EHLO client.example")).code == 250
        assert (await c.ask("MAIL FROM:<a@sender.example>")).status == "421 4.3.2"
        assert await c.reply() == CLOSED
        (record,) = h.watcher.records
        assert record["reason"] == "proxy-protocol"
        assert "sent no header" in record["detail"]


async def test_a_draining_node_tells_its_balancer() -> None:
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as before:
        assert (await before.reply()).code == 220
        draining = asyncio.create_task(h.server.drain(5))
        assert (await before.reply()).status == "421 4.3.2", "an open probe ends"
        async with connect(h.port) as c:
            await c.send(HEADERS_OF_PROBES["v2 local"])
            assert (await c.reply()).status == "421 4.3.2", "a new one sees a node that is going"
        await draining


async def test_strangers_never_get_a_probes_answer() -> None:
    async with house(proxy_trusted=ELSEWHERE) as h, connect(h.port) as c:
        assert (await c.ask("EHLO lb.example.com")).status == "421 4.3.2"
        (record,) = h.watcher.records
        assert "not in a trusted network" in record["detail"]


async def _start(h: Any, **options: Any) -> int:
    from gateway.smtp.listener import make_listening_socket

    sock = make_listening_socket("127.0.0.1", 0)
    await h.server.start(sock, "second", **options)
    return int(h.server.addresses[-1][1])


async def test_direct_clients_beside_a_balancer() -> None:
    async with house() as h:
        port = await _start(h, proxy_trusted=ELSEWHERE, direct=True)
        async with connect(port) as c:
            await c.envelope()
            await c.send(b".\r\n")
            assert (await c.reply()).code == 250
        connection = h.relay.transactions[0].connection
        assert (connection.client_known, connection.proxy_ip) == (True, None)


@pytest.mark.parametrize("header", [HeaderUse.OPTIONAL, HeaderUse.NEVER])
async def test_clients_of_a_balancer_that_sends_no_header(header: HeaderUse) -> None:
    """Served, with an address that is not known: nothing may be concluded from the balancer's."""
    async with house(sessions_per_client=1) as h:
        port = await _start(h, proxy_trusted=LOCAL, header=header)
        async with connect(port) as one, connect(port) as two:
            for c in (one, two):
                await c.envelope()
                await c.send(b".\r\n")
                assert (await c.reply()).code == 250
        assert {tx.connection.client_known for tx in h.relay.transactions} == {False}


async def test_what_an_optional_header_says_counts() -> None:
    async with house() as h:
        port = await _start(h, proxy_trusted=LOCAL, header=HeaderUse.OPTIONAL)
        async with connect(port) as c:
            await c.send(v2(1, 0x11, V4))
            await c.envelope()
            await c.send(b".\r\n")
            assert (await c.reply()).code == 250
        assert str(h.relay.transactions[0].connection.client_ip) == "192.0.2.7"


async def test_the_client_survives_starttls(tmp_path: Any) -> None:
    async with house(tls=tmp_path, proxy_trusted=LOCAL) as h, connect(h.port) as c:
        await c.send(v2(1, 0x11, V4 + tlv(0xEA, b"\x01vpce-0123456789abcdef0")))
        assert (await c.reply()).code == 220
        assert (await c.ask("EHLO client.example")).code == 250
        assert (await c.starttls()).code == 220
        assert (await c.ask("EHLO client.example")).code == 250
        await c.data()
        await c.send(b".\r\n")
        assert (await c.reply()).code == 250
        connection = h.relay.transactions[0].connection
        assert connection.tls
        assert (str(connection.client_ip), connection.client_port) == ("192.0.2.7", 5000)
        assert h.watcher.records[-1]["proxy_endpoint"] == "vpce-0123456789abcdef0"


async def test_a_check_that_only_connects() -> None:
    async with house(proxy_trusted=LOCAL) as h:
        async with connect(h.port):
            await asyncio.sleep(0.1)
        while not h.watcher.ended:
            await asyncio.sleep(0.01)
        assert (h.watcher.connections, h.watcher.records) == (["probe"], [])


async def test_a_check_that_hears_the_greeting_and_breaks_off() -> None:
    async with house(proxy_trusted=LOCAL) as h:
        async with connect(h.port) as c:
            assert (await c.reply()).code == 220
        while not h.watcher.ended:
            await asyncio.sleep(0.01)
        assert (h.watcher.connections, h.watcher.records) == (["probe"], [])
