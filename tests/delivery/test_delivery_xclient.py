"""XCLIENT as XCLIENT_README wants it: listed attributes, short lines, ADDR last, never inside a transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import ANN, BOB, outgoing, relay, transaction
from scripted import scripted

from gateway.delivery import xclient
from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure

ALL = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
EHLO = "250-store.test\n250-PIPELINING\n250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"


def words(tx: Transaction, listed: tuple[str, ...] = ALL) -> dict[str, str]:
    lines = xclient.commands(xclient.attributes(tx), listed)
    return dict(word.split("=", 1) for line in lines for word in line.decode().split()[1:])


def named(tx: Transaction, outcome: Outcome, name: str = "") -> Transaction:
    cause = Cause("dns", Why.TIMEOUT) if outcome is Outcome.TEMPERROR else None
    finding = Finding("iprev", outcome, "x", {"name": name} if name else {}, cause)
    return replace(tx, findings={"iprev": finding})


@pytest.mark.parametrize(
    ("outcome", "name", "said"),
    [
        (Outcome.PASS, "mail.example.org", "mail.example.org"),
        (Outcome.FAIL, "", "[UNAVAILABLE]"),
        (Outcome.TEMPERROR, "", "[TEMPUNAVAIL]"),
    ],
)
def test_name_is_confirmed_unknown_or_unknown_for_now(outcome: Outcome, name: str, said: str) -> None:
    assert words(named(transaction(ANN), outcome, name))["NAME"] == said


def test_unknown_client_is_told_as_unavailable_and_ipv6_has_its_prefix() -> None:
    assert words(transaction(ANN, client="2001:db8::1"))["ADDR"] == "IPV6:2001:db8::1"
    tx = transaction(ANN)
    unknown = replace(tx, connection=replace(tx.connection, client_known=False))
    assert {words(unknown)[key] for key in ("NAME", "ADDR", "PORT")} == {"[UNAVAILABLE]"}


def test_login_is_never_said_and_only_what_is_listed() -> None:
    assert "LOGIN" not in words(transaction(ANN))
    assert set(words(transaction(ANN), ("ADDR", "HELO", "TTL"))) == {"ADDR", "HELO"}
    assert xclient.commands(xclient.attributes(transaction(ANN)), ()) == []


@given(st.text(max_size=600), st.sets(st.sampled_from(ALL)))
def test_lines_are_short_ascii_and_address_is_last_whatever_the_client_calls_itself(
    helo: str, listed: set[str]
) -> None:
    lines = xclient.commands(xclient.attributes(transaction(ANN, helo=helo)), listed)
    for line in lines:
        assert len(line) <= 512
        assert line.startswith(b"XCLIENT ")
        assert line.endswith(b"\r\n")
        assert line.isascii()
        assert b"\r" not in line[:-2]
        assert b"\n" not in line[:-2]
    if "ADDR" in listed:
        assert lines[-1].split()[-1].startswith(b"ADDR=")


async def test_long_attributes_are_split_and_each_220_is_followed_by_ehlo() -> None:
    helo = "\u00e9" * 66  # xtext makes six octets of each
    name = "n" * 60 + "." + "m" * 60 + ".example.org"
    tx = named(transaction(ANN, helo=helo), Outcome.PASS, name)
    async with scripted({"EHLO": EHLO}) as store:
        await relay(store.port).deliver(tx, outgoing(), 5)
        said = [command.split(" ")[0] for command in store.commands]
        assert said[:6] == ["EHLO", "XCLIENT", "EHLO", "XCLIENT", "EHLO", "MAIL"]
        told = [command for command in store.commands if command.startswith("XCLIENT")]
        assert "ADDR=" not in told[0]
        assert told[1].endswith("ADDR=192.0.2.1")


async def test_never_inside_a_transaction() -> None:
    """All recipients refused leaves a transaction open on the kept session; the next client is told after RSET."""
    ehlo = EHLO.replace("250-PIPELINING\n", "")
    async with scripted({"EHLO": ehlo}, by_recipient={str(BOB): "550 5.1.1 no"}) as store:
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(BOB), outgoing(), 5)
        await mailstore.deliver(transaction(ANN, client="192.0.2.2"), outgoing(), 5)
        assert len(store.sessions) == 1
        said = [command.split(" ")[0] for command in store.commands]
        second = said.index("XCLIENT", said.index("RCPT"))
        assert said[second - 1] == "RSET"


async def test_same_client_is_not_told_twice() -> None:
    async with scripted({"EHLO": EHLO}) as store:
        mailstore = relay(store.port)
        for _ in range(2):
            await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert sum(command.startswith("XCLIENT") for command in store.commands) == 1


async def test_session_that_cannot_be_told_anew_serves_no_other_client() -> None:
    """Postfix offers XCLIENT by the address it knows, which after the first XCLIENT is a stranger's: the next client's
    message must not go out in the first one's name."""
    greeted_as = [EHLO, EHLO.replace(" XCLIENT", " X-NO"), EHLO, EHLO.replace(" XCLIENT", " X-NO")]
    async with scripted({"EHLO": greeted_as}) as store:  # type: ignore[dict-item]
        mailstore = relay(store.port)
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"):
            await mailstore.deliver(transaction(ANN, client=client), outgoing(), 5)
        first, second = store.sessions
        assert [c.rpartition("=")[2] for c in first + second if c.startswith("XCLIENT")] == ["192.0.2.1", "192.0.2.2"]
        assert [sum(c.startswith("MAIL") for c in session) for session in (first, second)] == [3, 1]
        await mailstore.close()


@pytest.mark.parametrize("code", ["501 5.5.4 bad", "550 5.7.0 not you", "421 4.3.0 bye"])
async def test_refusal_defers_and_says_so(code: str) -> None:
    async with scripted({"EHLO": EHLO, "XCLIENT": code}) as store:
        with pytest.raises(PortFailure):
            await relay(store.port).deliver(transaction(ANN), outgoing(), 5)
        assert not any(command.startswith("MAIL") for command in store.commands)
