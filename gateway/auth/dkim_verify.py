"""Verify DKIM signatures (RFC 6376 section 6.1) from answers that somebody else fetched. Pure.

Order of use: ``read_signatures`` -> ``choose`` -> fetch ``key_name`` of those without fault -> ``body_digests`` for
their ``want`` -> ``verify`` each. Outcome words are those of RFC 8601 section 2.7.1:

    fail       body-hash signature expired future (t= is later than our clock by more than its drift)
    policy     partial-body (l= leaves content unsigned), short-key (RSA under 2,048 bits and settings that refuse it),
               not-tried (beyond the count that is tried)
    permerror  syntax version algorithm from-not-signed duplicate-not-signed identity-outside-domain
               identity-not-exact canonicalization query-method signature-too-long length-too-big
               no-key key-revoked key-syntax key-version key-hash key-service key-type
               key-too-short key-unacceptable
    temperror  the key could not be asked for

Known gaps: none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence

from gateway.auth.canonical import BodyDigest, BodyWant, relaxed_field, simple_field
from gateway.auth.dkim_key import KeyFault, choose_key
from gateway.auth.dkim_signature import MAX_FIELD_OCTETS, Signature, once_counts, read_signature
from gateway.auth.dkim_tags import without_b_value
from gateway.mail.finding import Cause, DkimSignature, Outcome
from gateway.mail.message import HeaderField, Message

KeyAnswers = Mapping[str, tuple[str, ...] | Cause]
"""By name in DNS: the TXT records there, or why nobody knows."""

MAX_FIELDS = 256
MAX_OCTETS = 128 * 1024
"""What is read of the signatures of one message, top first; the rest is counted only."""
MAX_NAMED = 16
"""So many of the signatures that are not tried are named."""
SHORT_RSA_BITS = 2048
CLOCK_DRIFT = 300
"""Seconds by which the signer's clock may be ahead of ours; a clock behind ours costs nothing."""

BEST_FIRST = (Outcome.PASS, Outcome.TEMPERROR, Outcome.POLICY, Outcome.FAIL, Outcome.PERMERROR)
"""The best of several results stands first; what is unknown may still be a pass, hence its place."""


def read_signatures(message: Message) -> tuple[Signature, ...]:
    """The DKIM-Signature fields, top first, as far as ``MAX_FIELDS`` and ``MAX_OCTETS`` go."""
    counts = once_counts(message)
    found: list[Signature] = []
    octets = 0
    for item in message.all("dkim-signature")[:MAX_FIELDS]:
        size = item.end - item.start
        octets += size if size <= MAX_FIELD_OCTETS else 0  # longer ones are not read anyway
        if octets > MAX_OCTETS:
            break
        found.append(read_signature(message, item, counts))
    return tuple(found)


def choose(
    signatures: Sequence[Signature], author_domains: Sequence[str], most: int
) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """(to try, not to try), each in the message's order. At most ``most`` are tried: those of the author domain and its
    relatives before others, those that are worthless as they stand last."""

    def distance(signature: Signature) -> int:
        domain = signature.domain
        if signature.fault or not domain:
            return 3
        if domain in author_domains:
            return 0
        if any(domain.endswith("." + name) or name.endswith("." + domain) for name in author_domains):
            return 1
        return 2

    kept = sorted(range(len(signatures)), key=lambda n: distance(signatures[n]))[:most]
    left = sorted(set(range(len(signatures))).difference(kept))
    return tuple(signatures[n] for n in sorted(kept)), tuple(signatures[n] for n in left)


def verify(
    message: Message,
    signature: Signature,
    answer: tuple[str, ...] | Cause,
    digests: Mapping[BodyWant, BodyDigest],
    *,
    now: float,
    min_rsa_bits: int,
    partial_passes: bool,
    short_passes: bool = True,
) -> DkimSignature:
    """One signature's result. answer: what stands at its ``key_name`` (unused when it has a fault)."""
    if signature.fault:
        return result(signature, Outcome.PERMERROR, signature.fault)
    if isinstance(answer, Cause):
        return result(signature, Outcome.TEMPERROR, answer.why.value)
    try:
        key = choose_key(answer, min_rsa_bits)
    except KeyFault as fault:
        return result(signature, Outcome.PERMERROR, fault.reason)
    body = digests[signature.want]
    length = signature.want.length
    partial = length is not None and length < body.total

    def judged(outcome: Outcome, reason: str) -> DkimSignature:
        return result(signature, outcome, reason, key_bits=key.bits, testing=key.testing, partial=partial)

    if key.kind != signature.kind:
        return judged(Outcome.PERMERROR, "key-type")
    if key.exact and signature.identity_domain != signature.domain:
        return judged(Outcome.PERMERROR, "identity-not-exact")
    if length is not None and length > body.total:
        return judged(Outcome.PERMERROR, "length-too-big")
    if signature.expires is not None and now > signature.expires:
        return judged(Outcome.FAIL, "expired")
    if signature.stamped is not None and signature.stamped > now + CLOCK_DRIFT:
        return judged(Outcome.FAIL, "future")
    if body.digest != signature.body_hash:
        return judged(Outcome.FAIL, "body-hash")
    if not key.verifies(signature.b, header_digest(message, signature)):
        return judged(Outcome.FAIL, "signature")
    if partial and not partial_passes:
        return judged(Outcome.POLICY, "partial-body")
    if is_short(key.kind, key.bits) and not short_passes:
        return judged(Outcome.POLICY, "short-key")
    return judged(Outcome.PASS, "verified")


def is_short(kind: str, bits: int) -> bool:
    """RSA of less than ``SHORT_RSA_BITS`` bits (RFC 8301 section 3.2 asks signers for that many)."""
    return kind.startswith("rsa") and 0 < bits < SHORT_RSA_BITS


def result(
    signature: Signature,
    outcome: Outcome,
    reason: str,
    *,
    key_bits: int = 0,
    testing: bool = False,
    partial: bool = False,
) -> DkimSignature:
    """The result with what the signature says of itself."""
    return DkimSignature(
        outcome,
        reason,
        signature.domain,
        signature.selector,
        signature.identity,
        signature.algorithm,
        signature.b_prefix,
        key_bits,
        testing,
        partial,
    )


def header_digest(message: Message, signature: Signature) -> bytes:
    """SHA-256 over the signed fields, bottom-most first for each name (section 5.4.2), and the signature itself."""
    canonical = relaxed_field if signature.relaxed_header else simple_field
    hasher = hashlib.sha256()
    for item in signed_fields(message, signature.signed, {signature.item}):
        hasher.update(canonical(message.raw(item)))
    own = canonical(without_b_value(message.raw(signature.item)))
    hasher.update(own.removesuffix(b"\r\n"))
    return hasher.digest()


def signed_fields(message: Message, names: Sequence[str], without: Container[HeaderField]) -> Iterator[HeaderField]:
    """The fields that an h= of these names covers, in its order: the bottom-most first for each name, none for names
    that stand there more often than in the message."""
    # one pass over the fields, however many names h= has: the product of both is a stranger's choice
    left: dict[str, list[HeaderField]] = {name: [] for name in names}
    for item in message.fields:
        if item.name in left and item not in without:
            left[item.name].append(item)
    for name in names:
        if left[name]:
            yield left[name].pop()
