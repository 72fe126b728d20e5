"""What we write parses back as what we meant, whatever strangers say; what pretends to be ours goes."""

from __future__ import annotations

import email.parser
import email.policy
import re
from dataclasses import replace
from ipaddress import ip_address

import authres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.stamp import Identity, stamp
from gateway.mail.address import NULL, Mailbox
from gateway.mail.authres import authentication_results, claims
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Finding, Outcome, Why
from gateway.mail.message import Message
from gateway.mail.trace import received_field, received_spf_field
from gateway.mail.transaction import Connection, Envelope, Hello, Tls, Transaction
from gateway.mail.verdict import Action, Verdict

ME = Identity("mx1.example.net", "mx.example.net")
CONTENT = Message.parse(b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n")
RCPT = Mailbox("one", "example.com")


def transaction(**more: object) -> Transaction:
    base = Transaction(
        id="7F3KQ2-1",
        connection=Connection("7F3KQ2", ip_address("192.0.2.7"), tls=Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384")),
        now=1_795_000_000.0,
        hello=Hello("EHLO", "mail.example.org"),
        envelope=Envelope(Mailbox("user", "example.org"), (RCPT,)),
        message=CONTENT,
    )
    return replace(base, **more)  # type: ignore[arg-type]


FOUND = {
    "iprev": Finding("iprev", Outcome.PASS, "confirmed", {"name": "mail.example.org"}),
    "spf": Finding("spf", Outcome.PASS, "match", {"domain": "example.org", "identity": "mailfrom"}),
    "dkim": DkimFinding(
        "dkim",
        Outcome.PASS,
        "valid",
        signatures=(
            DkimSignature(Outcome.PASS, "valid", "example.org", "s1", "@example.org", "rsa-sha256", "dGVzdA+/"),
            DkimSignature(Outcome.FAIL, "body-hash", "list.example", "s2", 'x";y@z', "ed25519-sha256", "abcd"),
        ),
    ),
    "arc": Finding("arc", Outcome.NONE, "no-chain"),
    "dmarc": Finding("dmarc", Outcome.FAIL, "not-aligned", {"author_domain": "example.org", "policy": "reject"}),
}


def unfolded(field: bytes) -> str:
    return field.decode().replace("\r\n", "").strip()


def test_received_has_the_form_that_readers_parse() -> None:
    assert unfolded(received_field(transaction(findings=FOUND), ME.hostname)) == (
        "Received: from mail.example.org (mail.example.org [192.0.2.7]) by mx1.example.net (mxgw) with ESMTPS id 7F3KQ2-1"
        " (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) for <one@example.com>; Wed, 18 Nov 2026 11:06:40 +0000"
    )


def test_received_names_nobody_among_several_and_no_name_that_is_not_confirmed() -> None:
    tx = transaction(
        envelope=Envelope(NULL, (RCPT, Mailbox("two", "example.com")), smtputf8=True),
        connection=Connection("S", ip_address("2001:db8::1")),
        findings={"iprev": Finding("iprev", Outcome.FAIL, "mismatch", {"name": "liar.example"})},
    )
    text = unfolded(received_field(tx, ME.hostname))
    assert "(unknown [IPv6:2001:db8::1])" in text
    assert " for " not in text
    assert "with UTF8SMTP id 7F3KQ2-1; " in text


@pytest.mark.parametrize(
    ("verb", "utf8", "tls", "word"),
    [
        ("HELO", False, False, "SMTP"),
        ("EHLO", False, False, "ESMTP"),
        ("EHLO", False, True, "ESMTPS"),
        ("EHLO", True, True, "UTF8SMTPS"),
    ],
)
def test_the_word_after_with(verb: str, utf8: bool, tls: bool, word: str) -> None:
    tx = transaction(hello=Hello(verb, "h"), envelope=Envelope(NULL, (RCPT,), smtputf8=utf8))
    if not tls:
        tx = replace(tx, connection=replace(tx.connection, tls=None))
    assert f" with {word} id " in unfolded(received_field(tx, "mx"))


def test_authentication_results_say_everything_once() -> None:
    text = unfolded(authentication_results(transaction(findings=FOUND), ME.authserv_id, Verdict(Action.QUARANTINE)))
    assert text == (
        "Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=user@example.org;"
        ' dkim=pass header.d=example.org header.s=s1 header.a=rsa-sha256 header.b="dGVzdA+/" header.i=@example.org;'
        ' dkim=fail reason="body-hash" header.d=list.example header.s=s2 header.a=ed25519-sha256 header.b=abcd;'
        ' dmarc=fail (p=reject aligned=none dis=quarantine override=local-policy) reason="not-aligned"'
        " header.from=example.org policy.dmarc=reject; arc=none; iprev=pass policy.iprev=192.0.2.7"
    )


def test_nothing_checked_is_none() -> None:
    assert authentication_results(transaction(), "mx") == b"Authentication-Results: mx; none\r\n"


def test_an_unknown_result_says_temperror_and_keeps_our_troubles_to_ourselves() -> None:
    found = {"spf": Finding.unknown("spf", Cause("dns", Why.TIMEOUT, "10.0.0.53"))}
    tx = transaction(findings=found, envelope=Envelope(NULL, (RCPT,)))
    text = unfolded(authentication_results(tx, "mx"))
    assert "spf=temperror" in text
    assert "smtp.helo=mail.example.org" in text
    assert "10.0.0.53" not in text


def test_received_spf_quotes_its_values() -> None:
    tx = transaction(findings=FOUND, envelope=Envelope(Mailbox('a";b (', "example.org"), (RCPT,)))
    text = unfolded(received_spf_field(tx, ME.hostname))
    assert text.startswith("Received-SPF: pass (")
    assert r'envelope-from="\"a\\\";b (\"@example.org"; helo=mail.example.org; identity=mailfrom;' in text
    assert "client-ip=192.0.2.7;" in text or 'client-ip="192.0.2.7";' in text
    assert received_spf_field(transaction()) == b""


# ---- hostile words

hostile = st.text(
    st.one_of(
        st.sampled_from('\r\n\t ;"\\()<>[]@=,.:\x00\x7f\x85\u2028\ud800\udcff'), st.characters(), st.sampled_from("ab1")
    ),
    max_size=400,
)
outcomes = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.TEMPERROR])


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    signature = st.builds(DkimSignature, outcomes, hostile, hostile, hostile, hostile, hostile, hostile)
    found = {
        "iprev": Finding("iprev", draw(outcomes), draw(hostile), {"name": draw(hostile)}),
        "spf": Finding("spf", draw(outcomes), draw(hostile), {"identity": draw(st.sampled_from(["mailfrom", "helo"]))}),
        "dkim": DkimFinding(
            "dkim", draw(outcomes), draw(hostile), signatures=tuple(draw(st.lists(signature, max_size=3)))
        ),
        "dmarc": Finding(
            "dmarc", draw(outcomes), draw(hostile), {"author_domain": draw(hostile), "policy": draw(hostile)}
        ),
        "arc": Finding("arc", draw(outcomes), draw(hostile)),
    }
    return transaction(
        id=draw(hostile) or "x",
        hello=Hello(draw(st.sampled_from(["EHLO", "HELO"])), draw(hostile)),
        envelope=Envelope(
            Mailbox(draw(hostile), draw(hostile)),
            (Mailbox(draw(hostile), draw(hostile)),),
            smtputf8=draw(st.booleans()),
        ),
        connection=Connection("S", ip_address("2001:db8::7"), tls=Tls(draw(hostile), draw(hostile))),
        findings=found,
    )


@settings(max_examples=150, deadline=None)
@given(transactions(), hostile, st.lists(hostile, max_size=3))
def test_hostile_words_never_leave_their_field(tx: Transaction, reason: str, unknown: list[str]) -> None:
    verdict = Verdict(Action.QUARANTINE, reason, unknown=tuple(unknown), enforced=not unknown)
    outgoing = stamp(tx, verdict, ME)
    octets = outgoing.prepended
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.strip() and len(line) < 998 for line in lines), "an empty line would end the header"
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", octets)
    if not tx.envelope or not tx.envelope.smtputf8:
        assert octets.isascii()
    expected = ["Received", "Authentication-Results", "Received-SPF", "X-Gateway-Verdict", "X-Gateway-Id"]
    # RFC 7208 has no result "policy"; the SPF check never gives it
    if tx.findings["spf"].outcome is Outcome.POLICY:
        expected.remove("Received-SPF")
    expected += ["X-Gateway-Unknown"] * bool(unknown) + ["X-Gateway-Reason"]
    whole = b"".join(outgoing.chunks())
    parsed = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(whole)
    assert parsed.keys() == [*expected, "From", "Subject"]
    assert [field.name for field in Message.parse(octets).fields] == [name.lower() for name in expected]


@settings(max_examples=150, deadline=None)
@given(transactions())
def test_another_reader_sees_the_same_results(tx: Transaction) -> None:
    assert tx.envelope
    # authres reads no UTF-8 (RFC 8616); what leaves in SMTPUTF8 is held to the fields' bounds above
    tx = replace(tx, envelope=replace(tx.envelope, smtputf8=False))
    field = authentication_results(tx, ME.authserv_id)
    text = field.decode("utf-8").replace("\r\n", "")
    read = authres.AuthenticationResultsHeader.parse(text)
    assert read.authserv_id == ME.authserv_id
    signatures = tx.findings["dkim"].signatures  # type: ignore[attr-defined]
    methods = ["spf", *["dkim"] * max(1, len(signatures)), "dmarc", "arc", "iprev"]
    assert [result.method for result in read.results] == methods
    allowed = {"spf": {"smtp.mailfrom", "smtp.helo"}, "dmarc": {"header.from"}, "arc": set(), "iprev": {"policy.iprev"}}
    for result in read.results:
        names = {f"{p.type}.{p.name}" for p in result.properties}
        assert names <= allowed.get(result.method, {f"header.{n}" for n in "dsabi"})


# ---- claims

CLAIMS = [
    b"mx.example.net; spf=pass",
    b"MX.Example.NET; spf=pass",
    b"  (hello (nested \\) ) ) mx.example.net ; none",
    b'"mx.example.net" 1; spf=pass',
    b'"mx\\.example.net"; spf=pass',
    b"mx.example.net 1; spf=pass",
    b"mx.example.net(v) 1; spf=pass",
    b"\r\n mx.example.net;\r\n spf=pass",
    b"mx.example.net.; spf=pass",
    b"mx.example.net",
    b"mx.exa\x00mple.net; spf=pass",
    b"=?utf-8?q?mx=2Eexample=2Enet?=; spf=pass",
    b"(never closed mx.example.net; spf=pass",
    b'"never closed mx.example.net; spf=pass',
]


@pytest.mark.parametrize("value", CLAIMS)
@pytest.mark.parametrize("name", [b"Authentication-Results", b"AUTHENTICATION-RESULTS", b"authentication-results "])
def test_a_field_that_claims_our_name_goes(name: bytes, value: bytes) -> None:
    message = Message.parse(name + b": " + value + b"\r\nFrom: a@b\r\n\r\n")
    assert len(claims(message, "mx.example.net")) == 1
    assert b"".join(stamp(transaction(message=message), Verdict(Action.ACCEPT), ME).chunks()).endswith(
        b"\r\nFrom: a@b\r\n\r\n"
    )


def test_an_internationalised_name_is_known_in_both_spellings() -> None:
    message = Message.parse("Authentication-Results: mx.b\u00fccher.example; none\r\n\r\n".encode())
    assert claims(message, "mx.xn--bcher-kva.example")
    message = Message.parse(b"Authentication-Results: mx.xn--bcher-kva.example; none\r\n\r\n")
    assert claims(message, "mx.B\u00dcCHER.example")


def test_others_and_their_received_spf_stay() -> None:
    content = (
        b"Authentication-Results: mx.example.net.evil.org; spf=pass\r\nAuthentication-Results: other (mx.example.net); x\r\n"
        b"Received-SPF: pass\r\nX-Gatewayish: 1\r\nx-GATEWAY-verdict: accept\r\nX-Gateway-Other : 1\r\n\r\nbody"
    )
    message = Message.parse(content)
    assert [message.raw(item) for item in claims(message, "mx.example.net")] == [
        b"x-GATEWAY-verdict: accept\r\n",
        b"X-Gateway-Other : 1\r\n",
    ]
    assert [item.name for item in claims(message, "mx.example.net", "X-GatewayISH")] == ["x-gatewayish"]


def test_stamp_says_what_observing_would_have_done() -> None:
    verdict = Verdict(Action.REJECT, "auth-policy", unknown=("dkim", "dnsbl"), enforced=False)
    text = stamp(transaction(findings=FOUND), verdict, ME).prepended.decode()
    assert "X-Gateway-Verdict: accept\r\n" in text
    assert "X-Gateway-Unknown: dkim, dnsbl\r\n" in text
    assert "X-Gateway-Reason: auth-policy (observed: would be reject)\r\n" in text
    assert text.startswith("Received: from ")
