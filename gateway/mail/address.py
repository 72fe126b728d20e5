"""SMTP paths and domains (RFC 5321 section 4.1.2, RFC 6531): the only address parser of the house.

In: the octets between ``MAIL FROM:`` / ``RCPT TO:`` and the parameters. Out: a :class:`Mailbox`, ``NULL`` or
:class:`AddressError`. Strict on purpose: no comments, no missing brackets, no bare octets; a source route
(RFC 5321 appendix C) is refused, since the only thing it can do today is to relay.

Known gaps: IPv6 address literals keep the sender's spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

import idna

from gateway.mail import limits


class AddressError(ValueError):
    """The path is not one of RFC 5321's grammar; the text says what is wrong and is safe to log."""


class NullReversePath(Enum):
    """``<>``, the reverse-path of DSNs: a type of its own, never '' and never None."""

    NULL = "<>"

    def __str__(self) -> str:
        return ""


NULL = NullReversePath.NULL


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox: local part as written (unquoted where quoting was needless), domain as A-label in lower case."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{_quoted(self.local_part)}@{self.domain}"

    @property
    def is_literal(self) -> bool:
        """True for an address literal such as ``user@[192.0.2.1]``."""
        return self.domain.startswith("[")

    @property
    def needs_smtputf8(self) -> bool:
        """True when the local part cannot travel without SMTPUTF8 (RFC 6531)."""
        return not self.local_part.isascii()


ReversePath = Mailbox | NullReversePath

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_STRING = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(?:\.[{_ATEXT}\u0080-\U0010ffff]+)*")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_LITERAL4 = re.compile(r"\[(\d{1,3}(?:\.\d{1,3}){3})\]")
_LITERAL6 = re.compile(r"\[IPv6:([0-9A-Fa-f:.]+)\]", re.IGNORECASE)


def _quoted(local_part: str) -> str:
    if _DOT_STRING.fullmatch(local_part):
        return local_part
    return '"' + re.sub(r'(["\\])', r"\\\1", local_part) + '"'


def _octets(text: str) -> int:
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise AddressError("a character that UTF-8 has not") from error


def parse_domain(text: str) -> str:
    """A domain name as an A-label in lower case (RFC 5890), without a trailing dot.

    Raises AddressError for anything that is not a host-like name. Underscores are let through: they occur in
    EHLO names and in DNS, and judging them is a check's matter.
    """
    if text.endswith("."):
        raise AddressError("a domain in a path has no trailing dot")
    if text.isascii():
        name = text.lower()
    else:
        try:
            name = idna.encode(text, uts46=True).decode("ascii").lower()
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError("not a valid internationalised domain") from error
    if not name or len(name) > limits.DOMAIN_OCTETS:
        raise AddressError("domain is empty or too long")
    for label in name.split("."):
        if len(label) > 63 or not _LABEL.fullmatch(label):
            raise AddressError("not a domain name")
    return name


def parse_literal(text: str) -> IPv4Address | IPv6Address | None:
    """The address in an address literal (RFC 5321 section 4.1.3), or None where ``text`` is none."""
    try:
        if match := _LITERAL4.fullmatch(text):
            return IPv4Address(match[1])
        if match := _LITERAL6.fullmatch(text):
            return IPv6Address(match[1])
    except ValueError:
        return None
    return None


def parse_mailbox(text: str) -> Mailbox:
    """A mailbox without brackets, such as ``user@example.org``. Raises AddressError."""
    if match := _QUOTED.match(text):
        local_part, rest = re.sub(r"\\(.)", r"\1", match[1]), text[match.end() :]
    elif match := _DOT_STRING.match(text):
        local_part, rest = match[0], text[match.end() :]
    else:
        raise AddressError("no local part")
    if not rest.startswith("@"):
        raise AddressError("expected @ and a domain after the local part")
    if _octets(local_part) > limits.LOCAL_PART_OCTETS:
        raise AddressError("local part is longer than 64 octets")
    domain = rest[1:]
    if domain.startswith("["):
        if parse_literal(domain) is None:
            raise AddressError("not an address literal")
        return Mailbox(local_part, domain)
    return Mailbox(local_part, parse_domain(domain))


def split_path(argument: str) -> tuple[str, str]:
    """``<path> PARAM=1 ...`` into the path with its brackets and the rest (RFC 5321 section 4.1.1.11).

    Quoted local parts may contain ``>`` and blanks. Raises AddressError when there is no bracketed path.
    """
    text = argument.lstrip(" ")
    if not text.startswith("<"):
        raise AddressError("the path must stand in angle brackets")
    position, quoted = 1, False
    while position < len(text):
        char = text[position]
        if quoted and char == "\\":
            position += 1
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            rest = text[position + 1 :]
            if rest and not rest.startswith(" "):
                raise AddressError("something follows the path")
            return text[: position + 1], rest.strip(" ")
        position += 1
    raise AddressError("the path has no closing bracket")


def parse_reverse_path(path: str) -> ReversePath:
    """``<user@example.org>`` or ``<>``. Raises AddressError."""
    if path == "<>":
        return NULL
    return parse_forward_path(path)


def parse_forward_path(path: str) -> Mailbox:
    """``<user@example.org>``. ``<Postmaster>`` without a domain is the caller's matter. Raises AddressError."""
    if _octets(path) > limits.PATH_OCTETS:
        raise AddressError("path is longer than 256 octets")
    inner = path[1:-1]
    if inner.startswith("@"):
        raise AddressError("source routes are not accepted")
    return parse_mailbox(inner)
