#!/usr/bin/env python3
"""CPU microseconds of each authentication check beside dkimpy's and pyspf's own, in the same run.

bench/auth.py [--rounds N] [--size "4 KB"] [--json]

Every figure is the median over rounds of (CPU time of the process / calls); rounds of the competitors alternate, so
that a slow spell of the machine meets both. DNS answers come out of memory at once, keys are known: what is measured
is reading, canonicalisation, hashing, signatures and evaluation. Messages have 4 KB, 50 KB and 1 MB.
"""

import argparse
import asyncio
import base64
import json
import logging
import statistics
import sys
import time
from ipaddress import ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dkim as dkimpy
import spf as pyspf
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from gateway.checks.arc import arc
from gateway.checks.dkim import dkim
from gateway.checks.dmarc import dmarc
from gateway.checks.spf import spf
from gateway.mail.address import Mailbox
from gateway.mail.authres import authentication_results, claims
from gateway.mail.message import Message
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.policy.settings import ArcSettings, DkimSettings, DmarcSettings, SpfSettings
from gateway.ports.dns import Answer, Status

SIZES = {"4 KB": 4_000, "50 KB": 50_000, "1 MB": 1_000_000}
SPF = {
    "example.com": "v=spf1 ip4:198.51.100.0/24 include:_spf.example.net include:_spf2.example.net ~all",
    "_spf.example.net": "v=spf1 ip4:203.0.113.0/24 a:mail.example.net -all",
    "_spf2.example.net": "v=spf1 ip4:192.0.2.0/24 -all",
}


class Dns:
    def __init__(self, texts, hosts):
        self.texts, self.hosts = texts, hosts

    async def lookup(self, name, rtype):
        found = self.texts.get(name.lower()) if rtype == "TXT" else self.hosts.get(name.lower()) if rtype == "A" else None
        return Answer(Status.OK, (found,), 300) if found else Answer(Status.NXDOMAIN)

    async def close(self):
        return None


class Ports:
    def __init__(self, dns):
        self.dns = dns


def keys():
    one = rsa.generate_private_key(65537, 2048)
    pem = one.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    der = one.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    other = ed25519.Ed25519PrivateKey.generate()
    raw = other.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    secret = other.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    return {
        "rsa": (pem, "v=DKIM1; k=rsa; p=" + base64.b64encode(der).decode(), b"rsa-sha256"),
        "ed": (base64.b64encode(secret), "v=DKIM1; k=ed25519; p=" + base64.b64encode(raw).decode(), b"ed25519-sha256"),
    }


def mail(size):
    header = b"".join(
        b"Received: from mail%d.example.com (mail%d.example.com [192.0.2.%d])\r\n\tby mx.example.net with ESMTPS id %040d;\r\n"
        b"\tMon, 1 Jan 2024 00:00:0%d +0000\r\n" % (n, n, n, n, n) for n in range(4)
    ) + (
        b"From: Ann Example <ann@example.com>\r\nTo: Bob <bob@example.org>\r\nSubject: the minutes of our meeting\r\n"
        b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    )
    line = "what was  said, and by whom; who was there, and who was not: é \r\n".encode()
    return header + b"\r\n" + line * max(1, (size - len(header) - 700) // len(line))


def sealed(octets, key, hops):
    logging.getLogger("dkimpy").setLevel(logging.CRITICAL)
    for n in range(1, hops + 1):
        hop = b"hop%d.example" % n  # dkimpy would read the results of an earlier hop of the same name
        results = b"Authentication-Results: %s; arc=%s; dmarc=pass header.from=example.com\r\n" % (hop, b"pass" if n > 1 else b"none")
        octets = results + octets
        octets = b"".join(dkimpy.arc_sign(octets, b"sel", b"example.com", key, hop, include_headers=[b"from", b"to", b"subject"])) + octets
    return octets


def transaction(octets):
    return Transaction(
        "B-1", Connection("B", ip_address("192.0.2.1")), time.time(), Hello("EHLO", "mail.example.com"),
        Envelope(Mailbox("ann", "example.com")), None, Message.parse(octets),
    )


def cases(loop, labels):
    """(check, size, ours, name of the competitor, theirs)"""
    made = keys()
    for label, size in SIZES.items():
        if label not in labels:
            continue
        octets = mail(size)
        for name, title in (("rsa", "DKIM RSA-2048"), ("ed", "DKIM Ed25519")):
            private, record, algorithm = made[name]
            field = dkimpy.sign(octets, b"sel", b"example.com", private, canonicalize=(b"relaxed", b"relaxed"), signature_algorithm=algorithm)
            signed = field + octets
            ports = Ports(Dns({"sel._domainkey.example.com": record}, {}))

            async def ours(signed=signed, ports=ports):
                found = await dkim(transaction(signed), ports, DkimSettings())
                assert found.outcome.value == "pass", found

            def theirs(signed=signed, record=record.encode()):
                assert dkimpy.verify(signed, dnsfunc=lambda *_, **__: record)

            yield title, label, ours, "dkimpy", theirs
        private, record, _ = made["rsa"]
        for hops in (1, 3):
            chain = sealed(octets, private, hops)
            ports = Ports(Dns({"sel._domainkey.example.com": record}, {}))

            async def ours(chain=chain, ports=ports):
                found = await arc(transaction(chain), ports, ArcSettings())
                assert found.outcome.value == "pass", found

            def theirs(chain=chain, record=record.encode()):
                assert dkimpy.arc_verify(chain, dnsfunc=lambda *_, **__: record)[0] == b"pass"

            yield f"ARC, {hops} set" + ("s" if hops > 1 else ""), label, ours, "dkimpy", theirs
        ports = Ports(Dns({"sel._domainkey.example.com": record, "_dmarc.example.com": "v=DMARC1; p=reject", **SPF}, {}))
        checked = transaction(octets)
        checked = checked.with_findings({"spf": loop.run_until_complete(spf(checked, ports, SpfSettings()))})

        async def judged(checked=checked, ports=ports):
            found = await dmarc(checked, ports, DmarcSettings())
            assert found.outcome.value == "pass", found

        yield "DMARC", label, judged, "", None

        async def shown(checked=checked):
            assert authentication_results(checked, "mx.example.net")
            claims(checked.message, "mx.example.net")

        yield "Authentication-Results", label, shown, "", None
    ports = Ports(Dns(SPF, {"mail.example.net": "203.0.113.9"}))
    tx = transaction(mail(4_000))

    async def ours():
        found = await spf(tx, ports, SpfSettings(helo=False))
        assert found.outcome.value == "pass", found

    hook = pyspf.DNSLookup

    def lookup(name, rtype, *_):
        found = SPF.get(name.lower()) if rtype == "TXT" else "203.0.113.9" if (rtype, name) == ("A", "mail.example.net") else None
        return [((name, rtype), (found.encode(),) if rtype == "TXT" else found)] if found else []

    def theirs():
        pyspf.DNSLookup = lookup
        try:
            result = pyspf.check2(i="192.0.2.1", s="ann@example.com", h="mail.example.com")
        finally:
            pyspf.DNSLookup = hook
        assert result[0] == "pass", result

    yield "SPF, two includes", "any", ours, "pyspf", theirs


def cost(call, seconds):
    """CPU microseconds of one call; once before, so that what is remembered is."""
    call()
    count, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        call()
        count += 1
    return spent / count * 1e6


async def cost_here(call, seconds):
    """The same on a loop that runs, as a node's does."""
    await call()
    count, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        await call()
        count += 1
    return spent / count * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="CPU time of one round of one case")
    parser.add_argument("--size", action="append", choices=list(SIZES), help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    loop = asyncio.new_event_loop()
    rows = []
    for title, label, ours, peer, theirs in cases(loop, args.size or list(SIZES)):
        mine, others = [], []
        for _ in range(args.rounds):
            mine.append(loop.run_until_complete(cost_here(ours, args.seconds)))
            if theirs:
                others.append(cost(theirs, args.seconds))
        own, other = statistics.median(mine), statistics.median(others) if others else None
        rows.append({"check": title, "size": label, "mxgw_us": round(own, 1), "peer": peer, "peer_us": other and round(other, 1), "ratio": other and round(own / other, 3)})
        if not args.json:
            print(f"{title:24} {label:6} mxgw {own:9.0f} us" + (f"   {peer:6} {other:9.0f} us   ratio {own / other:.2f}" if other else ""), flush=True)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    if args.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
