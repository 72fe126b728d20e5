"""Text that only those can read who know the cluster's secret: addresses on the board are personal data.

AES-256-GCM, key by HMAC-SHA256 from the secret and the purpose. Without a secret in the settings anybody could derive
the key, as anybody could compute the hashes in key names.

Known gaps: none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_OCTETS = 12


class Seal:
    """secret: the cluster's. purpose: texts of one purpose cannot be opened as those of another."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._cipher = AESGCM(hmac.new(secret, f"mxgw seal\0{purpose}".encode(), hashlib.sha256).digest())

    def close(self, text: str) -> str:
        """Sealed, as printable ASCII."""
        return self.close_octets(text.encode("utf-8", "surrogateescape"))

    def close_octets(self, octets: bytes) -> str:
        """Sealed, as printable ASCII."""
        nonce = os.urandom(_NONCE_OCTETS)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, octets, None)).decode("ascii")

    def open(self, sealed: str) -> str | None:
        """The text, or None where it was sealed with another secret, or is none of ours."""
        octets = self.open_octets(sealed)
        return None if octets is None else octets.decode("utf-8", "surrogateescape")

    def open_octets(self, sealed: str) -> bytes | None:
        """The octets, or None likewise."""
        try:
            octets = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(octets[:_NONCE_OCTETS], octets[_NONCE_OCTETS:], None)
        except (InvalidTag, binascii.Error, ValueError):
            return None
