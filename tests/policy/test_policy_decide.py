"""What decide does with accept rules, equals, recipients and missing clients.

Known gaps: none.
"""

from __future__ import annotations

from ipaddress import ip_address

from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding, Outcome
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Transaction
from gateway.mail.verdict import Action
from gateway.policy.decide import decide
from gateway.policy.load import load_text
from gateway.policy.model import Profile

FAIL = {"spf": Finding("spf", Outcome.FAIL, "x")}


def profile(*rules: str) -> Profile:
    return load_text("version: 1\nrules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules), "x").default


def transaction(*recipients: str, client_known: bool = True) -> Transaction:
    boxes = tuple(Mailbox(name, "example.com") for name in recipients)
    connection = Connection("s", ip_address("192.0.2.1"), client_known=client_known)
    return Transaction("t", connection, 0.0, envelope=Envelope(Mailbox("a", "b.example"), boxes), findings=FAIL)


FRIEND = "id: friend, at: connect, when: {client: 192.0.2.0/24}, then: accept, through: rcpt"
SPF = "id: spf, at: rcpt, when: {spf: fail}, then: reject"


def test_accept_rule_cuts_within_its_reach_and_the_cut_hit_is_recorded() -> None:
    verdict = decide(transaction("u"), profile(FRIEND, SPF), Phase.CONTENT)
    assert verdict.action is Action.ACCEPT
    assert [(hit.rule, hit.cut) for hit in verdict.because] == [("friend", False), ("spf", True)]


def test_accept_rule_stops_at_its_last_phase_and_before_firm_rules() -> None:
    later = profile(FRIEND, SPF.replace("rcpt", "content"))
    assert decide(transaction("u"), later, Phase.CONTENT).action is Action.REJECT
    assert decide(transaction("u"), profile(FRIEND, SPF + ", firm: true"), Phase.CONTENT).action is Action.REJECT


def test_rule_of_a_later_phase_does_not_count_yet() -> None:
    assert decide(transaction("u"), profile(SPF), Phase.MAIL).because == ()


def test_hidden_client_matches_no_network() -> None:
    assert decide(transaction("u", client_known=False), profile(FRIEND, SPF), Phase.RCPT).action is Action.REJECT


def test_first_of_equally_severe_rules_gives_the_reason() -> None:
    second = "id: b, at: rcpt, when: {spf: fail}, then: reject, reason: blocked"
    assert decide(transaction("u"), profile(SPF, second), Phase.RCPT).reason == "spf-policy"
    assert decide(transaction("u"), profile(second, SPF), Phase.RCPT).reason == "blocked"


def test_favour_needs_all_recipients_and_refusal_one() -> None:
    favour = profile("id: f, at: rcpt, when: {recipient: 'abuse@*'}, then: accept", SPF)
    refusal = profile("id: r, at: rcpt, when: {recipient: 'trap@*'}, then: reject")
    assert decide(transaction("abuse"), favour, Phase.CONTENT).action is Action.ACCEPT
    assert decide(transaction("abuse", "u"), favour, Phase.CONTENT).action is Action.REJECT
    assert decide(transaction("u", "trap"), refusal, Phase.CONTENT).reason == "blocked"
