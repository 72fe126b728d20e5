"""The greylist desk: where the check learns whom an operator lets pass, and tells what it did.

Known gaps: none.
"""

from __future__ import annotations

from typing import Final, Protocol

from gateway.mail.finding import Finding
from gateway.mail.transaction import Transaction

DELAYS: Final = (60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Upper ends, in seconds, of the classes in which real delays are counted; one class more lies above."""

STATES: Final = (
    "first",
    "early",
    "passed",
    "expired",
    "known",
    "auto",
    "learn",
    "bypass",
    "skipped",
    "skipped_store",
    "off",
)
"""What greylisting did with an attempt: the evidence ``state`` of its findings."""


class GreylistDesk(Protocol):
    """Never waits and never raises."""

    def allowed(self, tx: Transaction) -> str:
        """The operator's entry by which this transaction never waits, as it was written; '' if there is none."""
        ...

    def note(self, finding: Finding, window: float) -> None:
        """An attempt was judged. window: seconds in which a retry counts."""
        ...


class NoDesk:
    """Nobody is let pass, and nobody listens."""

    def allowed(self, tx: Transaction) -> str:  # noqa: ARG002
        """''."""
        return ""

    def note(self, finding: Finding, window: float) -> None:
        """Nothing happens."""
