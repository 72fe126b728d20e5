"""The settings of STARTTLS towards clients: certificates, ciphers, tickets.

Known gaps: one set of certificates for all listeners.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.config.relative import RelativePath


def _ciphers(text: str) -> str:
    if text:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(text)
        except ssl.SSLError as error:
            raise ValueError("names no cipher that OpenSSL has") from error
    return text


class CertificateSettings(BaseModel):
    """A certificate and its key; both files are PEM."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: RelativePath = Field(description="the chain, leaf first")
    key: RelativePath = Field(description="its private key, without a passphrase")


class TlsSettings(BaseModel):
    """Certificates for STARTTLS; a file that changes is read again by itself, and on SIGHUP at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: RelativePath | None = Field(None, description="the chain, leaf first; PEM")
    key: RelativePath | None = Field(None, description="its private key, without a passphrase; PEM")
    certificates: tuple[CertificateSettings, ...] = Field(
        (),
        description="more of them: other key types, other names; the client's server name chooses, the first is the "
        "default",
    )
    ciphers: Annotated[str, AfterValidator(_ciphers)] = Field(
        "", description="OpenSSL's cipher list for TLS 1.2; empty: ECDHE with AES-GCM or ChaCha20 only"
    )
    tickets: bool = Field(False, description="offer session tickets (shorter handshakes, weaker forward secrecy)")

    next_key: RelativePath | None = Field(
        None, description="key that will be used next; PEM. `mxgw dns-records` and `mxgw tlsa` publish it with the rest"
    )
    tlsa_guard: Literal["off", "warn", "block"] = Field(
        "off",
        description="what to do about a new certificate that no TLSA record of its names fits: off (DNS is not asked), "
        "warn, or block (the old one stays in force)",
    )

    @model_validator(mode="after")
    def _whole(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both")
        if not self.pairs:
            raise ValueError("names no certificate; give certificate and key")
        return self

    @property
    def pairs(self) -> tuple[tuple[Path, Path], ...]:
        """(certificate, key) of each, the default first."""
        first = ((self.certificate, self.key),) if self.certificate and self.key else ()
        return (*first, *((one.certificate, one.key) for one in self.certificates))
