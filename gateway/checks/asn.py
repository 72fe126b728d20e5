"""The client's origin: which AS announces its address, asked of a DNS zone that holds routing data.

The zone answers in TXT as Team Cymru's does: ``23028 | 216.90.108.0/24 | US | arin | 1998-09-25``; blanks or none,
several AS numbers with blanks between, what follows the prefix may be missing. Of several records the longest prefix
counts.

Evidence: asn (numbers), prefix, country (of registration, not where the machine stands). Reasons: origin, no-origin,
not-asked (addresses that are nobody's on the Internet, and families without a zone). No zone named: no finding at all.

An answer that is not of this form is unknown as a whole, for nobody can say what its other records are worth.

Known gaps: the AS path is not known, only its end; AS sets in braces are not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from gateway.mail.finding import Cause, Fact, Finding, Outcome, Why
from gateway.mail.transaction import Address, Transaction
from gateway.policy.settings import AsnSettings, CheckSettings
from gateway.ports import Ports
from gateway.ports.dns import txt

MAX_RECORDS: Final = 16
MAX_RECORD_OCTETS: Final = 512
MAX_NUMBERS: Final = 32
_NUMBERS = re.compile(r"[0-9]{1,10}(?: +[0-9]{1,10})*")
_PREFIX = re.compile(r"[0-9A-Fa-f.:]{2,39}/[0-9]{1,3}")
_COUNTRY = re.compile(r"[A-Za-z]{2}|")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who announces a prefix. numbers: AS numbers without ``AS``. country: ISO 3166 code in upper case, or ''."""

    numbers: tuple[str, ...]
    prefix: IPv4Network | IPv6Network
    country: str = ""


async def asn(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """One question. Raises PortFailure for a DNS that cannot tell."""
    assert isinstance(settings, AsnSettings)
    if not settings.asks:
        return None
    client = tx.connection.client_ip
    zone = settings.ipv4_zone if client.version == 4 else settings.ipv6_zone
    if not zone or not client.is_global:
        return Finding("asn", Outcome.NONE, "not-asked")
    reverse = client.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    records = await txt(ports.dns, f"{reverse}.{zone}")
    if not records:
        return Finding("asn", Outcome.NONE, "no-origin")
    try:
        origins = origins_of(records, client)
    except ValueError as error:
        return Finding.unknown("asn", Cause("dns", Why.PROTOCOL, f"{zone}: {error}"))
    countries = dict.fromkeys(origin.country for origin in origins if origin.country)
    numbers = dict.fromkeys(number for origin in origins for number in origin.numbers)
    evidence: dict[str, Fact] = {"asn": tuple(numbers), "prefix": str(origins[0].prefix), "country": tuple(countries)}
    return Finding("asn", Outcome.NONE, "origin", evidence)


def origins_of(records: Sequence[str], client: Address) -> list[Origin]:
    """Those of the longest prefix. Raises ValueError where one record cannot be read or is not about the client; its
    text holds nothing of the record."""
    if len(records) > MAX_RECORDS:
        raise ValueError("too many records")
    origins = [parse_origin(record) for record in records]
    if any(client not in origin.prefix for origin in origins):
        raise ValueError("a prefix without the client's address")
    longest = max(origin.prefix.prefixlen for origin in origins)
    chosen = [origin for origin in origins if origin.prefix.prefixlen == longest]
    if sum(len(origin.numbers) for origin in chosen) > MAX_NUMBERS:
        raise ValueError("too many AS numbers")
    return chosen


def parse_origin(record: str) -> Origin:
    """Read one TXT record. Raises ValueError."""
    if len(record) > MAX_RECORD_OCTETS:
        raise ValueError("a record too long")
    numbers, prefix, country, *_ = [field.strip(" ") for field in record.split("|")] + ["", "", ""]
    found = [int(number) for number in numbers.split()] if _NUMBERS.fullmatch(numbers) else []
    if not found or max(found) >= 2**32:
        raise ValueError("a record without AS numbers")
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("a record without a prefix")
    if not _COUNTRY.fullmatch(country):
        raise ValueError("a record with an odd country")
    try:
        network = ip_network(prefix, strict=False)
    except ValueError as error:
        raise ValueError("a record without a prefix") from error
    return Origin(tuple(map(str, found)), network, country.upper())
