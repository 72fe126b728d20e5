"""What all sessions of a worker share: who we are, the pipeline, the policy in force, the mailstores.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.delivery.routes import Relay
from gateway.delivery.stamp import Identity
from gateway.mail.limits import WireLimits
from gateway.mail.reply import Reply
from gateway.mail.transaction import Address, Transaction
from gateway.mail.verdict import Verdict
from gateway.pipeline import Pipeline
from gateway.policy.model import Policy, Profile
from gateway.ports.mailstore import DeliveryResult
from gateway.ports.observer import Observer


class Accounts(Protocol):
    """Who keeps count of clients beside the checks. All return at once."""

    def enter(self, client: Address) -> None:
        """A session of this client begins."""
        ...

    def leave(self, client: Address) -> None:
        """It has ended."""
        ...

    def error(self, client: Address) -> None:
        """The client gets a 5yz."""
        ...

    def recipient_refused(self, tx: Transaction, profile: Profile) -> None:
        """The verdict on a recipient refuses it; profile: by which it was judged."""
        ...

    def ended(self, tx: Transaction, verdict: Verdict | None, reply: Reply | None, profile: Profile) -> None:
        """A transaction has ended with this reply; None: without one."""
        ...


class NoAccounts:
    """Nobody keeps count."""

    def enter(self, client: Address) -> None:
        """Nothing."""

    def leave(self, client: Address) -> None:
        """Nothing."""

    def error(self, client: Address) -> None:
        """Nothing."""

    def recipient_refused(self, tx: Transaction, profile: Profile) -> None:
        """Nothing."""

    def ended(self, tx: Transaction, verdict: Verdict | None, reply: Reply | None, profile: Profile) -> None:
        """Nothing."""


_NO_ACCOUNTS = NoAccounts()


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
    accounts: Accounts = _NO_ACCOUNTS
