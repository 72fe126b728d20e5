"""The client's origin: what records of a routing zone say, and what becomes of those that say something else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver, SlowResolver
from gateway.adapters.dns_cache import CachingResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.checks import CHECKS
from gateway.checks.asn import asn, origins_of, parse_origin
from gateway.checks.run import Check, run_phase
from gateway.mail.finding import Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import AsnSettings, ChecksSettings
from gateway.ports import Ports

SIX = "8.8.8.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.8.4.0.6.8.4.1.0.0.2"
ZONE = ZoneResolver.from_text(f"""
31.108.90.216.origin.test. TXT "23028 | 216.90.108.0/24 | US | arin | 1998-09-25"
4.8.8.8.origin.test. TXT "15169|8.8.8.0/24|US|arin|"
1.1.1.1.origin.test. TXT "64496 | 1.1.0.0/16 | AU | apnic |"
1.1.1.1.origin.test. TXT "13335 64497 | 1.1.1.0/24 | AU | apnic | 2011-08-11"
1.1.1.1.origin.test. TXT "64498 64497 | 1.1.1.0/24 | NZ | apnic |"
9.9.9.9.origin.test. TXT "19281 | 9.9.9.0/24 | US | quad9 |"
9.9.9.9.origin.test. TXT "v=spf1 -all"
{SIX}.origin6.test. TXT "15169 | 2001:4860::/32 | US | arin | 2005-03-14"
;; SERVFAIL 5.5.5.5.origin.test
;; TIMEOUT 6.6.6.6.origin.test
""")


def transaction(client: str, *, known: bool = True) -> Transaction:
    return Transaction("t1", Connection("s1", ip_address(client), client_known=known), 0.0)


def ports(dns: Any) -> Ports:
    unused = cast(Any, None)
    return Ports(dns, unused, unused, SystemClock())


async def check(client: str, dns: Any = ZONE, **settings: Any) -> Finding:
    """As the runner has it: a dead port is a finding too."""
    section = AsnSettings(**{"ipv4_zone": "Origin.test", "ipv6_zone": "origin6.test", **settings})
    only = [check for check in CHECKS if check.name == "asn"]
    tx = transaction(client)
    return (await run_phase(only, Phase.CONNECT, tx, ports(dns), ChecksSettings(asn=section)))[0].findings["asn"]


@pytest.mark.parametrize(
    ("record", "numbers", "prefix", "country"),
    [
        ("23028 | 216.90.108.0/24 | US | arin | 1998-09-25", ("23028",), "216.90.108.0/24", "US"),
        ("15169|8.8.8.0/24|US|arin|", ("15169",), "8.8.8.0/24", "US"),
        ("  64496   64497 |192.0.2.0/24| |", ("64496", "64497"), "192.0.2.0/24", ""),
        ("4294967295|192.0.2.0/24|de", ("4294967295",), "192.0.2.0/24", "DE"),
        ("0 | 0.0.0.0/0", ("0",), "0.0.0.0/0", ""),
        ("00064496 | 192.0.2.7/24", ("64496",), "192.0.2.0/24", ""),
        ("64496 | 2001:DB8::/32 | EU | ripencc | 2005-03-14 | more", ("64496",), "2001:db8::/32", "EU"),
    ],
)
def test_what_is_read(record, numbers, prefix, country):
    origin = parse_origin(record)
    assert (origin.numbers, str(origin.prefix), origin.country) == (numbers, prefix, country)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "|",
        "64496",
        "64496 |",
        "AS64496 | 192.0.2.0/24",
        "{64496,64497} | 192.0.2.0/24",
        "-1 | 192.0.2.0/24",
        "4294967296 | 192.0.2.0/24",
        "64496\t64497 | 192.0.2.0/24",
        "\xb2\xb3 | 192.0.2.0/24",
        "64496 | 192.0.2.0",
        "64496 | 192.0.2.0/33",
        "64496 | 192.0.2.0/255.255.255.0",
        "64496 | 192.0.2/24",
        "64496 | fe80::%eth0/64",
        "64496 | ::::/64",
        "64496 | 192.0.2.0/24 | USA",
        "64496 | 192.0.2.0/24 | \x1b[",
        "64496 | 192.0.2.0/24 | US\n",
        "v=spf1 -all",
        "https://routes.test/192.0.2.0/24",
        "9" * 65_000,
        "64496 " * 10_000 + "| 192.0.2.0/24",
        "64496 | 192.0.2.0/24 | US" + "|" * 60_000,
    ],
)
def test_what_is_no_origin(record):
    with pytest.raises(ValueError, match=r"^a record [a-z ]*(AS numbers)?$"):
        parse_origin(record)


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (["64496 | 192.0.2.0/24"] * 17, "too many records"),
        ([f"{' '.join(map(str, range(64496, 64520)))} | 192.0.2.0/24"] * 2, "too many AS numbers"),
        (["64496 | 192.0.2.0/24", "64497 | 198.51.100.0/24"], "without the client's address"),
        (["64496 | 2001:db8::/32"], "without the client's address"),
        (["64496 | 192.0.2.0/24", "parked"], "without AS numbers"),
    ],
)
def test_answers_that_are_unknown_as_a_whole(records, why):
    with pytest.raises(ValueError, match=why):
        origins_of(records, ip_address("192.0.2.1"))


@pytest.mark.parametrize(
    ("client", "reason", "evidence"),
    [
        ("216.90.108.31", "origin", {"asn": ("23028",), "prefix": "216.90.108.0/24", "country": ("US",)}),
        ("8.8.8.4", "origin", {"asn": ("15169",), "prefix": "8.8.8.0/24", "country": ("US",)}),
        ("1.1.1.1", "origin", {"asn": ("13335", "64497", "64498"), "prefix": "1.1.1.0/24", "country": ("AU", "NZ")}),
        ("2001:4860:4860::8888", "origin", {"asn": ("15169",), "prefix": "2001:4860::/32", "country": ("US",)}),
        ("::ffff:8.8.8.4", "origin", {"asn": ("15169",), "prefix": "8.8.8.0/24", "country": ("US",)}),
        ("8.8.8.5", "no-origin", {}),
    ],
)
async def test_findings(client, reason, evidence):
    finding = await check(client)
    assert (finding.outcome, finding.reason, dict(finding.evidence)) == (Outcome.NONE, reason, evidence)


@pytest.mark.parametrize(
    ("client", "why"), [("5.5.5.5", Why.PROTOCOL), ("6.6.6.6", Why.TIMEOUT), ("9.9.9.9", Why.PROTOCOL)]
)
async def test_trouble_and_odd_answers_are_unknown(client, why):
    finding = await check(client)
    assert finding.outcome is Outcome.TEMPERROR
    assert finding.cause is not None
    assert (finding.cause.port, finding.cause.why) == ("dns", why)
    assert "spf1" not in repr(finding)


async def test_a_dead_or_slow_dns_is_unknown():
    refused = await check("8.8.8.4", BrokenResolver(Why.REFUSED))
    assert refused.cause is not None
    assert refused.cause.why is Why.REFUSED
    (row,) = [check for check in CHECKS if check.name == "asn"]
    hasty = Check(row.name, row.phase, row.run, row.port, 0.05)
    settings = ChecksSettings(asn=AsnSettings(ipv4_zone="origin.test"))
    tx, _ = await run_phase([hasty], Phase.CONNECT, transaction("8.8.8.4"), ports(SlowResolver(ZONE, 30.0)), settings)
    assert tx.findings["asn"].cause is not None
    assert tx.findings["asn"].cause.why is Why.BUDGET


@pytest.mark.parametrize(
    "client",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
    ],
)
async def test_addresses_of_nobody_are_not_asked_about(client):
    assert (await check(client, BrokenResolver())).reason == "not-asked"


async def test_a_family_without_a_zone_is_not_asked_about():
    assert (await check("2001:4860:4860::8888", BrokenResolver(), ipv6_zone="")).reason == "not-asked"
    assert (await check("8.8.8.4", BrokenResolver(), ipv4_zone="")).reason == "not-asked"


async def test_without_a_zone_there_is_no_finding():
    assert await asn(transaction("8.8.8.4"), ports(BrokenResolver()), AsnSettings()) is None
    assert not AsnSettings(enabled=False, ipv4_zone="origin.test").asks


async def test_the_answer_is_kept_for_its_ttl():
    cached = CachingResolver(ZONE, SystemClock())
    assert await check("8.8.8.4", cached) == await check("8.8.8.4", cached)
    assert (cached.misses, cached.hits) == (1, 1)


@pytest.mark.parametrize("zone", ["a b.test", "origin.test.", "-x.test/", "x" * 64 + ".test"])
def test_a_zone_that_is_no_domain_is_refused(zone):
    with pytest.raises(ValueError):
        AsnSettings(ipv4_zone=zone)
