"""What the policy says of a transaction: Accept, Quarantine, Defer or Reject, each with the rules that fired.

Known gaps: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Action(IntEnum):
    """In order of severity: the most severe hit wins."""

    ACCEPT = 0
    QUARANTINE = 1
    DEFER = 2
    REJECT = 3

    @property
    def word(self) -> str:
        """The action in lower case, as policies, records and metrics spell it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that fired: its id, what it asked for and the reason that keys the reply."""

    rule: str
    action: Action
    reason: str
    cut: bool = False  # hit, but an accept rule took it out


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision of one phase.

    action: what to do. reason: key of the reply table (``gateway.mail.reply.REPLIES``). because: every rule that hit,
    those cut by an accept rule too. unknown: checks whose answer is missing and would have mattered.
    enforced: False in observe mode: the verdict is recorded and the mail goes through.
    """

    action: Action
    reason: str = "accepted"
    because: tuple[RuleHit, ...] = ()
    unknown: tuple[str, ...] = ()
    enforced: bool = True

    @property
    def effective(self) -> Action:
        """What is really done: ACCEPT where the policy only observes."""
        return self.action if self.enforced else Action.ACCEPT
