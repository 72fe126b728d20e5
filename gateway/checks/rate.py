"""How much a client's network sends: connections and messages in a sliding window.

One network, not one address: an IPv6 client owns a /64 at least. What is refused counts too, so a flood does not
become legal by being refused.

Known gaps: while the store is out nothing is counted; the node's own limits of sessions stay.
"""

from __future__ import annotations

from ipaddress import ip_network

from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.transaction import Address, Transaction
from gateway.policy.settings import CheckSettings, RateSettings
from gateway.ports import Ports
from gateway.ports.store import Counter


async def rate(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """Count this connection. FAIL 'too-many-connections' above the limit. Raises PortFailure('store')."""
    assert isinstance(settings, RateSettings)
    return await _counted(tx, ports, settings, "connections", settings.connections)


async def rate_messages(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """Count this message (at MAIL). Its finding takes the place of the connection's. FAIL 'too-many-messages'."""
    assert isinstance(settings, RateSettings)
    return await _counted(tx, ports, settings, "messages", settings.messages)


def network_of(address: Address, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The network of an address: ``192.0.2.0/24``, ``2001:db8::/64``."""
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    return str(ip_network((address, prefix), strict=False))


async def _counted(tx: Transaction, ports: Ports, settings: RateSettings, what: str, limit: int) -> Finding:
    client = tx.connection.client_ip
    network = network_of(client, settings.ipv4_prefix, settings.ipv6_prefix)
    if not limit or any(client in exempt for exempt in settings.exempt):
        return Finding("rate", Outcome.PASS, "exempt", {"network": network})
    (number,) = await ports.store.count([Counter(f"{what}:{network}", 1, settings.window)])
    evidence: dict[str, Fact] = {what: number, "limit": limit, "network": network}
    if number > limit:
        return Finding("rate", Outcome.FAIL, f"too-many-{what}", evidence)
    return Finding("rate", Outcome.PASS, "below-limit", evidence)
