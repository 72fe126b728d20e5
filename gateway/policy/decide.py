"""Findings in, verdict out: pure, total, and exact about what is not known.

Every rule up to the phase is looked at and every hit is kept; accept rules take out hits inside their reach, then
the most severe wins (of equals the first in the file gives the reason). With unknown findings the rules are looked at
with all of them at their most favourable and at their least favourable value:

====================================  =============================================
both ends agree                       that verdict
they differ, what is known refuses    Defer (never a 5yz on missing knowledge)
they differ otherwise                 the posture of the checks that would matter
====================================  =============================================

Known gaps: the two ends take findings as independent; where one follows from another (dmarc from spf) they may
differ although no real answer would, and then the posture speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding, Outcome
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, RuleHit, Verdict
from gateway.policy.model import (
    ClientIn,
    Condition,
    FactCompares,
    FactIs,
    Mode,
    OriginIs,
    OutcomeIs,
    Posture,
    Profile,
    Rule,
    TextMatches,
    TlsIs,
)
from gateway.policy.vocabulary import VOCABULARY, End, FactKind, FactValue

Ends = Mapping[str, End]
_KNOWN: Ends = MappingProxyType({})
_ORDER = {phase: phase.order for phase in Phase}
_SEVERITY = (Posture.PROCEED, Posture.QUARANTINE, Posture.DEFER)
NULL_REVERSE_PATH = "<>"
"""How a pattern of ``reverse_path_domain`` names the null reverse-path."""


def decide(tx: Transaction, profile: Profile, phase: Phase) -> Verdict:
    """The verdict of that phase. A check without a finding counts as ``none``; temperror as unknown."""
    limit = _ORDER[phase]
    rules = [rule for rule in profile.rules if _ORDER[rule.at] <= limit]
    unknown = [name for name, finding in tx.findings.items() if finding.outcome is Outcome.TEMPERROR]
    enforced = profile.mode is Mode.ENFORCE
    if unknown:
        spoken_of = {condition.check for rule in rules for condition in rule.when if hasattr(condition, "check")}
        unknown = [name for name in unknown if name in spoken_of]
    if not unknown:
        return _verdict(_hits(rules, tx, _KNOWN), (), enforced)
    return _at_both_ends(rules, tx, unknown, profile, enforced)


def refused_for_good(tx: Transaction, profile: Profile, phase: Phase, check: str) -> bool:
    """Whether a firm rule that looks at nothing but this check's finding refuses with 5yz: nothing else that may be
    found can change that."""
    finding = tx.findings.get(check)
    if profile.mode is not Mode.ENFORCE or finding is None or finding.outcome is Outcome.TEMPERROR:
        return False
    return any(
        rule.firm
        and rule.then is Action.REJECT
        and _ORDER[rule.at] <= _ORDER[phase]
        and all(isinstance(condition, OutcomeIs) and condition.check == check for condition in rule.when)
        and _all_hold(rule, tx, _KNOWN)
        for rule in profile.rules
    )


def _at_both_ends(
    rules: Sequence[Rule], tx: Transaction, unknown: Sequence[str], profile: Profile, enforced: bool
) -> Verdict:
    all_best = dict.fromkeys(unknown, End.BEST)
    all_worst = dict.fromkeys(unknown, End.WORST)
    best = _hits(rules, tx, all_best)
    lower, upper = _action(best), _action(_hits(rules, tx, all_worst))
    if lower is upper:
        return _verdict(best, (), enforced)
    # one at a time away from either end; where only several together matter, all of them do
    matter = tuple(
        name
        for name in unknown
        if _action(_hits(rules, tx, {**all_best, name: End.WORST})) is not lower
        or _action(_hits(rules, tx, {**all_worst, name: End.BEST})) is not upper
    ) or tuple(unknown)
    known = _hits(rules, tx, dict.fromkeys(unknown, End.ABSENT))
    if _action(known) >= Action.DEFER:
        return Verdict(Action.DEFER, "unknown", known, matter, enforced)
    posture = max((profile.posture.get(name, Posture.PROCEED) for name in matter), key=_SEVERITY.index)
    if posture is Posture.DEFER:
        deferring = [name for name in matter if profile.posture.get(name) is Posture.DEFER]
        # the usual outage has words of its own: the foreign postmaster reads that it is not about the author
        reason = "recipient-deferred" if deferring == ["recipient"] else "unknown"
        return Verdict(Action.DEFER, reason, best, matter, enforced)
    if posture is Posture.QUARANTINE and lower < Action.QUARANTINE:
        return Verdict(Action.QUARANTINE, "accepted", best, matter, enforced)
    return _verdict(best, matter, enforced)


def _hits(rules: Sequence[Rule], tx: Transaction, ends: Ends) -> tuple[RuleHit, ...]:
    """Every rule that hits, in file order, those that an accept rule takes out marked as cut."""
    hit = [rule for rule in rules if _all_hold(rule, tx, ends)]
    if not hit:
        return ()
    reach = [(_ORDER[rule.at], _ORDER[rule.through]) for rule in hit if rule.then is Action.ACCEPT]
    return tuple(
        RuleHit(
            rule.id,
            rule.then,
            rule.reason,
            cut=bool(reach)
            and not rule.firm
            and rule.then is not Action.ACCEPT
            and any(first <= _ORDER[rule.at] <= last for first, last in reach),
        )
        for rule in hit
    )


def _action(hits: tuple[RuleHit, ...]) -> Action:
    return max((hit.action for hit in hits if not hit.cut), default=Action.ACCEPT)


def _verdict(hits: tuple[RuleHit, ...], unknown: tuple[str, ...], enforced: bool) -> Verdict:
    if not hits:
        return Verdict(Action.ACCEPT, "accepted", (), unknown, enforced)
    action = _action(hits)
    reason = next((hit.reason for hit in hits if hit.action is action and not hit.cut), "accepted")
    return Verdict(action, reason, hits, unknown, enforced)


def _all_hold(rule: Rule, tx: Transaction, ends: Ends) -> bool:
    # a plain loop: all() over a generator costs twice as much, and this runs for every rule of every phase
    for condition in rule.when:  # noqa: SIM110
        if not _HOLDS[type(condition)](condition, rule, tx, ends):
            return False
    return True


def _outcome_is(condition: OutcomeIs, _rule: Rule, tx: Transaction, ends: Ends) -> bool:
    finding = tx.findings.get(condition.check)
    if finding is None:
        return Outcome.NONE in condition.outcomes
    if finding.outcome is not Outcome.TEMPERROR:
        return finding.outcome in condition.outcomes
    return VOCABULARY[condition.check].outcome_at(ends[condition.check]) in condition.outcomes


def _value(check: str, fact: str, finding: Finding | None, ends: Ends) -> FactValue:
    kind = VOCABULARY[check].facts[fact]
    if finding is None:
        return kind.absent
    unknown = finding.outcome is Outcome.TEMPERROR
    if unknown and kind.is_number:
        return _bound(kind, fact, finding, ends[check])
    value = None if unknown and not kind.settled else finding.evidence.get(fact)
    if kind.is_number:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    elif isinstance(value, str | bool) and value in kind.values:
        return value  # where settled, known although the outcome is not: it holds at both ends
    return kind.at(ends[check]) if unknown else kind.absent


def _bound(kind: FactKind, fact: str, finding: Finding, end: End) -> FactValue:
    """A number of which only a part is known (some lists answered): its bounds, where the check could give them."""
    key = {End.BEST: f"{fact}_least", End.WORST: f"{fact}_most", End.ABSENT: fact}[end]
    value = finding.evidence.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else kind.at(end)


def _fact_compares(condition: FactCompares, _rule: Rule, tx: Transaction, ends: Ends) -> bool:
    value = _value(condition.check, condition.fact, tx.findings.get(condition.check), ends)
    assert isinstance(value, int | float)
    match condition.operator:
        case ">=":
            return value >= condition.number
        case ">":
            return value > condition.number
        case "<=":
            return value <= condition.number
        case _:
            return value < condition.number


def _fact_is(condition: FactIs, _rule: Rule, tx: Transaction, ends: Ends) -> bool:
    return _value(condition.check, condition.fact, tx.findings.get(condition.check), ends) in condition.values


def _client_in(condition: ClientIn, _rule: Rule, tx: Transaction, _ends: Ends) -> bool:
    address = tx.connection.client_ip
    return tx.connection.client_known and any(address in network for network in condition.networks)


def _origin_is(condition: OriginIs, rule: Rule, tx: Transaction, ends: Ends) -> bool:
    finding = tx.findings.get(condition.check)
    if finding is None:
        return False
    if finding.outcome is Outcome.TEMPERROR:
        return ends[condition.check] is (End.BEST if rule.then is Action.ACCEPT else End.WORST)
    found = finding.evidence.get(condition.fact, ())
    return not condition.values.isdisjoint(found if isinstance(found, tuple) else (str(found),))


def _tls_is(condition: TlsIs, _rule: Rule, tx: Transaction, _ends: Ends) -> bool:
    return (tx.connection.tls is not None) is condition.encrypted


def _text_matches(condition: TextMatches, rule: Rule, tx: Transaction, _ends: Ends) -> bool:
    subjects = _subjects(condition.subject, tx)
    matching = (any(fnmatchcase(text, pattern) for pattern in condition.patterns) for text in subjects)
    # one reply stands for all recipients: a favour needs all of them, a refusal one
    return bool(subjects) and (all(matching) if rule.then is Action.ACCEPT else any(matching))


def _subjects(subject: str, tx: Transaction) -> tuple[str, ...]:
    if subject == "helo_name":
        return (tx.hello.name.lower(),) if tx.hello else ()
    if tx.envelope is None:
        return ()
    if subject == "reverse_path_domain":
        path = tx.envelope.reverse_path
        return (path.domain if isinstance(path, Mailbox) else NULL_REVERSE_PATH,)
    recipients = (tx.rcpt,) if tx.rcpt else tx.envelope.recipients
    if subject == "recipient_domain":
        return tuple(mailbox.domain for mailbox in recipients)
    return tuple(str(mailbox).lower() for mailbox in recipients)


_Holds = Callable[..., bool]
_HOLDS: Mapping[type[Condition], _Holds] = {
    OutcomeIs: _outcome_is,
    FactCompares: _fact_compares,
    FactIs: _fact_is,
    ClientIn: _client_in,
    OriginIs: _origin_is,
    TlsIs: _tls_is,
    TextMatches: _text_matches,
}
