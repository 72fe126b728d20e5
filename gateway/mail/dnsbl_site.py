"""One entry of a DNS block or allow list setting, in the syntax of Postfix's postscreen_dnsbl_sites.

``[name:]domain[=filter][*weight]``: the name is what people see instead of the domain, in which a paying user's access
key may stand; the filter is an IPv4 pattern over the answer, each part a number or a bracketed list of numbers and
ranges (``127.0.0.[2..11;13]``); the weight defaults to 1, a negative one makes an allow list.

Known gaps: none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from gateway.mail.address import AddressError, parse_domain

_WEIGHT = re.compile(r"[+-]?\d{1,4}(?:\.\d{1,3})?")
_PART = re.compile(r"\[[^\[\]]*\]|\d+")
_ACCESS_KEY = re.compile(r"(?=[a-z]*\d)[a-z0-9]{20,63}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_MAYBE_KEY = re.compile(r"[A-Za-z0-9]{16,}")

LISTINGS = IPv4Network("127.0.0.0/8")
ERROR_CODES = IPv4Network("127.255.255.0/24")

Pattern = tuple[frozenset[int], frozenset[int], frozenset[int], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Site:
    """domain: the zone that is asked. pattern: answers that count, None for all. weight: added to the score.
    label: the list's name for people: as written, else the zone without a paying user's access key (which must never
    be shown)."""

    domain: str
    pattern: Pattern | None
    weight: float
    label: str

    def matches(self, answer: IPv4Address) -> bool:
        """Does this answer count?"""
        if self.pattern is None:
            return True
        return all(octet in allowed for octet, allowed in zip(answer.packed, self.pattern, strict=True))


def is_listing(answer: IPv4Address) -> bool:
    """False for the codes that say that *we* may not ask, and for answers of a hijacked or abandoned zone."""
    return answer in LISTINGS and answer not in ERROR_CODES


def parse_site(text: str) -> Site:
    """Read one entry. Raises ValueError with what is wrong; the text never holds what may be an access key."""
    shown = _MAYBE_KEY.sub("***", text)
    given, colon, entry = text.partition(":") if ":" in text.partition("=")[0] else ("", "", text)
    if colon and not _NAME.fullmatch(given):
        raise ValueError(f"{shown!r}: the name before : is made of a-z, 0-9, dot and hyphen")
    rest, star, weight = entry.partition("*")
    if star and not _WEIGHT.fullmatch(weight):
        raise ValueError(f"{shown!r}: the weight after * must be a number")
    name, equals, pattern = rest.partition("=")
    try:
        domain = parse_domain(name)
    except AddressError as error:
        raise ValueError(f"{shown!r}: {_MAYBE_KEY.sub('***', str(error))}") from error
    if "." not in domain:
        raise ValueError(f"{shown!r}: a list's domain has at least two labels")
    if equals and not pattern:
        raise ValueError(f"{shown!r}: no filter after =")
    octets = _pattern(shown, pattern) if equals else None
    return Site(domain, octets, float(weight) if star else 1.0, given or _label(domain))


def _label(domain: str) -> str:
    labels = domain.split(".")
    if labels[-3:] == ["dq", "spamhaus", "net"] and len(labels) > 4:
        return ".".join(labels[-4:])
    if len(labels) > 3 and _ACCESS_KEY.fullmatch(labels[0]):
        return ".".join(labels[1:])
    return domain


def _pattern(text: str, pattern: str) -> Pattern:
    parts: list[frozenset[int]] = []
    position = 0
    while True:
        match = _PART.match(pattern, position)
        if match is None:
            raise ValueError(f"{text!r}: the filter must look like 127.0.0.[2..11;13]")
        parts.append(_octets(text, match[0]))
        position = match.end()
        if position == len(pattern):
            break
        if pattern[position] != ".":
            raise ValueError(f"{text!r}: expected a dot in the filter at {pattern[position:]!r}")
        position += 1
    if len(parts) != 4:
        raise ValueError(f"{text!r}: the filter has {len(parts)} parts, an IPv4 address has 4")
    return (parts[0], parts[1], parts[2], parts[3])


def _octets(text: str, part: str) -> frozenset[int]:
    found: set[int] = set()
    for item in part.strip("[]").split(";"):
        match = re.fullmatch(r"(\d{1,3})(?:\.\.(\d{1,3}))?", item)
        if match is None:
            raise ValueError(f"{text!r}: {item!r} is neither a number nor a range such as 2..11")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high or high > 255:
            raise ValueError(f"{text!r}: {item!r} is not a range within 0..255")
        found.update(range(low, high + 1))
    return frozenset(found)
