"""SPF through the offline resolver: RFC 7208 by cases."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any, cast

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver, SlowResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.auth.spf_eval import SpfEvaluation, SpfQuestion
from gateway.checks.spf import spf
from gateway.mail.address import NULL, Mailbox, parse_reverse_path
from gateway.mail.finding import Outcome, Why
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.policy.settings import SpfSettings
from gateway.ports import Ports

MANY = " ".join(f"a:h{i}.lim.test" for i in range(11))
MANY_MX = "\n".join(f"manymx.test. MX 1 h{i}.lim.test." for i in range(11))
HOSTS = "\n".join(f"h{i}.lim.test. A 198.51.100.{i}" for i in range(11))
ZONE = f"""
simple.test. TXT "v=spf1 ip4:192.0.2.0/24 -all"
simple.test. TXT "another record"
soft.test. TXT "v=spf1 ~all"
neutral.test. TXT "v=spf1 ?all"
default.test. TXT "v=spf1 ip4:198.51.100.1"
split.test. TXT "v=spf1 ip4:192.0" ".2.5 -all"
none.test. TXT "not spf"
two.test. TXT "v=spf1 -all"
two.test. TXT "v=spf1 +all"
typo.test. TXT "v=spf1 moo -all"
include.test. TXT "v=spf1 include:simple.test -all"
includenone.test. TXT "v=spf1 include:none.test -all"
includefail.test. TXT "v=spf1 include:failing.test ~all"
failing.test. TXT "v=spf1 -all"
includebroken.test. TXT "v=spf1 include:broken.test -all"
early.test. TXT "v=spf1 ip4:192.0.2.5 include:broken.test -all"
redirect.test. TXT "v=spf1 redirect=simple.test"
redirectnone.test. TXT "v=spf1 redirect=none.test"
mx.test. TXT "v=spf1 mx -all"
mx.test. MX 10 mail.mx.test.
mail.mx.test. A 192.0.2.5
nullmx.test. TXT "v=spf1 mx -all"
nullmx.test. MX 0 .
a6.test. TXT "v=spf1 a -all"
a6.test. AAAA 2001:db8::5
macro.test. TXT "v=spf1 exists:%{{ir}}.%{{v}}.%{{l1r-}}.%{{d}} -all"
5.2.0.192.in-addr.user.macro.test. A 127.0.0.2
local.test. TXT "v=spf1 exists:%{{l}}.ok.local.test -all"
many.test. TXT "v=spf1 {MANY} -all"
manymx.test. TXT "v=spf1 mx -all"
{MANY_MX}
{HOSTS}
void.test. TXT "v=spf1 a:v1.test a:v2.test a:v3.test ?all"
void2.test. TXT "v=spf1 a:v1.test a:v2.test ?all"
loop.test. TXT "v=spf1 include:loop2.test -all"
loop2.test. TXT "v=spf1 include:loop.test -all"
exp.test. TXT "v=spf1 -all exp=slow-explanation.test"
ptr.test. TXT "v=spf1 ptr -all"
5.2.0.192.in-addr.arpa. PTR mail.ptr.test.
mail.ptr.test. A 192.0.2.5
alias-loop.test. TXT "v=spf1 a:l1.test ?all"
l1.test. CNAME l2.test.
l2.test. CNAME l1.test.
mx.helo.test. TXT "v=spf1 a -all"
mx.helo.test. A 192.0.2.5
8bit.test. TXT "v=spf1 ip4:192.0.2.5 \\195\\169 -all"
xn--bcher-kva.test. TXT "v=spf1 ip4:192.0.2.5 -all"
;; SERVFAIL broken.test
;; TIMEOUT silent.test
;; SERVFAIL 9.2.0.192.in-addr.arpa
;; TIMEOUT slow-explanation.test
"""
RESOLVER = ZoneResolver.from_text(ZONE)


def ports(dns: Any) -> Ports:
    unused = cast(Any, None)
    return Ports(dns, unused, unused, SystemClock())


def transaction(path: str, client: str = "192.0.2.5", hello: str = "mx.helo.test") -> Transaction:
    return Transaction(
        "t1",
        Connection("s1", ip_address(client)),
        1_700_000_000.0,
        Hello("EHLO", hello),
        Envelope(parse_reverse_path(path)),
    )


async def check(path: str, client: str = "192.0.2.5", hello: str = "mx.helo.test", dns: Any = RESOLVER):
    return await spf(transaction(path, client, hello), ports(dns), SpfSettings())


@pytest.mark.parametrize(
    ("domain", "client", "outcome", "mechanism"),
    [
        ("simple.test", "192.0.2.5", "pass", "ip4:192.0.2.0/24"),
        ("simple.test", "198.51.100.9", "fail", "-all"),
        ("simple.test", "::ffff:192.0.2.5", "pass", "ip4:192.0.2.0/24"),
        ("simple.test", "2001:db8::5", "fail", "-all"),
        ("soft.test", "192.0.2.5", "softfail", "~all"),
        ("neutral.test", "192.0.2.5", "neutral", "?all"),
        ("default.test", "192.0.2.5", "neutral", ""),
        ("split.test", "192.0.2.5", "pass", "ip4:192.0.2.5"),
        ("none.test", "192.0.2.5", "none", ""),
        ("nowhere.test", "192.0.2.5", "none", ""),
        ("two.test", "192.0.2.5", "permerror", ""),
        ("typo.test", "192.0.2.5", "permerror", ""),
        ("8bit.test", "192.0.2.5", "permerror", ""),
        ("include.test", "192.0.2.5", "pass", "include:simple.test"),
        ("include.test", "198.51.100.9", "fail", "-all"),
        ("includenone.test", "192.0.2.5", "permerror", ""),
        ("includefail.test", "192.0.2.5", "softfail", "~all"),
        ("includebroken.test", "192.0.2.5", "temperror", ""),
        ("early.test", "192.0.2.5", "pass", "ip4:192.0.2.5"),
        ("redirect.test", "192.0.2.5", "pass", "ip4:192.0.2.0/24"),
        ("redirectnone.test", "192.0.2.5", "permerror", ""),
        ("mx.test", "192.0.2.5", "pass", "mx"),
        ("nullmx.test", "192.0.2.5", "fail", "-all"),
        ("a6.test", "2001:db8::5", "pass", "a"),
        ("macro.test", "192.0.2.5", "pass", "exists:%{ir}.%{v}.%{l1r-}.%{d}"),
        ("macro.test", "192.0.2.6", "fail", "-all"),
        ("many.test", "192.0.2.5", "permerror", ""),
        ("manymx.test", "192.0.2.5", "permerror", ""),
        ("void.test", "192.0.2.5", "permerror", ""),
        ("void2.test", "192.0.2.5", "neutral", "?all"),
        ("loop.test", "192.0.2.5", "permerror", ""),
        ("exp.test", "192.0.2.5", "fail", "-all"),
        ("ptr.test", "192.0.2.5", "pass", "ptr"),
        ("ptr.test", "192.0.2.9", "fail", "-all"),  # PTR fails: no match (section 5.5)
        ("alias-loop.test", "192.0.2.5", "neutral", "?all"),
        ("broken.test", "192.0.2.5", "temperror", ""),
        ("silent.test", "192.0.2.5", "temperror", ""),
    ],
)
async def test_rfc7208_cases(domain, client, outcome, mechanism):
    finding = await check(f"<user-x@{domain}>", client)
    assert (finding.outcome.value, finding.evidence["mechanism"]) == (outcome, mechanism)
    assert (finding.evidence["domain"], finding.evidence["identity"]) == (domain, "mailfrom")


async def test_null_reverse_path_uses_the_hello_name():
    finding = await check("<>")
    assert finding.outcome is Outcome.PASS
    assert (finding.evidence["domain"], finding.evidence["identity"]) == ("mx.helo.test", "helo")


@pytest.mark.parametrize("hello", ["localhost", "[192.0.2.5]", "not a name", ""])
async def test_null_reverse_path_without_a_domain_is_none(hello):
    finding = await check("<>", hello=hello)
    assert (finding.outcome, finding.reason) == (Outcome.NONE, "no-domain")


async def test_literal_in_the_reverse_path_is_none():
    assert (await check("<user@[192.0.2.5]>")).reason == "no-domain"


async def test_internationalised_domain_is_asked_as_a_label():
    assert (await check("<user@bücher.test>")).outcome is Outcome.PASS


@pytest.mark.parametrize("path", ["<用户@local.test>", '<"a@b"@local.test>', '<"a\\\\b c"@local.test>'])
async def test_odd_local_parts_in_macros_never_match(path):
    assert (await check(path)).outcome is Outcome.FAIL


async def test_unknown_names_cause_and_identity():
    finding = await check("<user@silent.test>")
    assert finding.cause is not None
    assert (finding.cause.port, finding.cause.why) == ("dns", Why.TIMEOUT)


async def test_dead_resolver_is_unknown_not_a_verdict():
    finding = await check("<user@simple.test>", dns=BrokenResolver(Why.REFUSED))
    assert finding.outcome is Outcome.TEMPERROR
    assert finding.cause is not None
    assert finding.cause.why is Why.REFUSED


async def test_time_limit_of_the_whole_check():
    slow = ports(SlowResolver(RESOLVER, 5.0))
    finding = await spf(transaction("<user@simple.test>"), slow, SpfSettings(timeout=0.05))
    assert finding.cause is not None
    assert finding.cause.why is Why.BUDGET
    assert finding.evidence["domain"] == "simple.test"


async def test_many_at_once_do_not_mix():
    slow = SlowResolver(RESOLVER, 0.001)
    jobs = [check(f"<user@{'include' if i % 2 else 'soft'}.test>", dns=slow) for i in range(60)]
    outcomes = [finding.outcome for finding in await asyncio.gather(*jobs)]
    assert outcomes == [Outcome.PASS if i % 2 else Outcome.SOFTFAIL for i in range(60)]


def test_evaluation_is_a_dialogue_and_can_be_left():
    evaluation = SpfEvaluation(ip_address("192.0.2.5"), Mailbox("user", "a.test"), "mx.test")
    assert evaluation.start() == SpfQuestion("a.test", "TXT")
    evaluation.close()
    evaluation.close()


def test_lookups_are_counted():
    evaluation = SpfEvaluation(ip_address("192.0.2.5"), NULL, "a.test")
    step = evaluation.start()
    step = evaluation.answered(("v=spf1 a:b.test -all",))
    assert step == SpfQuestion("b.test", "A")
    result = evaluation.answered(("192.0.2.5",))
    assert not isinstance(result, SpfQuestion)
    assert (result.outcome, result.lookups, result.identity) == (Outcome.PASS, 1, "helo")
