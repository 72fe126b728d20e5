"""The organisational domain by RFC 9989's tree walk (section 4.10): no public suffix list.

In: a domain and what stands at the names of its walk. Out: the organisational domain, or the names still needed. At
most eight names are asked for a domain, however many labels it has.

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


def needed(domain: str, records: Records) -> str | None:
    """The next domain of the walk that must be asked for, or None when the walk is over."""
    for name in walk(domain):
        if name not in records:
            return name
        record = records[name]
        if isinstance(record, Cause) or (record is not None and _ends(record, name, domain)):
            return None
    return None


def organisational(domain: str, records: Records) -> str | Cause:
    """The organisational domain, or the cause why it is unknown. ``needed`` must have said None before."""
    found: list[str] = []
    for name in walk(domain):
        record = records.get(name)
        if isinstance(record, Cause):
            return record
        if record is None:
            continue
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            return _one_label_below(name, domain)
        found.append(name)
    # the walk goes from many labels to few, so the last one found has the fewest
    return found[-1] if found else domain


def public_suffix(domain: str, records: Records) -> str | None:
    """The public suffix domain (psd=y) that ended the walk, or None."""
    for name in walk(domain):
        record = records.get(name)
        if isinstance(record, Cause):
            return None
        if record is not None and record.psd == "n":
            return None
        if record is not None and record.psd == "y" and name != domain:
            return name
    return None


def _ends(record: Record, name: str, start: str) -> bool:
    return record.psd == "n" or (record.psd == "y" and name != start)


def _one_label_below(suffix: str, domain: str) -> str:
    below = domain.removesuffix("." + suffix).rsplit(".", 1)[-1]
    return f"{below}.{suffix}"
