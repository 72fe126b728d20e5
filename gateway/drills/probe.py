"""One marked message, and one attempt to send it: along the MX in order, as RFC 5321 section 5.1 has it.

A target that cannot be reached, cuts the session before the final dot or answers 4yz costs nothing: the next one is
tried. A 5yz is final. After the final dot without an answer nothing more is tried: the message may have been taken.

Known gaps: no pipelining; certificates are looked at and not verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum

from gateway.drills.targets import Target

_CONNECT, _REPLY = 5.0, 60.0
_TRICKLE = b"x" * 78 + b"\r\n"
_HELD_BEFORE_TRICKLE = 8.0


class Cut(Exception):
    """The session broke before the final dot."""


class Unanswered(Exception):
    """The session broke after it."""


class Refused(Exception):
    """Not the expected reply."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.code = int(reply[:3])


class How(StrEnum):
    """How an attempt ended."""

    ACCEPTED = "accepted"
    LATER = "later"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


@dataclass(slots=True)
class Tried:
    """One attempt: what was heard on the way, and where it was accepted. codes: replies that were not expected."""

    how: How = How.LATER
    target: Target | None = None
    codes: list[str] = field(default_factory=list)
    cut: int = 0
    unreached: int = 0


@dataclass(frozen=True, slots=True)
class Envelope:
    """reverse_path may hold {n}, the number of the message; tls: STARTTLS where it is offered."""

    reverse_path: str
    forward_path: str
    helo: str
    tls: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """token marks the drill, number the message."""

    number: int
    token: str
    envelope: Envelope

    @property
    def message_id(self) -> str:
        """Without the angle brackets."""
        return f"{self.number}.{self.token}@drill.invalid"

    @property
    def reverse_path(self) -> str:
        """With its number."""
        return self.envelope.reverse_path.replace("{n}", f"{self.token}-{self.number}")

    def octets(self) -> bytes:
        """The content up to the final dot."""
        return (
            f"From: <{self.reverse_path}>\r\nTo: <{self.envelope.forward_path}>\r\nDate: {formatdate()}\r\n"
            f"Subject: mxgw drill {self.token}, message {self.number}\r\nMessage-ID: <{self.message_id}>\r\n"
            "Auto-Submitted: auto-generated\r\n\r\nThis message belongs to a drill and may be deleted.\r\n"
        ).encode()


class Gate:
    """Before the final dot all sessions pass here; shut, they stand in DATA."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.held_at: Counter[str] = Counter()
        self.cut = 0
        self.under_way = 0

    def shut(self) -> None:
        """Hold those that come."""
        self._open.clear()

    def open(self) -> None:
        """Let all go on."""
        self._open.set()

    async def passed(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wait until the gate is open, sending a little, so that the node does not find the client too slow. Raises
        Cut."""
        if self._open.is_set():
            return
        self.held_at[host] += 1
        peer = asyncio.ensure_future(reader.read(1))
        opened = asyncio.ensure_future(self._open.wait())
        try:
            began = time.monotonic()
            while not opened.done() and not peer.done():
                if time.monotonic() - began > _HELD_BEFORE_TRICKLE:
                    writer.write(_TRICKLE * 10)
                await asyncio.wait((peer, opened), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            if peer.done():
                self.cut += 1
                raise Cut
        finally:
            self.held_at[host] -= 1
            opened.cancel()
            peer.cancel()
            await asyncio.gather(peer, opened, return_exceptions=True)


Seen = dict[tuple[str, str], tuple[float, float]]
"""(place, certificate's fingerprint) -> first and last time on the monotonic clock."""


async def attempt(probe: Probe, octets: bytes, targets: Sequence[Target], gate: Gate, seen: Seen) -> Tried:
    """Try the targets in this order until one of them has the message or refuses it for good."""
    tried = Tried()
    for target in targets:
        try:
            await _session(probe, octets, target, gate, seen)
        except Unanswered:
            tried.how, tried.target = How.UNANSWERED, target
            return tried
        except Cut:
            tried.cut += 1
        except Refused as refused:
            tried.codes.append(str(refused))
            if refused.code >= 500:
                tried.how, tried.target = How.REFUSED, target
                return tried
        except (OSError, TimeoutError):
            tried.unreached += 1
        else:
            tried.how, tried.target = How.ACCEPTED, target
            return tried
    return tried


async def _session(probe: Probe, octets: bytes, target: Target, gate: Gate, seen: Seen) -> None:
    async with asyncio.timeout(_CONNECT):
        reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        await _expect(reader, 220)
        words = await _say(reader, writer, f"EHLO {probe.envelope.helo}", 250)
        if probe.envelope.tls and "STARTTLS" in words:
            await _start_tls(reader, writer, target, seen)
            await _say(reader, writer, f"EHLO {probe.envelope.helo}", 250)
        await _say(reader, writer, f"MAIL FROM:<{probe.reverse_path}>", 250)
        await _say(reader, writer, f"RCPT TO:<{probe.envelope.forward_path}>", 250)
        await _say(reader, writer, "DATA", 354)
        writer.write(octets)
        await gate.passed(target.host, reader, writer)
        gate.under_way += 1
        try:
            writer.write(b".\r\n")
            await _expect(reader, 250)
        except (Cut, TimeoutError) as error:
            raise Unanswered from error
        finally:
            gate.under_way -= 1
        await _bye(reader, writer)
    finally:
        writer.close()


async def _bye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await _say(reader, writer, "QUIT", 221)
    except (Cut, Refused, TimeoutError):
        return  # 250 was said: nothing depends on how they part


async def _start_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, seen: Seen) -> None:
    await _say(reader, writer, "STARTTLS", 220)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_REPLY):
            await writer.start_tls(context)
    except (OSError, ssl.SSLError) as error:
        raise Cut from error
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    key = (target.place, hashlib.sha256(certificate).hexdigest()[:16])
    now = time.monotonic()
    seen[key] = (seen.get(key, (now, now))[0], now)


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str, code: int) -> set[str]:
    writer.write(command.encode("ascii") + b"\r\n")
    return await _expect(reader, code)


async def _expect(reader: asyncio.StreamReader, code: int) -> set[str]:
    """The first words of the further lines. Raises Cut, Refused, TimeoutError."""
    lines: list[str] = []
    try:
        async with asyncio.timeout(_REPLY):
            while not lines or lines[-1][3:4] == "-":
                octets = await reader.readline()
                line = octets.decode("utf-8", "replace").rstrip("\r\n")
                if not octets.endswith(b"\n") or not line[:3].isdecimal():
                    raise Cut
                lines.append(line)
    except (OSError, ValueError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise Cut from error
    if not lines[-1].startswith(str(code)):
        raise Refused(lines[-1])
    return {line[4:].partition(" ")[0].upper() for line in lines[1:]}
