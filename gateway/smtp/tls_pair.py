"""A certificate chain with its private key as one value, read together or not at all.

Files are judged before anything uses them: both parse, and the key is the leaf's. A pair that is being replaced file
by file therefore never comes into force half old and half new.

Known gaps: key types other than RSA and ECDSA are loaded but have no place of their own beside each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

Signature = tuple[tuple[object, ...], ...]


class CertificateError(ValueError):
    """A certificate or key cannot be used; the text names the file and the reason."""


@dataclass(frozen=True, slots=True)
class PemPair:
    """certificate: the chain, leaf first; key: its private key; both PEM. names: DNS names of the leaf in lower case,
    ``*.`` in front of a wildcard's. kind: ecdsa, rsa or other. not_before, not_after: seconds since 1970."""

    certificate: str
    key: str
    names: tuple[str, ...]
    kind: str
    not_before: float
    not_after: float

    @property
    def name(self) -> str:
        """How logs and metrics call it: its first name."""
        return self.names[0] if self.names else "(no name)"


def pair_from(certificate: str, key: str, named: str) -> PemPair:
    """A pair from PEM text. named: how errors call it. Raises CertificateError."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
        own = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{named}: no certificate: {error}") from error
    try:
        private = load_pem_private_key(key.encode(), password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{named}: no private key: {error}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own.public_bytes(*form) != private.public_bytes(*form):
        raise CertificateError(f"{named}: the key does not belong to the certificate")
    kind = "ecdsa" if isinstance(own, ec.EllipticCurvePublicKey) else "rsa" if isinstance(own, rsa.RSAPublicKey) else ""
    return PemPair(
        certificate,
        key,
        _names(leaf),
        kind or "other",
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def read_pair(certificate: Path, key: Path) -> PemPair:
    """A pair from its files. Reads files, so not for the event loop. Raises CertificateError."""
    texts = []
    for path in (certificate, key):
        try:
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise CertificateError(f"{path}: not found or not readable: {error.strerror}") from error
    return pair_from(texts[0], texts[1], f"{certificate} with {key}")


def signature(paths: Sequence[Path]) -> Signature:
    """What changes when one of the files does: where its symlinks lead, inode, size and time. A missing file counts.

    Kubernetes swaps the symlink ``..data`` in the folder, so the file's own name and folder do not change."""
    found: list[tuple[object, ...]] = []
    for path in paths:
        try:
            stat = path.stat()
            found.append((os.path.realpath(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except OSError as error:
            found.append((error.errno,))
    return tuple(found)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        listed = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = listed.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        # RFC 6125 section 6.4.4: the common name counts only where there is no alternative name
        names = [str(item.value) for item in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(dict.fromkeys(name.lower().rstrip(".") for name in names))
