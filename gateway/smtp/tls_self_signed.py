"""A certificate for a node that has none: self-signed, made once, kept in state_dir.

Known gaps: it is not renewed; after ten years remove the file.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SELF_SIGNED_DAYS: Final = 3650


def ensure_self_signed(state_dir: Path, hostname: str) -> tuple[Path, Path]:
    """A self-signed ECDSA P-256 certificate of ten years, made once and then kept: (certificate, key).

    Both are one PEM file of mode 0600, which appears whole or not at all: of several workers that start together one
    makes it and all use it. Raises OSError where state_dir cannot be written.
    """
    path = state_dir / "self-signed.pem"
    if path.exists():
        return path, path
    state_dir.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    # mkstemp makes it 0600; link() refuses to replace what another worker has put there meanwhile
    descriptor, temporary = tempfile.mkstemp(dir=state_dir, prefix=".self-signed-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    return path, path
