"""Relays that the site trusts (a filtering provider, a front line, a secondary MX), and the clients behind them.

A session from such a relay has no client until the content is there: what judges an address is left out. Then the
client that handed the message to the first of these relays takes the place of the unknown one, as their Received fields
tell (``mail.received``), and the checks that judge by address run with those of the content.

Reasons: ``client-found``, ``client-unknown``.

Known gaps: a relay that writes no Received field of its own must not be listed, for a stranger's would be on top;
limits of connections and greylisting do not reach the client behind.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Final

from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.received import HandedOver, client_outside
from gateway.mail.transaction import Address, Connection, ExternalRelay, Hello, Transaction
from gateway.policy.settings import CheckSettings, ExternalRelaySettings
from gateway.ports import Ports

_PRIVATE: Final = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
        "fc00::/7", "fe80::/10", "::1/128",
    )
)  # fmt: skip


def marked(connection: Connection, settings: ExternalRelaySettings) -> Connection:
    """The connection of a trusted relay as one whose client is not known; any other as it is."""
    if not settings.enabled or not connection.client_known or not _trusts(settings, connection.client_ip):
        return connection
    relay = ExternalRelay(connection.client_ip, connection.client_port)
    return replace(connection, client_known=False, external_relay=relay)


def with_client(tx: Transaction, settings: ExternalRelaySettings) -> Transaction:
    """At the content: the transaction with the client behind the relay, its address and HELO name; where it cannot be
    told, it stays unknown, and why is noted."""
    relay, message = tx.connection.external_relay, tx.message
    if relay is None or message is None or tx.connection.client_known or not settings.enabled:
        return tx

    def is_inside(said: HandedOver) -> bool:
        # who authenticates from a private address is a user, whose fields are his own words, and no relay
        private = settings.private and _is_private(said.address) and not said.authenticated
        return private or _trusts(settings, said.address)

    found = client_outside(message, is_inside)
    client, why = found.client, found.why
    if client is not None and _is_private(client.address):
        client, why = None, "private"
    said = tx.hello.name if tx.hello else ""
    relay = replace(relay, hello=said, hop=found.hop, why_unknown=why)
    if client is None:
        return replace(tx, connection=replace(tx.connection, external_relay=relay))
    connection = replace(
        tx.connection, client_ip=client.address, client_port=0, client_known=True, external_relay=relay
    )
    hello = Hello(tx.hello.verb if tx.hello else "EHLO", client.helo)
    return replace(tx, connection=connection, hello=hello)


async def external_relay(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:  # noqa: ARG001
    """PASS 'client-found', NEUTRAL 'client-unknown'; None: the session is no trusted relay's. Evidence: relay and hop
    (the Received field, 1 on top, 0 for none), client and helo where found, else why (no-received, unreadable,
    authenticated, private, nobody-outside, too-many-hops)."""
    relay = tx.connection.external_relay
    if relay is None or tx.message is None:
        return None
    where: dict[str, Fact] = {"relay": str(relay.ip), "hop": relay.hop}
    if not tx.connection.client_known:
        return Finding("external_relay", Outcome.NEUTRAL, "client-unknown", {**where, "why": relay.why_unknown})
    told: dict[str, Fact] = {"client": str(tx.connection.client_ip), "helo": tx.hello.name if tx.hello else ""}
    return Finding("external_relay", Outcome.PASS, "client-found", {**where, **told})


def told_of(finding: Finding, tx: Transaction) -> Finding:
    """A finding about the client behind a relay, which says so: evidence client, relay and hop."""
    relay = tx.connection.external_relay
    if relay is None:
        return finding
    told: dict[str, Fact] = {"client": str(tx.connection.client_ip), "relay": str(relay.ip), "hop": relay.hop}
    return replace(finding, evidence={**finding.evidence, **told})


def _trusts(settings: ExternalRelaySettings, address: Address) -> bool:
    return any(address in network for network in settings.trusted)


def _is_private(address: Address) -> bool:
    return any(address in network for network in _PRIVATE)
