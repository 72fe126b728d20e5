"""DMARC as RFC 7489 had it, with the public suffix list: what receivers that have not moved on would say. Pure.

For comparison only: a site that moves wants to see beforehand where the two ways differ. The list is the one that the
publicsuffixlist package carries; it is read once (some 40 ms: ``suffix_list`` belongs in a thread at first use).

Known gaps: ``pct`` is not drawn; the list is as old as the installed package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from publicsuffixlist import PublicSuffixList

from gateway.auth.dmarc_eval import Identifier
from gateway.auth.dmarc_record import Level
from gateway.auth.orgdomain import Records
from gateway.mail.finding import Cause, Outcome


@cache
def suffix_list() -> PublicSuffixList:
    """The list, read at the first call."""
    return PublicSuffixList()


def organisational_by_list(domain: str) -> str:
    """One label below the longest public suffix (RFC 7489 section 3.2); a public suffix itself stands for itself."""
    return suffix_list().privatesuffix(domain) or domain


@dataclass(frozen=True, slots=True)
class ByList:
    """What RFC 7489 says. record_domain and policy: '' where there is no record or nobody knows."""

    outcome: Outcome
    organisational_domain: str
    record_domain: str = ""
    policy: Level | str = ""


def evaluate_by_list(author_domain: str, identifiers: Sequence[Identifier], records: Records) -> ByList:
    """The author domain's record, else that of its organisational domain by the list (RFC 7489 section 6.6.3): p or sp,
    no np, no t, no record of a public suffix. ``records`` must hold both names."""
    organisation = organisational_by_list(author_domain)
    for name in dict.fromkeys((author_domain, organisation)):
        record = records.get(name)
        if isinstance(record, Cause):
            return ByList(Outcome.TEMPERROR, organisation)
        if record is None or record.broken:
            continue
        level = record.p if name == author_domain or record.sp is None else record.sp
        outcome = Outcome.FAIL
        for item in identifiers:
            strict = record.strict_spf if item.method == "spf" else record.strict_dkim
            if item.domain != author_domain and (strict or organisational_by_list(item.domain) != organisation):
                continue
            if item.cause is None:
                return ByList(Outcome.PASS, organisation, name, level)
            outcome = Outcome.TEMPERROR
        return ByList(outcome, organisation, name, level)
    return ByList(Outcome.NONE, organisation)
