"""What must hold of replies, addresses and messages whatever a stranger says.

Known gaps: none.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mail import address
from gateway.mail.address import NULL, AddressError, Mailbox
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.reply import REPLIES, Reply, reply_for, sanitise

LINE = re.compile(rb"[2-5][0-9]{2}[ -][\x20-\x7e]*\r\n")
ANY = st.text(st.characters(codec=None), max_size=600)  # surrogates too

# ---- replies


@given(st.integers(-1, 1000), st.sampled_from(["", "2.1.0", "4.7.1", "5.7.1", "5.7", "x"]) | ANY, ANY, st.lists(ANY))
def test_a_reply_refuses_or_encodes_right(code: int, enhanced: str, text: str, more: list[str]) -> None:
    try:
        reply = Reply(code, enhanced, text, tuple(more))
    except ValueError:
        return
    lines = reply.encode().splitlines(keepends=True)
    assert len(lines) == 1 + len(more)
    for number, line in enumerate(lines):
        assert LINE.fullmatch(line)
        assert len(line) <= 512
        assert line[3:4] == (b" " if number == len(more) else b"-")
        assert line.startswith(b"%d" % code)
    if enhanced:
        assert enhanced[0] == str(code)[0]


@given(st.sampled_from(sorted(REPLIES)), ANY)
def test_every_row_takes_any_foreign_text_once_it_is_sanitised(reason: str, text: str) -> None:
    reply = reply_for(reason, "7F3KQ2ABCDEF-100", sanitise(text) or None)
    assert str(reply).endswith("[7F3KQ2ABCDEF-100]")
    assert LINE.fullmatch(reply.encode())


@pytest.mark.parametrize("reason", sorted(REPLIES))
def test_every_row_is_a_valid_reply(reason: str) -> None:
    reply = reply_for(reason, "7F3KQ2ABCDEF-1")
    assert reply.enhanced[0] == str(reply.code)[0]
    assert reply.close or reply.code != 421, "421 promises that the session ends"


# ---- addresses

PIECES = st.lists(st.sampled_from([*'abAB09.@<>"\\[]:- \t%!_\r\n\0é例\udc80', "IPv6:", "xn--", "..", "127.0.0.1"]))
ADDRESSES = ANY | PIECES.map("".join)


@given(ADDRESSES)
@example("\ud800@example.com")
def test_parsers_raise_nothing_but_address_error(text: str) -> None:
    for parse in (
        address.parse_mailbox,
        address.parse_domain,
        address.split_path,
        address.parse_reverse_path,
        address.parse_forward_path,
    ):
        try:
            parse(text)
        except AddressError as error:
            assert str(error).isascii()
    address.parse_literal(text)


@given(ADDRESSES)
def test_what_was_parsed_is_formatted_and_parsed_to_the_same(text: str) -> None:
    try:
        mailbox = address.parse_mailbox(text)
    except AddressError:
        return
    assert address.parse_mailbox(str(mailbox)) == mailbox
    assert not re.search(r"[\x00-\x1f\x7f]", str(mailbox))


LOCAL = st.text(st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters="\x7f"), min_size=1, max_size=16)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(LOCAL, st.lists(LABEL, min_size=1, max_size=4))
def test_any_local_part_survives_its_quoting(local_part: str, labels: list[str]) -> None:
    mailbox = Mailbox(local_part, ".".join(labels))
    path, rest = address.split_path(f"<{mailbox}> SIZE=1")
    assert rest == "SIZE=1"
    assert address.parse_forward_path(path) == mailbox


def test_the_null_reverse_path_is_its_own_type() -> None:
    assert address.parse_reverse_path("<>") is NULL
    assert f"<{NULL}>" == "<>"


# ---- messages

OCTETS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b":", b" ", b"\t", b"From", b"Subject: x", b".", b"\0", b"\xff", b"a"])
    | st.binary(max_size=8),
    max_size=40,
).map(b"".join)


@given(OCTETS)
def test_fields_tile_the_header_exactly(octets: bytes) -> None:
    message = Message.parse(octets)
    assert message.size == len(octets)
    position = 0
    for item in message.fields:
        assert item.start == position
        assert item.end > item.start
        position = item.end
        assert message.raw(item) == octets[item.start : item.end]
        message.value(item)
    assert message.header == octets[:position]
    # between the header and the body there is the empty line, or nothing where there is none
    assert octets[position : message.body_start] in (b"\r\n", b"")
    assert message.header + octets[position : message.body_start] + bytes(message.body) == octets


@given(OCTETS, st.binary(max_size=30), st.data(), st.integers(1, 50))
def test_chunks_are_the_message_less_the_removed_fields(
    octets: bytes, prepended: bytes, data: st.DataObject, size: int
) -> None:
    message = Message.parse(octets)
    removed = tuple(item for item in message.fields if data.draw(st.booleans()))
    outgoing = OutgoingMessage(message, prepended, removed)
    kept = [message.raw(item) for item in message.fields if item not in removed]
    rest = octets[len(message.header) :]
    chunks = list(outgoing.chunks(size))
    assert b"".join(chunks) == prepended + b"".join(kept) + rest
    assert outgoing.size == sum(map(len, chunks))
    assert all(0 < len(chunk) <= size for chunk in chunks[1 if prepended else 0 :])
