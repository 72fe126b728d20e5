"""What a candidate policy would have done with recorded decisions; what cannot be told is counted by its reason.

Each decision is first decided again by the policy that made it, where that one is at hand: if that gives another
verdict, the record does not hold what decided, and is left out.

Known gaps: of a transaction with several recipients the recipients that were refused are not replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.evidence.recorded import Decision, NotReplayable, decision_of
from gateway.mail.verdict import Verdict
from gateway.policy.compare import Tally, change_of, fate, verdict_by
from gateway.policy.model import Policy


@dataclass(slots=True)
class Effect:
    """tally: what would change. left_out: decisions that cannot be replayed, by the words of ``recorded.WHY``. first
    and last: time of the decisions that were replayed, 0.0 without any. unchecked: decided by a policy that is not at
    hand."""

    tally: Tally
    left_out: Counter[str] = field(default_factory=Counter)
    first: float = 0.0
    last: float = 0.0
    unchecked: int = 0


def effect_of(
    records: Iterable[Mapping[str, Any]], candidate: Policy, known: Iterable[Policy] = (), since: float = 0.0
) -> Effect:
    """Replay records not older than ``since`` (seconds since 1970). known: policies that may have decided."""
    policies = {policy.digest[:8]: policy for policy in known}
    effect = Effect(Tally())
    for record in records:
        try:
            decision = decision_of(record)
        except NotReplayable as error:
            effect.left_out[error.why] += 1
            continue
        if decision.time < since:
            continue
        policy = policies.get(decision.policy)
        if policy is None:
            effect.unchecked += 1
        elif not _reproduces(policy, decision):
            effect.left_out["not-reproduced"] += 1
            continue
        phase, after = fate(candidate, decision.tx, decision.phase)
        effect.tally.note(change_of(phase, decision.verdict, after), decision.tx.id)
        effect.first = min(effect.first or decision.time, decision.time)
        effect.last = max(effect.last, decision.time)
    return effect


def _reproduces(policy: Policy, decision: Decision) -> bool:
    return _essence(verdict_by(policy, decision.tx, decision.phase)) == _essence(decision.verdict)


def _essence(verdict: Verdict) -> tuple[object, ...]:
    rules = tuple((hit.rule, hit.action, hit.cut) for hit in verdict.because)
    return verdict.action, verdict.reason, rules, verdict.unknown, verdict.enforced
