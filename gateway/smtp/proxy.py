"""PROXY protocol headers, v1 and v2 (haproxy, doc/proxy-protocol.txt): octets in, an address or a fault out. Pure.

A header is believed from trusted networks only; that is ``identify``'s matter. Of the TLVs the checksum is verified and
the endpoint id of an AWS network balancer is kept; the rest is walked over, so that one that overruns is noticed.

Known gaps: UNIX and UDP addresses count as unknown clients.
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
_ADDRESS_OCTETS: Final = {0x11: 12, 0x21: 36}
_TLV_CRC32C: Final = 0x03
_TLV_AWS: Final = 0xEA


class ProxyError(ValueError):
    """The octets are no PROXY header; the text is safe to log."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """client_ip is None for LOCAL and UNKNOWN: the balancer speaks for itself (then ``local`` too) or hides the client.
    length: octets of the header. endpoint: id of the AWS VPC endpoint that the client came through, or ''."""

    length: int
    client_ip: Address | None = None
    client_port: int = 0
    local_ip: Address | None = None
    local_port: int = 0
    local: bool = False
    endpoint: str = ""


def parse_proxy_header(octets: bytes) -> ProxyHeader | None:
    """The header at the beginning of the octets; None: more octets are needed. Raises ProxyError."""
    if octets[: len(SIGNATURE_V2)] == SIGNATURE_V2[: len(octets)]:
        return _parse_v2(octets)
    if octets[:6] == b"PROXY "[: len(octets)]:
        return _parse_v1(octets)
    raise ProxyError("no PROXY header")


def begins_header(octets: bytes | bytearray) -> bool:
    """Whether these first octets, some at least, can be those of a header."""
    return any(octets[: len(begin)] == begin[: len(octets)] for begin in (SIGNATURE_V2, b"PROXY ")) and bool(octets)


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
    local = command & 15 == 0
    body = octets[16:total]
    if local:
        # section 2.2: whatever else it holds is discarded, the connection is the balancer's own
        return ProxyHeader(total, local=True)
    size = _ADDRESS_OCTETS.get(family, length)
    if length < size:
        raise ProxyError(f"v2 header is too short for {'IPv4' if size == 12 else 'IPv6'}")
    endpoint = _walk_tlvs(octets[:total], 16 + size)
    if family == 0x11:
        source, target, source_port, target_port = struct.unpack_from("!4s4sHH", body)
        client, server = IPv4Address(source), IPv4Address(target)
        return ProxyHeader(total, client, source_port, server, target_port, endpoint=endpoint)
    if family == 0x21:
        source, target, source_port, target_port = struct.unpack_from("!16s16sHH", body)
        client6, server6 = IPv6Address(source), IPv6Address(target)
        return ProxyHeader(total, client6, source_port, server6, target_port, endpoint=endpoint)
    return ProxyHeader(total)


def _walk_tlvs(header: bytes, at: int) -> str:
    """Verify the TLVs behind the addresses (section 2.2). Returns the AWS endpoint id, or ''. Raises ProxyError."""
    endpoint = ""
    while at < len(header):
        if at + 3 > len(header):
            raise ProxyError("v2 header ends inside a TLV")
        kind, size = header[at], struct.unpack_from("!H", header, at + 1)[0]
        at += 3
        value = header[at : at + size]
        if len(value) < size:
            raise ProxyError("a TLV of the v2 header is longer than the header")
        if kind == _TLV_CRC32C:
            # the sum is over the whole header with zeros where the sum stands (section 2.2.3)
            if size != 4 or crc32c(header[:at] + bytes(4) + header[at + 4 :]) != struct.unpack("!I", value)[0]:
                raise ProxyError("the checksum of the v2 header is wrong")
        elif kind == _TLV_AWS and value[:1] == b"\x01":
            endpoint = "".join(chr(o) if 0x21 <= o <= 0x7E else "?" for o in value[1:65])
        at += size
    return endpoint


def crc32c(octets: bytes) -> int:
    """The Castagnoli checksum (RFC 9260 appendix A)."""
    register = 0xFFFFFFFF
    for octet in octets:
        register = register >> 8 ^ _CRC_TABLE[(register ^ octet) & 0xFF]
    return register ^ 0xFFFFFFFF


def _crc_row(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (0x82F63B78 if index & 1 else 0)
    return index


_CRC_TABLE: Final = tuple(_crc_row(index) for index in range(256))
