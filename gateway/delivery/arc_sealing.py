"""A relay that adds our ARC set to each message on its way to the mailstore; off unless ``arc.seal`` stands in the
settings.

It wraps the relay of the node, so nobody before it knows of sealing. It needs the finding of the arc check: where the
policy has that check off, nothing is sealed.

Known gaps: the key is read at the start of a worker only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from gateway.auth.arc_seal import MAX_SETS, WANT, Sealer, chain_value, seal
from gateway.auth.arc_verify import read_chain
from gateway.checks.dkim import hashed, judged
from gateway.delivery.routes import Relay, Route
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.mailstore import DeliveryResult


@dataclass(frozen=True, slots=True)
class SealingRelay:
    """Seals, then hands over by ``relay``."""

    relay: Relay
    sealer: Sealer

    def route_for(self, domain: str) -> Route | None:
        """The route of a recipient domain."""
        return self.relay.route_for(domain)

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand the sealed message over; the time that sealing took is part of ``budget`` seconds."""
        started = time.monotonic()
        sealed = await self.sealed(tx, message)
        return await self.relay.deliver(tx, sealed, max(0.0, budget - (time.monotonic() - started)))

    async def sealed(self, tx: Transaction, message: OutgoingMessage) -> OutgoingMessage:
        """The message with our set on top, or as it is where none is to be added (``auth.arc_seal.chain_value``)."""
        found = tx.findings.get("arc")
        results = Message.parse(message.prepended + b"\r\n")
        ours = results.all("authentication-results")
        if found is None or not ours:
            return message
        content = message.message
        chain = read_chain(content, MAX_SETS)
        value = chain_value(chain, found.outcome)
        if value is None:
            return message
        digests = await hashed(content, {WANT})
        removed = frozenset(message.removed)
        text = results.raw(ours[0])
        fields = await judged(
            content, lambda: seal(content, removed, chain, value, text, digests[WANT], self.sealer, tx.now)
        )
        return replace(message, prepended=fields + message.prepended)
