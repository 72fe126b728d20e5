"""A refusal names what its postmaster has to look at: the client, the list, the domain; never another's domain."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.acceptance import refusal_of
from gateway.mail.finding import Finding, Outcome
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, ExternalRelay, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Judgement
from gateway.ports.observer import NullObserver

CLIENT, RELAY = ip_address("192.0.2.1"), ip_address("198.51.100.7")
KNOWN = Connection("S", CLIENT)
LISTED = Finding("dnsbl", Outcome.FAIL, "listed", {"listed": ("zen.example", "other.example")})
FORGED = Finding("spf", Outcome.FAIL, "fail", {"domain": "sender.example"})
AUTHOR = Finding("dmarc", Outcome.FAIL, "fail", {"domain": "victim.example", "policy_domain": "victim.example"})

CASES = [
    ("dnsbl", (LISTED, AUTHOR), KNOWN, "554 5.7.1 The client address is on the block list zen.example (client 192.0.2.1) [T]"),
    ("dnsbl", (AUTHOR,), KNOWN, "554 5.7.1 The client address is on a block list (client 192.0.2.1) [T]"),
    ("spf-policy", (FORGED, AUTHOR), KNOWN,
     "550 5.7.23 SPF validation of sender.example failed and local policy refuses it (client 192.0.2.1) [T]"),
    ("ptr-policy", (), KNOWN, "550 5.7.25 The client address has no valid reverse name (client 192.0.2.1) [T]"),
    ("rate", (), KNOWN, "451 4.7.1 Too many requests from your network, please slow down (client 192.0.2.1) [T]"),
    ("rate", (), Connection("S", CLIENT, client_known=False),
     "451 4.7.1 Too many requests from your network, please slow down [T]"),
    ("blocked", (AUTHOR,), KNOWN, "554 5.7.1 Refused by local policy [T]"),
    ("blocked", (), Connection("S", CLIENT, external_relay=ExternalRelay(RELAY)),
     "554 5.7.1 Refused by local policy (client 192.0.2.1) [T]"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "findings", "connection", "reply"), CASES)
def test_what_is_named(reason: str, findings: tuple[Finding, ...], connection: Connection, reply: str) -> None:
    tx = Transaction("T", connection, 0.0).with_findings({finding.check: finding for finding in findings})
    judged = Judgement(Phase.MAIL, tx, Verdict(Action.REJECT, reason), 0.0, {})
    assert str(refusal_of(judged, NullObserver(), "MAIL")) == reply
