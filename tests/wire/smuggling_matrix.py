"""Every combination of line endings around a dot, and what must become of it: written from RFC 5321 section 4.1.1.4.

Each case is what a client sends after 354: a message, somewhere inside it a dot between two "line endings", behind that the
commands of a second message, and at last the true end of data. Only CRLF.CRLF ends data; so, but for the combinations that
contain it, there is one message, whose text holds the commands, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

Bare = Literal["refuse", "normalize"]
ENDINGS = {
    "CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "CRCRLF": b"\r\r\n", "LFCR": b"\n\r", "LFLF": b"\n\n", "CRNULLF": b"\r\0\n",
    "NULCRLF": b"\0\r\n", "CRLFNUL": b"\r\n\0", "CRLFCR": b"\r\n\r", "NUL": b"\0",
}  # fmt: skip
ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.com>\r\n"
SECOND = b"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<user@example.com>\r\nDATA\r\nSubject: evil\r\n\r\nevil"
END = b"\r\n.\r\n"


def crlf_only(octets: bytes) -> bool:
    left = octets.replace(b"\r\n", b"")
    return b"\r" not in left and b"\n" not in left


def normalized(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def accepted(content: bytes, bare: Bare) -> bytes | None:
    """What is delivered of this content; None: nothing, and the session ends."""
    if crlf_only(content):
        return content
    return normalized(content) if bare == "normalize" else None


@dataclass(frozen=True)
class Case:
    name: str
    text: bytes
    """As it stands between 354 and the true end of data, dots as the attacker likes them."""
    near: range
    """Where it is interesting to cut."""

    def by_data(self, bare: Bare) -> list[bytes]:
        """The messages that must be delivered, in order, when this is sent after DATA."""
        whole = b"\r\n" + self.text + END
        end = whole.find(END)
        delivered = accepted((whole[:end] + b"\r\n").replace(b"\r\n.", b"\r\n")[2:], bare)
        if delivered is None:
            return []
        rest = whole[end + len(END) :]
        # commands that follow the true end are commands: pipelined, and nobody was deceived
        second = [b"Subject: evil\r\n\r\nevil\r\n"] if rest == SECOND + END else []
        return [delivered, *second]

    def by_bdat(self, bare: Bare) -> list[bytes]:
        """The same when it is sent in chunks: no dot means anything there."""
        delivered = accepted(self.text + b"\r\n", bare)
        return [] if delivered is None else [delivered]


def cases() -> Iterator[Case]:
    head = b"From: a@b.example\r\nX-Case: %b\r\n\r\nfirst"
    for (before, one), (after, other) in product(ENDINGS.items(), ENDINGS.items()):
        name = f"{before}.{after}"
        start = head % name.encode()
        yield Case(name, start + one + b"." + other + SECOND, range(len(start) - 1, len(start + one + b"." + other) + 2))
    for name, one in ENDINGS.items():
        # at the very beginning, where the CRLF is that of the DATA command, and in the header
        yield Case(f"^.{name}", b"." + one + SECOND, range(3))
        yield Case(f"header:{name}", b"X: y" + one + b"." + one + SECOND, range(3, 10))


CASES = tuple(cases())
