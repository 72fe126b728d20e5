"""What is said of a message that fails DMARC: what was asked for, what was done, and why less; and the reply's words."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.authres import authentication_results
from gateway.mail.disposition import Disposition, disposition
from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.reply import REPLIES, reply_for
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Action, Verdict


def transaction(word: str = "fail", asked: str = "reject", published: str = "", tag: str = "p", **found: Finding) -> Transaction:
    facts = {"author_domain": "a.example", "policy": asked, "published": published or asked, "tag": tag}
    cause = Cause("dns", Why.TIMEOUT) if word == "temperror" else None
    dmarc = Finding("dmarc", Outcome(word), "x", facts, cause)
    return Transaction("T", Connection("S", ip_address("192.0.2.1")), 0.0, findings={"dmarc": dmarc, **found})


def exception(reason: str) -> dict[str, Finding]:
    return {"forwarder": Finding("forwarder", Outcome.PASS, reason)}


ARC = {"arc": Finding("arc", Outcome.PASS, "x", {"trusted": True})}
CASES = [
    (transaction(), Verdict(Action.REJECT, "auth-policy"), Disposition("reject", "p", "reject", "reject")),
    (transaction(asked="quarantine"), Verdict(Action.QUARANTINE), Disposition("quarantine", "p", "quarantine", "quarantine")),
    (transaction(asked="none"), Verdict(Action.ACCEPT), Disposition("none", "p", "none", "none")),
    # what other rules do is not the policy's doing
    (transaction(asked="none"), Verdict(Action.QUARANTINE), Disposition("none", "p", "none", "none")),
    (transaction(asked="quarantine"), Verdict(Action.REJECT), Disposition("quarantine", "p", "quarantine", "quarantine")),
    # less than asked for
    (transaction(), Verdict(Action.QUARANTINE), Disposition("reject", "p", "reject", "quarantine", "local-policy")),
    (transaction(), Verdict(Action.REJECT, enforced=False), Disposition("reject", "p", "reject", "none", "observe")),
    (transaction(**exception("list")), Verdict(Action.ACCEPT), Disposition("reject", "p", "reject", "none", "list")),
    (transaction(**exception("forwarder")), Verdict(Action.ACCEPT), Disposition("reject", "p", "reject", "none", "forwarder")),
    (transaction(**ARC), Verdict(Action.ACCEPT), Disposition("reject", "p", "reject", "none", "arc")),
    (transaction(asked="quarantine", published="reject", tag="np"), Verdict(Action.QUARANTINE), Disposition("quarantine", "np", "reject", "quarantine", "test-mode")),
    (transaction("pass"), Verdict(Action.ACCEPT), Disposition("reject", "p", "reject", "none")),
    # a message that waits, and one without a result
    (transaction(), Verdict(Action.DEFER, "unknown"), None),
    (transaction("temperror"), Verdict(Action.ACCEPT), None),
    (transaction("permerror", asked="none"), Verdict(Action.ACCEPT), None),
    (transaction("none", asked="none"), Verdict(Action.ACCEPT), None),
]  # fmt: skip


@pytest.mark.parametrize(("tx", "verdict", "expected"), CASES)
def test_what_was_done_and_why_not_more(tx: Transaction, verdict: Verdict, expected: Disposition | None) -> None:
    assert disposition(tx, verdict) == expected
    field = authentication_results(tx, "mx", verdict).decode()
    assert ("dis=" in field) == ("policy.dmarc=" in field) == (expected is not None)


def test_a_domain_is_named_where_the_table_has_words_for_it() -> None:
    assert str(reply_for("auth-policy", "T", about="a.example")) == (
        "550 5.7.1 The DMARC policy of a.example refuses this message [T]"
    )
    assert "of " not in str(reply_for("auth-policy", "T"))
    assert str(reply_for("greylisted", "T", about="a.example")) == str(reply_for("greylisted", "T"))


HOSTILE = st.text(max_size=300) | st.sampled_from(
    ["a.example\r\n250 ok", "{}", "{0.__class__}", "a b", "a.example]", "", "-a", "x" * 254, "bücher.example", "a.example\n"]
)


@given(HOSTILE)
def test_nothing_but_a_domain_name_comes_into_a_reply(text: str) -> None:
    for reason in REPLIES:
        (line,) = reply_for(reason, "T", about=text).lines()
        plain = str(reply_for(reason, "T"))
        if line != plain:
            around = re.escape(REPLIES[reason].about).replace(r"\{\}", "([A-Za-z0-9._-]{1,253})")
            named = re.fullmatch(rf"\d{{3}} [\d.]+ {around} \[T\]", line)
            assert named
            assert named[1] == text
