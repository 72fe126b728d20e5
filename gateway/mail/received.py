"""Received fields read from the top: who handed the message to the first host that we trust (RFC 5321 section 4.4)?

Each host writes its field above those that it got, so a field is true as far as the hosts above it are trusted. The
walk ends at the first client outside, and nothing below that is looked at: a stranger wrote it. What cannot be read
ends the walk without an answer. Of a field only what its writer saw itself counts, in the forms that MTAs write:

    from HELO (name [192.0.2.1]) by ...         RFC 5321, Postfix, sendmail; without the name too
    from HELO (192.0.2.1) by ...                Exchange, and qmail where HELO is the confirmed name
    from name ([192.0.2.1] helo=HELO) by ...    Exim; from [192.0.2.1] (helo=HELO) without a confirmed name
    from name (HELO HELO) (192.0.2.1) by ...    qmail, IronPort

Two addresses, two ``by`` or an open comment are no form: they are what a client tries that has a say in its HELO name.

Known gaps: a writer that puts a client's blanks and parentheses into its field as they are lets the client make it
unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from gateway.mail.message import Message
from gateway.mail.network import unmapped
from gateway.mail.transaction import Address

MOST_HOPS: Final = 20
FIELD_OCTETS: Final = 4096
"""Neither more fields nor longer ones are read."""

_PIECE: Final = re.compile(r'\\.?|[()"]|[^()"\\]+', re.DOTALL)
_HELLO: Final = re.compile(r"[\x21-\x7e]{1,255}")
_QMAIL: Final = re.compile(r"(?:HELO|EHLO)\s+(?P<helo>\S+)", re.IGNORECASE)
_EXIM: Final = re.compile(r"\[[^\[\]]+\](?::\d+)?\s+helo=(?P<helo>\S+)(?:\s+ident=\S+)?")
_EXIM_NAMELESS: Final = re.compile(r"(?:port=\d+\s+)?helo=(?P<helo>\S+)(?:\s+ident=\S+)?")
_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")
_AUTHENTICATED: Final = re.compile(r"(?:UTF8)?(?:E?SMTP|LMTP)S?A", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What one field says. helo: as the client gave it, '' where it is not fit for a name. authenticated: the client
    has proven who it is (the ``with`` words of RFC 3848 that end in A)."""

    address: Address
    helo: str = ""
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class Outside:
    """Where the walk ended. hop: the number of the field, 1 on top; 0: there is none. client: None where it is not
    known; then why: no-received, unreadable, authenticated, nobody-outside or too-many-hops."""

    hop: int
    client: HandedOver | None = None
    why: str = ""


def client_outside(message: Message, is_inside: Callable[[HandedOver], bool]) -> Outside:
    """Walk from the top, which a trusted host has written, past all clients that are inside: those whose own field,
    the next one, is to be believed. Never raises."""
    hop = 0
    for item in message.fields:
        if item.name != "received":
            continue
        hop += 1
        if hop > MOST_HOPS:
            return Outside(hop, why="too-many-hops")
        said = handed_over(message.value(item)) if item.end - item.start <= FIELD_OCTETS else None
        if said is None:
            return Outside(hop, why="unreadable")
        if not is_inside(said):
            return Outside(hop, why="authenticated") if said.authenticated else Outside(hop, said)
    return Outside(hop, why="nobody-outside" if hop else "no-received")


def handed_over(value: bytes) -> HandedOver | None:
    """Who handed over, by the unfolded value of one field; None where that is not clear. Never raises."""
    parts = _parts(value.decode("utf-8", "replace"))
    if parts is None or len(parts) < 3 or parts[0].lower() != "from" or parts[1].startswith("("):
        return None
    # the name is one word, whatever it is
    marks = [n for n, part in enumerate(parts[2:], 2) if part.lower() == "by"]
    if len(marks) != 1 or not all(part.startswith("(") for part in parts[2 : marks[0]]):
        return None
    seen = _client(parts[1], [part[1:-1].strip() for part in parts[2 : marks[0]]])
    if seen is None:
        return None
    address, helo = seen
    return HandedOver(address, helo if _HELLO.fullmatch(helo) else "", _is_authenticated(parts[marks[0] :]))


def _parts(text: str) -> list[str] | None:
    """Words, and comments in their outer parentheses; None where a comment or a quoted string is open at the end."""
    parts: list[str] = []
    comment: list[str] = []
    depth, quoted = 0, False
    for piece in _PIECE.findall(text):
        if quoted:
            quoted = piece != '"'
        elif depth or piece == "(":
            depth += {"(": 1, ")": -1}.get(piece, 0)
            comment.append(piece)
            if not depth:
                parts.append("".join(comment))
                comment.clear()
        elif piece == '"':
            quoted = True
        elif piece == ")" or piece.startswith("\\"):
            return None
        else:
            parts += piece.replace(";", " ; ").split()
    return None if depth or quoted else parts


def _client(name: str, comments: list[str]) -> tuple[Address, str] | None:
    """Address and HELO name."""
    if not comments:
        return None  # an address literal here would be the client's own word
    first, *others = comments
    if (told := _QMAIL.fullmatch(first)) and others:
        first, *others = others
    elif told := _EXIM.fullmatch(first):
        first = first[: told.start("helo")].removesuffix("helo=")
    elif (told := _EXIM_NAMELESS.fullmatch(first)) and name.startswith("["):
        first = name
    elif re.search(r"(?:^|\s)(?:helo=|(?i:HELO|EHLO)\s)", first):
        return None  # a client's blanks
    helo = told["helo"] if told else name
    address = _seen_address(first)
    if address is None or any(_seen_address(other) or _BRACKETS.search(other) for other in others):
        return None
    return address, helo


def _seen_address(comment: str) -> Address | None:
    """The one address of a comment: in brackets, or all that it says (qmail: behind ``ident@``)."""
    literals = _BRACKETS.findall(comment)
    if len(literals) > 1:
        return None
    return _address(literals[0] if literals else comment.rpartition("@")[2])


def _address(text: str) -> Address | None:
    text = text.strip()
    prefixed = text[:5].lower() == "ipv6:"
    try:
        address = ip_address(text[5:] if prefixed else text)
    except ValueError:
        return None
    if "%" in text or (prefixed and address.version == 4) or address.is_unspecified or address.is_multicast:
        return None
    return unmapped(address)


def _is_authenticated(clauses: Iterable[str]) -> bool:
    words = iter(clauses)
    for word in words:
        if word == ";":
            return False
        if word.lower() == "with":
            return bool(_AUTHENTICATED.fullmatch(next(words, "")))
    return False
