"""The content of a message: octets with an index of its header fields; prepend and drop fields, never re-serialise.

In: octets in CRLF form as they came between DATA and the final dot, dots unstuffed. The octets lie in memory (bytes)
or in an unlinked temporary file that is mapped (mmap); both are buffers to everybody else. The header is split as
bytes (4 us for 4 KB where the email package takes 260).

Known gaps: a header of more than ``limits.HEADER_OCTETS`` is refused by the reader before it comes here.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.mail import limits

Octets = bytes | mmap.mmap

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
# RFC 5322 section 4.5 (obsolete syntax) lets blanks stand before the colon; receivers read it, so do we
_FIELD_NAME = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One field as it stands: its name in lower case, where it begins and ends in the octets (CRLF included).

    name is '' for a line that is no header field at all.
    """

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Message:
    """Content of one transaction. ``body_start`` is the offset after the empty line (or the end)."""

    octets: Octets
    size: int
    fields: tuple[HeaderField, ...]
    body_start: int

    @classmethod
    def parse(cls, octets: Octets) -> Message:
        """Index the header. Never raises: whatever the octets, lines that are no field have the name ''."""
        size = len(octets)
        if octets[:2] == b"\r\n":
            return cls(octets, size, (), 2)
        blank = octets.find(b"\r\n\r\n")
        header_end = blank + 2 if blank >= 0 else size
        body_start = blank + 4 if blank >= 0 else size
        header = octets[:header_end]
        fields: list[HeaderField] = []
        start = 0
        while start < header_end:
            match = _FIELD_END.search(header, start)
            end = match.end() if match else header_end
            fields.append(HeaderField(_name_of(header, start, end), start, end))
            start = end
        return cls(octets, size, tuple(fields), body_start)

    def raw(self, item: HeaderField) -> bytes:
        """The field's octets with name, colon, value and the final CRLF."""
        return bytes(self.octets[item.start : item.end])

    def value(self, item: HeaderField) -> bytes:
        """What follows the colon, unfolded (RFC 5322 section 2.2.3), blanks stripped at both ends."""
        _, _, value = self.raw(item).partition(b":")
        return value.replace(b"\r\n", b"").strip(b" \t")

    def all(self, name: str) -> tuple[HeaderField, ...]:
        """All fields of that (lower-case) name, top first."""
        return tuple(item for item in self.fields if item.name == name)

    def first(self, name: str) -> bytes | None:
        """The value of the topmost field of that name, or None."""
        for item in self.fields:
            if item.name == name:
                return self.value(item)
        return None

    @property
    def header(self) -> bytes:
        """The header's octets up to and without the empty line."""
        return bytes(self.octets[: self.fields[-1].end]) if self.fields else b""

    @property
    def body(self) -> memoryview:
        """The body's octets, not copied. Release it (``with``) before the message's file is closed."""
        return memoryview(self.octets)[self.body_start :]


def _name_of(header: bytes, start: int, end: int) -> str:
    match = _FIELD_NAME.match(header, start, end)
    return match[1].decode("ascii").lower() if match else ""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """What leaves for the mailstore: our fields on top, then the octets as they came less the removed fields."""

    message: Message
    prepended: bytes = b""
    removed: tuple[HeaderField, ...] = ()

    @property
    def size(self) -> int:
        """Octets on the way to the mailstore, before dot-stuffing."""
        return len(self.prepended) + self.message.size - sum(item.end - item.start for item in self.removed)

    def chunks(self, octets: int = limits.READ_CHUNK_OCTETS) -> Iterator[bytes]:
        """The message in pieces of at most that size, in order."""
        if self.prepended:
            yield self.prepended
        position = 0
        for start, end in [*((item.start, item.end) for item in self.removed), (self.message.size, -1)]:
            while position < start:
                piece = self.message.octets[position : min(position + octets, start)]
                position += len(piece)
                yield bytes(piece)
            position = end
