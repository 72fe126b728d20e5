"""The account of a drill: what was sent, what arrived, what is lost or there twice, how long recovery took.

Known gaps: recovery holds the sender's own pause between two attempts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.drills.load import Load
from gateway.drills.probe import How


@dataclass(frozen=True, slots=True)
class Account:
    """Counts of messages; recovery and longest in seconds. lost: the sender heard 250 and the mailbox does not have it.
    duplicated: further copies. refused: 5yz. given_up: nobody had taken it when the drill's patience ended."""

    sent: int
    delivered: int
    lost: int
    duplicated: int
    refused: int
    given_up: int
    recovery: float
    longest: float
    sessions_cut: int
    unanswered: int
    unreached: int
    replies: Mapping[str, int]
    accepted_at: Mapping[str, int]
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """All is as it must be."""
        return not (self.lost or self.duplicated or self.refused or self.given_up or self.wrong)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "sent": self.sent, "delivered": self.delivered, "lost": self.lost, "duplicated": self.duplicated,
            "refused": self.refused, "given_up": self.given_up, "recovery_seconds": round(self.recovery, 1),
            "longest_seconds": round(self.longest, 1), "sessions_cut": self.sessions_cut,
            "unanswered": self.unanswered, "unreached": self.unreached, "replies": dict(self.replies),
            "accepted_at": dict(self.accepted_at), "wrong": list(self.wrong), "passed": self.passed,
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        replies = ", ".join(f"{text} ({number})" for text, number in sorted(self.replies.items())) or "none"
        rows = [
            ("sent", str(self.sent)),
            ("delivered", str(self.delivered)),
            ("lost", str(self.lost)),
            ("duplicated", str(self.duplicated)),
            ("refused", str(self.refused)),
            ("given up", str(self.given_up)),
            ("recovery", f"{self.recovery:.1f} s"),
            ("longest way", f"{self.longest:.1f} s"),
            ("sessions cut", f"{self.sessions_cut}; after the final dot: {self.unanswered}"),
            ("not reached", str(self.unreached)),
            ("other replies", replies),
        ]
        rows += [("accepted at", f"{place}: {number}") for place, number in sorted(self.accepted_at.items())]
        return rows + [("WRONG", text) for text in self.wrong]


def account(
    load: Load, arrived: Counter[str], since: float, recovery: float | None = None, wrong: tuple[str, ...] = ()
) -> Account:
    """since: from when recovery counts, on the monotonic clock, until the last message that was put off or cut was
    answered 250. recovery: where it is known otherwise."""
    answered = [sent for sent in load.sent if sent.how is How.ACCEPTED]
    again = [sent.ended - since for sent in answered if sent.troubled and sent.ended > since]
    return Account(
        sent=len(load.sent),
        delivered=len(arrived),
        lost=sum(sent.message_id not in arrived for sent in answered),
        duplicated=sum(arrived.values()) - len(arrived),
        refused=sum(sent.how is How.REFUSED for sent in load.sent),
        given_up=load.owed,
        recovery=max(again, default=0.0) if recovery is None else recovery,
        longest=max((sent.ended - sent.began for sent in answered), default=0.0),
        sessions_cut=load.cut,
        unanswered=load.unanswered,
        unreached=load.unreached,
        replies=load.replies,
        accepted_at=load.accepted_at,
        wrong=wrong,
    )
