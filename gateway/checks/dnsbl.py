"""DNS block and allow lists (RFC 5782), weighed as postscreen does.

Evidence: score, listed (labels of the lists that counted), lists (how many were asked), errors (lists whose answer
was an error code), unknown_lists (no answer); with them score_least and score_most, between which the score lies;
out_lists (lists that decide nothing at the moment, each with its state and the reason: ``name disabled:reason``).
Reasons: listed, allow-listed, not-listed, balanced, no-lists, not-asked, lists-out.

Answers in 127.255.255.0/24 say that *we* may not ask, and answers outside 127/8 come from a hijacked or abandoned
zone; neither is ever a listing. Two entries of one zone with different filters cost one question.

Known gaps: IPv6 clients are asked for by full address.
"""

from __future__ import annotations

import asyncio
import functools
from ipaddress import IPv4Address

from gateway.mail.dnsbl_site import Site, is_listing, parse_site
from gateway.mail.finding import Cause, Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, DnsblSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure


async def dnsbl(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
    """Ask all lists at once. Where one does not answer the score is unknown, but its bounds are evidence."""
    assert isinstance(settings, DnsblSettings)
    sites = _sites(settings.sites)
    client = tx.connection.client_ip
    if not sites:
        return Finding("dnsbl", Outcome.NONE, "no-lists", {"score": 0.0, "lists": 0})
    if client.version == 6 and not settings.ipv6:
        return Finding("dnsbl", Outcome.NONE, "not-asked", {"score": 0.0, "lists": 0})
    states = {site.label: ports.lists.state(site.label) for site in sites}
    out = tuple(f"{name} {state}" for name, state in states.items() if not state.counts)
    labels = {site.domain: site.label for site in sites if states[site.label].is_asked}
    prefix = client.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    answers = await asyncio.gather(
        *(_ask(ports.dns, prefix, domain, label, settings.query_timeout) for domain, label in labels.items())
    )
    by_domain = dict(zip(labels, answers, strict=True))
    codes = {domain: answer for domain, answer in by_domain.items() if not isinstance(answer, Cause)}
    ports.lists.note(
        (labels[domain] for domain in codes), dict.fromkeys(site.label for site in sites if _hits(site, codes))
    )
    counting = tuple(site for site in sites if states[site.label].counts)
    if not counting:
        return Finding("dnsbl", Outcome.NONE, "lists-out", {"score": 0.0, "lists": 0, "out_lists": out})
    labels = {domain: label for domain, label in labels.items() if states[label].counts}
    causes = {label: cause for domain, label in labels.items() if isinstance(cause := by_domain[domain], Cause)}
    return _weigh(counting, labels, codes, causes, out)


def _weigh(
    sites: tuple[Site, ...],
    labels: dict[str, str],
    codes: dict[str, tuple[IPv4Address, ...]],
    causes: dict[str, Cause],
    out: tuple[str, ...],
) -> Finding:
    errors = tuple(
        label for domain, label in labels.items() if any(not is_listing(code) for code in codes.get(domain, ()))
    )
    # the one that weighs most stands first: the reply names it
    counted = sorted((site for site in sites if _hits(site, codes)), key=lambda site: -site.weight)
    score = sum((site.weight for site in counted), 0.0)
    evidence: dict[str, Fact] = {
        "score": score,
        "listed": tuple(dict.fromkeys(site.label for site in counted)),
        "lists": len(labels),
        "errors": errors,
        "unknown_lists": tuple(causes),
    }
    if out:
        evidence["out_lists"] = out
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


def _hits(site: Site, codes: dict[str, tuple[IPv4Address, ...]]) -> bool:
    return any(is_listing(code) and site.matches(code) for code in codes.get(site.domain, ()))


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


@functools.lru_cache(maxsize=64)
def _sites(texts: tuple[str, ...]) -> tuple[Site, ...]:
    return tuple(parse_site(text) for text in texts)
