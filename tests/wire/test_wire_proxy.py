"""PROXY headers: believed from trusted networks only, v1 and v2, cut anywhere; broken ones end the connection."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import ip_address, ip_network

import pytest
from client import connect
from house import house

from gateway.smtp.proxy import SIGNATURE_V2, ProxyError, parse_proxy_header

LOCAL = (ip_network("127.0.0.0/8"),)


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE_V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


V4 = ip_address("192.0.2.7").packed + ip_address("198.51.100.1").packed + struct.pack("!HH", 5000, 25)
V6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + struct.pack("!HH", 5000, 25)
GOOD = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n", "192.0.2.7"),
    "v1 tcp6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 25\r\n", "2001:db8::7"),
    "v2 tcp4": (v2(1, 0x11, V4), "192.0.2.7"),
    "v2 tcp6 with TLV": (v2(1, 0x21, V6 + b"\x04\x00\x02ab"), "2001:db8::7"),
}
BAD = [
    b"QUIT\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 70000 2\r\n", b"PROXY " + b"x" * 200, SIGNATURE_V2 + b"\x11\x11\0\0" + b"x" * 8, v2(1, 0x11, b"short"),
    v2(5, 0x11, V4),
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
async def test_the_client_behind_the_balancer(name: str) -> None:
    header, client = GOOD[name]
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as c:
        await c.send(header[:5])
        await asyncio.sleep(0.01)
        await c.send(header[5:])
        await c.envelope()
        await c.send(b".\r\n")
        assert (await c.reply()).status == "250 2.0.0"
        connection = h.relay.transactions[0].connection
        assert connection.client_known
        assert str(connection.client_ip) == client
        assert str(connection.proxy_ip) == "127.0.0.1"


@pytest.mark.parametrize("octets", BAD)
async def test_broken_headers(octets: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as c:
        await c.send(octets)
        assert (await c.reply()).status == "421 4.3.2"
        assert (await c.reply()).code == 0
        assert h.watcher.connections == ["proxy_error"]
        assert "PROXY listener" in caplog.text
        (record,) = h.watcher.records
        assert (record["event"], record["reason"], record["result"]) == ("reject", "proxy-protocol", "deferred")
        assert record["detail"].startswith("PROXY listener: ")


async def test_untrusted_peer(caplog: pytest.LogCaptureFixture) -> None:
    async with house(proxy_trusted=[ip_network("10.0.0.0/8")]) as h, connect(h.port) as c:
        await c.send(GOOD["v1 tcp4"][0])
        assert (await c.reply()).status == "421 4.3.2"
        assert "not in a trusted network" in caplog.text


async def test_a_header_on_a_plain_listener() -> None:
    """The balancer would be taken for the client of all mail: the operator must see that."""
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.send(GOOD["v1 tcp4"][0])
        assert (await c.reply()).status == "421 4.3.2"
        (record,) = h.watcher.records
        assert record["reason"] == "proxy-protocol"
        assert record["detail"].startswith("a PROXY header where none is expected")


async def test_a_v2_header_on_a_plain_listener_is_no_client() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.send(GOOD["v2 tcp4"][0] + b"\r\n")
        assert {(await c.reply()).code for _ in range(3)} == {500}
        assert h.relay.kept == []


@pytest.mark.parametrize("name", GOOD)
def test_every_prefix_asks_for_more(name: str) -> None:
    header = GOOD[name][0]
    for cut in range(len(header)):
        assert parse_proxy_header(header[:cut]) is None
    parsed = parse_proxy_header(header + b"EHLO")
    assert parsed is not None
    assert parsed.length == len(header)


@pytest.mark.parametrize("octets", BAD)
def test_bad_headers_raise_only_their_error(octets: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_proxy_header(octets)
