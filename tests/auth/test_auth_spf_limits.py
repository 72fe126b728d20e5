"""The limits of RFC 7208 section 4.6.4, on both sides of each: 10 terms, 2 void look-ups, 10 MX and PTR names, 20 seconds."""

from __future__ import annotations

import pytest
from auth_zone import PortsOf, transaction

from gateway.adapters.dns_broken import SlowResolver
from gateway.adapters.dns_recording import RecordingResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.checks import CHECKS
from gateway.checks.spf import spf
from gateway.mail.finding import Finding, Why
from gateway.policy.settings import SpfSettings

CLIENT = "192.0.2.1"


async def judged(zone: str, settings: SpfSettings | None = None) -> tuple[Finding, list[str]]:
    dns = RecordingResolver(ZoneResolver.from_text(zone))
    tx = transaction(b"From: a@d.test\r\n\r\n", reverse_path="a@d.test", helo="[192.0.2.1]")
    finding = await spf(tx, PortsOf(dns), settings or SpfSettings())  # type: ignore[arg-type]
    assert finding is not None
    return finding, [f"{one.name} {one.rtype}" for one in dns.asked]


@pytest.mark.parametrize(("terms", "outcome"), [(10, "pass"), (11, "permerror")])
async def test_terms_that_ask_dns(terms: int, outcome: str) -> None:
    hosts = "".join(f"h{n}.test. A 198.51.100.{n}\n" for n in range(terms - 1))
    text = " ".join(f"a:h{n}.test" for n in range(terms - 1))
    finding, _ = await judged(f'd.test. TXT "v=spf1 {text} a -all"\nd.test. A {CLIENT}\n{hosts}')
    assert finding.outcome == outcome


@pytest.mark.parametrize(("terms", "outcome"), [(10, "pass"), (11, "permerror")])
async def test_terms_are_counted_through_includes(terms: int, outcome: str) -> None:
    chain = "".join(f'i{n}.test. TXT "v=spf1 include:i{n + 1}.test -all"\n' for n in range(terms - 1))
    last = f'i{terms - 1}.test. TXT "v=spf1 ip4:{CLIENT} -all"\n'
    finding, asked = await judged(f'd.test. TXT "v=spf1 include:i0.test -all"\n{chain}{last}')
    assert finding.outcome == outcome
    assert len(asked) <= 1 + 10


REDIRECTS = [
    # nine terms and one that matches: the redirect is not followed
    (9, "a redirect=r.test", "pass"),
    # nine terms and the redirect are ten, ten and it eleven
    (9, "redirect=r.test", "pass"),
    (9, "REDIRECT=r.test", "pass"),
    (10, "redirect=r.test", "permerror"),
    (10, "Redirect=r.test", "permerror"),
]


@pytest.mark.parametrize(("terms", "rest", "outcome"), REDIRECTS)
async def test_a_redirect_counts_where_it_is_followed(terms: int, rest: str, outcome: str) -> None:
    hosts = "".join(f"h{n}.test. A 198.51.100.{n}\n" for n in range(terms))
    text = " ".join(f"a:h{n}.test" for n in range(terms))
    zone = f'd.test. TXT "v=spf1 {text} {rest}"\nd.test. A {CLIENT}\nr.test. TXT "v=spf1 ip4:{CLIENT} -all"\n{hosts}'
    assert (await judged(zone))[0].outcome == outcome


async def test_redirects_in_a_chain_and_in_includes_are_counted() -> None:
    chain = "".join(f'r{n}.test. TXT "v=spf1 redirect=r{n + 1}.test"\n' for n in range(12))
    assert (await judged(f'd.test. TXT "v=spf1 redirect=r0.test"\n{chain}'))[0].outcome == "permerror"
    assert (await judged(f'd.test. TXT "v=spf1 include:r0.test -all"\n{chain}'))[0].outcome == "permerror"
    loop = 'd.test. TXT "v=spf1 redirect=d.test"\n'
    found, asked = await judged(loop)
    assert (found.outcome, len(asked)) == ("permerror", 1)


@pytest.mark.parametrize(("voids", "outcome"), [(2, "pass"), (3, "permerror")])
async def test_void_look_ups(voids: int, outcome: str) -> None:
    text = " ".join(f"a:v{n}.test" for n in range(voids))
    assert (await judged(f'd.test. TXT "v=spf1 {text} ip4:{CLIENT} -all"\n'))[0].outcome == outcome


@pytest.mark.parametrize(("names", "outcome"), [(10, "pass"), (11, "permerror")])
async def test_names_of_one_mx(names: int, outcome: str) -> None:
    hosts = "".join(f"d.test. MX {n} h{n}.test.\nh{n}.test. A 198.51.100.{n}\n" for n in range(names - 1))
    last = f"d.test. MX 99 z.test.\nz.test. A {CLIENT}\n"
    finding, asked = await judged(f'd.test. TXT "v=spf1 mx -all"\n{hosts}{last}')
    assert finding.outcome == outcome
    assert len([question for question in asked if question.endswith(" A")]) <= 10


async def test_of_the_names_of_a_client_ten_are_looked_at() -> None:
    names = "".join(f"1.2.0.192.in-addr.arpa. PTR h{n}.d.test.\nh{n}.d.test. A {CLIENT}\n" for n in range(30))
    _, asked = await judged(f'd.test. TXT "v=spf1 ptr:other.test -all"\n{names}')
    assert len([question for question in asked if question.endswith(" A")]) == 10


async def test_twenty_seconds_for_the_whole_check() -> None:
    assert SpfSettings().timeout == 20
    assert [row.budget for row in CHECKS if row.name == "spf"] == [20.0]
    tx = transaction(b"\r\n", reverse_path="a@d.test", helo="h.test")
    found = await spf(tx, PortsOf(SlowResolver(ZoneResolver({}, {}), 60)), SpfSettings(timeout=0.1))  # type: ignore[arg-type]
    assert found is not None
    assert found.cause is not None
    assert found.cause.why is Why.BUDGET
