"""Block and allow lists: what counts, what never counts, what is unknown."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any, cast

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver, SlowResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.checks.dnsbl import dnsbl
from gateway.mail.dnsbl_site import parse_site
from gateway.mail.finding import Finding, Outcome, Why
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import DnsblSettings
from gateway.ports import Ports

KEY = "abcdefghij0123456789klmnop"
ZONE = ZoneResolver.from_text(f"""
5.2.0.192.block.test. A 127.0.0.2
5.2.0.192.multi.test. A 127.0.0.4
5.2.0.192.multi.test. A 127.0.0.11
5.2.0.192.allow.test. A 127.0.5.3
5.2.0.192.blocked-us.test. A 127.255.255.254
5.2.0.192.parked.test. A 203.0.113.80
5.2.0.192.{KEY}.zen.dq.spamhaus.net. A 127.0.0.3
5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.block.test. A 127.0.0.2
;; SERVFAIL *.broken.test
;; TIMEOUT *.silent.test
;; SERVFAIL *.{KEY}.sbl.dq.spamhaus.net
""")


async def check(*sites: str, client: str = "192.0.2.5", dns: Any = ZONE, **settings: Any) -> Finding:
    unused = cast(Any, None)
    tx = Transaction("t1", Connection("s1", ip_address(client)), 0.0)
    return await dnsbl(tx, Ports(dns, unused, unused, SystemClock()), DnsblSettings(sites=sites, **settings))


@pytest.mark.parametrize(
    ("sites", "outcome", "score", "listed"),
    [
        (("block.test",), "fail", 1.0, ("block.test",)),
        (("block.test*3", "clean.test*5"), "fail", 3.0, ("block.test",)),
        (("allow.test*-4", "block.test*3"), "pass", -1.0, ("block.test", "allow.test")),
        (("allow.test=127.0.[2..20].[0..3]*-2",), "pass", -2.0, ("allow.test",)),
        (("allow.test=127.0.[2..20].[0..2]*-2",), "none", 0.0, ()),
        (("allow.test*-3", "block.test*3"), "none", 0.0, ("block.test", "allow.test")),
        (("multi.test=127.0.0.[4..7]*4", "multi.test=127.0.0.[10;11]*2"), "fail", 6.0, ("multi.test",)),
        (("clean.test",), "none", 0.0, ()),
    ],
)
async def test_weighing(sites, outcome, score, listed):
    finding = await check(*sites)
    assert (finding.outcome.value, finding.evidence["score"]) == (outcome, score)
    assert finding.evidence["listed"] == listed
    assert isinstance(finding.evidence["score"], float)


async def test_error_codes_and_foreign_answers_are_no_listings():
    finding = await check("blocked-us.test", "parked.test", "clean.test")
    assert finding.outcome is Outcome.NONE
    assert finding.evidence["errors"] == ("blocked-us.test", "parked.test")


async def test_ipv6_by_nibbles_or_not_at_all():
    assert (await check("block.test", client="2001:db8::5")).outcome is Outcome.FAIL
    assert (await check("block.test", client="2001:db8::5", ipv6=False)).reason == "not-asked"
    assert (await check("block.test", client="::ffff:192.0.2.5", ipv6=False)).outcome is Outcome.FAIL


async def test_one_dead_list_leaves_the_bounds_of_the_score():
    finding = await check("block.test*2", "broken.test*9", "silent.test*-3")
    assert (finding.outcome, finding.evidence["score"]) == (Outcome.TEMPERROR, 2.0)
    assert (finding.evidence["score_least"], finding.evidence["score_most"]) == (-1.0, 11.0)
    assert finding.evidence["unknown_lists"] == ("broken.test", "silent.test")


async def test_all_lists_dead_is_unknown():
    finding = await check("broken.test", "silent.test")
    assert finding.outcome is Outcome.TEMPERROR
    assert (await check("block.test", dns=BrokenResolver(Why.REFUSED))).cause is not None


async def test_slow_list_is_a_timeout_of_its_own():
    finding = await check("block.test", dns=SlowResolver(ZONE, 5.0), query_timeout=0.05)
    assert finding.cause is not None
    assert finding.cause.why is Why.TIMEOUT


async def test_access_key_is_never_shown():
    finding = await check(f"{KEY}.zen.dq.spamhaus.net", f"{KEY}.sbl.dq.spamhaus.net")
    assert finding.evidence["listed"] == ("zen.dq.spamhaus.net",)
    assert finding.evidence["unknown_lists"] == ("sbl.dq.spamhaus.net",)
    alone = await check(f"{KEY}.sbl.dq.spamhaus.net")
    assert alone.cause is not None
    assert KEY not in repr(finding) + repr(alone)


async def test_without_lists_nothing_is_asked():
    assert (await check(dns=BrokenResolver())).reason == "no-lists"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "single",
        "a b.test",
        "x.test*",
        "x.test*heavy",
        "x.test=",
        "x.test=127.0.0",
        "x.test=127.0.0.2.3",
        "x.test=127.0.0.[9..2]",
        "x.test=127.0.0.[]",
        "x.test=127.0.0.256",
        "x.test=127.0.0.[2..11",
        "x.test=127.0.0.2x",
    ],
)
def test_bad_entries_say_what_is_wrong(text):
    with pytest.raises(ValueError):
        parse_site(text)


def test_good_entry():
    site = parse_site("Zen.Example.org=127.0.0.[2..11;13]*-2.5")
    assert (site.domain, site.weight) == ("zen.example.org", -2.5)
    assert [n for n in range(16) if site.matches(IPv4Address(f"127.0.0.{n}"))] == [*range(2, 12), 13]
