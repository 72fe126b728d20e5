"""Senders in order, for nodes with the default policy: zones for a name server, and signed messages of theirs.

Each has a network of its own (198.18.n.25), so that no limit of the policy is met, SPF, a confirmed name, DKIM with
RSA-2048 and DMARC with p=reject.
"""

import base64
import json
import random
from email.utils import formatdate

import dkim
from cryptography.hazmat.primitives import serialization as S
from cryptography.hazmat.primitives.asymmetric import rsa

COUNT = 239  # a prime: in turn to 2 or 3 nodes, each sender comes to each node
RECIPIENTS = 100
SERVED = "corp.example.org"
_SIGNED = [b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"reply-to"]


def make(folder, size):
    """Messages of ``size`` octets and their manifest into ``folder``; returns the zones."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(S.Encoding.PEM, S.PrivateFormat.TraditionalOpenSSL, S.NoEncryption())
    public = base64.b64encode(key.public_key().public_bytes(S.Encoding.DER, S.PublicFormat.SubjectPublicKeyInfo)).decode()
    record = "v=DKIM1; k=rsa; p=" + public
    words = random.Random(1)  # noqa: S311 - no secret
    names, reverse, manifest = [], [], []
    for n in range(1, COUNT + 1):
        domain, client = f"s{n}.example.com", f"198.18.{n}.25"
        names += [
            f's{n}.example TXT "v=spf1 include:_spf.example.com ip4:198.18.{n}.0/24 -all"',
            f"s{n}.example MX 10 mx.{domain}.",
            f"mx.s{n}.example A {client}",
            f'_dmarc.s{n}.example TXT "v=DMARC1; p=reject"',
            f's1._domainkey.s{n}.example TXT "{record[:200]}" "{record[200:]}"',
        ]
        reverse.append(f"25.{n} PTR mx.{domain}.")
        (folder / f"{n:04d}.eml").write_bytes(_message(n, domain, size, words, private))
        manifest.append(
            {
                "file": f"{n:04d}.eml",
                "source_ip": client,
                "helo": f"mx.{domain}",
                "mail_from": f"user{n}@{domain}",
                "rcpt": f"rcpt{n % RECIPIENTS}@{SERVED}",
            }
        )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    names.append('_spf.example TXT "v=spf1 ip4:203.0.113.0/24 -all"')
    served = [f"{SERVED.removesuffix('.org')} MX 10 mx.{SERVED}.", f"mx.{SERVED.removesuffix('.org')} A 198.18.0.1"]
    return {"com": "\n".join(names), "org": "\n".join(served), "18.198.in-addr.arpa": "\n".join(reverse)}


def _message(n, domain, size, words, private):
    rcpt = f"rcpt{n % RECIPIENTS}@{SERVED}"
    head = (
        f"Received: from app{n}.{domain} (app{n}.{domain} [10.0.0.{n}])\r\n\tby mx.{domain} (Postfix) with ESMTPS id AB{n:06d}\r\n"
        f'\tfor <{rcpt}>; {formatdate()}\r\nFrom: "User {n}" <user{n}@{domain}>\r\nTo: {rcpt}\r\n'
        f"Subject: Status report number {n} for the week\r\nDate: {formatdate()}\r\nMessage-ID: <{n}.{size}@{domain}>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n"
        f"Reply-To: user{n}@{domain}\r\n\r\n"
    ).encode()
    line = lambda: bytes(words.choices(b"abcdefghijklmnopqrstuvwxyz   ", k=70)) + b"\r\n"  # noqa: E731
    octets = head + b"".join(line() for _ in range(max(1, (size - len(head) - 700) // 72)))
    relaxed = (b"relaxed", b"relaxed")
    return dkim.sign(octets, b"s1", domain.encode(), private, canonicalize=relaxed, include_headers=_SIGNED) + octets
