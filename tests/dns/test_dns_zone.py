"""The offline resolver keeps the port's promises."""

from __future__ import annotations

import pytest

from gateway.adapters.dns_broken import BrokenResolver, SlowResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.mail.finding import Why
from gateway.ports.dns import Status
from gateway.ports.failure import PortFailure

ZONE = ZoneResolver.from_text("""
$TTL 600
example.org. 60 IN A 192.0.2.1
example.org. MX 10 MX.example.org.
other.test TXT "one " "two"
a.b.example.org. A 192.0.2.2
alias.test. 30 CNAME Example.ORG.
dangling.test. CNAME nobody.test.
one.loop.test. CNAME two.loop.test.
two.loop.test. CNAME one.loop.test.
*.wild.test. A 192.0.2.3
deep.wild.test. TXT "here"
;; SERVFAIL broken.test
;; TIMEOUT slow.test A
;; TIMEOUT *.dead.test
slow.test. TXT "works"
""")


@pytest.mark.parametrize(
    ("name", "rtype", "status", "records"),
    [
        ("EXAMPLE.org.", "A", Status.OK, ("192.0.2.1",)),
        ("example.org", "MX", Status.OK, ("10 mx.example.org",)),
        ("other.test", "TXT", Status.OK, ("one two",)),
        ("b.example.org", "A", Status.NODATA, ()),
        ("example.org", "AAAA", Status.NODATA, ()),
        ("nobody.test", "A", Status.NXDOMAIN, ()),
        ("alias.test", "A", Status.OK, ("192.0.2.1",)),
        ("alias.test", "CNAME", Status.OK, ("example.org",)),
        ("dangling.test", "A", Status.NXDOMAIN, ()),
        ("x.y.wild.test", "A", Status.OK, ("192.0.2.3",)),
        ("x.wild.test", "MX", Status.NODATA, ()),
        ("x.deep.wild.test", "A", Status.NXDOMAIN, ()),
        ("slow.test", "TXT", Status.OK, ("works",)),
        ("a..test", "A", Status.NXDOMAIN, ()),
        ("x" * 64 + ".test", "A", Status.NXDOMAIN, ()),
    ],
)
async def test_answers(name, rtype, status, records):
    answer = await ZONE.lookup(name, rtype)
    assert (answer.status, answer.records) == (status, records)


@pytest.mark.parametrize(
    ("name", "rtype", "why"),
    [
        ("broken.test", "MX", Why.PROTOCOL),
        ("slow.test", "A", Why.TIMEOUT),
        ("x.y.dead.test", "TXT", Why.TIMEOUT),
        ("one.loop.test", "A", Why.PROTOCOL),
    ],
)
async def test_failures(name, rtype, why):
    with pytest.raises(PortFailure) as caught:
        await ZONE.lookup(name, rtype)
    assert caught.value.cause.why is why


async def test_ttl_is_the_lowest_of_the_chain():
    assert (await ZONE.lookup("alias.test", "A")).ttl == 30


def test_unreadable_zone_is_a_value_error():
    with pytest.raises(ValueError, match="zone file"):
        ZoneResolver.from_text("example.org. A not-an-address")


async def test_zone_from_a_file(tmp_path):
    file = tmp_path / "z"
    file.write_text("x.test. A 192.0.2.1\n")
    assert (await SlowResolver(ZoneResolver.from_file(file), 0.001).lookup("x.test", "A")).records == ("192.0.2.1",)


async def test_broken_resolver_always_fails():
    with pytest.raises(PortFailure) as caught:
        await BrokenResolver(Why.REFUSED).lookup("x.test", "A")
    assert caught.value.cause.why is Why.REFUSED
