"""Where patience ends: errors make replies slow, a spool without room means come again, a PROXY header has its time."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from client import connect
from house import house

from gateway.mail.limits import MEBIBYTE


async def test_replies_to_errors_become_slow_for_that_session_only() -> None:
    async with house(errors_soft=2, errors_hard=10) as h, connect(h.port) as c, connect(h.port) as other:
        assert (await c.reply()).code == (await other.reply()).code == 220
        started = time.monotonic()
        assert (await c.ask("DATA")).status == (await c.ask("DATA")).status == "503 5.5.1"
        quick = time.monotonic() - started
        slow = asyncio.create_task(c.ask("DATA"))
        await asyncio.sleep(0.1)
        assert (await other.ask("NOOP")).code == 250
        assert not slow.done(), "the third error waits while another session is served"
        assert (await slow).status == "503 5.5.1"
        assert time.monotonic() - started - quick > 0.8
        started = time.monotonic()
        assert (await c.ask("NOOP")).code == 250
        assert time.monotonic() - started < 0.8, "what is no error is not slow"


async def test_accepted_content_forgives_earlier_errors() -> None:
    async with house(errors_soft=100, errors_hard=3) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        assert (await c.ask("EHLO client.example")).code == 250
        for _ in range(3):
            assert (await c.ask("RCPT TO:<user@example.com>")).status == "503 5.5.1"
            assert (await c.ask("DATA")).status == "503 5.5.1"
            await c.data()
            assert (await c.ask("Subject: x\r\n\r\nbody\r\n.")).code == 250


@contextmanager
def no_file_larger_than(octets: int) -> Iterator[None]:
    """A disk without room, for writes of this process: EFBIG at that size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, MEBIBYTE + 4096, 3 * MEBIBYTE - 100])
async def test_a_spool_without_room_means_come_again(
    room: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # the last room is met by the very last write
    content = b"Subject: x\r\n\r\n" + (b"y" * 62 + b"\r\n") * (3 * MEBIBYTE // 64)
    async with house(tmp_path) as h, connect(h.port) as c:
        await c.envelope()
        with no_file_larger_than(room):
            await c.send(content + b".\r\n")
            assert (await c.reply()).status == "451 4.3.0"
        assert h.relay.kept == []
        assert "content cannot be spooled" in caplog.text
        (record,) = h.watcher.records
        assert (record["result"], record["reason"]) == ("deferred", "local-error")
        await c.data()
        await c.send(content + b".\r\n")
        assert (await c.reply()).code == 250, "with room again the same session delivers"
        assert h.relay.kept == [content]


@pytest.mark.parametrize("sent", [b"PROXY TCP4 192.0.2.7 ", b"\r\n\r\n\x00\r\nQUIT"])
async def test_a_proxy_header_that_does_not_come(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    trusted = (ip_network("127.0.0.0/8"),)
    async with house(proxy_trusted=trusted, proxy_header_timeout=0.3) as h, connect(h.port) as c:
        await c.send(sent)
        assert (await c.reply()).status == "421 4.3.2"
        assert "no complete header within 0.3 s" in caplog.text
        assert h.watcher.connections == ["proxy_error"]


async def test_a_proxy_header_octet_by_octet_does_not_prolong_its_time() -> None:
    trusted = (ip_network("127.0.0.0/8"),)
    async with house(proxy_trusted=trusted, proxy_header_timeout=0.5) as h, connect(h.port) as c:
        refused = asyncio.create_task(c.reply())
        for octet in b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25" * 2:
            if refused.done():
                break
            await c.send(bytes([octet]))
            await asyncio.sleep(0.1)
        assert (await refused).status == "421 4.3.2"
