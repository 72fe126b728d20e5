"""Octets to and from a mailstore: a connection, replies bounded in length and count, a deadline over all phases.

In: commands as bytes. Out: :class:`ServerReply` (RFC 5321 section 4.2). Every failure is a PortFailure; a lost
connection is the subclass :class:`ConnectionLost`, since a pooled connection may be found dead.

Known gaps: host names are resolved by the system's resolver, first answer that connects.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from gateway.delivery.url import MailstoreUrl
from gateway.mail import limits
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure

_LINE_OCTETS: Final = 4 * limits.REPLY_LINE_OCTETS  # RFC 5321 says 512; some mailstores are wordy
_LINES: Final = 128
_REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")


class ConnectionLost(PortFailure):
    """The mailstore closed the connection, or said 421 and is about to."""

    def __init__(self, detail: str) -> None:
        super().__init__("mailstore", Why.PROTOCOL, detail)


class ClosingReply(ConnectionLost):
    """421: the mailstore closes the connection, and said so."""

    def __init__(self, reply: ServerReply) -> None:
        self.reply = reply
        super().__init__(str(reply))


class TlsFailure(PortFailure):
    """The TLS handshake with the mailstore failed."""

    def __init__(self, detail: str, why: Why = Why.PROTOCOL) -> None:
        super().__init__("mailstore", why, detail)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for connecting (greeting included), for a command's reply and a chunk's writing, for the dot's reply.
    dot_least: the final dot is sent only while so much of the budget is left."""

    connect: float = limits.MAILSTORE_CONNECT
    command: float = limits.MAILSTORE_COMMAND
    dot: float = limits.MAILSTORE_DOT
    dot_least: float = limits.MAILSTORE_DOT_LEAST


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a budget, in the loop's time."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """So many seconds from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; negative when it is over."""
        return self.at - asyncio.get_running_loop().time()

    @asynccontextmanager
    async def phase(self, name: str, limit: float) -> AsyncIterator[None]:
        """At most ``limit`` seconds and never past the deadline. Raises PortFailure(timeout | budget)."""
        left = self.left
        if left <= 0:
            raise PortFailure("mailstore", Why.BUDGET, name)
        try:
            async with asyncio.timeout(min(limit, left)):
                yield
        except TimeoutError:
            why = Why.TIMEOUT if limit <= left else Why.BUDGET
            raise PortFailure("mailstore", why, f"{name}, {min(limit, left):.3g} s") from None


@dataclass(frozen=True, slots=True)
class ServerReply:
    """code; lines: the texts of all lines without code, decoded as UTF-8 with replacement characters."""

    code: int
    lines: tuple[str, ...] = ("",)

    @property
    def positive(self) -> bool:
        """2yz or 3yz."""
        return self.code < 400

    @property
    def enhanced(self) -> str:
        """The enhanced status code of the first line (RFC 2034), or ''."""
        match = _ENHANCED.match(self.lines[0])
        return match[1] if match else ""

    @property
    def text(self) -> str:
        """All lines in one, without enhanced codes."""
        return " ".join(_ENHANCED.sub("", line, count=1) if _ENHANCED.match(line) else line for line in self.lines)

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"[:300]


class _Octets(asyncio.Protocol):
    """Collects octets and wakes the one reader; says when writing may go on."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.lost: str | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.transport and len(self.buffer) > _LINES * _LINE_OCTETS:
            self.transport.abort()  # a reply without end: nobody reads so much
        self._readable.set()

    def eof_received(self) -> bool:
        self.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost is None:
            self.lost = f"connection lost ({exc})" if exc else "connection closed by the mailstore"
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        if self.lost is None:
            self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def more(self) -> None:
        """Until more octets came. Raises ConnectionLost."""
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        self._readable.clear()
        await self._readable.wait()

    async def drained(self) -> None:
        """Until the kernel has all that was written. Raises ConnectionLost."""
        await self._writable.wait()
        if self.lost is not None:
            raise ConnectionLost(self.lost)


class Wire:
    """One connection. Not for two tasks at once."""

    def __init__(self, transport: asyncio.Transport, octets: _Octets) -> None:
        self._octets = octets
        self._use(transport)

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        # drained() shall mean: in the kernel's hands; only so can we say that the dot was not sent
        # (high=0 would never resume: asyncio's TLS transport pauses at "size >= high")
        transport.set_write_buffer_limits(high=1, low=0)

    @classmethod
    async def connect(cls, url: MailstoreUrl) -> Wire:
        """Open it. Raises PortFailure(refused); the caller sets the time limit."""
        loop = asyncio.get_running_loop()
        try:
            if url.path:
                transport, octets = await loop.create_unix_connection(_Octets, url.path)
            else:
                transport, octets = await loop.create_connection(_Octets, url.host, url.port)
        except TimeoutError:
            raise
        except OSError as error:
            raise PortFailure("mailstore", Why.REFUSED, f"{url}: {error}") from error
        return cls(transport, octets)

    @property
    def alive(self) -> bool:
        """False when the peer closed, or said something nobody asked for."""
        return self._octets.lost is None and not self._octets.buffer and not self._transport.is_closing()

    @property
    def closed(self) -> bool:
        """True when the connection is gone, though replies may still be there to read."""
        return self._octets.lost is not None or self._transport.is_closing()

    async def send(self, data: bytes) -> None:
        """Write and wait until the kernel has it. Raises ConnectionLost."""
        if self._octets.lost is None:
            self._transport.write(data)
        await self._octets.drained()

    def post(self, data: bytes) -> None:
        """Write without waiting: for what must not wait for the peer's reading, such as the final dot."""
        self._transport.write(data)

    async def reply(self) -> ServerReply:
        """Read one reply. Raises ConnectionLost, and PortFailure(protocol) for what is no reply."""
        lines: list[str] = []
        first = b""
        while True:
            line = await self._line()
            match = _REPLY_LINE.fullmatch(line)
            if not match or (first and match[1] != first) or len(lines) >= _LINES:
                raise PortFailure("mailstore", Why.PROTOCOL, f"not a reply: {line[:80]!r}")
            first = match[1]
            lines.append((match[3] or b"").decode("utf-8", "replace"))
            if match[2] != b"-":
                return ServerReply(int(first), tuple(lines))

    async def _line(self) -> bytes:
        buffer = self._octets.buffer
        while True:
            end = buffer.find(b"\n")
            if end > _LINE_OCTETS or (end < 0 and len(buffer) > _LINE_OCTETS):
                raise PortFailure("mailstore", Why.PROTOCOL, "a reply line is too long")
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                return line.removesuffix(b"\r")
            await self._octets.more()

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> str:
        """Handshake after the 220 to STARTTLS (RFC 3207). Returns the protocol version. Raises TlsFailure."""
        if self._octets.buffer:
            raise TlsFailure("octets in clear behind the 220 to STARTTLS")
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self._transport, self._octets, context, server_hostname=server_name)
        except TimeoutError:
            raise
        except (OSError, ssl.SSLError) as error:
            self.abort()
            raise TlsFailure(f"TLS handshake: {error}") from error
        if transport is None:
            raise TlsFailure("connection lost in the TLS handshake")
        self._use(transport)
        return cast(ssl.SSLObject, transport.get_extra_info("ssl_object")).version() or ""

    def quit(self) -> None:
        """Say QUIT and close once it is written; nobody waits for the 221."""
        if self.alive:
            self._transport.write(b"QUIT\r\n")
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not written is lost."""
        self._transport.abort()
