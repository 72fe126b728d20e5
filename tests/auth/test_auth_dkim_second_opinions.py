"""What dkimpy and OpenDKIM say of a generated corpus, against what we say; each disagreement is explained here."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import dkim
import pytest
from auth_zone import rsa_key
from dkim_corpus import Sample, samples, zone
from opendkim_judge import LIBRARY, installed, judge

from gateway.auth.canonical import body_digests
from gateway.auth.dkim_verify import read_signatures, verify
from gateway.mail.finding import Outcome
from gateway.mail.message import Message

COUNT = 4000


@dataclass(frozen=True, slots=True)
class Explained:
    """A disagreement that we stand by: our word, theirs, one of the features that cause it, and why."""

    ours: str
    theirs: str
    features: frozenset[str]
    why: str


def _because(ours: str, theirs: str, features: str, why: str) -> Explained:
    return Explained(ours, theirs, frozenset(features.split(", ")), why)


_DUPLICATE = "RFC 6376 section 8.15: readers show the first Subject, the signature covers the last"
_PARTIAL = "RFC 6376 section 8.2: what stands behind l= is unsigned; policy by default, a pass where the settings say so"
_RELAXED_END = "section 3.4.4: blanks at the end of a line are ignored, also of the last line when no CRLF ends it"
DKIMPY = (
    _because("pass", "IndexError", "first line folded", "its header parser cannot begin with a folded line"),
    _because(
        "pass", "MessageFormatError", "blank before the colon, line that is no field, field name of the signature",
        "one field in obsolete syntax (RFC 5322 section 4.5) or one odd line, and it gives the whole message up",
    ),
    _because("duplicate-not-signed", "pass", "second Subject on top", _DUPLICATE),
    _because("partial-body", "pass", "l=", _PARTIAL),
    _because("length-too-big", "pass", "l=", "section 3.5: l= must not exceed the octets of the canonical body"),
    _because("pass", "no", "blanks at the end without CRLF", _RELAXED_END),
    _because("body-hash", "pass", "blanks at the end without CRLF", _RELAXED_END),
)  # fmt: skip
OPENDKIM = (
    _because("pass", "status 5 9", "first line folded, line that is no field", "a message that it calls syntactically invalid"),
    _because("duplicate-not-signed", "pass", "second Subject on top", _DUPLICATE),
    _because("from-not-signed", "pass", "second From on top", "section 8.15 too; it leaves that to the filter around it"),
    _because("partial-body", "pass", "l=", _PARTIAL),
    _because("pass", "; body hash", "no final CRLF", "section 3.4.4: a CRLF is added to a relaxed body without one; it adds none"),
    _because(
        "pass", "signature verification failed; body hash", "no final CRLF",
        "section 3.4.3: the same in simple form; it adds the CRLF to bodies of less than 4,096 octets only",
    ),
    _because("pass", "signature verification failed; body hash", "blanks at the end without CRLF", _RELAXED_END),
    _because("body-hash", "pass", "blanks at the end without CRLF", _RELAXED_END),
    _because("pass", "signature verification failed; body hash", "64 KiB field", "it loses fields of about 64 KiB and more"),
    _because("signature", "pass", "64 KiB field", "it signs as it verifies"),
)  # fmt: skip
"""``status 5 9`` is its "syntax" for the message; ``pass`` in the place of theirs is a pass."""


def ours(octets: bytes) -> str:
    """``pass``, or the reason why not."""
    message = Message.parse(octets)
    signatures = read_signatures(message)
    if not signatures:
        return "no-signature"
    signature = signatures[0]
    answer = (zone()[signature.key_name],) if signature.key_name in zone() else ()
    digests = body_digests(message, {signature.want})
    found = verify(message, signature, answer, digests, now=time.time(), min_rsa_bits=1024, partial_passes=False)
    return "pass" if found.outcome is Outcome.PASS else found.reason


def by_dkimpy(octets: bytes) -> str:
    """``pass``, ``no``, or the name of the exception."""
    keys = {name.encode() + b".": record.encode() for name, record in zone().items()}
    try:
        return "pass" if dkim.verify(octets, dnsfunc=lambda name, timeout=5: keys.get(name)) else "no"
    except Exception as error:
        return type(error).__name__


@cache
def corpus() -> tuple[Sample, ...]:
    return tuple(
        Sample(one.octets, one.features | ({"64 KiB field"} if _has_big_field(one.octets) else set()))
        for one in samples(COUNT, opendkim=installed())
    )


def _has_big_field(octets: bytes) -> bool:
    return any(item.end - item.start > 65_500 for item in Message.parse(octets).fields)


@pytest.fixture(autouse=True)
def quiet_dkimpy() -> Iterator[None]:
    log = logging.getLogger("dkimpy")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


def compare(name: str, words: list[str], table: tuple[Explained, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Both say pass or both do not, or the table explains it; each line of the table is needed."""
    used: Counter[Explained] = Counter()
    unexplained = []
    for sample, theirs in zip(corpus(), words, strict=True):
        mine = ours(sample.octets)
        if (mine == "pass") == (theirs == "pass"):
            continue
        reasons = [line for line in table if (line.ours, line.theirs) == (mine, theirs) and line.features & sample.features]
        if reasons:
            used[reasons[0]] += 1
        else:
            unexplained.append(f"{mine} {theirs} {sorted(sample.features)}\n{sample.octets[:600]!r}")
    passed = sum(word == "pass" for word in words)
    with capsys.disabled():
        print(f"\nDKIM against {name}: {len(words)} messages, {passed} pass there, {sum(used.values())} explained otherwise")
        for line, count in used.items():
            print(f"  {count:4} {line.ours} here, {line.theirs} there: {line.why}")
    assert not unexplained, "\n".join([f"{len(unexplained)} unexplained", *unexplained[:5]])
    assert 0.3 < passed / len(words) < 0.9


def test_dkimpy_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    compare("dkimpy", [by_dkimpy(one.octets) for one in corpus()], DKIMPY, capsys)


@pytest.mark.skipif(not installed(), reason=f"real component missing: {LIBRARY} (Debian package opendkim-tools)")
def test_opendkim_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    found = judge((one.octets for one in corpus()), zone())
    words = ["pass" if one and one[0][1] else one[0][2] for one in found]
    compare("OpenDKIM", words, OPENDKIM, capsys)


def test_the_corpus_is_what_it_says() -> None:
    features = Counter(feature for one in corpus() for feature in one.features)
    assert len(corpus()) == COUNT
    for name in ("huge header", "many fields", "blank before the colon", "no final CRLF", "l=", "one bit", "refolded"):
        assert features[name] >= 10, features
    bodies = [one.octets.partition(b"\r\n\r\n")[2] for one in corpus()]
    assert sum(not body for body in bodies) > 100
    assert sum(not body.isascii() for body in bodies) > 1000
    assert rsa_key(1024)[1] in zone().values()
