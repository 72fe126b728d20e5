"""Write the signed messages of these folders anew: ``python tests/messages/make.py``.

Keys are made for the occasion and thrown away; the public half goes into each folder's zone. The results are committed:
tests read files, so that a postmaster can read them too.
"""

from __future__ import annotations

import base64
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HERE = Path(__file__).parent
SIGNED = [b"from", b"to", b"subject", b"date", b"message-id"]


def main() -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    chunks = " ".join(f'"{part}"' for part in _split(f"v=DKIM1; k=rsa; p={public}"))
    for folder in sorted(path for path in HERE.iterdir() if (path / "unsigned.eml").exists()):
        octets = (folder / "unsigned.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        signature = dkim.sign(octets, b"s1", b"sender.example", private, include_headers=SIGNED)
        signed = signature + octets
        if (folder / "tamper").exists():
            signed = signed.replace(b"100 euro", b"900 euro")
        (folder / "msg.eml").write_bytes(signed)
        zone = [
            line for line in (folder / "zone").read_text().splitlines() if not line.startswith("s1._domainkey.sender.example.")
        ]
        zone.append(f"s1._domainkey.sender.example. 300 IN TXT {chunks}")
        (folder / "zone").write_text("\n".join(zone) + "\n")


def _split(text: str) -> list[str]:
    return [text[start : start + 200] for start in range(0, len(text), 200)]


if __name__ == "__main__":
    main()
