"""The world around a real node: zones for a real name server, a DKIM key, policies, and clients at chosen addresses.

Clients come from 127.0.0.x, each with what its zone says of it; the names end in example and net.

Known gaps: IPv4 only, since a loopback interface has one IPv6 address.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import re
import smtplib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dkim
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.delivery.scripted import ScriptedStore, scripted

GOOD, NAMELESS, LISTED = "127.0.0.2", "127.0.0.3", "127.0.0.66"
"""Clients: with SPF and a confirmed name; without either; on the block list."""

_numbers = itertools.count(1)

DEFAULT_POLICY = Path(__file__).parents[2] / "policies" / "default.yaml"


def message(author: str = "ann@sender.example", body: bytes = b"Hello.\r\n", to: str = "user@example.com") -> bytes:
    """A plain message with CRLF and all the fields that a submission server would add; each call makes another."""
    return (
        f"From: Ann <{author}>\r\nTo: <{to}>\r\nSubject: lunch\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{next(_numbers)}@{author.partition('@')[2]}>\r\n\r\n"
    ).encode() + body


class DkimKey:
    """An RSA key for ``s1._domainkey.sender.example``, made for one test run."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        self._private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        self.public = base64.b64encode(
            key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        ).decode()

    def sign(self, octets: bytes) -> bytes:
        """The message with a signature on top, made by dkimpy."""
        fields = [b"from", b"to", b"subject", b"date", b"message-id"]
        signature: bytes = dkim.sign(octets, b"s1", b"sender.example", self._private, include_headers=fields)
        return signature + octets


def zones(key: DkimKey) -> dict[str, str]:
    """Master files: sender.example proves its mail and refuses all else, bank.example has no honest mail at all."""
    record = f"v=DKIM1; k=rsa; p={key.public}"
    chunks = " ".join(f'"{record[at : at + 200]}"' for at in range(0, len(record), 200))
    return {
        "example": f"""
client.sender A {GOOD}
sender        TXT "v=spf1 ip4:{GOOD} -all"
_dmarc.sender TXT "v=DMARC1; p=reject; adkim=s"
s1._domainkey.sender TXT {chunks}
bank          TXT "v=spf1 -all"
_dmarc.bank   TXT "v=DMARC1; p=reject"
66.0.0.127.dnsbl A 127.0.0.2
""",
        "net": """
mta.example   A 127.0.0.1
example       TXT "v=spf1 ip4:127.0.0.1 -all"
""",
        "0.0.127.in-addr.arpa": """
1 PTR mta.example.net.
2 PTR client.sender.example.
3 PTR client.sender.example.
""",
    }


def policy(**checks: Any) -> str:
    """The packaged policy with a block list, without greylisting and rate limits; ``checks`` replace sections."""
    found = yaml.safe_load(DEFAULT_POLICY.read_text(encoding="utf-8"))
    found["checks"] = {
        # its test point would be one of our clients
        "dnsbl": {"sites": ["dnsbl.example=127.0.0.2*5"], "unwatched": ["dnsbl.example"]},
        "greylist": {"mode": "off"},
        "rate": {"enabled": False},
        **checks,
    }
    found["rules"] = [rule for rule in found["rules"] if not rule["id"].startswith("rate-") or "rate" in checks]
    return yaml.safe_dump(found, sort_keys=False)


class Attempt:
    """What a client heard for one message: (code, text) of each RCPT, then of the end of data ((0, '') if not reached)."""

    def __init__(self) -> None:
        self.rcpt: list[tuple[int, str]] = []
        self.end: tuple[int, str] = (0, "")

    @property
    def last(self) -> tuple[int, str]:
        """The reply that decided: to the end of data, else to the last RCPT."""
        return self.end if self.end[0] else self.rcpt[-1]


def attempt(
    port: int,
    octets: bytes,
    *,
    reverse_path: str = "ann@sender.example",
    to: tuple[str, ...] = ("user@example.com",),
    client: str = GOOD,
    hello: str = "client.sender.example",
) -> Attempt:
    """Send octets exactly as given (CRLF lines, dots get stuffed) from a loopback address."""
    heard = Attempt()
    with smtplib.SMTP(timeout=60, source_address=(client, 0), local_hostname=hello) as smtp:
        smtp.connect("127.0.0.1", port)
        smtp.ehlo()
        smtp.mail(reverse_path, ["BODY=8BITMIME"])
        heard.rcpt = [_text(*smtp.rcpt(address)) for address in to]
        if any(code == 250 for code, _ in heard.rcpt):
            code, said = smtp.docmd("DATA")
            if code == 354:
                smtp.sock.sendall(stuffed(octets))
                code, said = smtp.getreply()
            heard.end = _text(code, said)
    return heard


def stuffed(octets: bytes) -> bytes:
    """Octets as they follow 354, with the final dot."""
    return (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def _text(code: int, said: bytes) -> tuple[int, str]:
    return code, said.decode("ascii")


def arrival(messages: Callable[[], list[bytes]], octets: bytes) -> bytes:
    """Wait until the mailstore shows that message, known by its Message-ID: one of another test may still be under way."""
    mark = re.search(rb"^Message-ID:[^\r\n]*", octets, re.MULTILINE)
    assert mark, octets
    found: bytes = poll(lambda: [each for each in messages() if mark[0] in each], "the message is in the mailstore")[0]
    return found


def fields_above(delivered: bytes, octets: bytes) -> bytes:
    """What stands before the message in what was delivered; fails unless the message is there octet by octet."""
    assert delivered.endswith(octets), delivered
    return delivered[: -len(octets)]


@contextlib.contextmanager
def scripted_mailstore(script: dict[str, Any] | None = None) -> Iterator[ScriptedStore]:
    """A scripted SMTP mailstore in a thread of its own, so that a test may talk to the node in plain words."""
    begun = threading.Event()
    held: list[Any] = []

    async def run() -> None:
        async with scripted(script) as store:
            end = asyncio.Event()
            held.extend((store, asyncio.get_running_loop(), end))
            begun.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert begun.wait(20), "the scripted mailstore does not run"
        yield held[0]
    finally:
        if held:
            held[1].call_soon_threadsafe(held[2].set)
        thread.join(20)


def poll(what: Callable[[], Any], text: str, seconds: float = 40.0, pause: float = 0.1) -> Any:
    """Ask until it is true; fail with the text."""
    halt = threading.Event()
    for _ in range(int(seconds / pause)):
        if found := what():
            return found
        halt.wait(pause)
    raise AssertionError(f"not in {seconds:g} s: {text}")
