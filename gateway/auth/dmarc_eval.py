"""DMARC's two questions, answered from what is known (RFC 9989 sections 4.4, 4.10 and 5.3). Pure.

``discover``: which record applies to the author domain, and what does it ask for? ``align``: which authenticated
identifiers are aligned with the author domain, and which might be if we knew more? An identifier that is unknown counts
only where it could be aligned: the failure of a stranger's name server never lifts a fail.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.auth.dmarc_record import LEVELS, Level, Record
from gateway.auth.orgdomain import Records, organisational, public_suffix
from gateway.mail.finding import Cause


@dataclass(frozen=True, slots=True)
class Identifier:
    """An authenticated identifier: method 'spf' or 'dkim', its domain, and why it is unknown (None: it passed)."""

    method: str
    domain: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The record that applies, where it stands, and the organisational domain of the author ('' while unknown)."""

    record: Record
    domain: str
    organisational_domain: str = ""

    def existence_matters(self, author_domain: str) -> bool:
        """Must we know whether the author domain exists to say what is asked for?"""
        return self.domain != author_domain and self.record.np is not None and self.record.np != self._subdomains

    def policy(self, author_domain: str, exists: bool) -> tuple[Level, str]:
        """What is asked for, after t=y has lowered it by one, and the tag it was taken from (p, sp or np)."""
        record = self.record
        if self.domain == author_domain:
            level, tag = record.p, "p"
        elif not exists and record.np is not None:
            level, tag = record.np, "np"
        else:
            level, tag = self._subdomains, "p" if record.sp is None else "sp"
        return (LEVELS[max(0, LEVELS.index(level) - 1)] if record.testing else level), tag

    @property
    def _subdomains(self) -> Level:
        return self.record.p if self.record.sp is None else self.record.sp


def discover(author_domain: str, records: Records) -> Applied | Cause | None:
    """The record that applies (section 4.10.1): the author domain's own, else its organisational domain's, else its
    public suffix domain's; None when there is none, the cause when nobody knows."""
    own = records[author_domain]
    if isinstance(own, Cause):
        return own
    organisation = organisational(author_domain, records)
    if own is not None:
        return Applied(own, author_domain, "" if isinstance(organisation, Cause) else organisation)
    if isinstance(organisation, Cause):
        return organisation
    for name in (organisation, public_suffix(author_domain, records)):
        record = records.get(name) if name else None
        if isinstance(record, Record) and name:
            return Applied(record, name, organisation)
    return None


@dataclass(frozen=True, slots=True)
class Alignment:
    """aligned: methods with an aligned pass, 'spf' first. cause: why the answer might yet be a pass, where no method is
    aligned; None when nothing that is unknown could change it."""

    aligned: tuple[str, ...] = ()
    cause: Cause | None = None


def align(author_domain: str, record: Record, identifiers: Sequence[Identifier], records: Records) -> Alignment:
    """Compare each identifier with the author domain, strict or relaxed as the record says (section 4.4)."""
    aligned: list[str] = []
    cause: Cause | None = None
    for identifier in identifiers:
        strict = record.strict_spf if identifier.method == "spf" else record.strict_dkim
        same = _same(author_domain, identifier.domain, strict, records)
        if same is True and identifier.cause is None:
            aligned.append(identifier.method)
        elif same is not False:
            cause = cause or identifier.cause or (same if isinstance(same, Cause) else None)
    methods = tuple(method for method in ("spf", "dkim") if method in aligned)
    return Alignment(methods, None if methods else cause)


def related(author_domain: str, domain: str) -> bool:
    """Could they have one organisational domain at all? It is a parent of both, so they share the last label."""
    return author_domain.rpartition(".")[2] == domain.rpartition(".")[2]


def _same(author_domain: str, domain: str, strict: bool, records: Records) -> bool | Cause:
    if domain == author_domain:
        return True
    if strict or not related(author_domain, domain):
        return False
    ours, theirs = organisational(author_domain, records), organisational(domain, records)
    if isinstance(ours, Cause):
        return ours
    return theirs if isinstance(theirs, Cause) else ours == theirs
