"""The author domain: whom a message claims to be from (RFC 5322 section 3.6.2, RFC 9989 section 4.3).

In: a message. Out: the distinct domains of all addresses in all From fields, as A-labels in lower case, and whether
something in them looked like an address and could not be read. Quoted local parts, comments, groups, source routes and
unquoted commas in display names are read as mail programs read them: what stands in angle brackets is the address.

Known gaps: address literals have no author domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway.mail.address import AddressError, parse_domain
from gateway.mail.message import Message

MAX_OCTETS = 16384
MAX_DOMAINS = 50
_KEPT = 64
"""Several checks ask for the author of each message; at most 64 times 16 KiB."""


@dataclass(frozen=True, slots=True)
class Author:
    """domains: distinct, in order of appearance. unreadable: some address could not be read."""

    domains: tuple[str, ...]
    unreadable: bool = False

    @property
    def domain(self) -> str:
        """The one author domain, or '' when there is none or not exactly one."""
        return self.domains[0] if len(self.domains) == 1 and not self.unreadable else ""


def author(message: Message) -> Author:
    """Read all From fields. Never raises."""
    values: list[bytes] = []
    left = MAX_OCTETS
    for item in message.all("from"):
        left -= item.end - item.start
        if left < 0:
            return replace(_read(tuple(values)), unreadable=True)
        values.append(message.value(item))
    return _read(tuple(values))


@lru_cache(maxsize=_KEPT)
def _read(values: tuple[bytes, ...]) -> Author:
    domains: dict[str, None] = {}
    unreadable = False
    for value in values:
        for address in _addresses(value.decode("utf-8", "surrogateescape")):
            domain = _domain_of(address)
            if not domain:
                unreadable = True
            elif len(domains) < MAX_DOMAINS:
                domains[domain] = None
    return Author(tuple(domains), unreadable)


_QUOTED = "\ue000"
"""Stands for a character that was quoted: no delimiter, and in no domain name."""


def plain(text: str) -> str:
    """The text without comments, each quoted character replaced by a mark: what is left delimits."""
    out: list[str] = []
    depth, quoted, escaped = 0, False, False
    for char in text:
        if escaped:
            escaped = False
            if not depth:
                out.append(_QUOTED)
        elif char == "\\" and (quoted or depth):
            escaped = True
        elif depth:
            depth += (char == "(") - (char == ")")
        elif quoted:
            if char == '"':
                quoted = False
            else:
                out.append(_QUOTED)
        elif char == '"':
            quoted = True
            out.append(_QUOTED)
        elif char == "(":
            depth = 1
        else:
            out.append(char)
    return "".join(out)


def _addresses(text: str) -> Iterator[str]:
    """Whatever stands where an address may stand: in angle brackets, or bare with an @."""
    bare: list[str] = []
    inside: list[str] | None = None
    angles = False
    for char in plain(text) + ",":
        if inside is not None:
            if char == ">":
                if address := "".join(inside).strip():
                    yield address
                inside = None
            else:
                inside.append(char)
        elif char == "<":
            inside, angles = [], True
        elif char in ",;":
            name = "".join(bare)
            if not angles and "@" in name:
                yield name
            bare, angles = [], False
        elif char == ":" and "@" not in bare:
            bare = []  # the name of a group
        else:
            bare.append(char)
    if inside is not None and any(char == "@" for char in inside):
        yield "".join(inside).rstrip(",")  # a bracket that never closes


def _domain_of(address: str) -> str:
    if address.startswith("@"):
        address = address.partition(":")[2]  # a source route, RFC 5322 section 4.4
    local_part, at, domain = address.rpartition("@")
    if not at or not local_part.strip() or "@" in local_part:
        return ""
    # RFC 5322 section 4.4 lets blanks stand around the dots; a final dot names the same domain
    name = "".join(domain.split(" ")).replace("\t", "").removesuffix(".")
    try:
        return parse_domain(name)
    except AddressError:
        return ""
