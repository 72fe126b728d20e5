"""A resolver over a dict, with the transactions and keys that the tests of authentication share."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from gateway.mail.address import NULL, Mailbox, ReversePath
from gateway.mail.finding import Finding, Why
from gateway.mail.message import Message
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure

NOW = 1_800_000_000.0


class DictZone:
    """TXT by name; ``fails`` are names (or suffixes with a leading dot) that time out. Empty non-terminals exist."""

    def __init__(self, texts: Mapping[str, str | list[str]], hosts: tuple[str, ...] = (), fails: tuple[str, ...] = ()):
        self.texts = {name.lower(): [text] if isinstance(text, str) else text for name, text in texts.items()}
        self.hosts, self.fails = hosts, fails
        self.asked: list[str] = []

    async def lookup(self, name: str, rtype: str) -> Answer:
        self.asked.append(f"{name} {rtype}")
        name = name.rstrip(".").lower()
        if any(name == bad or (bad.startswith(".") and name.endswith(bad)) for bad in self.fails):
            raise PortFailure("dns", Why.TIMEOUT, name)
        if rtype == "TXT" and name in self.texts:
            return Answer(Status.OK, tuple(self.texts[name]), 300)
        known = [*self.texts, *self.hosts]
        exists = any(other == name or other.endswith("." + name) for other in known)
        return Answer(Status.NODATA if exists else Status.NXDOMAIN)

    async def close(self) -> None:
        return None


class PortsOf:
    """Only DNS: a check of authentication that touched another port would fail here."""

    def __init__(self, dns: DictZone) -> None:
        self.dns = dns


def transaction(
    octets: bytes,
    *,
    reverse_path: str = "someone@example.com",
    helo: str = "mail.example.com",
    findings: Mapping[str, Finding] | None = None,
) -> Transaction:
    path: ReversePath = NULL
    if reverse_path:
        local, _, domain = reverse_path.rpartition("@")
        path = Mailbox(local, domain)
    return Transaction(
        "T-1",
        Connection("S-1", ip_address("192.0.2.1")),
        NOW,
        Hello("EHLO", helo),
        Envelope(path),
        None,
        Message.parse(octets),
        findings or {},
    )


@cache
def rsa_key(bits: int = 2048) -> tuple[bytes, str]:
    """(private key in PEM for dkimpy, key record)."""
    private = rsa.generate_private_key(65537, bits)
    return private_pem(private), key_record(private.public_key())


@cache
def ed25519_key() -> tuple[ed25519.Ed25519PrivateKey, str]:
    private = ed25519.Ed25519PrivateKey.generate()
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return private, "v=DKIM1; k=ed25519; p=" + base64.b64encode(raw).decode()


def private_pem(private: Any) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def key_record(public: Any) -> str:
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(der).decode()
