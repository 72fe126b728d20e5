"""A client without a socket: a transport in memory that an SMTP session talks to, thousands of sessions a second."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Literal

from wire.house import Anybody, KeepingRelay, Watcher, policy

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.delivery.stamp import Identity
from gateway.mail import limits
from gateway.mail.limits import WireLimits
from gateway.pipeline import Pipeline
from gateway.ports import Ports
from gateway.reception import Services
from gateway.smtp.listener import Listener, SmtpServer
from gateway.smtp.session import Session
from gateway.smtp.template import session_template

SECONDS = 20.0
LIMITS: dict[str, Any] = {
    "errors_soft": 10**6, "message_octets": 100_000, "transactions": 20, "memory_percent": 0, "header_octets": 70_000,
    "greeting_delay": 0.0,
}  # fmt: skip
_LINE = re.compile(rb"([2-5]\d\d)([ -])([\x20-\x7e]*)")
_ENHANCED = re.compile(rb"([245])\.\d{1,3}\.\d{1,3} ")


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; a paused reader gets nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__({"peername": ("192.0.2.9", 4711), "sockname": ("192.0.2.1", 25)})
        self._loop, self._protocol = loop, protocol
        self.written = bytearray()
        self.reading = True
        self.closed = False
        self.eof_written = False

    def write(self, data: Any) -> None:
        assert not self.eof_written, "octets behind the end"
        self.written += data

    def write_eof(self) -> None:
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol


class _Errors(logging.Handler):
    """Tracebacks are findings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.tracebacks.append(logging.Formatter().format(record))


@dataclass
class Outcome:
    """What became of one session."""

    replies: list[tuple[int, tuple[bytes, ...]]]
    kept: list[bytes]
    largest_buffer: int
    tracebacks: list[str] = field(default_factory=list)


async def converse(
    pieces: Sequence[bytes], *, bare: Literal["refuse", "normalize"] = "refuse", proxy: bool = False, **given: Any
) -> Outcome:
    """One session in which the client sends these pieces, each as one segment, and then ends its side. given: fields of
    WireLimits."""
    loop = asyncio.get_running_loop()
    errors = _Errors()
    loop.set_exception_handler(lambda _loop, context: errors.tracebacks.append(repr(context)))
    logger = logging.getLogger("mxgw")
    logger.addHandler(errors)
    relay, bounds = KeepingRelay(), WireLimits(**{**LIMITS, **given})
    in_force = policy(bare)
    ports = Ports(ZoneResolver.from_text(""), MemoryStore(SystemClock()), Anybody(), SystemClock())
    services = Services(
        Identity("mx.example.com", "mx.example.com"), Pipeline(ports, checks=()), lambda: in_force, relay, Watcher(),
        bounds, postmaster_domain="example.com",
    )  # fmt: skip
    server = SmtpServer(services, tls=lambda: None)
    listener = Listener("fuzz", (ip_network("192.0.2.0/24"),) if proxy else ())
    session = Session(server, listener, session_template("mx.example.com"))
    transport = MemoryTransport(loop, session)
    largest = 0
    try:
        session.connection_made(transport)
        for piece in pieces:
            for _ in range(200):
                await asyncio.sleep(0)
                if transport.reading:
                    break
            if transport.closed:
                break
            session.data_received(piece)
            largest = max(largest, len(session._wire.buffer))
        await asyncio.sleep(0)
        if not transport.closed and not session.eof_received():
            transport.close()
        task: asyncio.Task[Any] = session._handler_coroutine
        await asyncio.wait_for(task, SECONDS)
        await asyncio.sleep(0)
        assert not server.sessions, "the session is still counted"
        assert not server._clients, "the client is still counted"
    finally:
        logger.removeHandler(errors)
        if session._abort_timer is not None:
            session._abort_timer.cancel()
    return Outcome(replies_of(bytes(transport.written)), relay.kept, largest, errors.tracebacks)


def replies_of(octets: bytes) -> list[tuple[int, tuple[bytes, ...]]]:
    """The replies of RFC 5321 section 4.2; an AssertionError for anything else."""
    assert not octets or octets.endswith(b"\r\n"), octets[-80:]
    replies: list[tuple[int, tuple[bytes, ...]]] = []
    open_code, texts = b"", []
    for line in octets.split(b"\r\n")[:-1]:
        assert len(line) + 2 <= limits.REPLY_LINE_OCTETS, line
        match = _LINE.fullmatch(line)
        assert match, line
        code, more, text = match.groups()
        assert open_code in (b"", code), line
        enhanced = _ENHANCED.match(text)
        assert not enhanced or enhanced[1] == code[:1], line
        open_code, texts = code, [*texts, text]
        if more == b" ":
            replies.append((int(code), tuple(texts)))
            open_code, texts = b"", []
    assert not open_code, "a reply without its last line"
    return replies


def judge(outcome: Outcome, segment_octets: int) -> None:
    """What must hold whatever the octets were."""
    assert not outcome.tracebacks, outcome.tracebacks[0]
    codes = [code for code, _ in outcome.replies]
    # whatever ends the session is the last word
    assert 421 not in codes[:-1], codes
    assert 221 not in codes[:-1], codes
    assert len(outcome.kept) <= sum(code == 250 for code in codes)
    # a chunk below the mark, one read above it, and the CRLF in front of content
    assert outcome.largest_buffer <= limits.READ_CHUNK_OCTETS + segment_octets + 2
    for content in outcome.kept:
        assert content.endswith(b"\r\n") or not content
        bare = content.replace(b"\r\n", b"")
        assert b"\r" not in bare, content[:200]
        assert b"\n" not in bare, content[:200]
        assert len(content) <= 100_000
