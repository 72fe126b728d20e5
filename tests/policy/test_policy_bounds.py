"""A score of which one list is missing: its bounds decide, not the part that is known."""

from __future__ import annotations

from ipaddress import ip_address

from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Action
from gateway.policy.decide import decide
from gateway.policy.load import load_text

POLICY = load_text(
    """
version: 1
mode: enforce
rules:
  - {id: listed, at: rcpt, when: {dnsbl.score: ">= 5"}, then: reject, reason: dnsbl}
outage: {dns: proceed}
""",
    "bounds",
)


def _tx(score: float, least: float, most: float) -> Transaction:
    evidence = {"score": score, "score_least": least, "score_most": most}
    finding = Finding("dnsbl", Outcome.TEMPERROR, "timeout", evidence, Cause("dns", Why.TIMEOUT))
    tx = Transaction("T", Connection("T", ip_address("192.0.2.1")), 0.0)
    return tx.with_findings({"dnsbl": finding})


def test_what_no_missing_list_can_save_is_refused() -> None:
    verdict = decide(_tx(8, 8, 10), POLICY.default, Phase.RCPT)
    assert (verdict.action, verdict.unknown) == (Action.REJECT, ())


def test_a_missing_allow_list_defers_what_the_known_lists_refuse() -> None:
    verdict = decide(_tx(8, 2, 8), POLICY.default, Phase.RCPT)
    assert (verdict.action, verdict.reason, verdict.unknown) == (Action.DEFER, "unknown", ("dnsbl",))


def test_a_missing_block_list_takes_the_posture() -> None:
    verdict = decide(_tx(2, 2, 9), POLICY.default, Phase.RCPT)
    assert (verdict.action, verdict.unknown) == (Action.ACCEPT, ("dnsbl",))


def test_a_missing_list_that_cannot_matter_is_not_named() -> None:
    verdict = decide(_tx(0, -1, 3), POLICY.default, Phase.RCPT)
    assert (verdict.action, verdict.unknown) == (Action.ACCEPT, ())
