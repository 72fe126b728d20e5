"""Key records of DKIM and ARC (RFC 6376 section 3.6.1, RFC 8301, RFC 8463): TXT text to a usable public key.

In: all TXT records at ``selector._domainkey.domain``. Out: a Key, or a KeyFault with the reason in the words of this
module. A key that would cost a stranger's amount of CPU (more than 4,096 bits, an exponent over 32 bits) is refused.

Known gaps: of several sound records the first is used; the RFC leaves it open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils

from gateway.auth.dkim_tags import TagError, decode_base64, parse_tags, words

MAX_RECORD_OCTETS = 8192
MAX_RSA_BITS = 4096
MAX_EXPONENT = 2**32
_PREHASHED = utils.Prehashed(hashes.SHA256())
_PADDING = padding.PKCS1v15()


class KeyFault(Exception):
    """The record is of no use; ``reason`` is a short word such as ``key-revoked``."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. kind: 'rsa' or 'ed25519'. testing: t=y. exact: t=s, i= must not be a subdomain."""

    kind: str
    public: rsa.RSAPublicKey | ed25519.Ed25519PublicKey
    bits: int
    testing: bool = False
    exact: bool = False

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Is it this key's signature over a SHA-256 digest (RFC 8463 section 3 for Ed25519)?"""
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(signature, digest, _PADDING, _PREHASHED)
            else:
                self.public.verify(signature, digest)
        except InvalidSignature:
            return False
        return True


def choose_key(records: Sequence[str], min_rsa_bits: int) -> Key:
    """The first record that is a usable key. Raises KeyFault with the first record's reason when none is."""
    fault: KeyFault | None = None
    for record in records[:10]:
        try:
            return _checked(record, min_rsa_bits)
        except KeyFault as found:
            # other TXT records at the name say nothing about the key
            fault = found if fault is None or fault.reason == "no-key" else fault
    raise fault or KeyFault("no-key")


def _checked(record: str, min_rsa_bits: int) -> Key:
    key = parse_key(record)
    if isinstance(key, str):
        raise KeyFault(key)
    if key.kind == "rsa" and key.bits < min_rsa_bits:
        raise KeyFault("key-too-short")
    return key


@lru_cache(maxsize=512)
def parse_key(record: str) -> Key | str:
    """One record as a Key, or the reason why it is none. Remembered: loading a key costs as much as using it."""
    text = record.encode("latin-1", "replace")
    if len(text) > MAX_RECORD_OCTETS:
        return "key-unacceptable"
    try:
        tags = parse_tags(text)
        if "p" not in tags:
            return "key-syntax" if tags.get("v") == b"DKIM1" else "no-key"
        if "v" in tags and (next(iter(tags)) != "v" or tags["v"] != b"DKIM1"):
            return "key-version"
        if not tags["p"]:
            return "key-revoked"
        if "h" in tags and b"sha256" not in words(tags["h"]):
            return "key-hash"
        if not {b"*", b"email"} & set(words(tags.get("s", b"*"))):
            return "key-service"
        flags = set(words(tags.get("t", b"")))
        raw = decode_base64(tags["p"])
    except TagError:
        return "key-syntax" if b"p=" in text else "no-key"
    return _load(tags.get("k", b"rsa").lower(), raw, b"y" in flags, b"s" in flags)


def _load(kind: bytes, raw: bytes, testing: bool, exact: bool) -> Key | str:
    if kind == b"ed25519":
        if len(raw) != 32:
            return "key-syntax"
        return Key("ed25519", ed25519.Ed25519PublicKey.from_public_bytes(raw), 256, testing, exact)
    if kind != b"rsa":
        return "key-type"
    try:
        public = serialization.load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return "key-syntax"
    if not isinstance(public, rsa.RSAPublicKey):
        return "key-type"
    if public.key_size > MAX_RSA_BITS or public.public_numbers().e > MAX_EXPONENT:
        return "key-unacceptable"
    return Key("rsa", public, public.key_size, testing, exact)
