"""How deep and how many are a message's MIME parts: one look over the delimiters, no tree, no decoding.

A message whose shape is monstrous costs us little, but what reads it behind us (a mailstore, a virus scanner, a mail
user's programme) recurses. Only lines that begin with two hyphens and the part headers behind delimiters are looked at.
Delimiters are compared as RFC 2046 section 5.1.1 says, by their beginning.

Known gaps: what is encoded (a message in base64) is one part; RFC 2231 continuations of the boundary parameter count
as no boundary; a digest's parts count as parts, not as messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.mail import limits
from gateway.mail.message import Message, Octets

PART_HEADER_OCTETS = 16384
COMPARISONS = 1_000_000
"""Delimiter lines times the multiparts that are open: two open ones have room for as many lines as one may look at."""
BUSY_LINES = 2000
LINE_OCTETS = 256
"""A delimiter has at most 70 octets and its hyphens; more is read for those who wrote longer ones."""

_TYPE = re.compile(rb"(?:^|\n)content-type[ \t]*:((?:[^\r\n]++|\r\n[ \t])*+)", re.IGNORECASE)
_BOUNDARY = re.compile(
    rb"""boundary[ \t\r\n]*=[ \t\r\n]*(?:"((?:[^"\\\r\n]|\\.){1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE
)


@dataclass(slots=True)
class _Scan:
    """The multiparts that are open now, outermost first, with the depth that their parts have."""

    depth: int
    parts: int
    header_octets: int
    """What all headers together may have: no more than the message, for those of different parts do not overlap."""
    open: list[tuple[bytes, int]] = field(default_factory=list)
    parts_seen: int = 1
    deepest: int = 1

    def over(self) -> bool:
        return self.parts_seen > self.parts or self.deepest > self.depth or self.header_octets < 0

    def enter(self, header: bytes, depth: int) -> None:
        """Take in the header of an entity that lies at that depth."""
        while True:
            self.deepest = max(self.deepest, depth)
            if header.startswith(b"\r\n"):
                return
            own, blank, header = header.partition(b"\r\n\r\n")
            self.header_octets -= len(own)
            if self.header_octets < 0:
                return
            match = _TYPE.search(own)
            media = match[1].strip().lower() if match else b""
            if match and media.startswith(b"multipart/"):
                boundary = _BOUNDARY.search(match[1][:PART_HEADER_OCTETS])
                if boundary:
                    name = re.sub(rb"\\(.)", rb"\1", boundary[1]) if boundary[1] else boundary[2]
                    self.open.append((name, depth + 1))
            if not media.startswith(b"message/rfc822") and not media.startswith(b"message/global"):
                return
            # the message inside has a header of its own behind the empty line
            depth += 1
            if not blank or depth > self.depth:
                self.deepest = max(self.deepest, depth)
                return


def too_complex(message: Message, *, depth: int = limits.MIME_DEPTH, parts: int = limits.MIME_PARTS) -> bool:
    """More parts or levels than that, or more lines like a delimiter than anybody should look at.

    A message without multiparts is one part of depth 1. Linear in the message's octets; for a message of more than
    ``limits.OFF_LOOP_OCTETS`` it belongs into a thread.
    """
    octets, scan = message.octets, _Scan(depth, parts, message.size)
    top = bytes(octets[: min(message.body_start, limits.HEADER_OCTETS)])
    scan.enter(top + bytes(octets[message.body_start : message.body_start + PART_HEADER_OCTETS]), 1)
    # the first delimiter may stand at the very beginning of the body, behind the empty line's CRLF
    return bool(scan.open or scan.over()) and _walk(octets, max(0, message.body_start - 2), scan)


def is_busy(message: Message) -> bool:
    """So many lines like delimiters that ``too_complex`` belongs into a thread, small as the message may be."""
    return not isinstance(message.octets, bytes) or message.octets.count(b"\r\n--") > BUSY_LINES


def _walk(octets: Octets, position: int, scan: _Scan) -> bool:
    looked = compared = 0
    names = tuple(name for name, _ in scan.open)
    while not scan.over():
        position = octets.find(b"\r\n--", position)
        if position < 0:
            return False
        looked += 1
        compared += len(scan.open)
        if looked > limits.MIME_DELIMITERS or compared > COMPARISONS:
            return True
        position += 4
        line = octets[position : position + LINE_OCTETS]
        if not line.startswith(names):  # most lines that begin with hyphens are text
            continue
        level = next(level for level in range(len(names) - 1, -1, -1) if line.startswith(names[level]))
        name, depth = scan.open[level]
        after = position + len(name)
        # whatever was open inside has ended with it
        if octets[after : after + 2] == b"--":
            del scan.open[level:]
            if not scan.open:
                return scan.over()
            names = names[:level]
            continue
        del scan.open[level + 1 :]
        scan.parts_seen += 1
        scan.deepest = max(scan.deepest, depth)
        header = _part_header(octets, after)
        scan.enter(header[header.find(b"\r\n") + 2 :] if b"\r\n" in header else b"", depth)
        names = tuple(name for name, _ in scan.open)
    return True


def _part_header(octets: Octets, start: int) -> bytes:
    """What stands behind a delimiter: to the first empty line, or more where a message inside has its own header."""
    end = octets.find(b"\r\n\r\n", start, start + PART_HEADER_OCTETS)
    header = bytes(octets[start : end + 4]) if end >= 0 else b""
    return header if header and b"message/" not in header.lower() else bytes(octets[start : start + PART_HEADER_OCTETS])
