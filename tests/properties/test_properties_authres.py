"""Authentication-Results: whatever strangers write, what we emit is read back as what we meant, and what claims to be
ours goes. Readers: a strict one of our own (RFC 8601 section 2.2) and the authres library.

Known gaps: none.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

import authres
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.mail.address import Mailbox
from gateway.mail.authres import authentication_results, claims
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Finding, Outcome, Why
from gateway.mail.message import Message
from gateway.mail.trace import received_spf_field
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.mail.verdict import Action, Verdict

ID = "mx.example.net"
EVIL = st.sampled_from(
    [
        "a", "example.com", "x; dmarc=pass header.from=bank.example", '"', '\\"', "\\", "(", ")", "\r\n", "\r\nX-Evil: 1",
        "\n\t", "\0", "é", "\u2028", "\x85", ";", "=", " ", "@", "%00", "\ud800", "😀", "/", "reason=", "\x7f", "'",
    ]
)  # fmt: skip
TEXT = st.lists(EVIL, max_size=8).map("".join) | st.text(st.characters(codec=None), max_size=60)
WORDS = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.TEMPERROR])
SIGNATURES = st.lists(
    st.builds(DkimSignature, st.sampled_from(list(Outcome)), TEXT, TEXT, TEXT, TEXT, TEXT, TEXT), max_size=4
)
LEVELS = st.sampled_from(["none", "quarantine", "reject"]) | TEXT
ASKED = st.fixed_dictionaries(
    {"policy": LEVELS},
    optional={
        "published": LEVELS,
        "tag": st.sampled_from(["p", "sp", "np"]) | TEXT,
        "testing": st.booleans() | TEXT,
        "aligned": st.sampled_from([(), ("spf",), ("spf", "dkim"), ("evil)",)]) | TEXT,
    },
)
VERDICTS = st.none() | st.builds(Verdict, st.sampled_from(list(Action)), enforced=st.booleans())
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
PRINTABLE = re.compile(rb"[\x09\x20-\x7e]*")


def finding(check: str, outcome: Outcome, reason: str, evidence: dict[str, Any]) -> Finding:
    return Finding(check, outcome, reason, evidence)


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    signatures = tuple(draw(SIGNATURES))
    best = draw(WORDS)
    evidence: dict[str, Any] = {"identity": "mailfrom"}
    if draw(st.booleans()):
        evidence |= {"helo_domain": draw(TEXT), "helo_outcome": draw(st.sampled_from([str(o) for o in Outcome]))}
    found: dict[str, Finding] = {
        "spf": finding("spf", draw(WORDS), draw(TEXT), evidence),
        "dkim": DkimFinding("dkim", best, draw(TEXT), {}, None, signatures),
        "dmarc": finding("dmarc", draw(WORDS), draw(TEXT), draw(ASKED) | {"author_domain": draw(TEXT)}),
        "arc": finding("arc", draw(WORDS), draw(TEXT), {}),
        "iprev": finding("iprev", draw(WORDS), draw(TEXT), {"name": draw(TEXT)}),
    }
    if draw(st.booleans()):
        found["spf"] = Finding.unknown("spf", Cause("dns", Why.TIMEOUT, draw(TEXT)), evidence)
    return Transaction(
        "T-1",
        Connection("S-1", ip_address(draw(st.sampled_from(["192.0.2.1", "2001:db8::1"])))),
        1.0,
        Hello("EHLO", draw(TEXT)),
        Envelope(Mailbox(draw(TEXT), draw(TEXT)), smtputf8=False),
        findings=found,
    )


Result = tuple[str, str, dict[str, str]]


def read(field: bytes) -> tuple[str, list[Result]]:
    """A strict reader: authserv-id and (method, word, {property or 'reason': value}); AssertionError for all else."""
    name, _, value = field.decode("ascii").partition(":")
    assert name == "Authentication-Results"
    text = value.replace("\r\n ", " ")
    assert "\r" not in text[:-2]
    scan = re.compile(r'\s*(?:(\()|("(?:[^"\\]|\\.)*")|([^\s;="()]+)|([;=]))', re.DOTALL)
    tokens: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = scan.match(text, at)
        assert match, text[at:]
        at = match.end()
        if match[1]:
            at = text.index(")", at) + 1
            continue
        tokens.append(match[2] or match[3] or match[4])
    assert tokens[1] == ";"
    results: list[Result] = []
    rest = tokens[2:]
    while rest:
        end = rest.index(";") if ";" in rest else len(rest)
        words, rest = rest[:end], rest[end + 1 :]
        pairs = [words[n : n + 3] for n in range(0, len(words), 3)]
        assert all(len(pair) == 3 and pair[1] == "=" for pair in pairs), words
        method, word = pairs[0][0], pairs[0][2]
        results.append((method, word, {key: unquoted(value) for key, _, value in pairs[1:]}))
    return tokens[0], results


def unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def shown(text: str, length: int = 330) -> str:
    """What we mean to show of a stranger's text: ASCII as it is, anything else as a question mark."""
    return re.sub(r"[^\x20-\x7e]", "?", text[:length])


@settings(max_examples=400, deadline=None)
@given(transactions(), VERDICTS)
def test_what_we_emit_is_read_back_as_what_we_meant(tx: Transaction, verdict: Verdict | None) -> None:
    field = authentication_results(tx, ID, verdict)
    assert field.endswith(b"\r\n")
    for line in field[:-2].split(b"\r\n"):
        assert PRINTABLE.fullmatch(line)
        assert len(line) <= 998
    authserv_id, results = read(field)
    assert authserv_id == ID
    assert tx.envelope
    assert tx.hello
    spf, dkim, dmarc = tx.findings["spf"], tx.findings["dkim"], tx.findings["dmarc"]
    assert isinstance(dkim, DkimFinding)
    methods = ["spf"] + ["spf"] * bool(spf.evidence.get("helo_domain"))
    methods += ["dkim"] * max(1, len(dkim.signatures)) + ["dmarc", "arc", "iprev"]
    assert [method for method, _, _ in results] == methods
    assert all(word in set(Outcome) for _, word, _ in results)
    by_method = {method: (word, said) for method, word, said in reversed(results)}
    assert by_method["spf"][0] == spf.outcome
    assert by_method["spf"][1]["smtp.mailfrom"] == shown(str(tx.envelope.reverse_path))
    if domain := str(spf.evidence.get("helo_domain", "")):
        assert results[1][1] == spf.evidence["helo_outcome"]
        assert results[1][2] == {"smtp.helo": shown(domain)}
    for signature, (_, word, said) in zip(dkim.signatures, [one for one in results if one[0] == "dkim"], strict=False):
        assert word == (signature.outcome if signature.outcome is not Outcome.SOFTFAIL else "fail")
        assert said.get("header.d", "") == shown(signature.domain)
        assert said.get("header.s", "") == shown(signature.selector)
        assert said.get("header.a", "") == shown(signature.algorithm)
        assert said.get("header.b", "") == shown(signature.b_prefix[:16])
        assert set(said) <= {"reason", "header.d", "header.s", "header.a", "header.b", "header.i"}
        if "header.i" in said:
            assert said["header.i"] == signature.identity[:300]
    if by_method["dmarc"][0] in ("fail", "permerror", "temperror") and dmarc.reason:
        assert by_method["dmarc"][1]["reason"] == shown(dmarc.reason, 100)
    assert by_method["dmarc"][1].get("header.from", "") == shown(str(dmarc.evidence["author_domain"]))
    assert set(by_method["dmarc"][1]) <= {"reason", "header.from", "policy.dmarc"}
    assert by_method["dmarc"][1].get("policy.dmarc", "none") in ("none", "quarantine", "reject")
    assert by_method["iprev"][1]["policy.iprev"] == str(tx.connection.client_ip)


@settings(max_examples=400, deadline=None)
@given(transactions(), VERDICTS)
def test_the_second_reader_finds_the_same_words_and_properties(tx: Transaction, verdict: Verdict | None) -> None:
    field = authentication_results(tx, ID, verdict)
    theirs = authres.AuthenticationResultsHeader.parse(field.decode("ascii").rstrip("\r\n"))
    assert theirs.authserv_id == ID
    ours = read(field)[1]
    assert [(one.method, one.result) for one in theirs.results] == [(method, word) for method, word, _ in ours]
    for their, (_, _, said) in zip(theirs.results, ours, strict=True):
        # the library leaves quoted-pairs as they are written, and keeps of several quoted values only the last
        found = {f"{item.type}.{item.name}": re.sub(r"\\(.)", r"\1", item.value or "") for item in their.properties}
        assert found.items() <= said.items()
        properties = {name: value for name, value in said.items() if name != "reason"}
        certain = {name for name, value in properties.items() if PLAIN.fullmatch(value)} | set(list(properties)[-1:])
        assert certain <= set(found)


@settings(max_examples=300, deadline=None)
@given(transactions())
def test_received_spf_is_one_field_of_printable_lines(tx: Transaction) -> None:
    field = received_spf_field(tx, ID)
    if tx.findings["spf"].outcome is Outcome.POLICY:  # no word of RFC 7208
        assert field == b""
        return
    assert field.startswith(b"Received-SPF: ") and field.endswith(b"\r\n")
    lines = field[:-2].split(b"\r\n")
    assert all(PRINTABLE.fullmatch(line) and len(line) <= 998 for line in lines)
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
    # RFC 7208 section 9.1: result, comment, key=value pairs; read back they are what we were told
    text = field.decode("ascii").replace("\r\n", "").removeprefix("Received-SPF: ")
    match = re.fullmatch(r"(\w+) \([^()]*\) (.*)", text)
    assert match
    assert match[1] == tx.findings["spf"].outcome
    pairs = re.findall(r' ?([a-z-]+)=("(?:[^"\\]|\\.)*"|[A-Za-z0-9._:-]+)(?:;|$)', match[2])
    assert "".join(f" {key}={value};" for key, value in pairs) == f" {match[2]};"
    assert tx.envelope
    assert tx.hello
    assert {key: unquoted(value) for key, value in pairs} == {
        "client-ip": str(tx.connection.client_ip),
        "envelope-from": shown(str(tx.envelope.reverse_path)),
        "helo": shown(tx.hello.name),
        "identity": "mailfrom",
        "receiver": ID,
    }


# ---- fields that claim to be ours

BLANKS = st.sampled_from(["", " ", "\t", "\r\n ", "\r\n\t", " \r\n  ", "\u200b"])
COMMENTS = st.sampled_from(["", "(c)", "((a)b)", "(\\))", "(;)", '(")', "(mx.other.example;)"])


@st.composite
def spellings(draw: st.DrawFn, name: str = ID) -> str:
    """One way to write an authserv-id that some reader takes for ours."""
    for _ in range(3):
        name = draw(st.sampled_from([name, name.upper(), name.title(), name + ("" if name.endswith(".") else ".")]))
    if draw(st.booleans()):
        name = "".join(f"\\{char}" if draw(st.booleans()) and char.isalnum() else char for char in name)
        name = f'"{name}"'
    before = draw(BLANKS) + draw(COMMENTS) + draw(BLANKS)
    after = draw(st.sampled_from(["", " ", "\r\n ", "(c)", " (c) "])) + draw(st.sampled_from(["", " 1", "\r\n 1 (v)"]))
    if after.strip().endswith("1") and not after[:1].isspace():
        after = " " + after
    return before + name + after + draw(st.sampled_from([";", " ;", "; spf=pass smtp.mailfrom=a@b.example", "; none"]))


FIELD = st.sampled_from(
    [
        "Authentication-Results",
        "authentication-results",
        "AUTHENTICATION-RESULTS",
        "Authentication-Results ",
        "Authentication-Results" + "\t " * 80,
    ]
)


@settings(max_examples=500, deadline=None)
@given(FIELD, spellings(), st.integers(0, 5))
def test_every_spelling_of_our_name_goes_wherever_it_stands(name: str, value: str, position: int) -> None:
    others = [f"X-{n}: mx.example.net\r\n" for n in range(5)]
    others.insert(position, f"{name}: {value}\r\n")
    message = Message.parse("".join(others).encode() + b"\r\nbody\r\n")
    found = claims(message, ID)
    assert [message.raw(item) for item in found] == [f"{name}: {value}\r\n".encode()]


FOREIGN = [
    "mx.example.org",
    "example.net",
    "mx.example.net.example.org",
    "xmx.example.net",
    "mx-example.net",
    "mx.example.nett",
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FOREIGN).flatmap(spellings))
def test_foreign_fields_stay(value: str) -> None:
    message = Message.parse(f"Authentication-Results: {value}\r\n\r\n".encode())
    assert not claims(message, ID)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["mx.bücher.example", "MX.BÜCHER.example", "mx.xn--bcher-kva.example", "mx.bu\u0308cher.example",
                        "mx。bücher。example", "=?utf-8?q?mx=2Eb=C3=BCcher=2Eexample?="]), BLANKS, COMMENTS)  # fmt: skip
@example("mx.bücher.example", "", "")
def test_an_internationalised_name_is_ours_in_both_forms(name: str, blank: str, comment: str) -> None:
    message = Message.parse(f"Authentication-Results:{blank}{comment} {name}; spf=pass\r\n\r\n".encode())
    assert len(claims(message, "mx.xn--bcher-kva.example")) == 1
