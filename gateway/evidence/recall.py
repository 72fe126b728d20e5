"""What would have changed a recorded verdict: it is decided again without each rule and each finding. Pure.

Known gaps: what checks would have found with other settings is not known here; ``mxgw replay`` shows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.evidence.recorded import Decision, NotReplayable, decision_of
from gateway.mail.verdict import Verdict
from gateway.policy.compare import verdict_by
from gateway.policy.model import Policy, Profile


@dataclass(frozen=True, slots=True)
class Alternative:
    """Without that rule or finding (kind: rule, rules, finding) the verdict had been another."""

    kind: str
    names: tuple[str, ...]
    verdict: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"without": self.kind, "names": list(self.names), "verdict": self.verdict, "reason": self.reason}

    def __str__(self) -> str:
        what = f"{self.kind} {', '.join(self.names)}" if self.kind != "finding" else f"what {self.names[0]} found"
        return f"without {what}: {self.verdict} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Recall:
    """again: the verdict of ``policy`` now, '' where it cannot be decided again (``why``). same_policy: whether that
    policy is the one that decided."""

    again: str
    reason: str
    same_policy: bool
    alternatives: tuple[Alternative, ...] = ()
    why: str = ""

    @property
    def lines(self) -> list[str]:
        """What would have changed the verdict, in words."""
        if self.why:
            return [f"cannot be decided again: {self.why}"]
        lines = [] if self.same_policy else ["the policy that decided is not to be had; these are of the one in force:"]
        lines += [str(one) for one in self.alternatives]
        return lines if self.alternatives else [*lines, f"nothing alone: still {self.again} ({self.reason})"]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "again": self.again,
            "again_reason": self.reason,
            "same_policy": self.same_policy,
            "why_not": self.why,
            "alternatives": [one.as_json() for one in self.alternatives],
        }


def recall(record: Mapping[str, Any], policy: Policy) -> Recall:
    """Decide again, and look at what mattered."""
    decided = str(record.get("policy", ""))
    same = bool(decided) and policy.digest.startswith(decided[:8])
    try:
        decision = decision_of(record)
    except NotReplayable as error:
        return Recall("", "", same, why=str(error))
    verdict = verdict_by(policy, decision.tx, decision.phase)
    return Recall(verdict.action.word, verdict.reason, same, tuple(_alternatives(decision, policy, verdict)))


def _alternatives(decision: Decision, policy: Policy, verdict: Verdict) -> list[Alternative]:
    found = []
    hits = tuple(dict.fromkeys(hit.rule for hit in verdict.because))
    for name in hits:
        other = verdict_by(_without(policy, {name}), decision.tx, decision.phase)
        found += _if_other("rule", (name,), verdict, other)
    strongest = tuple(hit.rule for hit in verdict.because if hit.action is verdict.action and not hit.cut)
    if len(strongest) > 1:
        other = verdict_by(_without(policy, set(strongest)), decision.tx, decision.phase)
        found += _if_other("rules", strongest, verdict, other)
    for name in decision.tx.findings:
        findings = {check: finding for check, finding in decision.tx.findings.items() if check != name}
        other = verdict_by(policy, replace(decision.tx, findings=findings), decision.phase)
        found += _if_other("finding", (name,), verdict, other)
    return found


def _if_other(kind: str, names: tuple[str, ...], verdict: Verdict, other: Verdict) -> list[Alternative]:
    if (other.action, other.reason) == (verdict.action, verdict.reason):
        return []
    return [Alternative(kind, names, other.action.word, other.reason)]


def _without(policy: Policy, rules: set[str]) -> Policy:
    def left(profile: Profile) -> Profile:
        return replace(profile, rules=tuple(rule for rule in profile.rules if rule.id not in rules))

    return replace(policy, default=left(policy.default), profiles=tuple(map(left, policy.profiles)))
