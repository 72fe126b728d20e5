"""Fields that others wrote are read as they meant them; nothing makes the reader raise or slow."""

from __future__ import annotations

import time

import authres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mail.authres_read import ReadField, read_field


def meaning(text: str) -> tuple[str, list[tuple[str, str, dict[str, str]]]]:
    read = read_field(text.encode())
    assert read is not None, text
    return read.authserv_id, [(one.method, one.word, dict(one.properties)) for one in read.results]


FIELDS = [
    "example.org 1; none",
    "example.com; spf=pass smtp.mailfrom=example.net",
    "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net",
    'example.com; dkim=fail reason="bad; (signature)" header.i=@newyork.example.com; spf=none',
    "foo.example.net; dkim=pass header.d=example.com header.b=oINEO8hg; dkim=fail header.b=EToRSuvU",
    "mx.google.com; dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.com",
]
"""Of the kind that stands in RFC 8601 appendix B and in the wild."""


@pytest.mark.parametrize("text", FIELDS)
def test_the_library_reads_the_same(text: str) -> None:
    theirs = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {text}")
    ours = meaning(text)
    assert ours[0] == theirs.authserv_id
    assert ours[1] == [
        (one.method, one.result, {f"{item.type}.{item.name}": item.value for item in one.properties})
        for one in theirs.results
    ]


MORE = [
    # quoted ids, comments anywhere, blanks around the equals sign, a semicolon at the end
    ('"mx.example.org" (c) 1 ; spf = pass smtp.mailfrom = "a b"@c.example ;', ("mx.example.org", [("spf", "pass", {"smtp.mailfrom": "a b@c.example"})])),
    ("(a(b)\\)) mx; dkim/1=pass header.b=ab+/==", ("mx", [("dkim", "pass", {"header.b": "ab+/=="})])),
    ("mx; SPF=Pass", ("mx", [("spf", "pass", {})])),
    ('mx; x-own=pass a.b="\\"q\\" ;("', ("mx", [("x-own", "pass", {"a.b": '"q" ;('})])),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MORE)
def test_what_writers_do(text: str, expected: tuple) -> None:
    assert meaning(text) == expected


def test_comments_and_reasons_stay_with_their_result() -> None:
    read = read_field(b'mx; spf=fail (one) reason="not; yours" (two (deep)); dkim=none')
    assert read is not None
    spf, dkim = read.results
    assert (spf.reason, spf.comments) == ("not; yours", ("one", "two (deep)"))
    assert (dkim.reason, dkim.comments) == ("", ())


@pytest.mark.parametrize("text", ["", "mx", ";", "mx; spf", "mx; spf=pass smtp.mailfrom", 'mx; spf="pass', "mx; (spf=pass", "m x; none", "mx; =pass"])
def test_what_keeps_no_grammar_is_none(text: str) -> None:
    assert read_field(text.encode()) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(list('a=;()"\\ .\t@/1\xff')), max_size=60).map("".join) | st.text(max_size=80))
def test_nothing_raises(text: str) -> None:
    read = read_field(("mx; " + text).encode("utf-8", "surrogatepass"))
    assert read is None or isinstance(read, ReadField)


@pytest.mark.parametrize("piece", ["(", "a=b ", '"', "\\", "a", "; a=b", " ", '"a', "=", "a/"])
def test_a_big_field_takes_its_size_in_time(piece: str) -> None:
    text = ("mx; " + piece * (200_000 // len(piece))).encode()
    started = time.monotonic()
    read_field(text)
    assert time.monotonic() - started < 5
