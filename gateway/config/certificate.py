"""Do certificate and key exist, can they be read, do they belong together.

Known gaps: the chain behind the leaf is not verified; an expired certificate is a matter of metrics, not of settings.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def file_faults(files: Mapping[str, Path]) -> Iterator[tuple[str, str, str]]:
    """Faults of the files under ``certificate`` and ``key`` as (key, problem, remedy)."""
    octets: dict[str, bytes] = {}
    for key, path in files.items():
        try:
            octets[key] = path.read_bytes()
        except OSError as error:
            yield key, f"{path.name} cannot be read: {error.strerror}", "check the path and its rights"
    public: dict[str, bytes] = {}
    if "certificate" in octets:
        try:
            leaf = x509.load_pem_x509_certificates(octets["certificate"])[0]
            public["certificate"] = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, UnsupportedAlgorithm):
            yield "certificate", f"{files['certificate'].name} holds no certificate", "it must be PEM, leaf first"
    if "key" in octets:
        try:
            own = load_pem_private_key(octets["key"], password=None)
            public["key"] = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except TypeError:
            yield (
                "key",
                f"{files['key'].name} is locked with a passphrase",
                "store the key without one, readable by us only",
            )
        except (ValueError, UnsupportedAlgorithm):
            yield "key", f"{files['key'].name} holds no private key", "it must be PEM"
    if len(public) == 2:
        if public["certificate"] != public["key"]:
            yield "key", "does not belong to the certificate", "give the key that the certificate was made from"
        elif refused := _openssl_says(files["certificate"], files["key"]):
            yield "certificate", f"OpenSSL does not take it: {refused}", "use RSA of 2048 bits and more, or ECDSA"


def _openssl_says(certificate: Path, key: Path) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        return (error.reason or str(error)).lower().replace("_", " ")
    return ""
