"""DNS that is made to cost: SPF records that loop and expand, answers that never come, chains of aliases, 64 kB of TXT.

Each case prints its figures; none may hold the loop for 50 ms of CPU.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import pytest
from auth_signer import MAIL, sign
from auth_zone import DictZone, PortsOf, rsa_key, transaction
from hostile_meter import HELD, Figures, measured

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_cache import CachingResolver
from gateway.adapters.dns_net import NetResolver
from gateway.checks import CHECKS
from gateway.checks.spf import spf
from gateway.mail.finding import Finding, Why
from gateway.mail.limits import ANSWER_BUDGET
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.policy.settings import SpfSettings
from gateway.ports.dns import Answer, Resolver
from tests.suites.dns_responder import dns_responder

KEY = "sel._domainkey.example.com"
DOMAIN = "example.com"
POLICY = load_text("version: 1\nmode: enforce\nrules: []\n", "policy.yaml").default
AUTHENTICATION = tuple(check for check in CHECKS if check.name in ("spf", "dkim", "arc", "dmarc"))
TABLE: list[str] = []
LONG = 60_000
"""Octets of a TXT record that still fits into one answer."""


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    yield
    print("\n" + "\n".join(TABLE))


def kept(name: str, figures: Figures, cpu: float = 0.5) -> None:
    TABLE.append(figures.line(name))
    assert figures.held < HELD, TABLE[-1]
    assert figures.all < cpu, TABLE[-1]


# ---- SPF

_A60 = "a" * 60 + "@" + DOMAIN
_ODD = "a-b+" * 15 + "c@" + DOMAIN


def _include(n: int, filling: str = "") -> dict[str, str]:
    return {f"i{number}.test": f"v=spf1 {filling} include:i{number + 1}.test" for number in range(n)}


SPF: dict[str, tuple[Mapping[str, str | list[str]], str, str]] = {
    "include of itself": ({DOMAIN: "v=spf1 include:example.com -all"}, "permerror", "x@example.com"),
    "includes in a circle": ({DOMAIN: "v=spf1 include:b.test", "b.test": "v=spf1 include:example.com"}, "permerror", "x@example.com"),
    "redirect to itself": ({DOMAIN: "v=spf1 redirect=example.com"}, "permerror", "x@example.com"),
    "redirect in a circle": ({DOMAIN: "v=spf1 redirect=b.test", "b.test": "v=spf1 redirect=example.com"}, "permerror", "x@example.com"),
    "twelve includes deep": ({DOMAIN: "v=spf1 include:i0.test", **_include(12)}, "permerror", "x@example.com"),
    "twelve includes of 8 kB each": ({DOMAIN: "v=spf1 include:i0.test", **_include(12, "ip4:1.2.3.4 " * 600)}, "permerror", "x@example.com"),
    "5,000 includes of 5,000": ({DOMAIN: "v=spf1 " + "include:b.test " * 5000}, "permerror", "x@example.com"),
    "500 includes": ({DOMAIN: "v=spf1 " + "include:b.test " * 500, "b.test": "v=spf1 ?all"}, "permerror", "x@example.com"),
    "macros in 64 kB": ({DOMAIN: "v=spf1 exists:" + "%{l}." * 12000 + "e.test -all"}, "permerror", _A60),
    "macros in a term of 500": ({DOMAIN: "v=spf1 " + ("exists:" + "%{l}." * 95 + "e.test ") * 15 + "-all"}, "permerror", _A60),
    "macros with delimiters": ({DOMAIN: "v=spf1 " + ("exists:" + "%{l99r.-+,/_=}." * 30 + "e.test ") * 15 + "-all"}, "permerror", _ODD),
    "macros in redirect": ({DOMAIN: "v=spf1 redirect=" + "%{l}." * 10000 + DOMAIN}, "permerror", _A60),
    "macros in exp": ({DOMAIN: "v=spf1 exp=" + "%{l}." * 10000 + DOMAIN + " -all"}, "permerror", _A60),
    "macros in modifiers": ({DOMAIN: "v=spf1 " + "".join(f"x{n}={'%{l}.' * 80} " for n in range(19)) + "-all"}, "fail", _A60),
    "ip4 in 8 kB": ({DOMAIN: "v=spf1 " + "ip4:1.2.3.4 " * 680 + "-all"}, "fail", "x@example.com"),
    "a in 8 kB": ({DOMAIN: "v=spf1 " + "a " * 4000}, "permerror", "x@example.com"),
    "ptr in 8 kB": ({DOMAIN: "v=spf1 " + "ptr " * 2000}, "permerror", "x@example.com"),
    "mx in 8 kB": ({DOMAIN: "v=spf1 " + "mx " * 2700}, "permerror", "x@example.com"),
    "64 kB in one term": ({DOMAIN: "v=spf1 a:" + "%{" * 32000}, "permerror", "x@example.com"),
    "64 kB of blanks": ({DOMAIN: "v=spf1 " + " " * 64000 + "-all"}, "permerror", "x@example.com"),
    "64 kB that is no SPF": ({DOMAIN: "v=spf2" + "x" * 64000}, "none", "x@example.com"),
    "1,000 records": ({DOMAIN: ["v=spf1 -all"] * 1000}, "permerror", "x@example.com"),
    "250 other records beside it": ({DOMAIN: ["x" * 250] * 250 + ["v=spf1 -all"]}, "fail", "x@example.com"),
}


@pytest.mark.parametrize("name", SPF)
async def test_spf(name: str) -> None:
    zone, outcome, reverse_path = SPF[name]
    dns = DictZone(dict(zone))
    tx = transaction(b"\r\n", reverse_path=reverse_path)
    found, figures = await measured(spf(tx, PortsOf(dns), SpfSettings()))  # type: ignore[arg-type]
    kept(f"SPF: {name}", figures)
    assert found.outcome.value == outcome
    # ten terms that ask, each with at most ten names, and the HELO identity beside it
    assert len(dns.asked) <= 40


async def test_spf_ten_mx_of_ten_names() -> None:
    class Wide(DictZone):
        async def lookup(self, name: str, rtype: str) -> Answer:
            answer = await super().lookup(name, rtype)
            if rtype == "MX":
                return replace(answer, status=answer.status.OK, records=tuple(f"10 m{n}.{name}" for n in range(50)), ttl=60)
            if rtype == "A":
                return replace(answer, status=answer.status.OK, records=tuple(f"198.51.100.{n}" for n in range(200)), ttl=60)
            return answer

    dns = Wide({DOMAIN: "v=spf1 " + " ".join(f"mx:d{n}.test" for n in range(12)) + " -all"})
    found, figures = await measured(spf(transaction(b"\r\n", reverse_path="x@example.com"), PortsOf(dns), SpfSettings()))  # type: ignore[arg-type]
    kept("SPF: twelve mx of fifty names of 200 addresses", figures)
    assert found.outcome.value == "permerror"
    assert len(dns.asked) <= 120


# ---- answers that never come


class Never:
    """A resolver that everybody waits for."""

    def __init__(self) -> None:
        self.waiting = 0

    async def lookup(self, name: str, rtype: str) -> Answer:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        raise AssertionError

    async def close(self) -> None:
        return None


@cache
def signed() -> bytes:
    octets = MAIL
    for n in range(8):
        octets = sign(octets, d=f"a{n}.example.com")
    seal = b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; b=AAAA\r\nARC-Message-Signature: i=1; a=rsa-sha256; "
    return seal + b"d=x.test; s=s; h=from; bh=AAAA; b=AAAA\r\nARC-Authentication-Results: i=1; x.test; none\r\n" + octets


async def _phases(dns: Resolver, budget: float | None = None) -> tuple[dict[str, Finding], Figures]:
    checks = tuple(replace(check, budget=budget or check.budget) for check in AUTHENTICATION)
    pipeline = Pipeline(PortsOf(dns), checks)  # type: ignore[arg-type]
    begun = transaction(signed(), reverse_path="x@example.com")

    async def both() -> Transaction:
        tx = (await pipeline.judge(Phase.MAIL, begun, POLICY)).tx
        return (await pipeline.judge(Phase.CONTENT, tx, POLICY)).tx

    tx, figures = await measured(both())
    return dict(tx.findings), figures


async def test_answers_that_never_come() -> None:
    dns = Never()
    before = len(asyncio.all_tasks())
    findings, figures = await _phases(dns, 0.25)
    kept("answers that never come", figures)
    assert {name: (found.cause.why if found.cause else None) for name, found in findings.items()} == dict.fromkeys(
        ("spf", "dkim", "arc", "dmarc"), Why.BUDGET
    )
    # spf at MAIL; dkim and arc together, then dmarc
    assert figures.wall < 3.0
    await asyncio.sleep(0.05)
    assert (dns.waiting, len(asyncio.all_tasks())) == (0, before)


def test_the_budgets_end_before_the_client_does() -> None:
    assert all(check.budget <= 20.0 for check in CHECKS)
    content = [check for check in CHECKS if check.phase is Phase.CONTENT]
    first = max(check.budget for check in content if not check.after)
    rest = sum({check.after: check.budget for check in content if check.after}.values())
    assert first + rest < ANSWER_BUDGET


# ---- real sockets


async def _over_sockets(zone: Mapping[str, list[object]]) -> tuple[dict[str, Finding], Figures, int]:
    with dns_responder(dict(zone)) as responder:
        dns = CachingResolver(NetResolver([responder.address], timeout=5.0, tries=1), SystemClock())
        try:
            findings, figures = await _phases(dns)
        finally:
            await dns.close()
        return findings, figures, len(responder.asked)


def _aliases(count: int, first: str, last: list[object]) -> dict[str, list[object]]:
    names = [first, *(f"c{n}.{first}" for n in range(count))]
    chain: dict[str, list[object]] = {name: [{"CNAME": target}] for name, target in itertools.pairwise(names)}
    return {**chain, names[-1]: last}


@pytest.mark.parametrize("links", [1, 8, 15, 60])
async def test_chains_of_aliases(links: int) -> None:
    key = "sel._domainkey.a0.example.com"
    zone = {**_aliases(links, DOMAIN, [{"TXT": "v=spf1 -all"}]), **_aliases(links, key, [{"TXT": rsa_key()[1]}])}
    findings, figures, asked = await _over_sockets(zone)
    kept(f"chains of {links} aliases", figures)
    if links < 15:
        assert findings["spf"].outcome.value == "fail"
        assert findings["dkim"].outcome.value == "pass"
    assert asked < 120


async def test_aliases_in_a_circle() -> None:
    zone: dict[str, list[object]] = {}
    for name in (DOMAIN, "sel._domainkey.a0.example.com", "_dmarc.example.com"):
        zone |= {name: [{"CNAME": f"b.{name}"}], f"b.{name}": [{"CNAME": name}]}
    findings, figures, asked = await _over_sockets(zone)
    kept("aliases in a circle", figures)
    assert findings["spf"].outcome.value == "none"
    assert findings["dkim"].outcome.value in ("temperror", "permerror")
    assert asked < 120


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("letters", "x" * LONG),
        ("an SPF record", "v=spf1 " + "exists:%{l}." + "%{l}." * 11_000 + "e.test"),
        ("a DMARC record", "v=DMARC1; p=reject; " + "x=y; " * 11_000),
        ("a DMARC record of reports", "v=DMARC1; p=reject; rua=" + "mailto:a@b.test," * 3_700),
        ("a key", "v=DKIM1; k=rsa; p=" + "A" * (LONG - 20)),
        ("a key of tags", "v=DKIM1; k=rsa; " + "".join(f"t{n}=1; " for n in range(7_000))),
        ("semicolons", ";" * LONG),
        ("equals signs", "v=DKIM1" + "=" * (LONG - 10)),
    ],
)
async def test_64_kb_of_txt_everywhere(what: str, text: str) -> None:
    names = [DOMAIN, "mail.example.com", "_dmarc.example.com", "_dmarc.com", "s._domainkey.x.test"]
    names += [f"sel._domainkey.a{n}.example.com" for n in range(8)]
    findings, figures, _ = await _over_sockets({name: [{"TXT": text}] for name in names})
    kept(f"64 kB of TXT at each name: {what}", figures, 2.0)
    assert findings["dkim"].outcome.value == "permerror"
    assert all(found.cause is None or found.cause.why is not Why.CRASH for found in findings.values())


async def test_hundreds_of_records_at_a_name() -> None:
    names = [DOMAIN, "_dmarc.example.com", *(f"sel._domainkey.a{n}.example.com" for n in range(8))]
    texts: list[object] = [{"TXT": f"v=DKIM1; p={n}"} for n in range(400)]
    findings, figures, _ = await _over_sockets(dict.fromkeys(names, texts))
    kept("400 TXT records at each name", figures, 2.0)
    assert findings["dkim"].reason in ("key-syntax", "no-key")
