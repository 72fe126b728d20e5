"""DMARC (RFC 9989): is the author domain authenticated, and what does its owner ask for otherwise?

Reads the findings of spf and dkim and the content's From; asks DNS for the records of all tree walks at the same time.

Known gaps: no reports are sent (RFC 9990).
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.auth.author import author
from gateway.auth.dkim_verify import read_signatures
from gateway.auth.dmarc_eval import Applied, Identifier, align, discover, related
from gateway.auth.dmarc_record import Record, choose_record
from gateway.auth.orgdomain import walk
from gateway.checks.dkim import keys
from gateway.mail.address import AddressError, Mailbox, parse_domain
from gateway.mail.finding import Cause, DkimFinding, Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver, Status
from gateway.ports.failure import PortFailure

_UNTOLD = Cause("dns", Why.BUDGET, "no cause was given")
_MOST_UNKNOWN = 8


async def dmarc(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:  # noqa: ARG001
    """pass, fail, none, permerror (not exactly one author domain) or temperror.

    Evidence: author_domain, policy (none, quarantine or reject: what is asked for, t=y applied; absent while unknown),
    published (p= as it stands), tag (p, sp or np), record_domain, org_domain, aligned (methods that pass and are
    aligned), alignment_dkim and alignment_spf (strict or relaxed).
    """
    if tx.message is None:
        return None
    found = author(tx.message)
    domain = found.domain
    if not domain:
        reason = "several-author-domains" if len(found.domains) > 1 else "no-author-domain"
        return Finding("dmarc", Outcome.PERMERROR, reason, {"author_domains": found.domains, "policy": "none"})
    identifiers = _identifiers(tx)
    relatives = [identifier.domain for identifier in identifiers if related(domain, identifier.domain)]
    records = await _records(ports.dns, [domain, *relatives])
    applied = discover(domain, records)
    if applied is None:
        evidence: dict[str, Fact] = {"author_domain": domain, "policy": "none", "aligned": ()}
        return Finding("dmarc", Outcome.NONE, "no-record", evidence)
    if isinstance(applied, Cause):
        return Finding.unknown("dmarc", applied, {"author_domain": domain})
    alignment = align(domain, applied.record, identifiers, records)
    exists = await _exists(ports.dns, domain) if applied.existence_matters(domain) else True
    evidence = {**_evidence(domain, applied, exists), "aligned": alignment.aligned}
    if alignment.aligned:
        return Finding("dmarc", Outcome.PASS, "aligned", evidence)
    if alignment.cause:
        return Finding.unknown("dmarc", alignment.cause, evidence)
    if isinstance(exists, Cause):
        return Finding.unknown("dmarc", exists, evidence)
    return Finding("dmarc", Outcome.FAIL, "not-aligned", evidence)


def _identifiers(tx: Transaction) -> list[Identifier]:
    """What passed or may have passed: the MAIL FROM identity of SPF and each d= of DKIM."""
    found: list[Identifier] = []
    spf, domain = tx.findings.get("spf"), _spf_domain(tx)
    if spf and domain and spf.outcome in (Outcome.PASS, Outcome.TEMPERROR):
        found.append(Identifier("spf", domain, spf.cause))
    dkim = tx.findings.get("dkim")
    if isinstance(dkim, DkimFinding):
        for signature in dkim.signatures:
            if signature.domain and signature.outcome is Outcome.PASS:
                found.append(Identifier("dkim", signature.domain))
            elif signature.domain and signature.outcome is Outcome.TEMPERROR:
                found.append(Identifier("dkim", signature.domain, dkim.cause or _UNTOLD))
    elif dkim and dkim.cause and tx.message:
        # the whole check is unknown (budget, crash): whatever the signatures name might have passed, nothing else
        domains = dict.fromkeys(item.domain for item in read_signatures(tx.message) if not item.fault)
        found += [Identifier("dkim", domain, dkim.cause) for domain in list(domains)[:_MOST_UNKNOWN]]
    return found


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
    names = dict.fromkeys(name for domain in domains for name in walk(domain))
    answers = await keys(dns, (f"_dmarc.{name}" for name in names))
    records: dict[str, Record | Cause | None] = {}
    for name in names:
        answer = answers[f"_dmarc.{name}"]
        records[name] = answer if isinstance(answer, Cause) else choose_record(answer)
    return records


async def _exists(dns: Resolver, domain: str) -> bool | Cause:
    """RFC 9989 section 3.2.13: a domain does not exist when DNS says NXDOMAIN, of whatever type was asked."""
    try:
        return (await dns.lookup(domain, "A")).status is not Status.NXDOMAIN
    except PortFailure as failure:
        return failure.cause


def _evidence(domain: str, applied: Applied, exists: bool | Cause) -> dict[str, Fact]:
    record = applied.record
    evidence: dict[str, Fact] = {
        "author_domain": domain,
        "published": record.raw_p,
        "record_domain": applied.domain,
        "org_domain": applied.organisational_domain,
        "alignment_dkim": "strict" if record.strict_dkim else "relaxed",
        "alignment_spf": "strict" if record.strict_spf else "relaxed",
    }
    if not isinstance(exists, Cause):
        evidence["policy"], evidence["tag"] = applied.policy(domain, exists)
    return evidence
