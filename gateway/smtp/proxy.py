"""PROXY protocol headers, v1 and v2 (haproxy, doc/proxy-protocol.txt): octets in, an address or a fault out. Pure.

A header is believed from trusted networks only; that is the session's matter. TLVs are skipped.

Known gaps: the CRC32C TLV is not verified; UNIX and UDP addresses count as unknown clients.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from gateway.mail.transaction import Address

SIGNATURE_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
V1_OCTETS: Final = 107
V2_OCTETS: Final = 16 + 4096
"""The specification lets TLVs grow to 64 KiB; balancers send some hundred octets."""


class ProxyError(ValueError):
    """The octets are no PROXY header; the text is safe to log."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """client_ip is None for LOCAL and UNKNOWN: the balancer speaks for itself or hides the client. length: octets of
    the header."""

    length: int
    client_ip: Address | None = None
    client_port: int = 0
    local_ip: Address | None = None
    local_port: int = 0


def parse_proxy_header(octets: bytes) -> ProxyHeader | None:
    """The header at the beginning of the octets; None: more octets are needed. Raises ProxyError."""
    if octets[: len(SIGNATURE_V2)] == SIGNATURE_V2[: len(octets)]:
        return _parse_v2(octets)
    if octets[:6] == b"PROXY "[: len(octets)]:
        return _parse_v1(octets)
    raise ProxyError("no PROXY header")


def _parse_v1(octets: bytes) -> ProxyHeader | None:
    end = octets.find(b"\r\n", 0, V1_OCTETS)
    if end < 0:
        if len(octets) >= V1_OCTETS:
            raise ProxyError("v1 header is longer than 107 octets")
        return None
    words = octets[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(end + 2)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("v1 header has the wrong number of words or an unknown family")
    try:
        client, local = (ip_address(word.decode("ascii")) for word in words[2:4])
        ports = [int(word) for word in words[4:6] if word.isdigit() and len(word) <= 5]
    except ValueError as error:
        raise ProxyError("v1 header has no valid address") from error
    version = 4 if words[1] == b"TCP4" else 6
    if client.version != version or local.version != version:
        raise ProxyError("v1 header's addresses are not of its family")
    if len(ports) != 2 or max(ports) > 65535:
        raise ProxyError("v1 header has no valid port")
    return ProxyHeader(end + 2, client, ports[0], local, ports[1])


def _parse_v2(octets: bytes) -> ProxyHeader | None:
    if len(octets) < 16:
        return None
    command, family, length = octets[12], octets[13], struct.unpack_from("!H", octets, 14)[0]
    if command >> 4 != 2 or command & 15 > 1:
        raise ProxyError("v2 header of an unknown version or command")
    total = 16 + length
    if total > V2_OCTETS:
        raise ProxyError("v2 header is longer than we read")
    if len(octets) < total:
        return None
    if command & 15 == 0:
        return ProxyHeader(total)
    body = octets[16:total]
    if family == 0x11:
        if length < 12:
            raise ProxyError("v2 header is too short for IPv4")
        source, target, source_port, target_port = struct.unpack_from("!4s4sHH", body)
        return ProxyHeader(total, IPv4Address(source), source_port, IPv4Address(target), target_port)
    if family == 0x21:
        if length < 36:
            raise ProxyError("v2 header is too short for IPv6")
        source, target, source_port, target_port = struct.unpack_from("!16s16sHH", body)
        return ProxyHeader(total, IPv6Address(source), source_port, IPv6Address(target), target_port)
    return ProxyHeader(total)
