"""What is remembered of the client's network and of the domain that has proven itself.

A domain that has proven itself and has a history speaks for itself, whatever network its mail comes from; for all
others the network speaks. A finding like any other: no packaged rule refuses anybody for it, and greylisting takes a
bad one as suspicious.

Known gaps: while the store is out nothing is known.
"""

from __future__ import annotations

from gateway.checks.standing import Subject, domain_subject, network_subject, score_of
from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, ReputationSettings
from gateway.ports import Ports

_TRACE = 0.01


async def reputation(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """At MAIL and, with what DKIM and DMARC say, at the content. FAIL 'bad', PASS 'good', NEUTRAL 'mixed', NONE
    'unknown'. Evidence: score (-10 good to 10 bad), by (network or domain) and of whom it is, good and bad (what was
    learnt of that one, decayed). Raises PortFailure('store')."""
    assert isinstance(settings, ReputationSettings)
    asked = [subject for subject in (domain_subject(tx), network_subject(tx, settings)) if subject]
    before = tx.findings.get("reputation")
    if before and before.evidence.get("asked") == _named(asked):
        return before
    counters = [subject.counter(what, 0, settings.half_life) for subject in asked for what in ("good", "bad")]
    numbers = await ports.store.count(counters) if counters else ()
    found = [(subject, numbers[2 * n], numbers[2 * n + 1]) for n, subject in enumerate(asked)]
    known = [one for one in found if one[1] + one[2] >= settings.least] or [
        one for one in found if one[1] + one[2] > _TRACE
    ]
    if not known:
        return Finding("reputation", Outcome.NONE, "unknown", {"score": 0.0, "asked": _named(asked)})
    subject, good, bad = known[0]
    score = score_of(good, bad, settings.least)
    evidence: dict[str, Fact] = {
        "score": round(score, 2),
        "by": subject.by,
        "of": subject.whom,
        "good": round(good, 2),
        "bad": round(bad, 2),
        "asked": _named(asked),
    }
    if score >= settings.bad_score:
        return Finding("reputation", Outcome.FAIL, "bad", evidence)
    if score <= settings.good_score:
        return Finding("reputation", Outcome.PASS, "good", evidence)
    return Finding("reputation", Outcome.NEUTRAL, "mixed", evidence)


def _named(asked: list[Subject]) -> tuple[str, ...]:
    return tuple(subject.whom for subject in asked)
