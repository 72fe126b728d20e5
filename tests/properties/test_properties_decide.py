"""What must hold of decide whatever the findings and whatever rules the loader lets through.

Known gaps: conditions on the transaction itself do not depend on findings and are left out.
"""

from __future__ import annotations

import itertools
from ipaddress import ip_address

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Action
from gateway.policy.decide import decide
from gateway.policy.load import load_text
from gateway.policy.model import Policy
from gateway.policy.vocabulary import VOCABULARY

CHECKS = ("spf", "dnsbl", "asn", "arc", "dmarc")
SCORES = (-3.0, 0.0, 2.0, 6.0)
FACTS = {
    "dnsbl": ("score", SCORES),
    "asn": ("asn", ((), ("64496",), ("64496", "64497"))),
    "arc": ("trusted", (True, False)),
    "dmarc": ("policy", ("none", "quarantine", "reject")),
}
UNKNOWN = {check: Finding.unknown(check, Cause("dns", Why.TIMEOUT)) for check in CHECKS}


def known(check: str) -> list[Finding]:
    """All known findings of a check, favourable outcomes first."""
    name, values = FACTS.get(check, ("", (0,)))
    outcomes = VOCABULARY[check].outcomes
    return [Finding(check, o, "x", {name: v} if name else {}) for o in outcomes for v in values]


ALL = {check: known(check) for check in CHECKS}
Findings = dict[str, Finding]
findings = st.fixed_dictionaries({check: st.sampled_from([*ALL[check], UNKNOWN[check]]) for check in CHECKS})
known_findings = st.fixed_dictionaries({check: st.sampled_from(ALL[check]) for check in CHECKS})


@st.composite
def conditions(draw: st.DrawFn, accepting: bool) -> str:
    check = draw(st.sampled_from(CHECKS))
    if check == "dnsbl" and draw(st.booleans()):
        operator = draw(st.sampled_from(("<", "<=") if accepting else (">", ">=")))
        return f'dnsbl.score: "{operator} {draw(st.sampled_from((-1, 0, 2, 5)))}"'
    if check == "asn":
        return f"client.asn: {draw(st.sampled_from(('64496', '[64497]', '[64496, 64497]')))}"
    key, order = check, [o.value for o in VOCABULARY[check].outcomes]
    if check in ("arc", "dmarc") and draw(st.booleans()):
        fact = FACTS[check][0]
        key, order = f"{check}.{fact}", [str(v).lower() for v in VOCABULARY[check].facts[fact].values]
    at = draw(st.integers(1, len(order) - 1))
    return f"{key}: [{', '.join(order[:at] if accepting else order[at:])}]"


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    head = ["version: 1", "checks: {asn: {ipv4_zone: origin.test}}"]
    lines = [*head, f"outage: {{dns: {draw(st.sampled_from(('defer', 'proceed', 'quarantine')))}}}", "rules:"]
    for number in range(draw(st.integers(1, 6))):
        then = draw(st.sampled_from(("accept", "quarantine", "defer", "reject", "reject")))
        asked = draw(st.lists(conditions(then == "accept"), min_size=1, max_size=3, unique_by=lambda c: c.split(":")[0]))
        firm = ", firm: true" if then != "accept" and draw(st.booleans()) else ""
        lines.append(f"  - {{id: r{number}, at: content, when: {{{', '.join(asked)}}}, then: {then}{firm}}}")
    return load_text("\n".join(lines) + "\n", "generated")


def action(policy: Policy, found: Findings) -> Action:
    tx = Transaction("t", Connection("s", ip_address("192.0.2.1")), 0.0, findings=found)
    return decide(tx, policy.default, Phase.CONTENT).action


def truths(policy: Policy, found: Findings) -> set[Action]:
    """The verdicts of all completions of what is unknown."""
    lists = [ALL[c] if f.outcome is Outcome.TEMPERROR else [f] for c, f in found.items()]
    return {action(policy, dict(zip(found, chosen, strict=True))) for chosen in itertools.product(*lists)}


def worse(left: Finding, right: Finding) -> bool:
    """right is nowhere more favourable than left."""
    if left.check == "asn":
        return False  # no origin is worse than another
    order = VOCABULARY[left.check].outcomes
    if order.index(right.outcome) < order.index(left.outcome):
        return False
    if left.check not in FACTS:
        return True
    name, values = FACTS[left.check]
    return list(values).index(right.evidence[name]) >= list(values).index(left.evidence[name])


@settings(max_examples=200, deadline=None)
@given(policies(), findings, st.sampled_from(CHECKS))
def test_worse_finding_never_softens(policy: Policy, found: Findings, check: str) -> None:
    assume(found[check].outcome is not Outcome.TEMPERROR)
    for other in ALL[check]:
        if worse(found[check], other):
            before, after = action(policy, found), action(policy, {**found, check: other})
            assert not (before is Action.REJECT and after < before)


@settings(max_examples=80, deadline=None)
@given(policies(), known_findings, st.sets(st.sampled_from(CHECKS), max_size=2))
def test_missing_knowledge_never_rejects_and_never_accepts_alone(
    policy: Policy, complete: Findings, lost: set[str]
) -> None:
    found = {check: UNKNOWN[check] if check in lost else finding for check, finding in complete.items()}
    got, possible = action(policy, found), truths(policy, found)
    if got is Action.REJECT:
        assert possible == {Action.REJECT}
    if got is Action.ACCEPT:
        assert Action.ACCEPT in possible


@settings(max_examples=200, deadline=None)
@given(policies(), findings, st.sampled_from(CHECKS))
def test_losing_a_finding_never_makes_a_reject(policy: Policy, found: Findings, check: str) -> None:
    if action(policy, found) is not Action.REJECT:
        assert action(policy, {**found, check: UNKNOWN[check]}) is not Action.REJECT
