"""DNS block and allow lists (RFC 5782), weighed as postscreen does.

Evidence: score, listed (labels of the lists that counted), lists (how many were asked), errors (lists whose answer
was an error code), unknown_lists (no answer); with them score_least and score_most, between which the score lies.
Reasons: listed, allow-listed, not-listed, balanced, no-lists, not-asked.

Answers in 127.255.255.0/24 say that *we* may not ask, and answers outside 127/8 come from a hijacked or abandoned
zone; neither is ever a listing. Two entries of one zone with different filters cost one question.

Known gaps: a list's health (its two test points) is not watched here; IPv6 clients are asked for by full address.
"""

from __future__ import annotations

import asyncio
import functools
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from gateway.mail.dnsbl_site import Site, parse_site
from gateway.mail.finding import Cause, Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, DnsblSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure

_LISTINGS = IPv4Network("127.0.0.0/8")
_ERROR_CODES = IPv4Network("127.255.255.0/24")


async def dnsbl(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
    """Ask all lists at once. Where one does not answer the score is unknown, but its bounds are evidence."""
    assert isinstance(settings, DnsblSettings)
    sites = _sites(settings.sites)
    client = _plain(tx.connection.client_ip)
    if not sites:
        return Finding("dnsbl", Outcome.NONE, "no-lists", {"score": 0.0, "lists": 0})
    if client.version == 6 and not settings.ipv6:
        return Finding("dnsbl", Outcome.NONE, "not-asked", {"score": 0.0, "lists": 0})
    labels = {site.domain: site.label for site in sites}
    prefix = client.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    answers = await asyncio.gather(
        *(_ask(ports.dns, prefix, domain, label, settings.query_timeout) for domain, label in labels.items())
    )
    by_domain = dict(zip(labels, answers, strict=True))
    causes = {labels[domain]: answer for domain, answer in by_domain.items() if isinstance(answer, Cause)}
    codes = {domain: answer for domain, answer in by_domain.items() if not isinstance(answer, Cause)}
    return _weigh(sites, labels, codes, causes)


def _weigh(
    sites: tuple[Site, ...],
    labels: dict[str, str],
    codes: dict[str, tuple[IPv4Address, ...]],
    causes: dict[str, Cause],
) -> Finding:
    errors = tuple(labels[domain] for domain, answer in codes.items() if any(not _is_listing(code) for code in answer))
    counted = [
        site for site in sites if any(_is_listing(code) and site.matches(code) for code in codes.get(site.domain, ()))
    ]
    score = sum((site.weight for site in counted), 0.0)
    evidence: dict[str, Fact] = {
        "score": score,
        "listed": tuple(dict.fromkeys(site.label for site in counted)),
        "lists": len(labels),
        "errors": errors,
        "unknown_lists": tuple(causes),
    }
    if causes:
        missing = [site.weight for site in sites if site.domain not in codes]
        evidence["score_least"] = score + sum(weight for weight in missing if weight < 0)
        evidence["score_most"] = score + sum(weight for weight in missing if weight > 0)
        return Finding.unknown("dnsbl", next(iter(causes.values())), evidence)
    if score > 0:
        return Finding("dnsbl", Outcome.FAIL, "listed", evidence)
    if score < 0:
        return Finding("dnsbl", Outcome.PASS, "allow-listed", evidence)
    return Finding("dnsbl", Outcome.NONE, "balanced" if counted else "not-listed", evidence)


async def _ask(dns: Resolver, prefix: str, domain: str, label: str, timeout: float) -> tuple[IPv4Address, ...] | Cause:
    # details are made anew from the label: the domain may hold an access key, and a cause is logged
    try:
        async with asyncio.timeout(timeout):
            answer = await dns.lookup(f"{prefix}.{domain}", "A")
    except PortFailure as failure:
        return Cause("dns", failure.cause.why, label)
    except TimeoutError:
        return Cause("dns", Why.TIMEOUT, label)
    return tuple(IPv4Address(record) for record in answer.records)


def _is_listing(code: IPv4Address) -> bool:
    return code in _LISTINGS and code not in _ERROR_CODES


def _plain(client: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = client.ipv4_mapped if isinstance(client, IPv6Address) else None
    return mapped or client


@functools.lru_cache(maxsize=64)
def _sites(texts: tuple[str, ...]) -> tuple[Site, ...]:
    return tuple(parse_site(text) for text in texts)
