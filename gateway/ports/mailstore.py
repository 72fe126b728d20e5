"""The mailstore as a port: hand a message over, ask whether a recipient exists.

Known gaps: quota and mailbox state are known only from the mailstore's replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.mail.address import Mailbox
from gateway.mail.finding import Cause
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction


class Known(StrEnum):
    """Whether a recipient exists."""

    YES = "yes"
    NO = "no"
    UNVERIFIABLE = "unverifiable"  # this mailstore cannot be asked (Maildir that accepts all, verification off)


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """known; detail is the mailstore's reply (for the record); cached: the answer was not asked for now."""

    known: Known
    detail: str = ""
    cached: bool = False


class RecipientDirectory(Protocol):
    """Asks the mailstore of the recipient's route."""

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """Does it exist? Raises PortFailure('mailstore', ...) when nobody can say."""
        ...


class Handover(StrEnum):
    """What became of the message for one recipient."""

    DELIVERED = "delivered"  # the mailstore said 2yz after the final dot: it holds the message now
    DEFERRED = "deferred"  # 4yz, or never reached
    REFUSED = "refused"  # 5yz
    MAYBE = "maybe"  # the connection was lost after our final dot: nobody knows (RFC 1047)
    BEFORE = "delivered-before"  # the ledger knows that a mailstore has taken this very message for them
    BUSY = "busy"  # another session hands this very message over to them at this moment

    @property
    def held(self) -> bool:
        """A mailstore holds the message."""
        return self in (Handover.DELIVERED, Handover.BEFORE)


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """One recipient's result. code and enhanced ('' if none) and text are the mailstore's own reply, unsanitised;
    code is 0 when there was none. cause is set when a port failed."""

    handover: Handover
    code: int = 0
    enhanced: str = ""
    text: str = ""
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """Results of all recipients, the mailstore that was used ('': none), and seconds by phase (connect, envelope,
    content). ledger: what was special about the ledger, for the record: delivered-before, busy, unavailable or ''.
    receipt: the key under which the ledger keeps the delivered recipients, or ''. lacking: the mailstore was not
    offered the message, since it has not the extension that it needs; another one may."""

    mailstore: str
    results: Mapping[Mailbox, RecipientResult]
    timings: Mapping[str, float] = field(default_factory=dict)
    ledger: str = ""
    receipt: str = ""
    lacking: bool = False


class Mailstore(Protocol):
    """One mailstore behind one route entry, such as smtp://10.1.0.5:25."""

    @property
    def name(self) -> str:
        """Its URL without secrets: label of metrics and records."""
        ...

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand over for all recipients of the envelope inside ``budget`` seconds. Raises PortFailure only when
        nothing of the message was taken (so the next mailstore of the route may be tried)."""
        ...

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """Ask by RCPT without sending anything. Raises PortFailure."""
        ...

    async def close(self) -> None:
        """End pooled connections politely (QUIT)."""
        ...
