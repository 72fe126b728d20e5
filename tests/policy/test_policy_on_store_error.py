"""What a check's ``on_store_error`` does: it is the posture of that check in the words of the store's operators."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.mail.address import Mailbox
from gateway.mail.finding import Cause, Finding, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Transaction
from gateway.mail.verdict import Action
from gateway.policy.decide import decide
from gateway.policy.load import load_text
from gateway.policy.model import Posture
from gateway.yamlfile import FaultsError

RULES = "version: 1\nrules:\n  - {id: g, at: rcpt, when: {greylist: fail}, then: defer, reason: greylisted}\n"
OUT = Finding.unknown("greylist", Cause("store", Why.REFUSED))


@pytest.mark.parametrize(
    ("word", "posture", "action"),
    [
        ("open", Posture.PROCEED, Action.ACCEPT),
        ("closed", Posture.DEFER, Action.DEFER),
        ("local", Posture.QUARANTINE, Action.QUARANTINE),
    ],
)
def test_open_accepts_closed_defers_and_local_leaves_it_to_the_posture(
    word: str, posture: Posture, action: Action
) -> None:
    text = f"{RULES}checks: {{greylist: {{on_store_error: {word}}}}}\noutage: {{store: quarantine}}\n"
    profile = load_text(text, "x").default
    assert profile.posture["greylist"] is posture
    assert profile.posture["rate"] is Posture.QUARANTINE
    tx = Transaction(
        "t", Connection("s", ip_address("192.0.2.1")), 0.0, envelope=Envelope(Mailbox("a", "b.example")),
        findings={"greylist": OUT},
    )  # fmt: skip
    verdict = decide(tx, profile, Phase.RCPT)
    assert (verdict.action, verdict.unknown) == (action, ("greylist",))


def test_a_profile_may_differ() -> None:
    text = (
        f"{RULES}checks: {{rate: {{on_store_error: closed}}}}\n"
        "profiles:\n  - {name: p, domains: [example.org], checks: {rate: {on_store_error: open}}}\n"
    )
    policy = load_text(text, "x")
    assert policy.default.posture["rate"] is Posture.DEFER
    assert policy.profiles[0].posture["rate"] is Posture.PROCEED


def test_said_twice_is_a_fault() -> None:
    text = f"{RULES}checks: {{greylist: {{on_store_error: open}}}}\noutage: {{checks: {{greylist: defer}}}}\n"
    with pytest.raises(FaultsError, match="on_store_error too"):
        load_text(text, "x")
