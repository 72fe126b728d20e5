"""Make the ARC set of one hop (RFC 8617 section 5.1): results, message signature and seal. Pure.

In: the message as it will be relayed, the chain that came with it and what it was found to be worth, the
Authentication-Results that go on top, the hash of the body. Out: the three fields, the seal first.

Signed are, as often as they stand there: the fields that people see and reply to, those that say how the body is to be
read, those of lists, and DKIM-Signature; From, Subject, Date and To once more than they stand there, so that none can
be added. Trace fields and results are not: every hop adds and removes them.

Known gaps: a chain whose sets cannot be told apart is left as it is, without a set that says fail.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from gateway.auth.arc_verify import Chain
from gateway.auth.canonical import BodyDigest, BodyWant, relaxed_field
from gateway.auth.dkim_signature import ONCE_ONLY
from gateway.auth.dkim_verify import signed_fields
from gateway.mail.finding import Outcome
from gateway.mail.message import HeaderField, Message
from gateway.mail.trace import folded

MAX_SETS = 50
"""Section 4.2.1: no chain is longer."""
WANT = BodyWant(relaxed=True)
"""The body hash that ``seal`` needs."""
MAX_OF_ONE_NAME = 10
SIGNED = (
    "from", "reply-to", "sender", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-id", "list-id",
    "list-post", "list-unsubscribe", "list-unsubscribe-post", "dkim-signature",
)  # fmt: skip
_PADDING, _PREHASHED = padding.PKCS1v15(), utils.Prehashed(hashes.SHA256())
_WIDTH = 70


@dataclass(frozen=True, slots=True)
class Sealer:
    """Who seals: d= and s= (A-labels), and the private key whose public half stands in DNS."""

    domain: str
    selector: str
    key: rsa.RSAPrivateKey


def chain_value(chain: Chain | None, outcome: Outcome) -> str | None:
    """cv= of the set to add, given what the chain was found to be; None: none is to be added. That is so for a chain
    that is full, sealed as failed or not readable, and while nobody knows (DNS trouble): a later hop may."""
    if chain is None:
        return "none"
    if not chain.sets or len(chain.sets) >= MAX_SETS or chain.cv == "fail":
        return None
    return {Outcome.PASS: "pass", Outcome.FAIL: "fail"}.get(outcome)


def seal(
    message: Message,
    removed: Collection[HeaderField],
    chain: Chain | None,
    value: str,
    results: bytes,
    body: BodyDigest,
    sealer: Sealer,
    now: float,
) -> bytes:
    """The set with cv= ``value``. removed: fields that do not go on. results: our Authentication-Results field. body:
    the digest of ``WANT``. now: seconds since 1970. Returns b'' for a header that cannot be signed as a whole."""
    names = _names(message, removed)
    if not names:
        return b""
    sets = chain.sets if chain else ()
    number = len(sets) + 1
    aar = b"ARC-Authentication-Results: i=%d;%s" % (number, results.partition(b":")[2])
    who = [f"d={sealer.domain};", f"s={sealer.selector};", f"t={int(now)};"]
    hasher = hashlib.sha256()
    for item in signed_fields(message, names, removed):
        hasher.update(relaxed_field(message.raw(item)))
    words = [f"i={number};", "a=rsa-sha256;", "c=relaxed/relaxed;", *who, *_h(names)]
    words += [f"bh={base64.b64encode(body.digest).decode()};"]
    signature = _signed("ARC-Message-Signature", words, hasher, sealer)
    hasher = hashlib.sha256()
    # section 5.1.2: a seal that says fail covers its own set only
    for part in sets if value != "fail" else ():
        for item in (part.results, part.signature, part.seal.item):
            hasher.update(relaxed_field(message.raw(item)))
    hasher.update(relaxed_field(aar))
    hasher.update(relaxed_field(signature))
    arc_seal = _signed("ARC-Seal", [f"i={number};", "a=rsa-sha256;", f"cv={value};", *who], hasher, sealer)
    return arc_seal + signature + aar


def _names(message: Message, removed: Collection[HeaderField]) -> list[str]:
    counts = dict.fromkeys(SIGNED, 0)
    for item in message.fields:
        if item.name in counts and item not in removed:
            counts[item.name] += 1
    if any(counts[name] > MAX_OF_ONE_NAME for name in ONCE_ONLY):
        return []
    return [
        name
        for name, count in counts.items()
        for _ in range(min(count, MAX_OF_ONE_NAME) + (1 if name in ONCE_ONLY else 0))
    ]


def _h(names: Sequence[str]) -> Iterator[str]:
    """h= as words that may be folded between."""
    line = "h="
    for number, name in enumerate(names):
        line += name + (";" if number == len(names) - 1 else ":")
        if len(line) > _WIDTH or line.endswith(";"):
            yield line
            line = ""


def _signed(name: str, words: Sequence[str], hasher: hashlib._Hash, sealer: Sealer) -> bytes:
    """The field with its b=, signed over what ``hasher`` has seen and the field itself."""
    bare = folded(name, [*words, "b="])
    hasher.update(relaxed_field(bare).removesuffix(b"\r\n"))
    text = base64.b64encode(sealer.key.sign(hasher.digest(), _PADDING, _PREHASHED)).decode()
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return bare.removesuffix(b"\r\n") + "\r\n ".join(["", *lines]).encode() + b"\r\n"
