"""Two policies over the same findings: what a candidate would do otherwise, counted with examples.

What is compared is what becomes of somebody: a refused session, a refused mail, a refused recipient, a content. Where
the candidate refuses earlier (the session, the mail, a recipient), that is compared with what the policy in force does
in the end; what ends otherwise (the client leaves) is not counted. Findings are those of the policy in force;
``differing_settings`` names the checks that a candidate would ask otherwise. Pure, and bounded in what it keeps.

Known gaps: recipients whom the candidate would put into several profiles are judged together, by the most severe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.policy.decide import decide
from gateway.policy.model import Policy

ROWS: Final = 200
EXAMPLES: Final = 5
_IDS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """before and after: what is done (accept, quarantine, defer, reject), with the reasons that key the replies.
    rules: that decide with the candidate only (``+id``) or with the policy in force only (``-id``)."""

    phase: str
    before: str
    after: str
    reason_before: str
    reason_after: str
    rules: tuple[str, ...]


def change_of(phase: Phase, before: Verdict, after: Verdict) -> Change | None:
    """None where the client and the mailstore would see the same."""
    words = [(verdict.effective, _reason(verdict)) for verdict in (before, after)]
    if words[0] == words[1]:
        return None
    old, new = _deciding(before), _deciding(after)
    rules = tuple(f"+{name}" for name in new if name not in old) + tuple(f"-{name}" for name in old if name not in new)
    (was, reason), (would, reason_after) = words
    return Change(phase.value, was.word, would.word, reason, reason_after, rules)


def _reason(verdict: Verdict) -> str:
    return verdict.reason if verdict.effective > Action.ACCEPT else ""


def _deciding(verdict: Verdict) -> tuple[str, ...]:
    if verdict.effective is Action.ACCEPT:
        # nothing was done: what let it pass is what took the refusals out
        return tuple(hit.rule for hit in verdict.because if hit.action is Action.ACCEPT)
    found = tuple(hit.rule for hit in verdict.because if hit.action is verdict.action and not hit.cut)
    return found or tuple(f"unknown:{name}" for name in verdict.unknown)


def verdict_by(policy: Policy, tx: Transaction, phase: Phase) -> Verdict:
    """The verdict of another policy: by the profiles of the recipients, the most severe of them."""
    recipients = (tx.rcpt,) if tx.rcpt else tx.envelope.recipients if tx.envelope else ()
    profiles = {(profile := policy.for_domain(mailbox.domain)).name: profile for mailbox in recipients}
    verdicts = [decide(tx, profile, phase) for profile in profiles.values() or (policy.default,)]
    return max(verdicts, key=lambda verdict: verdict.effective)


def differing_settings(before: Policy, after: Policy) -> tuple[str, ...]:
    """The checks that find something else under the other policy, since their settings differ in some profile."""
    names = {profile.name for policy in (before, after) for profile in (policy.default, *policy.profiles)}
    found: dict[str, None] = {}
    for name in sorted(names):
        old, new = (_sections(policy, name) for policy in (before, after))
        different = (section for section in sorted(old.keys() | new.keys()) if old.get(section) != new.get(section))
        found.update(dict.fromkeys(different))
    return tuple(found)


def _sections(policy: Policy, name: str) -> dict[str, Any]:
    profile = next((one for one in policy.profiles if one.name == name), policy.default)
    return {**profile.checks.model_dump(mode="json"), "content": profile.content.model_dump(mode="json")}


class Tally:
    """judged: how many were compared. changed: for how many something would change. rows: how often each change, with
    some ids; other: changes beyond ``ROWS`` kinds."""

    def __init__(self) -> None:
        self.judged = 0
        self.changed = 0
        self.other = 0
        self.rows: dict[Change, tuple[int, tuple[str, ...]]] = {}

    def note(self, change: Change | None, ident: str) -> None:
        """One comparison."""
        self.judged += 1
        if change is not None:
            self.changed += 1
            self._add(change, 1, (ident,))

    def add(self, more: Tally) -> None:
        """Take another one's counts over."""
        self.judged += more.judged
        self.changed += more.changed
        self.other += more.other
        for change, (count, examples) in more.rows.items():
            self._add(change, count, examples)

    def _add(self, change: Change, count: int, examples: tuple[str, ...]) -> None:
        if change not in self.rows and len(self.rows) >= ROWS:
            self.other += count
            return
        before, kept = self.rows.get(change, (0, ()))
        self.rows[change] = (before + count, tuple(dict.fromkeys((*kept, *examples)))[:EXAMPLES])

    @property
    def balance(self) -> dict[str, int]:
        """What would be done more (positive) or less often, by word."""
        found = {action.word: 0 for action in Action}
        for change, (count, _) in self.rows.items():
            found[change.after] += count
            found[change.before] -= count
        return found

    def as_json(self) -> dict[str, Any]:
        """For the board and for programs; rows with the most frequent change first."""
        rows = sorted(self.rows.items(), key=lambda row: -row[1][0])
        return {
            "judged": self.judged,
            "changed": self.changed,
            "other": self.other,
            "rows": [
                {
                    "phase": change.phase,
                    "before": change.before,
                    "after": change.after,
                    "reason_before": change.reason_before,
                    "reason_after": change.reason_after,
                    "rules": list(change.rules),
                    "count": count,
                    "examples": list(examples),
                }
                for change, (count, examples) in rows
            ],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Tally:
        """From the board. Raises KeyError, TypeError, ValueError."""
        tally = cls()
        tally.judged, tally.changed, tally.other = int(said["judged"]), int(said["changed"]), int(said["other"])
        for row in said["rows"]:
            phase, before, after, was, would = (
                str(row[key]) for key in ("phase", "before", "after", "reason_before", "reason_after")
            )
            change = Change(phase, before, after, was, would, tuple(map(str, row["rules"])))
            tally.rows[change] = (int(row["count"]), tuple(map(str, row["examples"])))
        return tally


@dataclass(frozen=True, slots=True)
class _Early:
    """The candidate has refused already."""

    phase: Phase
    verdict: Verdict


class Comparison:
    """A candidate beside the policy in force. ``note`` each verdict of each phase, in order."""

    def __init__(self, candidate: Policy) -> None:
        self.candidate = candidate
        self._tally = Tally()
        self._early: OrderedDict[str, _Early] = OrderedDict()

    def note(self, phase: Phase, tx: Transaction, verdict: Verdict) -> None:
        """The verdict of the policy in force on a transaction with its findings."""
        final = verdict.effective >= Action.DEFER or phase is Phase.CONTENT
        if early := self._whole(tx):
            if final:
                self._tally.note(change_of(early.phase, verdict, early.verdict), tx.id)
            return
        left = self._without_refused(tx, verdict) if final else tx
        if left is None:
            return
        after = verdict_by(self.candidate, left, phase)
        if final:
            self._tally.note(change_of(phase, verdict, after), tx.id)
        elif after.effective >= Action.DEFER:
            self._refused(phase, tx, after)

    def take(self) -> Tally:
        """What was counted since the last time."""
        taken, self._tally = self._tally, Tally()
        return taken

    def _whole(self, tx: Transaction) -> _Early | None:
        """Whether the candidate has refused the session, the mail or this recipient."""
        if not self._early:
            return None
        keys = [tx.connection.session_id, tx.id, _whole_id(tx)]
        keys += [f"{_whole_id(tx)} {tx.rcpt}"] if tx.rcpt else []
        return next((self._early[key] for key in keys if key in self._early), None)

    def _without_refused(self, tx: Transaction, verdict: Verdict) -> Transaction | None:
        """The content as it would have come: without the recipients that the candidate refused, who are counted here.
        None: it would not have come."""
        if not self._early or tx.rcpt is not None or tx.envelope is None:
            return tx
        kept = []
        for mailbox in tx.envelope.recipients:
            if early := self._early.get(f"{_whole_id(tx)} {mailbox}"):
                self._tally.note(change_of(early.phase, verdict, early.verdict), tx.id)
            else:
                kept.append(mailbox)
        if not kept and tx.envelope.recipients:
            return None
        return replace(tx, envelope=replace(tx.envelope, recipients=tuple(kept)))

    def _refused(self, phase: Phase, tx: Transaction, after: Verdict) -> None:
        session = phase in (Phase.CONNECT, Phase.HELO)
        key = tx.connection.session_id if session else f"{tx.id} {tx.rcpt}" if tx.rcpt else tx.id
        self._early[key] = _Early(phase, after)
        if len(self._early) > _IDS:
            self._early.popitem(last=False)


def _whole_id(tx: Transaction) -> str:
    """That of the transaction which PRDR may have split."""
    return tx.id.partition(".")[0]


def fate(policy: Policy, tx: Transaction, phase: Phase) -> tuple[Phase, Verdict]:
    """Where and how a policy would have ended a transaction that came as far as ``phase``, and its verdict there."""
    for earlier in Phase:
        if earlier is phase:
            break
        seen = tx
        if earlier.order < Phase.RCPT.order and tx.envelope is not None:
            seen = replace(tx, rcpt=None, envelope=replace(tx.envelope, recipients=()))
        verdict = verdict_by(policy, seen, earlier)
        if verdict.effective >= Action.DEFER:
            return earlier, verdict
    return phase, verdict_by(policy, tx, phase)
