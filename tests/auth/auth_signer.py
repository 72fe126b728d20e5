"""Makes signatures of every shape, sound and odd, for the tests; its canonicalisation is judged against dkimpy's."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from auth_zone import rsa_key
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from gateway.auth.canonical import canonical_body, relaxed_field, simple_field
from gateway.auth.dkim_tags import without_b_value
from gateway.mail.message import Message

MAIL = (
    b"From: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: lunch\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"\r\nHi Bob,\r\n\r\nlunch?\r\n"
)


@cache
def _usual_key() -> Any:
    return serialization.load_pem_private_key(rsa_key()[0], None)


def sign(octets: bytes, key: Any = None, **changes: str | None) -> bytes:
    """The message with a DKIM-Signature on top; ``changes`` set tags, None drops one. The hash is always SHA-256."""
    message = Message.parse(octets)
    tags: dict[str, str | None] = {
        "v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": "example.com", "s": "sel",
        "h": "from:to:subject:date", "bh": "", "b": "",
    }
    tags.update(changes)
    header_form, _, body_form = (tags["c"] or "simple/simple").partition("/")
    body = b"".join(canonical_body([bytes(octets[message.body_start :])], body_form == "relaxed"))
    length = tags.get("l")
    if tags["bh"] == "":
        tags["bh"] = base64.b64encode(hashlib.sha256(body[: int(length)] if length else body).digest()).decode()
    text = "; ".join(f"{tag}={value}" for tag, value in tags.items() if value is not None)
    field = f"DKIM-Signature: {text}\r\n".encode()
    canonical = relaxed_field if header_form == "relaxed" else simple_field
    hasher = hashlib.sha256()
    left = {}
    for name in [name.strip().lower() for name in (tags["h"] or "").split(":")]:
        items = left.setdefault(name, list(message.all(name)))
        if items:
            hasher.update(canonical(message.raw(items.pop())))
    hasher.update(canonical(without_b_value(field)).removesuffix(b"\r\n"))
    private = key or _usual_key()
    if isinstance(private, rsa.RSAPrivateKey):
        b = private.sign(hasher.digest(), padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    else:
        b = private.sign(hasher.digest())
    return field.replace(b"; b=", b"; b=" + base64.b64encode(b), 1) + octets
