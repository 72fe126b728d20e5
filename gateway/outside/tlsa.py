"""TLSA records of a mail host (RFC 6698, RFC 7671, RFC 7672): made from certificates and keys, and compared with them.

Known gaps: we print 3 1 1 only; usages 0 and 1 are read and never match, as RFC 7672 section 3.1.3 has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True, order=True)
class Tlsa:
    """usage 2: DANE-TA, 3: DANE-EE; selector 0: the certificate, 1: its key; matching 0: as it is, 1: SHA-256, 2:
    SHA-512; data: hexadecimal digits in lower case."""

    usage: int
    selector: int
    matching: int
    data: str

    @classmethod
    def parse(cls, text: str) -> Tlsa:
        """From ``3 1 1 0A1B...`` (blanks inside the data are allowed). Raises ValueError."""
        words = text.split()
        if len(words) < 4:
            raise ValueError(f"{text!r} is no TLSA record")
        data = "".join(words[3:]).lower()
        bytes.fromhex(data)
        return cls(int(words[0]), int(words[1]), int(words[2]), data)

    @property
    def usable(self) -> bool:
        """Whether senders of mail use it at all."""
        return self.usage in (2, 3) and self.selector in (0, 1) and self.matching in (0, 1, 2)

    def fits(self, chain: Sequence[bytes]) -> bool:
        """Whether a served chain (DER, leaf first) holds what the record names: the leaf, or for usage 2 an issuer."""
        if not self.usable:
            return False
        return any(self.of(one) for one in (chain[:1] if self.usage == 3 else chain))

    def of(self, certificate: bytes) -> bool:
        """Whether the record is that of this certificate (DER)."""
        octets = certificate if self.selector == 0 else _key_of(certificate)
        digest = _DIGESTS.get(self.matching)
        return (digest(octets).hexdigest() if digest else octets.hex()) == self.data

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data}"


def owner(host: str, port: int = 25) -> str:
    """The name at which a host's records stand."""
    return f"_{port}._tcp.{host}"


def of_pem(text: str) -> Tlsa:
    """3 1 1 of a certificate (the first of a chain), a private or a public key in PEM. Raises ValueError."""
    octets = text.encode()
    try:
        if b"BEGIN CERTIFICATE" in octets:
            spki = x509.load_pem_x509_certificates(octets)[0].public_key().public_bytes(*_SPKI)
        elif b"PRIVATE KEY" in octets:
            spki = load_pem_private_key(octets, None).public_key().public_bytes(*_SPKI)
        else:
            spki = load_pem_public_key(octets).public_bytes(*_SPKI)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("holds no certificate or key in PEM without a passphrase") from error
    return Tlsa(3, 1, 1, hashlib.sha256(spki).hexdigest())


def chain_of(pem: str) -> tuple[bytes, ...]:
    """The certificates of a PEM text in DER. Raises ValueError."""
    return tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem.encode()))


def read(records: Iterable[str]) -> tuple[Tlsa, ...]:
    """The records of an answer; what cannot be read counts as usage 255, which nobody uses."""
    found = []
    for text in records:
        try:
            found.append(Tlsa.parse(text))
        except ValueError:
            found.append(Tlsa(255, 255, 255, ""))
    return tuple(found)


def _key_of(certificate: bytes) -> bytes:
    try:
        return x509.load_der_x509_certificate(certificate).public_key().public_bytes(*_SPKI)
    except (ValueError, UnsupportedAlgorithm):
        return b""
