"""What dkimpy signs, we verify, over generated messages and all four canonicalisations; and what it signs is tampered with."""

import random

import dkim
import pytest
from auth_zone import NOW, rsa_key

from gateway.auth.canonical import body_digests
from gateway.auth.dkim_verify import read_signatures, verify
from gateway.mail.finding import Outcome
from gateway.mail.message import Message


def judge(octets: bytes, record: str):
    message = Message.parse(octets)
    (signature,) = read_signatures(message)
    digests = body_digests(message, {signature.want})
    return verify(message, signature, (record,), digests, now=NOW, min_rsa_bits=1024, partial_passes=False)


def mail(rng: random.Random) -> bytes:
    fold = lambda: rng.choice([" ", "  ", "\t", "\r\n ", "\r\n\t", " \r\n  ", ""])  # noqa: E731
    word = lambda: rng.choice(["a", "lunch", "=?utf-8?Q?=C3=A9?=", "x" * 70, "é", "1;b=2", "b=c"])  # noqa: E731
    lines = ["From: Ann <ann@example.com>", "To:" + fold() + "bob@example.org" + rng.choice(["", " ", "\t"])]
    for name in rng.sample(["Subject", "SUBJECT", "Date", "X-Odd", "X-Hop", "X-Hop", "Cc", "Reply-To"], 6):
        lines.append(name + ":" + fold() + (fold() or " ").join(word() for _ in range(rng.randint(1, 9))) + rng.choice(["", " "]))
    rng.shuffle(lines)
    body = "".join(
        rng.choice(["", " ", "\t \t", "text  more\ttext", "trailing  ", "é" * 5, "." * 3]) + "\r\n" for _ in range(rng.randint(0, 12))
    )
    if body and rng.random() < 0.2 and not body[:-2].endswith((" ", "\t")):
        body = body[:-2]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@pytest.mark.parametrize("form", [b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"])
def test_generated_messages(form):
    private, record = rsa_key()
    rng = random.Random(form)
    passed = failed = 0
    for _ in range(60):
        octets = mail(rng)
        canonical = tuple(form.split(b"/"))
        field = dkim.sign(octets, b"sel", b"example.com", private, canonicalize=canonical, include_headers=[b"from", b"to", b"subject", b"x-hop", b"x-hop", b"cc"])
        signed = field + octets
        assert dkim.verify(signed, dnsfunc=lambda name, timeout=5: record.encode())
        assert judge(signed, record).outcome is Outcome.PASS, signed
        at = rng.randrange(len(field), len(signed))
        changed = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        if b"\n" in signed[at : at + 1] or signed[at : at + 1] == b"\r":
            continue
        try:
            theirs = dkim.verify(changed, dnsfunc=lambda name, timeout=5: record.encode())
        except Exception:
            continue  # its header parser gives up on a line that is no field; ours goes on
        message = Message.parse(changed)
        if len(message.all("dkim-signature")) != 1 or len(message.all("from")) != 1:
            continue
        ours = judge(changed, record).outcome is Outcome.PASS
        assert ours == theirs, (at, signed[at - 20 : at + 20])
        passed, failed = passed + ours, failed + (not ours)
    assert failed > 20


def test_odd_fields_that_dkimpy_dies_of():
    private, record = rsa_key()
    octets = b"From: ann@example.com\r\nTo: bob@example.org\r\nSubject: x\r\n\r\nhi\r\n"
    field = dkim.sign(octets, b"sel", b"example.com", private, canonicalize=(b"relaxed", b"relaxed"), include_headers=[b"from", b"subject"])
    odd = octets.replace(b"Subject: x", b"Subject : x").replace(b"To:", b"no field at all\r\nX-\xe9: 1\r\nTo:")
    assert judge(field + odd, record).outcome is Outcome.PASS
