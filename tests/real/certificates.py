"""A certificate authority for one test: ECDSA and RSA leaves with names and an end of one's choice."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_REVOKED = x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca.example/root.crl")], None, None, None)


def new_key(kind: str) -> PrivateKey:
    """kind: ecdsa or rsa."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)


def key_pem(key: PrivateKey) -> bytes:
    """PKCS #8 without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A root that signs leaves."""

    def __init__(self) -> None:
        self._key = new_key("rsa")
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root")])
        begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400)
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=3000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(self._identifier, critical=False)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def leaf(
        self, key: PrivateKey, *names: str, days: float = 80, chain: bool = True, client: bool = False
    ) -> bytes:
        """A certificate for these names that ends in ``days`` days; with the root behind it. client: of a client."""
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_CLIENT if client else _SERVER]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.CRLDistributionPoints([_REVOKED]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM) + (self.certificate if chain else b"")

    def write(
        self, folder: Path, stem: str, kind: str, *names: str, days: float = 80, client: bool = False
    ) -> dict[str, str]:
        """``stem.crt`` and ``stem.key`` in the folder, as the settings name them."""
        folder.mkdir(parents=True, exist_ok=True)
        key = new_key(kind)
        (folder / f"{stem}.crt").write_bytes(self.leaf(key, *names, days=days, client=client))
        (folder / f"{stem}.key").write_bytes(key_pem(key))
        return {"certificate": str(folder / f"{stem}.crt"), "key": str(folder / f"{stem}.key")}


def _usage(sign_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=not sign_certificates,
        data_encipherment=False, key_agreement=False, key_cert_sign=sign_certificates, crl_sign=sign_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
