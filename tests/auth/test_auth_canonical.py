"""Canonicalisation: pieces of any size, and no octets that cost more than others."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth.canonical import BodyWant, Stopped, body_digests, canonical_body, relaxed_field
from gateway.mail.message import Message


def plain(body: bytes, relaxed: bool) -> bytes:
    """RFC 6376 section 3.4 as it reads, line by line."""
    lines = body.split(b"\r\n")
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line) for line in lines]
        lines = [line.rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return b"" if relaxed else b"\r\n"
    return b"\r\n".join(lines) + b"\r\n"


tokens = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc", b"  ", b"\r\n\r\n", b"."]), max_size=60)


@settings(max_examples=400, deadline=None)
@given(tokens, st.lists(st.integers(1, 7), min_size=1, max_size=20), st.booleans())
def test_cuts_do_not_matter(parts, sizes, relaxed):
    body = b"".join(parts)
    pieces, at, n = [], 0, 0
    while at < len(body):
        size = sizes[n % len(sizes)]
        pieces.append(body[at : at + size])
        at, n = at + size, n + 1
    assert b"".join(canonical_body(pieces, relaxed)) == plain(body, relaxed)


def test_rfc6376_example():
    body = b" C \r\nD \t E\r\n\r\n\r\n"
    assert b"".join(canonical_body([body], True)) == b" C\r\nD E\r\n"
    assert b"".join(canonical_body([body], False)) == b" C \r\nD \t E\r\n"
    assert relaxed_field(b"A: X\r\n") == b"a:X\r\n"
    assert relaxed_field(b"B : Y\t\r\n\tZ  \r\n") == b"b:Y Z\r\n"


@pytest.mark.parametrize("unit", [b" " * 990 + b"\r\n", b"\r\n", b" \t", b"\r", b" " * 50000 + b"x\r\n"])
def test_blanks_are_no_dearer_than_text(unit):
    body = unit * (8_000_000 // len(unit))
    message = Message.parse(b"A: b\r\n\r\n" + body)
    started = time.process_time()
    body_digests(message, {BodyWant(True), BodyWant(False)})
    assert time.process_time() - started < 3.0


def test_stops_between_pieces():
    message = Message.parse(b"A: b\r\n\r\n" + b"x\r\n" * 100_000)
    with pytest.raises(Stopped):
        body_digests(message, {BodyWant(True)}, lambda: True)


def test_limited_length_is_hashed_in_the_same_pass():
    import hashlib

    message = Message.parse(b"A: b\r\n\r\nhello\r\nworld\r\n\r\n")
    found = body_digests(message, {BodyWant(True), BodyWant(True, 5), BodyWant(True, 99)})
    assert found[BodyWant(True, 5)].digest == hashlib.sha256(b"hello").digest()
    assert {digest.total for digest in found.values()} == {14}
