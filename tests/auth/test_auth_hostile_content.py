"""Content that is made to cost: through all checks of the content phase, the fields that we put on top and our ARC set.

Each case prints its figures. None may hold the loop for 50 ms of CPU, and none may cost more CPU in all than its size
explains: a second, whatever it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest
from auth_signer import MAIL, sign
from auth_zone import DictZone, PortsOf, key_record, rsa_key, transaction
from cryptography.hazmat.primitives.asymmetric import rsa
from hostile_meter import HELD, Figures, measured

from gateway.acceptance import mime_too_complex
from gateway.auth.arc_seal import Sealer
from gateway.checks import CHECKS
from gateway.delivery.arc_sealing import SealingRelay
from gateway.delivery.routes import Router
from gateway.delivery.stamp import Identity, stamp
from gateway.mail.limits import WireLimits
from gateway.mail.message import Message
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text

CPU = 1.0
KIB = 1024
HEADER = 500 * KIB
"""Just under ``limits.HEADER_OCTETS``."""
KEY = "sel._domainkey.example.com"
IDENTITY = Identity("mx.example.net", "mx.example.net")
POLICY = load_text("version: 1\nmode: enforce\nrules: []\n", "policy.yaml").default
AUTHENTICATION = tuple(check for check in CHECKS if check.name in ("loop", "dkim", "arc", "dmarc"))
SEALING = SealingRelay(Router([]), Sealer("mx.example.net", "arc", rsa.generate_private_key(65537, 2048)))
TABLE: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    yield
    print("\n" + "\n".join(TABLE))


async def received(octets: bytes, dns: DictZone | None = None) -> Transaction:
    """What a session does with content, from the final dot to the hand-over."""
    message = Message.parse(octets)
    if await mime_too_complex(message, WireLimits()):
        return transaction(octets)
    zone = dns or DictZone({KEY: rsa_key()[1], "_dmarc.example.com": "v=DMARC1; p=reject"})
    judged = await Pipeline(PortsOf(zone), AUTHENTICATION).judge(Phase.CONTENT, transaction(octets), POLICY)  # type: ignore[arg-type]
    # sealing is a pass over header and body too
    await SEALING.sealed(judged.tx, stamp(judged.tx, Verdict(Action.ACCEPT, ""), IDENTITY))
    return judged.tx


async def cost(name: str, octets: bytes, dns: DictZone | None = None, cpu: float = CPU) -> tuple[Transaction, Figures]:
    tx, figures = await measured(received(octets, dns))
    if figures.held >= HELD or figures.all >= cpu:
        # once more: a busy machine empties the caches of the processor
        tx, figures = await measured(received(octets, dns))
    TABLE.append(figures.line(name))
    assert not [finding for finding in tx.findings.values() if finding.cause and finding.cause.why.value == "crash"]
    assert figures.held < HELD, TABLE[-1]
    assert figures.all < cpu, TABLE[-1]
    return tx, figures


def big_key(bits: int, exponent: int = 65537) -> str:
    n = (1 << (bits - 1)) | (1 << (bits // 2)) | 1
    return key_record(rsa.RSAPublicNumbers(exponent, n).public_key())


@pytest.mark.parametrize("bits", [4096, 8192, 16384])
async def test_a_huge_key(bits: int) -> None:
    octets = sign(MAIL, b=None).replace(b"bh=", b"b=" + base64.b64encode(b"\1" * (bits // 8)) + b"; bh=")
    tx, _ = await cost(f"RSA key of {bits} bits", octets, DictZone({KEY: big_key(bits)}))
    expected = "signature" if bits == 4096 else "key-unacceptable"
    assert tx.findings["dkim"].reason == expected


async def test_a_huge_exponent() -> None:
    octets = sign(MAIL)
    tx, _ = await cost("RSA key with an exponent of 2,048 bits", octets, DictZone({KEY: big_key(2048, (1 << 2047) | 1)}))
    assert tx.findings["dkim"].reason in ("key-unacceptable", "key-syntax")


@pytest.mark.parametrize("count", [100, 1900])
async def test_many_signatures(count: int) -> None:
    one = sign(MAIL).removesuffix(MAIL)
    octets = b"".join(one.replace(b"d=example.com", b"d=a%d.example.com" % n) for n in range(count)) + MAIL
    zone = DictZone({f"sel._domainkey.a{n}.example.com": rsa_key()[1] for n in range(count)})
    tx, _ = await cost(f"{count:,} signatures", octets, zone)
    assert tx.findings["dkim"].evidence["count"] == count
    assert sum(name.startswith("sel._domainkey") for name in zone.asked) == 8


BODIES = {
    "1 MB of runs of 990 blanks": b" " * 990 + b"\r\n",
    "1 MB of runs of 50,000 blanks": b" " * 50_000 + b"x\r\n",
    "1 MB of one blank and one letter": b" a",
    "1 MB of tabs and blanks": b" \t",
    "1 MB of CRLF": b"\r\n",
    "1 MB of CR": b"\r",
    "1 MB of lines of one blank": b" \r\n",
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_of_blanks(name: str) -> None:
    body = BODIES[name] * (1_000_000 // len(BODIES[name]))
    octets = MAIL + body
    for form in ("relaxed/relaxed", "simple/simple"):
        octets = sign(octets, c=form, s="sel")
    tx, _ = await cost(name, octets)
    assert tx.findings["dkim"].outcome.value == "pass"


async def test_256_kib_of_blanks_on_the_loop() -> None:
    """The most that is hashed without a thread, in both forms and with eight l=."""
    octets = MAIL + b" \t" * (127 * KIB)
    for n in range(8):
        octets = sign(octets, c="relaxed/relaxed" if n % 2 else "relaxed/simple", l=str(n * 1000))
    await cost("254 KiB of blanks, eight signatures with l=", octets)


SIGNATURES: dict[str, Callable[[], bytes]] = {
    "of one tag": lambda: b"z=" + b"x" * 100_000,
    "of blanks": lambda: b"z=" + b" " * 100_000 + b"x",
    "of folded blanks": lambda: b"z=" + b"\r\n " * 33_000 + b"x",
    "of tags": lambda: b";".join(b"t%d=1" % n for n in range(12_000)),
    "of semicolons": lambda: b";" * 100_000,
    "of equals signs": lambda: b"=" * 100_000,
    "of names in h=": lambda: b"h=from" + b":a" * 50_000,
    "of base64 in b=": lambda: b"b=" + b"AAAA" * 25_000,
}


@pytest.mark.parametrize("name", SIGNATURES)
async def test_a_signature_field_of_100_kb(name: str) -> None:
    octets = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; bh=AAAA; " + SIGNATURES[name]() + b"\r\n" + MAIL
    tx, _ = await cost(f"a signature field of 100 kB {name}", octets)
    assert tx.findings["dkim"].reason == "signature-too-long"


@pytest.mark.parametrize("name", SIGNATURES)
async def test_sixty_signature_fields_of_8_kb(name: str) -> None:
    part = SIGNATURES[name]()[:7900].rsplit(b"\r\n", 1)[0]
    octets = (b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; bh=AAAA; " + part + b"\r\n") * 60 + MAIL
    await cost(f"60 signature fields of 8 kB {name}", octets)


def _filled(unit: bytes, octets: int = HEADER) -> bytes:
    return unit * (octets // len(unit))


HEADERS: dict[str, Callable[[], bytes]] = {
    "a field of blanks": lambda: b"X: " + _filled(b" ") + b"\r\n",
    "a field of tabs": lambda: b"X: " + _filled(b"\t") + b"\r\n",
    "a field of words": lambda: b"X: " + _filled(b"a ") + b"\r\n",
    "a field of folds": lambda: b"X: " + _filled(b"\r\n a") + b"\r\n",
    "a field of bare CR": lambda: b"X: " + _filled(b"\r") + b"\r\n",
    "2,000 fields": lambda: (b"X: " + b"a b " * 60 + b"\r\n") * 1990,
    "a name without a colon": lambda: _filled(b"a") + b"\r\n",
    "a name of 500 kB": lambda: _filled(b"a") + b": x\r\n",
    "2,000 names without a colon": lambda: (b"a" * 250 + b"\r\n") * 1990,
    "a From of commas": lambda: b"From: " + _filled(b"a@b.example,") + b"\r\n",
    "a From of brackets": lambda: b"From: " + _filled(b"<") + b"\r\n",
    "a From of comments": lambda: b"From: " + _filled(b"(") + b"\r\n",
    "2,000 From of 8 octets": lambda: b"From: a@b.example\r\n" * 1990,
    "30 From of 16 kB": lambda: (b"From: " + b"a@b.example," * 1300 + b"\r\n") * 30,
    "a From of U-labels": lambda: b"From: a@" + _filled("ü".encode(), 16000) + b".example\r\n",
    "a Subject of encoded words": lambda: b"Subject: " + _filled(b"=?utf-8?q?=C3=A9?= ") + b"\r\n",
    "an A-R of comments": lambda: b"Authentication-Results: " + _filled(b"(") + b"\r\n",
    "an A-R of closed comments": lambda: b"Authentication-Results: " + _filled(b"()") + b"\r\n",
    "an A-R of quotes": lambda: b'Authentication-Results: "' + _filled(b"\\a") + b"\r\n",
    "an A-R of an encoded word": lambda: b"Authentication-Results: =?utf-8?q?" + _filled(b"=41") + b"?=\r\n",
    "an A-R of U-labels": lambda: b"Authentication-Results: " + _filled("ü".encode()) + b"\r\n",
    "an A-R of dotted U-labels": lambda: b"Authentication-Results: " + _filled("ü.".encode()) + b"\r\n",
    "2,000 A-R": lambda: (b"Authentication-Results: " + b"=" * 220 + b"\r\n") * 1990,
    "2,000 A-R of comments": lambda: (b"Authentication-Results: " + b"()" * 110 + b"\r\n") * 1990,
    "2,000 A-R of U-labels": lambda: (b"Authentication-Results: " + "ü".encode() * 110 + b"\r\n") * 1990,
    "2,000 A-R of an encoded word": lambda: (b"Authentication-Results: =?utf-8?q?" + b"=41" * 70 + b"?=\r\n") * 1990,
    "2,000 ARC-Seal": lambda: b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.test; s=s; b=AAAA\r\n" * 1990,
    "50 ARC sets of 8 kB fields": lambda: b"".join(_arc_set(n, 2600) for n in range(1, 51)),
    "an ARC result of 400 kB": lambda: _arc_set(1, 100).replace(b"none\r\n", b"none;" + _filled(b"()", 400 * KIB) + b"\r\n"),
    "2,000 Received": lambda: (b"Received: from a by b; " + b"x" * 200 + b"\r\n") * 1990,
    "2,000 fields like ours": lambda: (b"X-Gateway-" + b"a" * 200 + b": x\r\n") * 1990,
}


def _arc_set(n: int, size: int) -> bytes:
    fill = b"A" * (size // 4 * 4)
    return (
        b"ARC-Seal: i=%d; a=rsa-sha256; cv=%s; d=example.com; s=sel; b=%s\r\n"
        b"ARC-Message-Signature: i=%d; a=rsa-sha256; d=example.com; s=sel; h=from; bh=AAAA; b=%s\r\n"
        b"ARC-Authentication-Results: i=%d; x.test; %s; spf=none\r\n"
    ) % (n, b"none" if n == 1 else b"pass", fill, n, fill, n, fill)


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_of_500_kb(name: str) -> None:
    header = HEADERS[name]()
    # three signatures that cover all there is of it: each is a pass over the header
    octets = header + MAIL
    signed = octets
    if b"\r\n\r\n" not in header:
        for _ in range(3):
            signed = sign(signed, h="from:x:to:x:subject:date:received")
    await cost(f"a header of {name}", signed)


async def test_eight_signatures_over_500_kb_of_blanks() -> None:
    octets = b"X: " + b"\t" * HEADER + b"\r\n" + MAIL
    for _ in range(8):
        octets = sign(octets, h="from:x:to:subject:date")
    tx, _ = await cost("eight signatures over a field of tabs", octets)
    assert tx.findings["dkim"].outcome.value == "pass"


def _nested(depth: int, each: bytes = b"") -> bytes:
    parts = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n%s--b%d\r\n" % (n, each, n) for n in range(depth)]
    return b"".join(parts)


MIME: dict[str, Callable[[], bytes]] = {
    "10,000 levels": lambda: _nested(10_000),
    "99 levels and 60,000 delimiters of none": lambda: _nested(99) + b"\r\n--" * 60_000,
    "99 levels, a MB of delimiters of none": lambda: _nested(99) + b"\r\n--" * 250_000,
    "9,000 parts without an empty line": lambda: _nested(1) + b"\r\n--b0\r\nx" * 9_000,
    "9,000 parts in 250 KiB": lambda: _nested(1) + b"\r\n--b0\r\n" + b"content-type:a\r\n" + b"\r\n--b0\r\nxxxxxxxxxxxxxx" * 9_000,
    "20,000 parts": lambda: _nested(1) + b"\r\n--b0\r\n\r\n" * 20_000,
    "message/rfc822 in itself": lambda: b"Content-Type: message/rfc822\r\n\r\n" * 8_000,
    "a Content-Type of 15 kB a part": lambda: _nested(1) + (b"\r\n--b0\r\nContent-Type: " + b"a;" * 7_500 + b"\r\n\r\n") * 16,
    "a boundary that does not close": lambda: b'Content-Type: multipart/mixed; boundary="' + b"\\a" * 100_000 + b"\r\n\r\n",
    "100,000 boundary words": lambda: b"Content-Type: multipart/mixed; " + b"boundary =" * 40_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", MIME)
async def test_a_mime_bomb(name: str) -> None:
    await cost(f"MIME: {name}", MAIL.partition(b"\r\n\r\n")[0] + b"\r\nMIME-Version: 1.0\r\n" + MIME[name]())
