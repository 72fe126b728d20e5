"""Who is it? From a socket's addresses and, behind a balancer, its PROXY header to a Connection.

A trusted peer of a PROXY listener is listened to before it is greeted, since its first octets say what it wants:

| first octets                    | it is                                                                   |
|---------------------------------|-------------------------------------------------------------------------|
| v1 or v2 with an address        | a client                                                                |
| v2 LOCAL                        | a probe                                                                 |
| v1 UNKNOWN, v2 without address  | a probe; with ``header: optional`` a client whose address is not known  |
| ``HELO`` or ``EHLO``            | a probe that does not wait for the greeting                             |
| nothing for a second            | a probe; with ``header: optional`` a client whose address is not known  |
| anything else                   | refused                                                                 |

With ``header: never`` a trusted peer is greeted at once, as a client whose address is not known.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from gateway.mail.network import unmapped
from gateway.mail.transaction import Address, Connection
from gateway.smtp.proxy import SIGNATURE_V2, V2_OCTETS, ProxyError, ProxyHeader, parse_proxy_header
from gateway.smtp.wire import ClientLost, IdleTimeout, Wire

SILENCE: Final = 1.0
"""Seconds after which a silent trusted peer waits for our greeting. Balancers' checks often have 2 s in all."""
AFTER_LOCAL: Final = 0.3
"""The same for a probe that has sent its header: some say EHLO at once, some wait."""


class HeaderUse(StrEnum):
    """Whether a balancer sends PROXY headers: always, sometimes (its checks or other ports do not), never."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket. proxy_trusted: networks of balancers; not empty: a PROXY header is expected from them.
    direct: serve other peers as direct clients. xclient: networks whose hosts may say XCLIENT."""

    name: str
    proxy_trusted: tuple[IPv4Network | IPv6Network, ...] = ()
    direct: bool = False
    header: HeaderUse = HeaderUse.REQUIRED
    xclient: tuple[IPv4Network | IPv6Network, ...] = ()

    def trusts(self, peer: Address) -> bool:
        """Whether this peer is one of the balancers."""
        return any(peer in network for network in self.proxy_trusted)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both ends of a TCP connection."""

    peer_ip: Address
    peer_port: int
    local_ip: Address
    local_port: int

    @classmethod
    def of(cls, transport: asyncio.BaseTransport | None) -> Endpoints:
        """The ends of a transport. Raises ClientLost where the peer has gone already."""
        if transport is None:
            raise ClientLost
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not local:
            raise ClientLost
        return cls(_address(peer[0]), peer[1], _address(local[0]), local[1])


@dataclass(frozen=True, slots=True)
class Refusal:
    """The connection is not served: why, for the operator and the record."""

    connection: Connection
    why: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A balancer's own connection. greet_after: seconds of silence before our 220; None: it does not wait for one."""

    connection: Connection
    greet_after: float | None

    def as_refusal(self) -> Refusal:
        """It wants to send mail, so it was none."""
        told = "whose header names no client" if self.greet_after == AFTER_LOCAL else "that sent no header"
        return Refusal(self.connection, f"PROXY listener: mail from a trusted peer {told}")


async def identify(
    wire: Wire, ends: Endpoints, listener: Listener, session_id: str, header_timeout: float
) -> Connection | Probe | Refusal:
    """Who it is. A header that has begun must be complete in ``header_timeout`` seconds. Raises ClientLost."""
    direct = Connection(session_id, ends.peer_ip, ends.peer_port, ends.local_ip, ends.local_port, listener.name)
    if not listener.proxy_trusted:
        return direct
    if not listener.trusts(ends.peer_ip):
        if not listener.direct:
            return Refusal(direct, "PROXY listener: the peer is not in a trusted network")
        return direct
    balancer = replace(direct, proxy_ip=ends.peer_ip, client_known=False)
    if listener.header is HeaderUse.NEVER:
        return balancer
    optional = listener.header is HeaderUse.OPTIONAL
    try:
        header = await _first_octets(wire, header_timeout)
    except ProxyError as error:
        return Refusal(balancer, f"PROXY listener: {error}")
    except IdleTimeout:
        if wire.buffer:
            return Refusal(balancer, f"PROXY listener: no complete header within {header_timeout:g} s")
        return balancer if optional else Probe(balancer, 0.0)
    if header is None:
        return Probe(balancer, None)
    if header.client_ip is None:
        return balancer if optional and not header.local else Probe(balancer, AFTER_LOCAL)
    return Connection(
        session_id, header.client_ip, header.client_port, header.local_ip, header.local_port, listener.name,
        proxy_ip=ends.peer_ip, proxy_endpoint=header.endpoint,
    )  # fmt: skip


def header_of_a_stranger(wire: Wire, connection: Connection, listener: Listener) -> Refusal | None:
    """On a listener that also serves direct clients: a header that one of them has sent before the greeting."""
    octets = bytes(wire.buffer[: len(SIGNATURE_V2)])
    if not listener.proxy_trusted or connection.proxy_ip is not None:
        return None
    if not octets.startswith(b"PROXY ") and octets != SIGNATURE_V2:
        return None
    return Refusal(connection, "PROXY listener: a header from a peer that is not in a trusted network")


async def _first_octets(wire: Wire, timeout: float) -> ProxyHeader | None:
    """The header, taken off the wire; None: it says hello instead, which stays there. Raises ProxyError, ClientLost,
    and IdleTimeout, with an empty buffer after a short silence already."""
    started = asyncio.get_running_loop().time()
    while True:
        hello = bytes(wire.buffer[:4]).upper()
        if hello in (b"HELO", b"EHLO"):
            return None
        if hello and not any(word.startswith(hello) for word in (b"HELO", b"EHLO")):
            header = parse_proxy_header(bytes(wire.buffer[:V2_OCTETS]))
            if header is not None:
                del wire.buffer[: header.length]
                return header
        await wire.more(started + (timeout if hello else min(SILENCE, timeout)))


def _address(text: str) -> Address:
    # an IPv4 peer on a socket for both families
    return unmapped(ip_address(text))
