"""DMARC (RFC 9989): is the author domain authenticated, and what does its owner ask for otherwise?

Reads the findings of spf and dkim and the content's From. Where nobody tells the client's address, an aligned MAIL FROM
might have passed SPF: then the result is temperror and not fail.

DNS is asked in two rounds, each at the same time: the tree walk of the author domain (eight names at most), then what
alignment still needs inside its organisational domain.

Reasons: aligned, not-aligned, no-record, bad-record, several-author-domains, no-author-domain.

Known gaps: no reports are sent (RFC 9990).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.auth.author import Author, author
from gateway.auth.dmarc_eval import Applied, Identifier, align, discover, to_walk
from gateway.auth.dmarc_record import LEVELS, Record, choose_record
from gateway.auth.orgdomain import Records, walk
from gateway.auth.public_suffix import evaluate_by_list, organisational_by_list, suffix_list
from gateway.checks.dkim import keys
from gateway.checks.proven import dkim_identifiers
from gateway.mail.address import AddressError, Mailbox, parse_domain
from gateway.mail.finding import Cause, Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, DmarcSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver, Status
from gateway.ports.failure import PortFailure

_MOST_AUTHORS = 4
_HIDDEN = Cause("client", Why.REFUSED, "SPF has no address: a balancer or a relay does not tell it")


async def dmarc(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """pass, fail, none, permerror (not exactly one author domain, or a broken record) or temperror. With several author
    domains ``policy`` is the strictest of those that did not pass.

    Evidence: author_domain, policy (none, quarantine or reject: what is asked for, t=y applied; absent while unknown),
    tag (p, sp or np: where that stands), published (what stands there), testing (t=y), record_domain, org_domain,
    aligned (methods that pass and are aligned), alignment_dkim and alignment_spf (strict or relaxed). With
    ``compare_public_suffix_list`` also psl_outcome, psl_org_domain, psl_record_domain, psl_policy and psl_differs.
    """
    assert isinstance(settings, DmarcSettings)
    if tx.message is None:
        return None
    found, identifiers = author(tx.message), _identifiers(tx)
    domain = found.domain
    if not domain:
        return await _not_one(found, identifiers, ports.dns)
    names = list(walk(domain))
    if settings.compare_public_suffix_list:
        await asyncio.to_thread(suffix_list)
        names.append(organisational_by_list(domain))
    records = await _records(ports.dns, names)
    finding = await _judge(domain, identifiers, records, ports.dns)
    return _compared(finding, domain, identifiers, records) if settings.compare_public_suffix_list else finding


async def _not_one(found: Author, identifiers: Sequence[Identifier], dns: Resolver) -> Finding:
    """No one author domain (RFC 9989 section 5.3.1): no result, but the strictest policy of those who are named without
    being authenticated, so that a second From is no way around it."""

    async def judge(domain: str) -> Finding:
        return await _judge(domain, identifiers, await _records(dns, walk(domain)), dns)

    judged = await asyncio.gather(*(judge(domain) for domain in found.domains[:_MOST_AUTHORS]))
    asked = [str(one.evidence["policy"]) for one in judged if one.outcome is Outcome.FAIL]
    evidence: dict[str, Fact] = {
        "author_domains": found.domains,
        "policy": max(asked, key=LEVELS.index, default="none"),
    }
    reason = "several-author-domains" if len(found.domains) > 1 else "no-author-domain"
    return Finding("dmarc", Outcome.PERMERROR, reason, evidence)


async def _judge(domain: str, identifiers: Sequence[Identifier], records: Records, dns: Resolver) -> Finding:
    applied = discover(domain, records)
    evidence: dict[str, Fact] = {"author_domain": domain, "policy": "none", "aligned": ()}
    if applied is None:
        return Finding("dmarc", Outcome.NONE, "no-record", evidence)
    if isinstance(applied, Cause):
        return Finding.unknown("dmarc", applied, {"author_domain": domain})
    if applied.record.broken:
        return Finding("dmarc", Outcome.PERMERROR, "bad-record", {**evidence, "record_domain": applied.domain})
    more = {name for start in to_walk(domain, applied, identifiers) for name in walk(start)} - records.keys()
    exists, others = await asyncio.gather(_exists(dns, domain, applied), _records(dns, sorted(more)))
    alignment = align(domain, applied.record, identifiers, {**records, **others})
    evidence = {**_evidence(domain, applied, exists), "aligned": alignment.aligned}
    if alignment.aligned:
        return Finding("dmarc", Outcome.PASS, "aligned", evidence)
    if alignment.cause:
        return Finding.unknown("dmarc", alignment.cause, evidence)
    if isinstance(exists, Cause):
        return Finding.unknown("dmarc", exists, evidence)
    return Finding("dmarc", Outcome.FAIL, "not-aligned", evidence)


def _compared(finding: Finding, domain: str, identifiers: Sequence[Identifier], records: Records) -> Finding:
    """The same finding with what RFC 7489 would have said beside it."""
    other = evaluate_by_list(domain, identifiers, records)
    evidence = finding.evidence
    pairs = {
        "outcome": (finding.outcome.value, other.outcome.value),
        "org_domain": (evidence.get("org_domain", ""), other.organisational_domain),
        "record_domain": (evidence.get("record_domain", ""), other.record_domain),
        "policy": (evidence.get("policy", "") if evidence.get("record_domain") else "", other.policy),
    }
    # without a record there is no organisational domain to speak of
    differs = tuple(name for name, (ours, theirs) in pairs.items() if ours != theirs and (name != "org_domain" or ours))
    said: dict[str, Fact] = {f"psl_{name}": theirs for name, (_, theirs) in pairs.items()}
    return replace(finding, evidence={**evidence, **said, "psl_differs": differs})


def _identifiers(tx: Transaction) -> list[Identifier]:
    """What passed or may have passed: the MAIL FROM identity of SPF and each d= of DKIM."""
    found: list[Identifier] = []
    spf, domain = tx.findings.get("spf"), _spf_domain(tx)
    if spf and domain and spf.outcome in (Outcome.PASS, Outcome.TEMPERROR):
        found.append(Identifier("spf", domain, spf.cause))
    elif domain and not tx.connection.client_known:
        # the domain may well have sent it: a fail would be a guess, and a 5yz on a guess
        found.append(Identifier("spf", domain, _HIDDEN))
    return found + dkim_identifiers(tx)


def _spf_domain(tx: Transaction) -> str:
    """The domain that SPF's MAIL FROM identity authenticates; with a null reverse-path, postmaster's at the HELO name
    (RFC 7208 section 2.4). A pass of the HELO identity alone does not count (RFC 9989 section 4.4.2)."""
    if tx.envelope is None:
        return ""
    path = tx.envelope.reverse_path
    if isinstance(path, Mailbox):
        spf = tx.findings.get("spf")
        helo_only = spf is not None and spf.evidence.get("identity") == "helo"
        return "" if path.is_literal or helo_only else path.domain
    try:
        return parse_domain(tx.hello.name.removesuffix(".")) if tx.hello else ""
    except AddressError:
        return ""


async def _records(dns: Resolver, domains: Iterable[str]) -> dict[str, Record | Cause | None]:
    names = list(dict.fromkeys(domains))
    answers = await keys(dns, (f"_dmarc.{name}" for name in names))
    records: dict[str, Record | Cause | None] = {}
    for name in names:
        answer = answers[f"_dmarc.{name}"]
        records[name] = answer if isinstance(answer, Cause) else choose_record(answer)
    return records


async def _exists(dns: Resolver, domain: str, applied: Applied) -> bool | Cause:
    """RFC 9989 section 3.2.13: a domain does not exist when DNS says NXDOMAIN, of whatever type was asked. Asked only
    where the answer matters."""
    if not applied.existence_matters(domain):
        return True
    try:
        return (await dns.lookup(domain, "A")).status is not Status.NXDOMAIN
    except PortFailure as failure:
        return failure.cause


def _evidence(domain: str, applied: Applied, exists: bool | Cause) -> dict[str, Fact]:
    record = applied.record
    evidence: dict[str, Fact] = {
        "author_domain": domain,
        "record_domain": applied.domain,
        "testing": record.testing,
        "org_domain": applied.organisational_domain,
        "alignment_dkim": "strict" if record.strict_dkim else "relaxed",
        "alignment_spf": "strict" if record.strict_spf else "relaxed",
    }
    if not isinstance(exists, Cause):
        evidence["policy"], evidence["tag"] = applied.policy(domain, exists)
        evidence["published"] = applied.published(domain, exists)[0]
    return evidence
