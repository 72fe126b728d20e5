"""A DKIM-Signature field (RFC 6376 section 3.5) as a value, with everything that can be judged without the key.

In: a message and one of its fields. Out: a Signature; ``fault`` names the first thing that makes it worthless, so that
neither DNS nor hashing is spent on it. ARC-Message-Signature is the same grammar without v= and i= (RFC 8617 section
4.1.2) and is read here too.

Known gaps: copied header fields (z=) and the local part of i= are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.auth.canonical import BodyWant
from gateway.auth.dkim_tags import TagError, decode_base64, parse_tags, words
from gateway.mail.address import AddressError, parse_domain
from gateway.mail.message import HeaderField, Message

MAX_FIELD_OCTETS = 8192
ALGORITHMS = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
SIMPLE_BODY = BodyWant(relaxed=False)
ONCE_ONLY = ("from", "subject", "date", "to")
_FORMS = (b"simple", b"relaxed")


class Fault(Exception):
    """What makes a signature worthless; ``reason`` is the word of the finding."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature as written. fault: '' or the reason of its permerror. b and body_hash decoded; signed: h= in lower
    case, in order; stamped, expires: t= and x= in seconds since 1970; identity_domain: the domain of i= (d= where there
    is none)."""

    item: HeaderField
    fault: str
    domain: str = ""
    selector: str = ""
    identity: str = ""
    identity_domain: str = ""
    algorithm: str = ""
    kind: str = ""
    b_prefix: str = ""
    b: bytes = b""
    body_hash: bytes = b""
    signed: tuple[str, ...] = ()
    relaxed_header: bool = False
    want: BodyWant = SIMPLE_BODY
    stamped: int | None = None
    expires: int | None = None

    @property
    def key_name(self) -> str:
        """Where the key stands in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


def once_counts(message: Message) -> dict[str, int]:
    """How often each field stands there that may stand once (RFC 5322 section 3.6) and that people see."""
    counts = dict.fromkeys(ONCE_ONLY, 0)
    for item in message.fields:
        if item.name in counts:
            counts[item.name] += 1
    return counts


def read_signature(message: Message, item: HeaderField, counts: Mapping[str, int], *, arc: bool = False) -> Signature:
    """Read one field. Never raises. counts: ``once_counts`` of the message. arc: it is an ARC-Message-Signature, whose
    i= is its instance."""
    size = item.end - item.start
    if size > MAX_FIELD_OCTETS:
        return Signature(item, "signature-too-long")
    try:
        tags = parse_tags(message.raw(item).partition(b":")[2])
    except TagError:
        return Signature(item, "syntax")
    shown = Signature(
        item,
        "",
        domain=_name(tags.get("d", b"")),
        selector=_name(tags.get("s", b"")),
        identity="" if arc else _text(tags.get("i", b"")),
        algorithm=_text(tags.get("a", b"")).lower()[:40],
        b_prefix=_text(b"".join(tags.get("b", b"").split())[:8]),
    )
    try:
        return _judged(tags, shown, counts, arc)
    except Fault as fault:
        return replace(shown, fault=fault.reason)
    except (TagError, UnicodeError):
        return replace(shown, fault="syntax")


def _judged(tags: Mapping[str, bytes], shown: Signature, counts: Mapping[str, int], arc: bool) -> Signature:
    missing = [tag for tag in ("a", "b", "bh", "d", "h", "s") if not tags.get(tag)]
    if missing or not shown.domain or not shown.selector or (not arc and "v" not in tags):
        raise Fault("syntax")
    if not arc and tags["v"] != b"1":
        raise Fault("version")
    kind = ALGORITHMS.get(tags["a"].lower())
    if kind is None:
        raise Fault("algorithm")  # rsa-sha1 too: RFC 8301 section 3.1
    if "q" in tags and b"dns/txt" not in words(tags["q"]):
        raise Fault("query-method")
    header_form, _, body_form = tags.get("c", b"simple/simple").lower().partition(b"/")
    body_form = body_form or b"simple"
    if header_form not in _FORMS or body_form not in _FORMS:
        raise Fault("canonicalization")
    signed = tuple(name.decode("ascii") for name in words(tags["h"]) if name)
    if signed.count("from") < max(1, counts["from"]):
        # RFC 6376 section 6.1.1; an unsigned second From is what section 8.15 warns of
        raise Fault("from-not-signed")
    if any(1 < counts[name] > signed.count(name) for name in ONCE_ONLY):
        # readers show the first Subject, a signature covers the last: section 8.15 again
        raise Fault("duplicate-not-signed")
    if arc and "arc-seal" in signed:
        raise Fault("syntax")
    expires, stamped = _number(tags, "x"), _number(tags, "t")
    if expires is not None and stamped is not None and expires <= stamped:
        raise Fault("syntax")
    return replace(
        shown,
        identity_domain=shown.domain if arc else _identity_domain(tags, shown.domain),
        kind=kind,
        b=decode_base64(tags["b"]),
        body_hash=decode_base64(tags["bh"]),
        signed=signed,
        relaxed_header=header_form == b"relaxed",
        want=BodyWant(body_form == b"relaxed", _number(tags, "l", 76)),
        stamped=stamped,
        expires=expires,
    )


def _identity_domain(tags: Mapping[str, bytes], domain: str) -> str:
    if "i" not in tags:
        return domain
    _, at, text = tags["i"].rpartition(b"@")
    identity = _name(text) if at else ""
    if identity != domain and not identity.endswith("." + domain):
        raise Fault("identity-outside-domain")
    return identity


def _number(tags: Mapping[str, bytes], tag: str, digits: int = 12) -> int | None:
    if tag not in tags:
        return None
    value = tags[tag]
    if not value.isdigit() or len(value) > digits:
        raise Fault("syntax")
    return int(value)


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")[:255]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _name(value: bytes) -> str:
    try:
        return parse_domain(value.decode("utf-8"))
    except (AddressError, UnicodeError):
        return ""
