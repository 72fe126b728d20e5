"""Canonicalisation of RFC 6376 section 3.4 in linear time: header fields at once, bodies in pieces.

In: octets in CRLF form. Out: the canonical octets, in pieces whose borders mean nothing. A body of any size costs one
pass and a few pieces of memory; runs of blanks and of CRLFs are kept as state, not as octets, so that a body made of
nothing else is no dearer than text.

Known gaps: blanks at the end of a body without a final CRLF are dropped in relaxed form, where implementations differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.mail import limits
from gateway.mail.message import Message

_CRLF_RUN = b"\r\n" * 16384


@dataclass(frozen=True, slots=True)
class BodyWant:
    """A body hash that somebody needs: relaxed or simple form, and at most ``length`` octets of it (l=; None: all)."""

    relaxed: bool
    length: int | None = None


@dataclass(frozen=True, slots=True)
class BodyDigest:
    """SHA-256 of the canonical body (its first ``length`` octets) and how many octets the whole of it has."""

    digest: bytes
    total: int


class Stopped(Exception):
    """The caller wanted no more: hashing ended between two pieces."""


def relaxed_field(raw: bytes) -> bytes:
    """One header field in relaxed form (section 3.4.2): name in lower case, one blank for many, no folding, CRLF."""
    name, _, value = raw.partition(b":")
    text = _single_blanks(value.replace(b"\r\n", b""))
    return name.rstrip(b" \t").lower() + b":" + text.strip(b" ") + b"\r\n"


def _single_blanks(data: bytes) -> bytes:
    if b"\t" in data:
        data = data.replace(b"\t", b" ")
    # halving runs is several times faster than a regular expression or a list of words, and each round is linear
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


def simple_field(raw: bytes) -> bytes:
    """One header field in simple form (section 3.4.1): as it is."""
    return raw


class _Body:
    """The state between two pieces: blanks, a CR and CRLFs that may or may not belong to the canonical body."""

    __slots__ = ("_blank", "_cr", "_crlfs", "_relaxed", "_some")

    def __init__(self, relaxed: bool) -> None:
        self._relaxed = relaxed
        self._crlfs = 0
        self._cr = False
        self._blank = False
        self._some = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        data = (b" " if self._blank else b"") + (b"\r" if self._cr else b"") + piece
        self._cr = data.endswith(b"\r")
        if self._cr:
            data = data[:-1]
        self._blank = False
        if self._relaxed:
            data = _single_blanks(data).replace(b" \r\n", b"\r\n")
            if data.endswith(b" "):
                data, self._blank = data[:-1], True
        yield from self._without_last_lines(data)

    def _without_last_lines(self, data: bytes) -> Iterator[bytes]:
        end = len(data)
        while data.endswith(b"\r\n", 0, end):
            end -= 2
        if end:
            yield from self._owed()
            self._some = True
            yield data[:end]
        self._crlfs += (len(data) - end) // 2

    def _owed(self) -> Iterator[bytes]:
        while self._crlfs:
            count = min(self._crlfs, len(_CRLF_RUN) // 2)
            self._crlfs -= count
            yield _CRLF_RUN[: count * 2]

    def finish(self) -> Iterator[bytes]:
        if self._cr:  # a CR with nothing after it is text, and so are the blanks before it
            yield from self._owed()
            self._some = True
            yield b" \r" if self._blank else b"\r"
        if self._some or not self._relaxed:
            yield b"\r\n"


def canonical_body(pieces: Iterable[bytes], relaxed: bool) -> Iterator[bytes]:
    """A body in simple (section 3.4.3) or relaxed (3.4.4) form. Where the pieces are cut does not matter."""
    body = _Body(relaxed)
    for piece in pieces:
        yield from body.feed(piece)
    yield from body.finish()


def body_pieces(message: Message, octets: int = limits.READ_CHUNK_OCTETS) -> Iterator[bytes]:
    """The body of a message in pieces. Slices are copies, so no view keeps a mapped file open."""
    for start in range(message.body_start, message.size, octets):
        yield message.octets[start : start + octets]


def body_digests(
    message: Message, wants: Iterable[BodyWant], stopped: Callable[[], bool] = lambda: False
) -> dict[BodyWant, BodyDigest]:
    """All hashes that are needed of a body: one pass for each form, however many signatures and l= there are.

    stopped is asked before each piece; when it says True, Stopped is raised.
    """
    found: dict[BodyWant, BodyDigest] = {}
    for relaxed in (False, True):
        lengths = {want.length for want in wants if want.relaxed is relaxed}
        if not lengths:
            continue
        hashers = {length: hashlib.sha256() for length in lengths}
        total = 0
        for piece in canonical_body(_until(body_pieces(message), stopped), relaxed):
            for length, hasher in hashers.items():
                if length is None:
                    hasher.update(piece)
                elif length > total:
                    hasher.update(piece[: length - total])
            total += len(piece)
        for length, hasher in hashers.items():
            found[BodyWant(relaxed, length)] = BodyDigest(hasher.digest(), total)
    return found


def _until(pieces: Iterator[bytes], stopped: Callable[[], bool]) -> Iterator[bytes]:
    for piece in pieces:
        if stopped():
            raise Stopped
        yield piece
