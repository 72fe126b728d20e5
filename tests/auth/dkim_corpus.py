"""Thousands of signed messages, the same each time: odd headers, odd bodies, odd signature fields, changes on the way.

Signed by dkimpy, by OpenDKIM and by hand; each has the names of its features, so that a disagreement of two verifiers can
be told by what caused it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import dkim
from auth_signer import sign
from auth_zone import rsa_key
from cryptography.hazmat.primitives import serialization
from opendkim_judge import sign_all

from gateway.mail.message import Message

SELECTOR, DOMAIN = "sel", "example.com"
FORMS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
RSA_BITS = 1024
"""Small, because dkimpy signs in Python."""


@dataclass(frozen=True, slots=True)
class Sample:
    """octets with one signature on top of or inside the header; features: what is odd about it."""

    octets: bytes
    features: frozenset[str]


def zone() -> dict[str, str]:
    """The key record that all samples need."""
    return {f"{SELECTOR}._domainkey.{DOMAIN}": rsa_key(RSA_BITS)[1]}


UNREADABLE = {"blank before the colon", "line that is no field"}


_WORDS = (b"a", b"lunch", b"=?utf-8?Q?=C3=A9?=", b"x" * 70, "\u00e9".encode(), b"\xe9\xff", b"1;b=2", b"b=c", b".", b"\"quoted  blanks\"", b"(a  b)")
_FOLDS = (b" ", b"  ", b"\t", b"\r\n ", b"\r\n\t", b" \r\n  ", b"\t\r\n \t", b"\r\n \r\n ")
_LINES = (
    b"", b" ", b"\t \t", b"text  more\ttext", b"trailing  ", b"\xc3\xa9" * 5, b"...", b"\x00\x01", b" leading", b"\xff\xfe",
    b"w" * 998, b"a b  c\t" * 40, b"From here", b"--sep", b"=20",
)  # fmt: skip


def _value(rng: random.Random) -> bytes:
    words = [rng.choice(_WORDS) for _ in range(rng.randint(0, 9))]
    out = rng.choice((b"", b" ", b"  ", b"\t", b"\r\n ", b"\r\n\t"))
    for number, word in enumerate(words):
        out += (rng.choice(_FOLDS) if number else b"") + word
    return out + rng.choice((b"", b"", b" ", b"\t", b" \r\n "))


def _header(rng: random.Random, features: set[str]) -> list[bytes]:
    fields = [b"From:" + rng.choice((b" ", b"", b"\r\n ", b"\t")) + b"Ann <ann@example.com>" + rng.choice((b"", b" "))]
    fields += [b"To: bob@example.org", b"Date: Mon, 1 Jan 2024 00:00:00 +0000"]
    fields.append(rng.choice((b"Subject", b"SUBJECT", b"sUbJeCt")) + b":" + _value(rng))
    for name in rng.choices((b"X-Odd", b"X-Hop", b"Cc", b"Reply-To", b"Received", b"MIME-Version", b"List-Id", b"x-lower"), k=rng.randint(0, 9)):
        fields.append(name + b":" + _value(rng))
    if rng.random() < 0.03:
        features.add("blank before the colon")
        fields.append(b"X-Blank : " + rng.choice(_WORDS))
    if rng.random() < 0.02:
        features.add("huge header")
        fields.append(b"X-Huge: " + b"\r\n ".join(rng.choice(_WORDS) * 8 for _ in range(rng.randint(200, 900))))
    if rng.random() < 0.01:
        features.add("many fields")
        fields += [b"X-Many: %d" % number for number in range(300)]
    if rng.random() < 0.02:
        features.add("line that is no field")
        fields.append(rng.choice((b"no colon here", b"X-\xe9: 1", b"two words: 1")))
    rng.shuffle(fields)
    return fields


def _body(rng: random.Random, features: set[str]) -> bytes:
    kind = rng.random()
    if kind < 0.06:
        return b""
    if kind < 0.12:
        return b"\r\n" * rng.randint(1, 5)
    if kind < 0.15:
        return b" \t \r\n" * rng.randint(1, 4)
    body = b"".join(rng.choice(_LINES) + b"\r\n" for _ in range(rng.randint(1, 14)))
    if rng.random() < 0.15:
        body = body[:-2]
        features.add("blanks at the end without CRLF" if body[-1:] in b" \t" else "no final CRLF")
    return body


def _mail(rng: random.Random, features: set[str]) -> bytes:
    return b"\r\n".join(_header(rng, features)) + b"\r\n\r\n" + _body(rng, features)


_SIGNED = ("from", "to", "subject", "date", "x-hop", "x-hop", "cc", "x-odd", "x-many", "x-huge", "x-lower", "x-absent", "x-blank", "mime-version")


def _by_dkimpy(rng: random.Random, octets: bytes, form: str) -> bytes:
    header_form, body_form = form.encode().split(b"/")
    names = ["from", *rng.sample(_SIGNED[1:], rng.randint(1, 9))]
    field = dkim.sign(
        octets, SELECTOR.encode(), DOMAIN.encode(), rsa_key(RSA_BITS)[0], canonicalize=(header_form, body_form),
        include_headers=[name.encode() for name in names], length=rng.random() < 0.05,
    )  # fmt: skip
    return bytes(field) + octets


def _by_hand(rng: random.Random, octets: bytes, form: str, features: set[str]) -> bytes:
    names = ["From", *rng.sample(_SIGNED[1:], rng.randint(1, 9))]
    changes: dict[str, str | None] = {"c": form, "h": rng.choice((":", " : ", ":\r\n ", "\t:")).join(names)}
    if rng.random() < 0.2:
        changes["i"] = rng.choice(("ann@example.com", "@example.com", "@sub.example.com", "=20x@example.com"))
    if rng.random() < 0.1:
        changes["q"] = "dns/txt"
    if rng.random() < 0.1:
        changes["t"] = "1700000000"
    if rng.random() < 0.05:
        changes["zz"] = "unknown tag"
    if rng.random() < 0.05:
        changes["l"] = str(rng.randint(0, 20))
        features.add("l=")
    return sign(octets, _private(), **changes)


@cache
def _private() -> Any:
    return serialization.load_pem_private_key(rsa_key(RSA_BITS)[0], None)


Change = Callable[[random.Random, bytes], bytes]


def _flip(rng: random.Random, octets: bytes) -> bytes:
    for _ in range(50):
        at = rng.randrange(len(octets))
        new = octets[at] ^ 1
        # line ends and colons change the structure; the other samples do that on purpose
        if octets[at] not in b"\r\n:" and new not in b"\r\n:":
            return octets[:at] + bytes([new]) + octets[at + 1 :]
    return octets


def _in_body(change: Callable[[bytes], bytes]) -> Change:
    def changed(_: random.Random, octets: bytes) -> bytes:
        head, blank, body = octets.partition(b"\r\n\r\n")
        return head + blank + change(body)

    return changed


def _refold(rng: random.Random, octets: bytes) -> bytes:
    head, blank, body = octets.partition(b"\r\n\r\n")
    place = head.find(b" ", rng.randrange(len(head)))
    return (head[:place] + b"\r\n" + head[place:] if place > 0 else head) + blank + body


def _swap(rng: random.Random, octets: bytes) -> bytes:
    head, blank, body = octets.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    starts = [number for number, line in enumerate(lines) if line[:1] not in (b" ", b"\t")]
    fields = [b"\r\n".join(lines[a:b]) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    one, other = rng.randrange(len(fields)), rng.randrange(len(fields))
    fields[one], fields[other] = fields[other], fields[one]
    return b"\r\n".join(fields) + blank + body


CHANGES: dict[str, Change] = {
    "one bit": _flip,
    "text added": _in_body(lambda body: body + b"more\r\n"),
    "blank lines added": _in_body(lambda body: body + b"\r\n\r\n" if body.endswith(b"\r\n") else body + b"\r\n"),
    "blanks at line ends": _in_body(lambda body: body.replace(b"\r\n", b" \r\n", 1)),
    "blanks doubled": _in_body(lambda body: body.replace(b" ", b"  ", 1)),
    "refolded": _refold,
    "fields swapped": _swap,
    "names in capitals": lambda _, octets: octets.replace(b"\r\nTo:", b"\r\nTO:", 1),
    "a field on top": lambda _, octets: b"X-Hop: new\r\n" + octets,
    "Received on top": lambda _, octets: b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n" + octets,
    "second Subject on top": lambda _, octets: b"Subject: buy\r\n" + octets,
    "second From on top": lambda _, octets: b"From: eve@evil.test\r\n" + octets,
    "field name of the signature": lambda _, octets: octets.replace(b"DKIM-Signature:", b"dkim-SIGNATURE :", 1),
    "first line folded": lambda _, octets: b" folded first line\r\n" + octets,
}


def samples(count: int, *, opendkim: bool = True, seed: int = 6376) -> list[Sample]:
    """That many samples; about half of them changed after signing. opendkim: it signs some of them too."""
    rng = random.Random(seed)
    signed: list[tuple[bytes, set[str]]] = []
    waiting: list[tuple[bytes, str, set[str]]] = []
    for _ in range(count):
        features: set[str] = set()
        octets = _mail(rng, features)
        form = rng.choice(FORMS)
        signer = rng.choices(("dkimpy", "opendkim", "hand"), (2, 2, 6))[0]
        if features & UNREADABLE:
            signer = "hand"  # the others cannot sign what they cannot read
        if signer == "opendkim" and opendkim:
            waiting.append((octets, form, features))
        elif signer == "dkimpy":
            signed.append((_by_dkimpy(rng, octets, form), features))
        else:
            signed.append((_by_hand(rng, octets, form, features), features))
    if waiting:
        by_opendkim = sign_all([(octets, form) for octets, form, _ in waiting], DOMAIN, SELECTOR, rsa_key(RSA_BITS)[0])
        for octets, (_, _, features) in zip(by_opendkim, waiting, strict=True):
            signed.append((octets, features | {"signed by OpenDKIM"}))
    return [_sample(rng, octets, features) for octets, features in signed]


def _sample(rng: random.Random, octets: bytes, features: set[str]) -> Sample:
    if b" l=" in octets[:400]:
        features.add("l=")
    if rng.random() < 0.5:
        name = rng.choice(list(CHANGES))
        changed = CHANGES[name](rng, octets)
        if changed != octets:
            features.add(name)
            octets = changed
    if any(not item.name for item in Message.parse(octets).fields):
        features.add("line that is no field")  # one bit can make one
    return Sample(octets, frozenset(features))
