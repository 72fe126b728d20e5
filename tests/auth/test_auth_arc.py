"""ARC chains made by dkimpy hop by hop, and what breaks them."""

import re

import dkim
import pytest
from auth_zone import DictZone, PortsOf, rsa_key, transaction

from gateway.checks.arc import arc
from gateway.mail.finding import Outcome
from gateway.policy.settings import ArcSettings

MAIL = b"From: ann@example.com\r\nTo: list@lists.test\r\nSubject: hi\r\n\r\nhello\r\n"


def hop(octets: bytes, n: int) -> bytes:
    private, _ = rsa_key()
    srv = b"hop%d.test" % n
    results = b"Authentication-Results: %s; arc=%s; spf=pass smtp.mailfrom=a@example.com\r\n" % (srv, b"pass" if n > 1 else b"none")
    octets = results + octets
    fields = dkim.arc_sign(
        octets, b"sel", srv, private, srv, include_headers=[b"from", b"to", b"subject"],
    )
    return b"".join(fields) + octets


def chain(hops: int) -> bytes:
    octets = MAIL
    for n in range(1, hops + 1):
        octets = hop(octets, n)
        if n < hops:
            octets += b"footer of %d\r\n" % n
    return octets


def zone(hops=3, fails=()):
    return DictZone({f"sel._domainkey.hop{n}.test": rsa_key()[1] for n in range(1, hops + 1)}, fails=fails)


async def judge(octets, dns=None, **settings):
    return await arc(transaction(octets), PortsOf(dns or zone()), ArcSettings(**settings))


@pytest.mark.parametrize("hops", [1, 2, 3])
async def test_sound_chain(hops):
    found = await judge(chain(hops))
    assert (found.outcome, found.reason) == (Outcome.PASS, "verified")
    assert found.evidence["sealers"] == tuple(f"hop{n}.test" for n in range(1, hops + 1))
    assert (found.evidence["instance"], found.evidence["trusted"]) == (hops, False)
    assert found.evidence["cv"] == ("none" if hops == 1 else "pass")


async def test_trust_needs_the_newest_sealer():
    octets = chain(2)
    assert (await judge(octets, trusted_sealers=("hop2.test",))).evidence["trusted"] is True
    assert (await judge(octets, trusted_sealers=("hop1.test",))).evidence["trusted"] is False


async def test_no_chain():
    found = await judge(MAIL)
    assert (found.outcome, found.reason) == (Outcome.NONE, "no-chain")


def drop(octets, name, instance):
    return re.sub(rb"(?im)^" + name + rb": i=%d;[^\r]*\r\n(?:[ \t][^\r]*\r\n)*" % instance, b"", octets, count=1)


BROKEN = [
    (lambda o: o + b"more\r\n", "message-signature-body-hash"),
    (lambda o: o.replace(b"Subject: hi", b"Subject: ho"), "message-signature-signature"),
    (lambda o: drop(o, b"ARC-Seal", 1), "incomplete-sets"),
    (lambda o: drop(o, b"ARC-Message-Signature", 2), "incomplete-sets"),
    (lambda o: drop(o, b"ARC-Authentication-Results", 1), "incomplete-sets"),
    (lambda o: o.replace(b"cv=pass", b"cv=none", 1), "chain-value"),
    (lambda o: o.replace(b"cv=pass", b"cv=fail", 1), "sealed-as-failed"),
    (lambda o: o.replace(b"ARC-Authentication-Results: i=1;", b"ARC-Authentication-Results: i=1; x.test;"), "seal-signature"),
    (lambda o: o.replace(b"ARC-Seal: i=2;", b"ARC-Seal: i=2; h=from;"), "syntax"),
    (lambda o: o.replace(b"ARC-Seal: i=2;", b"ARC-Seal: i=0;"), "instance"),
    (lambda o: o.replace(b"ARC-Seal: i=2;", b"ARC-Seal: "), "instance"),
    (lambda o: b"ARC-Seal: i=2; a=rsa-sha256; cv=pass; d=x.test; s=s; b=AAAA\r\n" + o, "incomplete-sets"),
]


@pytest.mark.parametrize(("break_it", "reason"), BROKEN)
async def test_broken_chain(break_it, reason):
    octets = chain(2)
    broken = break_it(octets)
    assert broken != octets
    found = await judge(broken, trusted_sealers=("hop2.test",))
    assert (found.outcome, found.reason, found.evidence["trusted"]) == (Outcome.FAIL, reason, False)


async def test_too_many_sets_ask_nothing():
    dns = zone()
    found = await judge(chain(3), dns, max_sets=2)
    assert (found.outcome, found.reason, dns.asked) == (Outcome.FAIL, "too-many-sets", [])


async def test_silent_server_is_unknown_and_missing_key_is_not():
    found = await judge(chain(2), zone(fails=("sel._domainkey.hop1.test",)))
    assert (found.outcome, found.cause.port) == (Outcome.TEMPERROR, "dns")
    assert (await judge(chain(2), zone(1))).reason == "message-signature-no-key"


async def test_instance_without_blanks_is_legal_and_read():
    octets = chain(1).replace(b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature:i=1 ;")
    found = await judge(octets)
    assert found.outcome is Outcome.FAIL  # the signer signed it with a blank less: but no crash, and a reason
    assert found.reason.endswith("signature")
