"""The settings of ARC sealing (RFC 8617); what a chain that comes with a message is worth is the policy's matter.

Known gaps: RSA only; no ARC verifier has to know another algorithm.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.config.relative import RelativePath
from gateway.mail.address import AddressError, parse_domain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

MIN_BITS = 2048


def _name(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise ValueError("must be a domain name without a trailing dot") from error


class ArcSealSettings(BaseModel):
    """Who seals, and with which key; ``<selector>._domainkey.<domain>`` holds its public half."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: Annotated[str, AfterValidator(_name)] = Field(description="d= of our sets")
    selector: Annotated[str, AfterValidator(_name)] = Field(description="s= of our sets")
    key: RelativePath = Field(description="RSA private key of 2048 to 4096 bits, PEM, without a passphrase")


class ArcSettings(BaseModel):
    """ARC: our own sets on what goes to the mailstores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seal: ArcSealSettings | None = Field(None, description="absent: nothing is sealed")


def read_key(file: Path) -> rsa.RSAPrivateKey:
    """The key of a file. Raises ValueError with what is wrong in words for the settings' author."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        octets = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(octets, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{file} holds no private key in PEM without a passphrase") from error
    if not isinstance(key, rsa.RSAPrivateKey) or not MIN_BITS <= key.key_size <= 2 * MIN_BITS:
        raise ValueError(f"{file} holds no RSA key of {MIN_BITS} to {2 * MIN_BITS} bits")
    return key
