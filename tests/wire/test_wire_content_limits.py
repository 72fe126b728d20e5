"""Size, line and header limits at the limit, below and above; the spool's boundary octet by octet; the loop's lag."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from client import connect
from house import house

HEADER = b"Subject: x\r\n\r\n"


def sized(octets: int) -> bytes:
    body = (b"0123456789abcdef" * 4 + b"\r\n") * (octets // 66 + 1)
    whole = HEADER + body[: octets - len(HEADER) - 2]
    if whole.endswith(b"\r"):
        whole = whole[:-1] + b"x"
    return whole + b"\r\n"


async def exchange(content: bytes, spool: Path | None = None, **limits: object) -> tuple[str, list[bytes], str]:
    async with house(spool, **limits) as h, connect(h.port) as c:
        await c.envelope()
        await c.send(content + b".\r\n")
        said = await c.reply()
        return said.status, h.relay.kept, (await c.ask("NOOP")).status


@pytest.mark.parametrize(("octets", "status"), [(9999, "250 2.0.0"), (10000, "250 2.0.0"), (10001, "552 5.3.4")])
async def test_size_limit(octets: int, status: str) -> None:
    content = sized(octets)
    assert len(content) == octets
    got, kept, then = await exchange(content, message_octets=10000)
    assert got == status
    assert kept == ([content] if status.startswith("250") else [])
    assert then == "250 2.0.0"


async def test_far_too_big_is_read_no_further_than_twice_the_limit() -> None:
    async with house(message_octets=100_000) as h, connect(h.port) as c:
        await c.envelope()
        await c.send(sized(320_000))
        assert (await c.reply()).status == "552 5.3.4"
        assert (await c.reply()).code == 0


@pytest.mark.parametrize(
    ("text", "status"), [(65533, "250 2.0.0"), (65534, "250 2.0.0"), (65535, "554 5.5.2"), (400_000, "554 5.5.2")]
)
@pytest.mark.parametrize("dot", [b"", b"."])
async def test_line_limit(text: int, status: str, dot: bytes) -> None:
    line = dot + b"y" * (text - len(dot))
    got, kept, then = await exchange(HEADER + dot + line + b"\r\nend\r\n")
    assert (got, then) == (status, "250 2.0.0")
    assert kept in ([], [HEADER + line + b"\r\nend\r\n"])


@pytest.mark.parametrize(("fields", "status"), [(2000, "250 2.0.0"), (2001, "552 5.3.4")])
async def test_header_fields(fields: int, status: str) -> None:
    got, _, then = await exchange(b"A: b\r\n c\r\n" * fields + b"\r\nbody\r\n")
    assert (got, then) == (status, "250 2.0.0")


@pytest.mark.parametrize(("over", "status"), [(0, "250 2.0.0"), (1, "552 5.3.4")])
async def test_header_octets(over: int, status: str) -> None:
    # the limit counts the header from its first field to the CRLF before the empty line
    header = b"A: " + b"x" * 1019 + b"\r\n"
    content = header * 511 + b"A: " + b"x" * (1024 - 3 - 2 + over) + b"\r\n\r\nbody\r\n"
    got, _, _ = await exchange(content)
    assert got == status


@pytest.mark.parametrize("octets", [2**20 - 1, 2**20, 2**20 + 1, 2**20 + 2**18, 3 * 2**20 + 7])
async def test_spool_boundary_is_octet_exact(octets: int, tmp_path: Path) -> None:
    content = sized(octets)
    got, kept, _ = await exchange(content, tmp_path)
    assert got == "250 2.0.0"
    assert kept == [content]
    assert list(tmp_path.iterdir()) == []


async def test_no_spool_means_come_again_and_the_content_is_still_content(tmp_path: Path) -> None:
    got, kept, then = await exchange(sized(2**21), tmp_path / "missing")
    assert (got, kept, then) == ("451 4.3.0", [], "250 2.0.0")


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r\n\r\n", b"x\r\n", b"..\r\n", b"\r\n..\r\n"])
async def test_small_contents(content: bytes) -> None:
    got, kept, then = await exchange(content)
    assert (got, then) == ("250 2.0.0", "250 2.0.0")
    assert kept == [content.replace(b"..", b".")]


async def test_ten_megabytes_do_not_hold_the_loop(tmp_path: Path) -> None:
    lags: list[float] = []

    async def probe() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - before - 0.001)

    content = sized(10 * 2**20)
    async with house(tmp_path) as h:
        # the client is a thread: its own work must not count as lag
        task = asyncio.create_task(probe())
        reply = await asyncio.to_thread(blocking_send, h.port, content)
        task.cancel()
        assert reply.startswith(b"250 2.0.0")
        assert h.relay.kept == [content]
    print(f"max loop lag for 10 MiB: {max(lags) * 1000:.1f} ms")
    assert max(lags) < 0.1


def blocking_send(port: int, content: bytes) -> bytes:
    import socket

    with socket.create_connection(("127.0.0.1", port), 30) as s:
        s.recv(1000)
        for line in (b"EHLO x", b"MAIL FROM:<>", b"RCPT TO:<u@example.com>", b"DATA"):
            s.sendall(line + b"\r\n")
            s.recv(1000)
        s.sendall(content + b".\r\n")
        return s.recv(1000)
