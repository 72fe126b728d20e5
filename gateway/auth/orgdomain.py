"""The organisational domain by RFC 9989's tree walk (section 4.10): no public suffix list.

In: a domain and what stands at the names of its walk, which are known beforehand and may be asked for at once. Out: the
organisational domain, or why it is unknown. At most eight names belong to a walk, however many labels a domain has.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.auth.dmarc_record import Record
from gateway.mail.finding import Cause

MAX_QUERIES = 8

Records = Mapping[str, Record | Cause | None]
"""By domain (without ``_dmarc.``): its record, None where there is none, or why nobody knows."""


def walk(domain: str) -> tuple[str, ...]:
    """The domains whose ``_dmarc`` records are asked for, the start first: all parents down to the top-level domain,
    or, with more than eight labels, the start and its last seven labels and their parents."""
    labels = domain.split(".")
    keep = len(labels) - 1 if len(labels) <= MAX_QUERIES else MAX_QUERIES - 1
    return (domain, *(".".join(labels[len(labels) - n :]) for n in range(keep, 0, -1)))


def organisational(domain: str, records: Records) -> str | Cause:
    """The organisational domain, or the cause why it is unknown. A failure behind the walk's end does not matter."""
    found: list[str] = []
    for name in walk(domain):
        record = records.get(name)
        if isinstance(record, Cause):
            return record
        if record is None or record.broken:
            continue
        if record.psd == "n" or (record.psd == "y" and name == domain):
            return name
        if record.psd == "y":
            return _one_label_below(name, domain)
        found.append(name)
    # the walk goes from many labels to few, so the last one found has the fewest
    return found[-1] if found else domain


def public_suffix(domain: str, records: Records) -> str | None:
    """The public suffix domain (psd=y) above the domain that ended its walk, or None."""
    for name in walk(domain):
        record = records.get(name)
        if isinstance(record, Cause):
            return None
        if record is None or record.broken:
            continue
        if record.psd == "n":
            return None
        if record.psd == "y":
            return name if name != domain else None
    return None


def _one_label_below(suffix: str, domain: str) -> str:
    below = domain.removesuffix("." + suffix).rsplit(".", 1)[-1]
    return f"{below}.{suffix}"
