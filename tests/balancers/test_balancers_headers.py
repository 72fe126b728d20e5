"""What a PROXY header brings besides an address, when it comes, and each refusal with a record that says why."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from client import CLOSED, connect
from house import house

from gateway.mail import limits
from gateway.policy.load import load_text
from gateway.smtp.proxy import SIGNATURE_V2, ProxyError, crc32c, parse_proxy_header

LOCAL = (ip_network("127.0.0.0/8"),)
ELSEWHERE = (ip_network("10.0.0.0/8"),)
V4 = ip_address("192.0.2.7").packed + ip_address("198.51.100.1").packed + struct.pack("!HH", 5000, 25)


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE_V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack("!H", len(value)) + value


def with_checksum(body: bytes) -> bytes:
    header = v2(1, 0x11, body + tlv(3, bytes(4)))
    return header[:-4] + struct.pack("!I", crc32c(header))


OF_AWS = with_checksum(V4 + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9") + tlv(4, bytes(9)))
"""As a network balancer sends it: an endpoint id, padding, a checksum."""


def test_the_checksum_of_rfc_9260() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_the_header_of_a_network_balancer() -> None:
    parsed = parse_proxy_header(OF_AWS + b"EHLO")
    assert parsed is not None
    assert (str(parsed.client_ip), parsed.endpoint) == ("192.0.2.7", "vpce-08d2bf15fac5001c9")
    assert parsed.length == len(OF_AWS)


@pytest.mark.parametrize(
    "header",
    [
        with_checksum(V4)[:-1] + b"\xff",
        v2(1, 0x11, V4 + tlv(3, b"abc")),
        v2(1, 0x11, V4 + b"\x04"),
        v2(1, 0x11, V4 + b"\x04\x00\x05ab"),
        v2(1, 0, b"\x04\x00\x05ab")[:14] + struct.pack("!H", 5000),
    ],
)
def test_tlvs_that_cannot_be(header: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_proxy_header(header)


@pytest.mark.parametrize("late", [False, True], ids=["on_first_ack", "on_first_ack_with_payload"])
async def test_a_client_of_a_network_balancer(late: bool) -> None:
    """By default AWS sends the header with the client's first octets, and the client waits for our greeting."""
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as c:
        if late:
            assert (await c.reply()).code == 220
            await c.send(OF_AWS[:20])
            await c.send(OF_AWS[20:] + b"EHLO client.example\r\n")
        else:
            await c.send(OF_AWS)
            assert (await c.reply()).code == 220
            await c.send(b"EHLO client.example\r\n")
        assert (await c.reply()).code == 250, "one greeting, and no second one"
        await c.data()
        await c.send(b".\r\n")
        assert (await c.reply()).code == 250
        (record,) = h.watcher.records
        assert record["client_ip"] == "192.0.2.7"
        assert record["proxy_ip"] == "127.0.0.1"
        assert record["proxy_endpoint"] == "vpce-08d2bf15fac5001c9"
        assert h.watcher.connections == ["accepted"]


async def test_the_header_of_a_check_that_comes_late() -> None:
    async with house(proxy_trusted=LOCAL) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        assert (await c.ask(v2(0, 0, b"") + b"EHLO lb.example.com")).code == 250
        assert (await c.ask("QUIT")).code == 221
        assert h.watcher.connections == ["probe"]


async def test_a_late_header_of_a_client_that_may_not_come_in() -> None:
    async with house(proxy_trusted=LOCAL, sessions_per_client=1) as h, connect(h.port) as first:
        await first.send(OF_AWS)
        assert (await first.reply()).code == 220
        async with connect(h.port) as c:
            assert (await c.reply()).code == 220
            assert (await c.ask(OF_AWS + b"EHLO client.example")).status == "421 4.7.0"
            assert await c.reply() == CLOSED


GOOD = v2(1, 0x11, V4)
NOBODY_EXEMPT = load_text("{version: 1, checks: {greylist: {exempt_clients: []}}}", "policy.yaml")
REFUSED = {
    "untrusted": (ELSEWHERE, False, GOOD, "the peer is not in a trusted network"),
    "untrusted, no header": (ELSEWHERE, False, b"EHLO client.example\r\n", "the peer is not in a trusted network"),
    "untrusted beside direct clients": (ELSEWHERE, True, GOOD, "a header from a peer that is not in a trusted network"),
    "untrusted, after the greeting": (ELSEWHERE, True, None, "a PROXY header where none is expected"),
    "missing": (LOCAL, False, b"MAIL FROM:<a@sender.example>\r\n", "no PROXY header"),
    "missing, as if from a probe": (LOCAL, False, b"EHLO a\r\nMAIL FROM:<a@sender.example>\r\n", "that sent no header"),
    "unknown client": (LOCAL, False, b"PROXY UNKNOWN\r\nEHLO a\r\nMAIL FROM:<>\r\n", "whose header names no client"),
    "missing TLS": (LOCAL, False, b"\x16\x03\x01\x02\x00", "no PROXY header"),
    "broken address": (LOCAL, False, b"PROXY TCP4 192.0.2.777 198.51.100.1 5000 25\r\n", "no valid address"),
    "broken version": (LOCAL, False, GOOD[:12] + b"\x11" + GOOD[13:], "unknown version or command"),
    "broken checksum": (LOCAL, False, OF_AWS[:-1] + b"\x00", "the checksum of the v2 header is wrong"),
    "broken TLV": (LOCAL, False, v2(1, 0x11, V4 + b"\x04\x00\x05ab"), "a TLV of the v2 header is longer"),
    "too short": (LOCAL, False, v2(1, 0x21, V4), "too short for IPv6"),
    "not complete in time": (LOCAL, False, GOOD[:20], "no complete header within 0.3 s"),
    "late and broken": (LOCAL, False, None, "the checksum of the v2 header is wrong"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_each_refusal_has_a_record_that_says_why(name: str) -> None:
    trusted, direct, octets, why = REFUSED[name]
    # a direct client from the Internet is not greeted at once, one of this machine is
    delay = limits.TARPIT_SECONDS if direct and octets else 0
    given: Any = {"listener": {"direct": direct}, "greeting_delay": delay}
    async with house(proxy_trusted=trusted, proxy_header_timeout=0.3, **given) as h:
        h.policy[0] = NOBODY_EXEMPT
        async with connect(h.port) as c:
            if octets is None:
                assert (await c.reply()).code == 220
                octets = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n" if direct else OF_AWS[:-1] + b"\x00"
            await c.send(octets)
            said = [await c.reply()]
            while said[-1].code == 250:
                said.append(await c.reply())
            assert said[-1].status == "421 4.3.2"
            assert await c.reply() == CLOSED
        (record,) = h.watcher.records
        assert (record["event"], record["result"], record["reason"]) == ("reject", "deferred", "proxy-protocol")
        assert why in record["detail"]
        assert h.watcher.connections[-1] == ("accepted" if "after" in name else "proxy_error")
