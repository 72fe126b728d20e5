"""DNS as a port: one question, one answer; "there is none" is an answer, only "could not find out" raises.

Known gaps: TLSA and DNSSEC chains are not asked here (``ad`` is the validating resolver's word).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol


class Status(StrEnum):
    """How the question was answered."""

    OK = "ok"
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"


@dataclass(frozen=True, slots=True)
class Answer:
    """records, as text: A and AAAA the address, PTR and CNAME the name (lower case, no trailing dot), TXT the joined
    strings (octets as latin-1), MX ``"10 host.name"``. ttl: seconds for which the answer may be kept. authoritative:
    from the zone itself, so the TTL is the zone's; not every adapter tells."""

    status: Status
    records: tuple[str, ...] = ()
    ttl: int = 0
    ad: bool = False
    authoritative: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what became of it. status: that of the answer, or the word for why there was none (``Why``)."""

    name: str
    rtype: str
    status: str
    records: tuple[str, ...] = ()
    ttl: int = 0


class Resolver(Protocol):
    """Asks and caches. rtype: A, AAAA, TXT, MX, PTR or CNAME."""

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Resolve; CNAMEs are followed. name: A-labels, no trailing dot needed; a name that cannot exist (empty or
        long labels) is NXDOMAIN. Raises PortFailure('dns', timeout | protocol | refused)."""
        ...

    async def close(self) -> None:
        """End it; open questions are cancelled."""
        ...


async def txt(dns: Resolver, name: str) -> tuple[str, ...]:
    """All TXT records of a name, each with its strings joined; () when there is none."""
    return (await dns.lookup(name, "TXT")).records


async def addresses(dns: Resolver, name: str, family: int) -> frozenset[IPv4Address | IPv6Address]:
    """The addresses of a name in one family (4 or 6)."""
    answer = await dns.lookup(name, "A" if family == 4 else "AAAA")
    return frozenset(ip_address(record) for record in answer.records)


async def reverse_names(dns: Resolver, address: IPv4Address | IPv6Address) -> tuple[str, ...]:
    """The PTR names of an address, lower case, no trailing dot; () when there is none."""
    return (await dns.lookup(address.reverse_pointer, "PTR")).records
