"""Validate an ARC chain (RFC 8617 section 5.2) from answers that somebody else fetched. Pure.

Order of use: ``read_chain`` -> fetch ``key_names`` -> ``body_digests`` for the newest set's ``want`` -> ``validate``.
Verified are the newest ARC-Message-Signature and every ARC-Seal; the seals are hashed incrementally, so that fifty sets
cost fifty signatures and not fifty headers.

Known gaps: ARC-Authentication-Results are not interpreted; the oldest-pass of section 5.2 step 6 is not computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.auth.canonical import BodyDigest, BodyWant, relaxed_field
from gateway.auth.dkim_key import KeyFault, choose_key
from gateway.auth.dkim_signature import ALGORITHMS, MAX_FIELD_OCTETS, Signature, once_counts, read_signature
from gateway.auth.dkim_tags import TagError, decode_base64, parse_tags, without_b_value
from gateway.auth.dkim_verify import KeyAnswers, verify
from gateway.mail.address import AddressError, parse_domain
from gateway.mail.finding import Cause, Outcome
from gateway.mail.message import HeaderField, Message

_RESULTS, _SIGNATURE, _SEAL = "arc-authentication-results", "arc-message-signature", "arc-seal"
NAMES = (_RESULTS, _SIGNATURE, _SEAL)
"""The three fields of a set, in the order in which a seal covers them (section 5.1.1)."""


@dataclass(frozen=True, slots=True)
class Seal:
    """One ARC-Seal as written: instance, d=, s=, a= as key kind, cv= and the decoded b=."""

    item: HeaderField
    instance: int
    domain: str
    selector: str
    kind: str
    cv: str
    b: bytes

    @property
    def key_name(self) -> str:
        """Where the key stands in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class Set:
    """The three fields of one instance (section 4.2)."""

    results: HeaderField
    signature: HeaderField
    seal: Seal


@dataclass(frozen=True, slots=True)
class Chain:
    """All sets, oldest first. fault: '' or why the chain fails whatever the keys say. newest: the newest
    ARC-Message-Signature (None with a fault)."""

    sets: tuple[Set, ...] = ()
    fault: str = ""
    newest: Signature | None = None

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names whose TXT records ``validate`` needs; () when it needs none."""
        if self.newest is None:
            return ()
        return tuple(dict.fromkeys([self.newest.key_name, *(part.seal.key_name for part in self.sets)]))

    @property
    def sealers(self) -> tuple[str, ...]:
        """d= of the seals, newest last."""
        return tuple(part.seal.domain for part in self.sets)

    @property
    def cv(self) -> str:
        """cv= of the newest seal: what its sealer found."""
        return self.sets[-1].seal.cv if self.sets else ""


@dataclass(frozen=True, slots=True)
class ChainResult:
    """pass, fail, none or temperror (then with its cause); reason in this module's words."""

    outcome: Outcome
    reason: str
    cause: Cause | None = None


class _Broken(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def read_chain(message: Message, max_sets: int) -> Chain | None:
    """The chain of a message and all that is wrong with its structure; None when there is no ARC field."""
    found = {name: message.all(name) for name in NAMES}
    most = max(len(items) for items in found.values())
    if not most:
        return None
    if most > max_sets:
        return Chain(fault="too-many-sets")
    try:
        sets = _sets(message, found)
    except _Broken as broken:
        return Chain(fault=broken.reason)
    for part in sets:
        expected = "none" if part.seal.instance == 1 else "pass"
        if part.seal.cv != expected:
            return Chain(sets, "sealed-as-failed" if part is sets[-1] and part.seal.cv == "fail" else "chain-value")
    newest = read_signature(message, sets[-1].signature, once_counts(message), arc=True)
    if newest.fault:
        return Chain(sets, "message-signature-" + newest.fault)
    return Chain(sets, "", newest)


def _sets(message: Message, found: Mapping[str, tuple[HeaderField, ...]]) -> tuple[Set, ...]:
    seals = {seal.instance: seal for seal in (_seal(message, item) for item in found[_SEAL])}
    signatures = {_signature_instance(message, item): item for item in found[_SIGNATURE]}
    results = {_results_instance(message, item): item for item in found[_RESULTS]}
    count = len(found[_SEAL])
    wanted = set(range(1, count + 1))
    if (
        any(len(items) != count for items in found.values())
        or not seals.keys() == signatures.keys() == results.keys() == wanted
    ):
        raise _Broken("incomplete-sets")
    return tuple(Set(results[n], signatures[n], seals[n]) for n in range(1, count + 1))


def _instance(text: bytes) -> int:
    if not text.isdigit() or not 1 <= len(text) <= 2 or int(text) == 0:
        raise _Broken("instance")
    return int(text)


def _tags(message: Message, item: HeaderField) -> dict[str, bytes]:
    if item.end - item.start > MAX_FIELD_OCTETS:
        raise _Broken("field-too-long")
    try:
        return parse_tags(message.raw(item).partition(b":")[2])
    except TagError as error:
        raise _Broken("syntax") from error


def _results_instance(message: Message, item: HeaderField) -> int:
    tag, _, text = message.value(item).partition(b";")[0].partition(b"=")
    if tag.strip() != b"i":
        raise _Broken("instance")
    return _instance(text.strip())


def _signature_instance(message: Message, item: HeaderField) -> int:
    return _instance(_tags(message, item).get("i", b""))


def _seal(message: Message, item: HeaderField) -> Seal:
    tags = _tags(message, item)
    instance = _instance(tags.get("i", b""))
    if "h" in tags or "bh" in tags:
        raise _Broken("syntax")  # section 4.1.3: a seal with h= must not be believed
    kind = ALGORITHMS.get(tags.get("a", b"").lower(), "")
    if not kind:
        raise _Broken("algorithm")
    try:
        domain, selector = (parse_domain(tags.get(tag, b"").decode("utf-8")) for tag in ("d", "s"))
        b = decode_base64(tags.get("b", b""))
        cv = tags.get("cv", b"").decode("ascii").lower()
    except (AddressError, UnicodeError, TagError) as error:
        raise _Broken("syntax") from error
    if not b or cv not in ("none", "fail", "pass"):
        raise _Broken("syntax")
    return Seal(item, instance, domain, selector, kind, cv, b)


def validate(
    message: Message,
    chain: Chain,
    answers: KeyAnswers,
    digests: Mapping[BodyWant, BodyDigest],
    *,
    now: float,
    min_rsa_bits: int,
) -> ChainResult:
    """What the chain is worth. A definite failure counts more than an unknown key: it cannot be mended by a retry."""
    if chain.newest is None:
        return ChainResult(Outcome.FAIL, chain.fault)
    newest = verify(
        message,
        chain.newest,
        answers[chain.newest.key_name],
        digests,
        now=now,
        min_rsa_bits=min_rsa_bits,
        partial_passes=False,
    )
    if newest.outcome not in (Outcome.PASS, Outcome.TEMPERROR):
        return ChainResult(Outcome.FAIL, "message-signature-" + newest.reason)
    for part, digest in zip(chain.sets, _seal_digests(message, chain), strict=True):
        answer = answers[part.seal.key_name]
        if isinstance(answer, Cause):
            continue
        try:
            key = choose_key(answer, min_rsa_bits)
        except KeyFault as fault:
            return ChainResult(Outcome.FAIL, "seal-" + fault.reason)
        if key.kind != part.seal.kind or not key.verifies(part.seal.b, digest):
            return ChainResult(Outcome.FAIL, "seal-signature")
    cause = next((answer for answer in answers.values() if isinstance(answer, Cause)), None)
    if cause is not None:
        return ChainResult(Outcome.TEMPERROR, cause.why.value, cause)
    return ChainResult(Outcome.PASS, "verified")


def _seal_digests(message: Message, chain: Chain) -> list[bytes]:
    """The digest that each seal signs (section 5.1.1): all sets up to its own, its own b= left empty."""
    digests: list[bytes] = []
    before = hashlib.sha256()
    for part in chain.sets:
        before.update(relaxed_field(message.raw(part.results)))
        before.update(relaxed_field(message.raw(part.signature)))
        seal = message.raw(part.seal.item)
        own = before.copy()
        own.update(relaxed_field(without_b_value(seal)).removesuffix(b"\r\n"))
        digests.append(own.digest())
        before.update(relaxed_field(seal))
    return digests
