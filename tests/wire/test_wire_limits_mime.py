"""Depth and count of MIME parts: at the limit, below and above; what is no MIME costs nothing; the time is linear."""

from __future__ import annotations

import time

import pytest
from client import connect
from house import house

from gateway.mail import limits
from gateway.mail.message import Message
from gateway.mail.mime_shape import too_complex


def nested(depth: int) -> bytes:
    """Multiparts in multiparts: the innermost part lies at that depth."""
    inner = b"Content-Type: text/plain\r\n\r\nhi\r\n"
    for level in range(depth - 1):
        b = b"b%d-x" % level
        inner = (
            b'Content-Type: multipart/mixed;\r\n boundary="'
            + b
            + b'"\r\n\r\n--'
            + b
            + b"\r\n"
            + inner
            + b"--"
            + b
            + b"--\r\n"
        )
    return inner


def parts(count: int, boundary: bytes = b"bb") -> bytes:
    """One multipart; with the whole that makes so many."""
    head = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\npreamble\r\n"
    return head + (b"--" + boundary + b"\r\n\r\npart\r\n") * (count - 1) + b"--" + boundary + b"--\r\n"


def forwarded(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" * (depth - 1) + b"Subject: x\r\n\r\nhi\r\n"


def refused(content: bytes, **bounds: int) -> bool:
    return too_complex(Message.parse(content), **bounds)


@pytest.mark.parametrize("make", [nested, forwarded])
@pytest.mark.parametrize(("depth", "over"), [(9, False), (10, False), (11, True), (150, True)])
def test_depth(make: object, depth: int, over: bool) -> None:
    assert refused(make(depth), depth=10) is over  # type: ignore[operator]


@pytest.mark.parametrize(("count", "over"), [(99, False), (100, False), (101, True), (5000, True)])
def test_parts(count: int, over: bool) -> None:
    assert refused(parts(count), parts=100) is over


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\r\n", b"Subject: x\r\n\r\n" + b"--bb\r\n" * 5000,
        b"Content-Type: text/plain; boundary=bb\r\n\r\n" + b"--bb\r\n" * 5000,
        b"Content-Type: multipart/mixed\r\n\r\n" + b"--bb\r\n" * 5000,
        b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb--\r\n" + b"--bb\r\n" * 5000,
        b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n" + b"x --bb\r\n" * 5000,
        b"Subject: x\r\n\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n" + b"--bb\r\n" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_part_does_not_count(content: bytes) -> None:
    assert not refused(content, parts=100)


def test_a_boundary_may_be_quoted_folded_and_of_any_case() -> None:
    for parameter in (b'BOUNDARY="bb"', b"x=y;\r\n\tboundary = bb", b'boundary="\\bb"', b"boundary=bb; charset=x"):
        content = parts(200).replace(b"boundary=bb", parameter).replace(b"Content-Type", b"CONTENT-type")
        assert refused(content, parts=100), parameter


def test_an_outer_delimiter_ends_what_is_open_inside() -> None:
    inner = b'Content-Type: multipart/mixed; boundary="in"\r\n\r\n--in\r\n\r\nx\r\n'
    content = b"Content-Type: multipart/mixed; boundary=out\r\n\r\n" + (b"--out\r\n" + inner) * 50 + b"--out--\r\n"
    assert not refused(content, depth=3)
    assert refused(content, depth=2)


@pytest.mark.parametrize("line", [b"--\r\n", b"--b\r\n", b"--bb\r\n", b"--bb--\r\n", b"\r\n", b"--bc\r\n\r\n"])
def test_the_time_is_linear(line: bytes) -> None:
    content = b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n" + line * (8 * limits.MEBIBYTE // len(line))
    began = time.perf_counter()
    refused(content)
    assert time.perf_counter() - began < 10


async def test_the_reply_and_the_session_goes_on() -> None:
    async with house(mime_parts=100, mime_depth=10) as h, connect(h.port) as c:
        await c.envelope()
        assert (await c.ask(parts(101) + b".")).status == "554 5.6.0"
        assert [r["reason"] for r in h.watcher.records] == ["mime-too-complex"]
        await c.data()
        assert (await c.ask(nested(11) + b".")).status == "554 5.6.0"
        await c.data()
        assert (await c.ask(parts(100) + b".")).status == "250 2.0.0"
        # more than the loop should look at: in a thread
        await c.data()
        assert (
            await c.ask(parts(2) + b"x" * 60000 + b"\r\n" + (b"y" * 998 + b"\r\n") * 400 + b".")
        ).status == "250 2.0.0"
        assert len(h.relay.kept) == 2
