"""What all sessions of a worker share: who we are, the pipeline, the policy in force, the mailstores.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.delivery.routes import Route
from gateway.delivery.stamp import Identity
from gateway.mail.limits import WireLimits
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.pipeline import Pipeline
from gateway.policy.model import Policy
from gateway.ports.mailstore import DeliveryResult
from gateway.ports.observer import Observer


class Relay(Protocol):
    """What the reception needs of ``delivery.routes.Router``; explain puts a dry one here."""

    def route_for(self, domain: str) -> Route | None:
        """The route of a recipient domain, or None: not ours."""
        ...

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand over inside ``budget`` seconds."""
        ...


def _nobody_waits(delivery: DeliveryResult) -> None:
    """There is no ledger."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions of a worker share. policy: gives the policy in force now. postmaster_domain: where
    ``RCPT TO:<Postmaster>`` without a domain goes (RFC 5321 section 4.5.1). reply_read: told of each delivery when the
    client has read what became of it. keeps_requiretls: whether every mailstore can take a message that asks for
    REQUIRETLS."""

    identity: Identity
    pipeline: Pipeline
    policy: Callable[[], Policy]
    relay: Relay
    observer: Observer
    limits: WireLimits = field(default_factory=WireLimits)
    postmaster_domain: str = ""
    reply_read: Callable[[DeliveryResult], None] = _nobody_waits
    keeps_requiretls: Callable[[], bool] = lambda: False
