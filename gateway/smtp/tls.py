"""The server's certificate and TLS settings: load, reload while running, or make a self-signed one.

TLS 1.2 and later (RFC 8996); opportunistic TLS between MTAs does not judge the client's certificate (RFC 7435).

Known gaps: one certificate per listener set, chosen by nothing (no SNI selection); no OCSP stapling.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import tempfile
import weakref
from asyncio import sslproto
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SELF_SIGNED_DAYS: Final = 3650
RECORD_OCTETS: Final = 16384


class CertificateError(ValueError):
    """A certificate or key cannot be used; the text names the file and the reason."""


_server_names: weakref.WeakKeyDictionary[ssl.SSLObject, str] = weakref.WeakKeyDictionary()


def server_name(tls: ssl.SSLObject | None) -> str:
    """The name that the client asked for (SNI, RFC 6066 section 3), '' if none."""
    return _server_names.get(tls, "") if tls is not None else ""


def _note_server_name(tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
    if name and isinstance(tls, ssl.SSLObject):
        _server_names[tls] = name


def limit_tls_memory() -> None:
    """Let asyncio's TLS sessions keep buffers of one TLS record: 50 instead of 284 KB an idle session."""
    sslproto.SSLProtocol.max_size = RECORD_OCTETS


def make_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server context. Reads files, so not for the event loop. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.sni_callback = _note_server_name
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise CertificateError(f"{path}: not found or not readable")
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(f"{certificate} with {key}: {error}") from error
    return context


def not_after(certificate: Path) -> float:
    """When the first certificate of the file ends: seconds since 1970. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        raise CertificateError(f"{certificate}: {error}") from error


class CertificateHolder:
    """The certificate in force. New sessions take ``context()``; running ones keep theirs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key
        self.not_after = 0.0
        """When the certificate in force ends: seconds since 1970."""
        self._context = self.reload()

    def context(self) -> ssl.SSLContext:
        """The context in force."""
        return self._context

    def reload(self) -> ssl.SSLContext:
        """Read the files again. Raises CertificateError, and then the old certificate stays in force."""
        context, ends = make_context(self.certificate, self.key), not_after(self.certificate)
        self._context, self.not_after = context, ends
        return context


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
