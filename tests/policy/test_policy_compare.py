"""A candidate beside the policy in force: what counts as one, what would change, and what is not counted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding, Outcome
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Transaction
from gateway.policy.compare import ROWS, Change, Comparison, Tally, differing_settings, fate
from gateway.policy.decide import decide
from gateway.policy.load import load_text
from gateway.policy.model import Policy

FORCE = """
version: 1
rules:
  - {id: unknown, at: rcpt, when: {recipient: fail}, then: reject, reason: recipient-unknown}
  - {id: loop, at: content, when: {loop: fail}, then: reject, reason: loop}
"""
ONE, TWO = Mailbox("one", "example.com"), Mailbox("two", "example.com")


def policy(more: str = "", text: str = FORCE) -> Policy:
    return load_text(text + more, "policy.yaml")


def live(
    comparison: Comparison, *, bad: frozenset[Mailbox] = frozenset(), loop: bool = False, ident: str = "S-1"
) -> None:
    """One transaction for two recipients, as the pipeline judges it."""
    force = policy().default

    def judge(phase: Phase, tx: Transaction) -> bool:
        verdict = decide(tx, force, phase)
        comparison.note(phase, tx, verdict)
        return verdict.action < 2

    session = Transaction("S", Connection("S", ip_address("192.0.2.1")), 0.0)
    judge(Phase.CONNECT, session)
    judge(Phase.HELO, session)
    tx = replace(session, id=ident, envelope=Envelope(Mailbox("a", "sender.example")))
    judge(Phase.MAIL, tx)
    for mailbox in (ONE, TWO):
        found = Finding("recipient", Outcome.FAIL if mailbox in bad else Outcome.PASS, "said")
        asked = replace(tx, rcpt=mailbox).with_findings({"recipient": found})
        if judge(Phase.RCPT, asked):
            assert tx.envelope
            tx = replace(asked, rcpt=None, envelope=tx.envelope.with_recipient(mailbox))
    if tx.envelope and tx.envelope.recipients:
        judge(
            Phase.CONTENT, tx.with_findings({"loop": Finding("loop", Outcome.FAIL if loop else Outcome.PASS, "said")})
        )


def changes(comparison: Comparison) -> tuple[int, list[tuple[Any, ...]]]:
    tally = comparison.take()
    rows = [(c.phase, c.before, c.after, c.reason_after, c.rules, count) for c, (count, _) in tally.rows.items()]
    return tally.judged, sorted(rows)


def test_the_same_policy_changes_nothing_and_fates_are_counted() -> None:
    comparison = Comparison(policy())
    live(comparison)
    assert changes(comparison) == (1, [])
    live(comparison, bad=frozenset({TWO}))  # a refused recipient and a content
    assert changes(comparison) == (2, [])
    live(comparison, bad=frozenset({ONE, TWO}))
    assert changes(comparison) == (2, [])
    live(comparison, loop=True)
    assert changes(comparison) == (1, [])


def test_a_session_that_the_candidate_refuses_counts_once_for_each_end() -> None:
    rule = "  - {id: shut, at: connect, when: {client: [192.0.2.0/24]}, then: reject, reason: blocked}\n"
    comparison = Comparison(policy(rule))
    live(comparison)
    live(comparison, ident="S-2")
    assert changes(comparison) == (2, [("connect", "accept", "reject", "blocked", ("+shut",), 2)])
    # it would have been refused anyway, with another reply
    live(comparison, loop=True)
    assert changes(comparison) == (1, [("connect", "reject", "reject", "blocked", ("+shut", "-loop"), 1)])


def test_a_recipient_that_the_candidate_refuses_is_told_from_the_others() -> None:
    rule = "  - {id: not-two, at: rcpt, when: {recipient: two@example.com}, then: defer, reason: rate}\n"
    comparison = Comparison(policy(rule.replace("recipient: two", 'recipient: "two').replace(".com}", '.com"}')))
    live(comparison)
    assert changes(comparison) == (2, [("rcpt", "accept", "defer", "rate", ("+not-two",), 1)])


def test_a_client_that_leaves_is_not_counted() -> None:
    comparison = Comparison(policy("  - {id: shut, at: connect, when: {client: [192.0.2.0/24]}, then: reject}\n"))
    session = Transaction("S", Connection("S", ip_address("192.0.2.1")), 0.0)
    comparison.note(Phase.CONNECT, session, decide(session, policy().default, Phase.CONNECT))
    assert changes(comparison) == (0, [])


def test_observing_counts_as_letting_through() -> None:
    comparison = Comparison(policy(text=FORCE.replace("version: 1", "version: 1\nmode: observe")))
    live(comparison, loop=True)
    assert changes(comparison) == (1, [("content", "reject", "accept", "", ("-loop",), 1)])


def test_the_report_is_bounded_and_goes_over_the_board() -> None:
    tally = Tally()
    for number in range(ROWS + 50):
        for example in range(8):
            tally.note(Change("content", "accept", "reject", "", "loop", (f"+r{number}",)), f"{number}-{example}")
    assert (tally.judged, len(tally.rows), tally.other) == ((ROWS + 50) * 8, ROWS, 50 * 8)
    assert all(len(examples) == 5 for _, examples in tally.rows.values())
    again = Tally.from_json(tally.as_json())
    assert again.as_json() == tally.as_json()
    again.add(tally)
    assert again.judged == 2 * tally.judged
    assert tally.balance["reject"] == ROWS * 8


def test_a_fate_is_the_first_refusal() -> None:
    rule = "  - {id: early, at: mail, when: {reverse_path_domain: sender.example}, then: defer, reason: rate}\n"
    tx = Transaction(
        "S-1",
        Connection("S", ip_address("192.0.2.1")),
        0.0,
        envelope=Envelope(Mailbox("a", "sender.example"), (ONE,)),
        findings={"loop": Finding("loop", Outcome.FAIL, "said")},
    )
    phase, verdict = fate(policy(rule), tx, Phase.CONTENT)
    assert (phase, verdict.action.word) == (Phase.MAIL, "defer")
    phase, verdict = fate(policy(), tx, Phase.CONTENT)
    assert (phase, verdict.action.word) == (Phase.CONTENT, "reject")


def test_settings_that_differ_are_named() -> None:
    other = policy(text=FORCE + "checks: {dnsbl: {sites: [a.example]}, greylist: {mode: off}}\n")
    assert differing_settings(policy(), policy()) == ()
    assert differing_settings(policy(), other) == ("dnsbl", "greylist")
