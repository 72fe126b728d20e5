"""The whole matrix of line endings around the dot: DATA and BDAT, whole, cut at each octet near the dot, and byte by byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from fuzz.memory_link import Outcome, converse, judge
from smuggling_matrix import CASES, END, ENDINGS, ENVELOPE, Bare, Case, accepted, crlf_only

BARE: tuple[Bare, ...] = ("refuse", "normalize")
STEP = {"refuse": 1, "normalize": 2}
"""Between the places where octets are cut."""
MANY = {"errors_hard": 10**6, "junk_commands": 10**6}


def cuts(octets: bytes, near: Sequence[int]) -> Iterator[list[bytes]]:
    yield [octets]
    yield [bytes([octet]) for octet in octets]
    for at in near:
        yield [octets[:at], octets[at:]]


async def sent(pieces: Sequence[bytes], bare: Bare) -> Outcome:
    outcome = await converse([piece for piece in pieces if piece], bare=bare, **MANY)
    judge(outcome, 65536)
    return outcome


def refused(outcome: Outcome) -> bool:
    code, text = outcome.replies[-1]
    return code == 554 and text[0].startswith(b"5.5.2 Bare CR or LF")


@pytest.mark.parametrize("bare", BARE)
async def test_by_data(bare: Bare) -> None:
    refusals = sessions = 0
    for case in CASES:
        expected = case.by_data(bare)
        octets = ENVELOPE + b"DATA\r\n" + case.text + END + b"QUIT\r\n"
        start = len(ENVELOPE + b"DATA\r\n")
        for pieces in cuts(octets, [start + at for at in case.near[:: STEP[bare]]]):
            outcome = await sent(pieces, bare)
            assert outcome.kept == expected, (case.name, pieces[:3])
            # refused content ends the session: what stands behind it is never a command
            assert refused(outcome) is not bool(expected), (case.name, outcome.replies)
            sessions += 1
            refusals += not expected
    print(f"{len(CASES)} forms, {sessions} sessions, {refusals} refused, none delivered twice")
    assert (refusals > 500) is (bare == "refuse")


def chunks(text: bytes, sizes: Sequence[int]) -> bytes:
    """BDAT commands with so many octets each; the rest is the last."""
    octets, at = b"", 0
    for size in sizes:
        octets += b"BDAT %d\r\n" % size + text[at : at + size]
        at += size
    return octets + b"BDAT %d LAST\r\n" % (len(text) - at) + text[at:]


def splits(case: Case, near: Sequence[int]) -> Iterator[list[int]]:
    yield []
    yield [1] * (len(case.text) + 2)
    for at in near:
        yield [at, 0, 1] if at % 2 else [at]


@pytest.mark.parametrize("bare", BARE)
async def test_by_bdat(bare: Bare) -> None:
    sessions = 0
    for case in CASES:
        expected = case.by_bdat(bare)
        text = case.text + b"\r\n"
        for sizes in splits(case, case.near[:: STEP[bare]]):
            octets = ENVELOPE + chunks(text, sizes) + b"QUIT\r\n"
            # segments end where the first chunk does, or before its last octet
            first = len(ENVELOPE) + octets[len(ENVELOPE) :].find(b"\r\n") + 2 + max(0, (sizes or [0])[0] - sessions % 2)
            outcome = await sent([octets[:first], octets[first:]], bare)
            assert outcome.kept == expected, (case.name, sizes[:3])
            assert refused(outcome) is not bool(expected), (case.name, outcome.replies)
            sessions += 1
        outcome = await sent([bytes([octet]) for octet in ENVELOPE + chunks(text, []) + b"QUIT\r\n"], bare)
        assert outcome.kept == expected
    print(f"{len(CASES)} forms, {sessions} sessions")


@pytest.mark.parametrize("bare", BARE)
async def test_commands_behind_a_chunk_that_lies_about_its_size(bare: Bare) -> None:
    # too few octets: the rest is commands, and none of them is mail; too many: commands are content
    for ending in ENDINGS.values():
        text = b"Subject: x\r\n\r\nhi" + ending
        for lie in (-3, -1, 1, 3):
            size = len(text) + lie
            octets = ENVELOPE + b"BDAT %d LAST\r\n" % size + text + b"MAIL FROM:<evil@evil.example>\r\n" + b"RSET\r\nQUIT\r\n"
            outcome = await sent([octets], bare)
            content = (text + b"MAIL")[:size]
            delivered = accepted(content if content.endswith(b"\r\n") else content + b"\r\n", bare)
            assert outcome.kept == ([] if delivered is None else [delivered]), (ending, lie)


def test_the_matrix_is_whole() -> None:
    assert len(CASES) == len(ENDINGS) ** 2 + 2 * len(ENDINGS)
    twice = [case.name for case in CASES if len(case.by_data("refuse")) == 2]
    # with a true end of data in front of them the commands are commands
    assert sorted(twice) == ["CRLF.CRLF", "NULCRLF.CRLF", "^.CRLF", "header:CRLF"]
    assert all(case.by_data("normalize") for case in CASES)
    assert sum(crlf_only(case.text) for case in CASES) < len(CASES) / 3
