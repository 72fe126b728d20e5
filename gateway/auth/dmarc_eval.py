"""DMARC's two questions, answered from what is known (RFC 9989 sections 4.4, 4.10 and 5.3). Pure.

``discover``: which record applies to the author domain, and what does it ask for? ``align``: which authenticated
identifiers are aligned with the author domain, and which might be if we knew more? An identifier that is unknown counts
only where it could be aligned, and only names inside the author's organisational domain are walked: the failure or the
silence of a stranger's name server never lifts a fail.

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

    def published(self, author_domain: str, exists: bool) -> tuple[Level, str]:
        """What is asked for as it stands in the record, and the tag it was taken from (p, sp or np)."""
        record = self.record
        if self.domain == author_domain:
            return record.p, "p"
        if not exists and record.np is not None:
            return record.np, "np"
        return self._subdomains, "p" if record.sp is None else "sp"

    def policy(self, author_domain: str, exists: bool) -> tuple[Level, str]:
        """What is asked for, after t=y has lowered it by one, and the tag it was taken from."""
        level, tag = self.published(author_domain, exists)
        return (LEVELS[max(0, LEVELS.index(level) - 1)] if self.record.testing else level), tag

    @property
    def _subdomains(self) -> Level:
        return self.record.p if self.record.sp is None else self.record.sp


def discover(author_domain: str, records: Records) -> Applied | Cause | None:
    """The record that applies (section 4.10.1): the author domain's own, else its organisational domain's, else its
    public suffix domain's, broken or not; None when there is none, the cause when nobody knows."""
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
        same = _same(author_domain, identifier.domain, _strict(record, identifier), records)
        if same is True and identifier.cause is None:
            aligned.append(identifier.method)
        elif same is not False:
            cause = cause or identifier.cause or (same if isinstance(same, Cause) else None)
    methods = tuple(method for method in ("spf", "dkim") if method in aligned)
    return Alignment(methods, None if methods else cause)


def to_walk(author_domain: str, applied: Applied, identifiers: Sequence[Identifier]) -> tuple[str, ...]:
    """Domains of identifiers whose own tree walk decides whether they are aligned: relaxed, another name, and inside
    the author's organisational domain. All others are aligned or not, whatever their records say."""
    within = applied.organisational_domain
    return tuple(
        dict.fromkeys(
            item.domain
            for item in identifiers
            if within and item.domain != author_domain and not _strict(applied.record, item)
            if _is_in(item.domain, within)
        )
    )


def _strict(record: Record, identifier: Identifier) -> bool:
    return record.strict_spf if identifier.method == "spf" else record.strict_dkim


def _is_in(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith("." + parent)


def _same(author_domain: str, domain: str, strict: bool, records: Records) -> bool | Cause:
    if domain == author_domain:
        return True
    # an organisational domain is a parent of both, so they share at least the last label
    if strict or author_domain.rpartition(".")[2] != domain.rpartition(".")[2]:
        return False
    ours = organisational(author_domain, records)
    if isinstance(ours, Cause):
        return ours
    if not _is_in(domain, ours):
        return False
    theirs = organisational(domain, records)
    return theirs if isinstance(theirs, Cause) else ours == theirs
