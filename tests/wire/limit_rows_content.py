"""Limits of content."""

from __future__ import annotations

from client import Said, connect
from house import house
from limit_rows import HEADER, both, greeted, message, row
from test_wire_limits_mime import nested, parts

from gateway.checks import CHECKS
from gateway.mail import limits
from gateway.policy.load import load_packaged


@row("message")
async def _() -> Said:
    well = HEADER + b"y" * (10_000 - len(HEADER) - 2) + b"\r\n"
    return await both(well, well[:-2] + b"y\r\n", message_octets=10_000)


@row("header")
async def _() -> Said:
    well = (b"A: " + b"x" * 1019 + b"\r\n") * (limits.HEADER_OCTETS // 1024) + b"\r\nbody\r\n"
    return await both(well, well.replace(b"A: x", b"A: xx", 1))


@row("header lines that begin a field")
async def _() -> Said:
    fields = b"A: b\r\n c\r\n" * limits.HEADER_FIELDS
    return await both(fields + b"\r\nbody\r\n", fields + b"A: b\r\n\r\nbody\r\n")


@row("MIME depth")
async def _() -> Said:
    return await both(nested(limits.MIME_DEPTH), nested(limits.MIME_DEPTH + 1))


@row("MIME parts")
async def _() -> Said:
    return await both(parts(limits.MIME_PARTS), parts(limits.MIME_PARTS + 1))


@row("lines like a MIME delimiter")
async def _() -> Said:
    head = b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n"
    return await both(head + b"--x\r\n" * limits.MIME_DELIMITERS, head + b"--x\r\n" * (limits.MIME_DELIMITERS + 1))


@row("Received fields")
async def _() -> Said:
    received = b"Received: from a.example by b.example; Mon, 2 Nov 2026 10:00:00 +0000\r\n"
    well = received * limits.RECEIVED_FIELDS + HEADER
    async with house(checks=[check for check in CHECKS if check.name == "loop"]) as h, connect(h.port) as c:
        h.policy[0] = load_packaged()
        await greeted(c)
        assert (await message(c, well)).status == "250 2.0.0"
        return await message(c, received + well)
