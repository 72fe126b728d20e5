"""ARC chains at which dkimpy crashes, answers None or blames the sealer for DNS trouble; each test shows both answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import dkim
import pytest
from auth_zone import DictZone, PortsOf, rsa_key, transaction
from test_auth_arc import MAIL, chain, hop, judge, zone

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_cache import CachingResolver
from gateway.checks.arc import arc
from gateway.mail.finding import Outcome
from gateway.policy.settings import ArcSettings
from gateway.ports.dns import Answer


def dkimpy(octets: bytes, dnsfunc: Callable[..., bytes | None] | None = None) -> object:
    """Its word, or the name of its exception."""
    try:
        return dkim.arc_verify(octets, dnsfunc=dnsfunc or (lambda name, timeout=5: rsa_key()[1].encode()))[0]
    except Exception as error:
        return type(error).__name__


def resealed(octets: bytes, before: bytes, after: bytes) -> bytes:
    """A chain of one hop whose signer wrote a tag in another legal way: dkimpy signs what it would write, so the seal
    no longer covers it; what counts here is that there is an answer with a reason."""
    changed = octets.replace(before, after)
    assert changed != octets
    return changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature:i=1;"),
        (b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature: i=1 ;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal:i=1;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i = 1;"),
    ],
)
async def test_legal_blanks_around_the_instance(before: bytes, after: bytes) -> None:
    octets = resealed(chain(1), before, after)
    found = await judge(octets)
    # relaxed form forgives the blank before the value, not the others
    assert found.outcome in (Outcome.PASS, Outcome.FAIL)
    assert found.reason in ("verified", "message-signature-signature", "seal-signature")
    assert dkimpy(octets) in ("IndexError", "ValueError", dkim.CV_Fail, dkim.CV_Pass)


async def test_a_blank_less_than_dkimpy_expects_is_a_sound_chain() -> None:
    octets = resealed(chain(1), b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature:i=1;")
    assert dkimpy(octets) == "IndexError"
    assert (await judge(octets)).outcome is Outcome.PASS


async def test_a_chain_sealed_as_failed_is_a_fail_and_not_nothing() -> None:
    octets = chain(2).replace(b"cv=pass", b"cv=fail", 1)
    assert dkimpy(octets) is None
    found = await judge(octets)
    assert (found.outcome, found.reason, found.evidence["cv"]) == (Outcome.FAIL, "sealed-as-failed", "fail")


async def test_dns_trouble_is_temperror_and_not_a_broken_chain() -> None:
    def trouble(name: bytes, timeout: int = 5) -> bytes:
        raise dkim.DnsTimeoutError(name)

    assert dkimpy(chain(2), trouble) == dkim.CV_Fail
    found = await judge(chain(2), zone(fails=(".test",)))
    assert (found.outcome, found.reason) == (Outcome.TEMPERROR, "timeout")


async def test_an_odd_field_elsewhere_does_not_hide_the_chain() -> None:
    octets = chain(1).replace(b"Subject: hi", b"X-Odd : x\r\nSubject: hi")
    assert dkimpy(octets) == "MessageFormatError"
    assert (await judge(octets)).outcome is Outcome.PASS
    octets = b" folded\r\n" + chain(1)
    assert dkimpy(octets) == "IndexError"
    assert (await judge(octets)).outcome is Outcome.PASS


async def test_from_that_the_message_signature_leaves_out() -> None:
    octets = chain(1).replace(b"h=from :", b"h=to :")
    assert (await judge(octets)).reason == "message-signature-from-not-signed"


def many(hops: int) -> bytes:
    octets = MAIL
    for n in range(1, hops + 1):
        octets = hop(octets, n)
    return octets


async def test_fifty_sets_are_validated_and_fifty_one_are_not_looked_at() -> None:
    octets = many(50)
    dns = zone(51)
    started = time.thread_time()
    found = await judge(octets, dns)
    spent = time.thread_time() - started
    assert (found.outcome, found.evidence["instance"]) == (Outcome.PASS, 50)
    assert len(dns.asked) == 50  # one question a key, where dkimpy asks two a hop
    assert spent < 0.5
    more = octets.replace(b"i=50;", b"i=51;").replace(b"i=49;", b"i=50;")
    dns = zone(51)
    found = await judge(b"ARC-Seal: i=49; x\r\n" + more, dns)
    assert (found.outcome, found.reason, dns.asked) == (Outcome.FAIL, "too-many-sets", [])


async def test_keys_are_cached_between_sets_and_messages() -> None:
    """All hops of one sealer: one question for the message, none for the next."""
    octets = MAIL
    for n in range(1, 6):
        results = b"Authentication-Results: one.test; arc=%s\r\n" % (b"pass" if n > 1 else b"none")
        octets = b"".join(dkim.arc_sign(results + octets, b"sel", b"one.test", rsa_key()[0], b"one.test", include_headers=[b"from"])) + octets

    class Counted:
        asked = 0

        async def lookup(self, name: str, rtype: str) -> Answer:
            self.asked += 1
            return await inner.lookup(name, rtype)

        async def close(self) -> None:
            return None

    inner, counted = DictZone({"sel._domainkey.one.test": rsa_key()[1]}), Counted()
    cache = CachingResolver(counted, SystemClock())
    for _ in range(3):
        found = await arc(transaction(octets), PortsOf(cache), ArcSettings())  # type: ignore[arg-type]
        assert (found.outcome, found.evidence["instance"]) == (Outcome.PASS, 5)
    assert counted.asked == 1
