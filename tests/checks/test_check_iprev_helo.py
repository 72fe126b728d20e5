"""Reverse DNS and the EHLO name."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.checks.helo import helo
from gateway.checks.iprev import iprev, looks_generic
from gateway.mail.finding import Finding, Outcome
from gateway.mail.transaction import Connection, Hello, Transaction
from gateway.policy.settings import HeloSettings, IprevSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure

ZONE = ZoneResolver.from_text("""
5.2.0.192.in-addr.arpa. PTR Mail.good.test.
6.2.0.192.in-addr.arpa. PTR forged.test.
7.2.0.192.in-addr.arpa. PTR broken.test.
7.2.0.192.in-addr.arpa. PTR mail.good.test.
8.2.0.192.in-addr.arpa. PTR broken.test.
8.2.0.192.in-addr.arpa. PTR forged.test.
5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mail.good.test.
mail.good.test. A 192.0.2.5
mail.good.test. A 192.0.2.7
mail.good.test. AAAA 2001:db8::5
forged.test. A 203.0.113.1
mxonly.test. MX 10 mail.good.test.
six.test. AAAA 2001:db8::9
;; SERVFAIL broken.test
;; SERVFAIL 9.2.0.192.in-addr.arpa
""")


def ports(dns: Any = ZONE) -> Ports:
    unused = cast(Any, None)
    return Ports(dns, unused, unused, SystemClock())


def transaction(client: str = "192.0.2.5", hello: str | None = None, known: bool = True) -> Transaction:
    connection = Connection("s1", ip_address(client), client_known=known)
    return Transaction("t1", connection, 0.0, None if hello is None else Hello("EHLO", hello))


@pytest.mark.parametrize(
    ("client", "outcome", "reason", "name"),
    [
        ("192.0.2.5", "pass", "confirmed", "mail.good.test"),
        ("::ffff:192.0.2.5", "pass", "confirmed", "mail.good.test"),
        ("2001:db8::5", "pass", "confirmed", "mail.good.test"),
        ("192.0.2.6", "fail", "mismatch", ""),
        ("192.0.2.7", "pass", "confirmed", "mail.good.test"),  # another name's dead server does not matter
        ("192.0.2.8", "temperror", "protocol", ""),
        ("192.0.2.1", "permerror", "no-ptr", ""),
    ],
)
async def test_iprev(client, outcome, reason, name):
    finding = await iprev(transaction(client), ports(), IprevSettings())
    assert (finding.outcome.value, finding.reason, finding.evidence["name"]) == (outcome, reason, name)


async def test_iprev_with_a_failing_ptr_raises_for_the_runner():
    with pytest.raises(PortFailure):
        await iprev(transaction("192.0.2.9"), ports(), IprevSettings())


async def test_iprev_looks_up_no_more_names_than_allowed():
    names = "\n".join(f"4.2.0.192.in-addr.arpa. PTR n{i:02d}.many.test." for i in range(40))
    finding = await iprev(transaction("192.0.2.4"), ports(ZoneResolver.from_text(names)), IprevSettings(max_names=3))
    assert len(cast(tuple[str, ...], finding.evidence["names"])) == 3


@pytest.mark.parametrize(
    ("name", "client", "generic"),
    [
        ("192-0-2-5.isp.test", "192.0.2.5", True),
        ("5.2.0.192.rev.isp.test", "192.0.2.5", True),
        ("c0000205.rev.isp.test", "192.0.2.5", True),
        ("dsl-north.isp.test", "192.0.2.5", True),
        ("host5.dyn.isp.test", "192.0.2.5", True),
        ("pool-17.isp.test", "192.0.2.5", True),
        ("mail.good.test", "192.0.2.5", False),
        ("host.shop.good.test", "192.0.2.5", False),
        ("mx5.good.test", "192.0.2.5", False),
        ("mx1.dyn.test", "192.0.2.5", False),  # the registered name is not a hint
        ("outbound-2.mail5.good.test", "192.0.2.77", False),
        ("mail.good.test", "2001:db8::5", False),
    ],
)
def test_generic_names(name, client, generic):
    assert looks_generic(name, ip_address(client)) is generic


async def judge(name: str, client: str = "192.0.2.5", known: bool = True, **settings: Any) -> tuple[str, str]:
    finding = await helo(transaction(client, name, known), ports(), HeloSettings(**settings))
    assert finding is not None
    return finding.outcome.value, finding.reason


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Mail.Good.test", ("pass", "matches")),
        ("[192.0.2.5]", ("pass", "literal-matches")),
        ("[192.0.2.6]", ("fail", "literal-mismatch")),
        ("[IPv6:2001:db8::5]", ("fail", "literal-mismatch")),
        ("[nonsense]", ("fail", "bad-syntax")),
        ("192.0.2.5", ("fail", "bare-address")),
        ("2001:db8::5", ("fail", "bare-address")),
        ("IPv6:2001:db8::5", ("fail", "bare-address")),
        ("localhost", ("fail", "not-fqdn")),
        ("a..b", ("fail", "bad-syntax")),
        ("under score.test", ("fail", "bad-syntax")),
        ("192.0.2.999", ("fail", "bad-syntax")),
        ("MX1.own.test", ("fail", "own-name")),
        ("forged.test", ("neutral", "resolves")),
        ("mxonly.test", ("neutral", "resolves")),
        ("six.test", ("neutral", "resolves")),
        ("nowhere.test", ("none", "unresolvable")),
    ],
)
async def test_helo(name, expected):
    assert await judge(name, own_names=("mx1.own.test",)) == expected


async def test_helo_of_an_ipv6_client():
    assert await judge("mail.good.test", "2001:db8::5") == ("pass", "matches")
    assert await judge("[IPv6:2001:DB8:0::5]", "2001:db8::5") == ("pass", "literal-matches")


async def test_helo_of_an_unknown_client_is_judged_by_syntax_only():
    assert await judge("mail.good.test", known=False) == ("neutral", "well-formed")
    assert await judge("[192.0.2.77]", known=False) == ("neutral", "well-formed")
    assert await judge("localhost", known=False) == ("fail", "not-fqdn")


async def test_helo_without_lookup():
    assert await judge("nowhere.test", resolve=False) == ("neutral", "well-formed")


async def test_helo_equal_to_the_confirmed_name_asks_nothing():
    confirmed = Finding("iprev", Outcome.PASS, "confirmed", {"name": "mail.good.test"})
    tx = transaction(hello="mail.good.test").with_findings({"iprev": confirmed})
    finding = await helo(tx, ports(BrokenResolver()), HeloSettings())
    assert finding is not None
    assert finding.reason == "matches"


async def test_helo_with_a_dead_resolver_raises_for_the_runner():
    with pytest.raises(PortFailure):
        await helo(transaction(hello="mail.good.test"), ports(BrokenResolver()), HeloSettings())


async def test_no_helo_no_finding():
    assert await helo(transaction(), ports(), HeloSettings()) is None
