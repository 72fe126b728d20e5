"""IP addresses of clients: the one form that each has, and the network that it belongs to.

Known gaps: none.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gateway.mail.limits import NETWORK_BITS


def is_address(text: str) -> bool:
    """Whether it is an IP address of either family, without brackets."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address where it is one in IPv6's clothes (``::ffff:192.0.2.1``, RFC 4291 section 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def network_of(
    address: IPv4Address | IPv6Address, ipv4_prefix: int = NETWORK_BITS[4], ipv6_prefix: int = NETWORK_BITS[6]
) -> str:
    """The network of an address: ``192.0.2.0/24``, ``2001:db8::/64``. Prefixes in bits; what one customer of a provider
    commonly has where nothing is said. Kept, since a session asks a dozen times."""
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    return str(ip_network((address, prefix), strict=False))
