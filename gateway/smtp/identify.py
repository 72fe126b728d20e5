"""Who is it? From a socket's addresses and, behind a balancer, its PROXY header to a Connection.

Known gaps: a balancer's probe without a header is refused like any peer without one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from gateway.mail import limits
from gateway.mail.reply import Reply, reply_for
from gateway.mail.transaction import Address, Connection
from gateway.smtp.proxy import ProxyError, ProxyHeader, parse_proxy_header
from gateway.smtp.wire import ClientLost, IdleTimeout, Wire

if TYPE_CHECKING:
    from gateway.smtp.listener import Listener


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
    """The connection is not served: why, for the operator, and the reply, for the peer."""

    peer: Address
    why: str
    reply: Reply

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.peer.version


async def identify(
    wire: Wire, ends: Endpoints, listener: Listener, session_id: str, header_timeout: float
) -> Connection | Refusal:
    """The connection, with the client's address from the PROXY header where the listener expects one, which must be
    complete in ``header_timeout`` seconds."""
    direct = Connection(session_id, ends.peer_ip, ends.peer_port, ends.local_ip, ends.local_port, listener.name)
    if not listener.proxy_trusted:
        return direct
    if not any(ends.peer_ip in network for network in listener.proxy_trusted):
        return _refused(direct, "PROXY listener: the peer is not in a trusted network")
    try:
        header = await _read_header(wire, header_timeout)
    except ProxyError as error:
        return _refused(direct, f"PROXY listener: {error}")
    except IdleTimeout:
        return _refused(direct, f"PROXY listener: no header within {header_timeout:g} s")
    if header.client_ip is None:
        return Connection(
            session_id, ends.peer_ip, ends.peer_port, ends.local_ip, ends.local_port, listener.name,
            proxy_ip=ends.peer_ip, client_known=False,
        )  # fmt: skip
    return Connection(
        session_id, _unmapped(header.client_ip), header.client_port, header.local_ip, header.local_port, listener.name,
        proxy_ip=ends.peer_ip,
    )  # fmt: skip


async def _read_header(wire: Wire, timeout: float) -> ProxyHeader:
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        if wire.buffer:
            header = parse_proxy_header(bytes(wire.buffer[: 2 * limits.READ_CHUNK_OCTETS]))
            if header is not None:
                del wire.buffer[: header.length]
                return header
        await wire.more(deadline)


def _refused(connection: Connection, why: str) -> Refusal:
    return Refusal(connection.client_ip, why, reply_for("proxy-protocol", connection.session_id))


def _address(text: str) -> Address:
    return _unmapped(ip_address(text))


def _unmapped(address: IPv4Address | IPv6Address) -> Address:
    # an IPv4 client on a socket for both families: ::ffff:192.0.2.1
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
