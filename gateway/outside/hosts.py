"""The MX hosts of a domain with all that DNS says of each: aliases, addresses, TTLs, TLSA records.

In: a resolver port that knows every type. Raises PortFailure where DNS does not answer.

Known gaps: an MX host that is an alias is asked under its own name; where that leads to other
TLSA names is not followed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.outside.tlsa import Tlsa, owner, read
from gateway.ports.dns import Answer, Resolver, Status
from gateway.ports.failure import PortFailure


@dataclass(frozen=True, slots=True)
class MxHost:
    """addresses: IPv4 first. ttls: (type, seconds), what is left of them unless ``authoritative``. secure: all answers
    were validated by the resolver (AD). tlsa_failure: why DNS gave no answer for TLSA, which makes senders with DANE
    wait."""

    name: str
    preference: int
    addresses: tuple[str, ...]
    alias: str = ""
    ttls: tuple[tuple[str, int], ...] = ()
    secure: bool = False
    tlsa: tuple[Tlsa, ...] = ()
    tlsa_secure: bool = False
    tlsa_ttl: int = 0
    tlsa_failure: str = ""
    authoritative: bool = False

    @property
    def families(self) -> frozenset[int]:
        """Of its addresses: 4, 6."""
        return frozenset(ip_address(one).version for one in self.addresses)


@dataclass(frozen=True, slots=True)
class MxSet:
    """hosts: lowest preference first. implicit: the domain has no MX, so it is its own host (RFC 5321 section 5.1).
    null: it takes no mail (RFC 7505)."""

    domain: str
    hosts: tuple[MxHost, ...]
    ttl: int = 0
    secure: bool = False
    implicit: bool = False
    null: bool = False
    exists: bool = True
    authoritative: bool = False


async def mx_set(dns: Resolver, domain: str) -> MxSet:
    """Ask for everything. A domain without MX gives itself; an IP address too. Raises PortFailure."""
    try:
        return MxSet(domain, (MxHost(domain, 0, (str(ip_address(domain)),)),), implicit=True)
    except ValueError:
        pass
    answer = await dns.lookup(domain, "MX")
    if not answer.records:
        host = await host_of(dns, domain, 0)
        return MxSet(domain, (host,), implicit=True, secure=answer.ad, exists=answer.status is not Status.NXDOMAIN)
    rows = sorted((int(number), name) for number, _, name in (record.partition(" ") for record in answer.records))
    null = any(name == "." for _, name in rows)
    hosts = await asyncio.gather(*(host_of(dns, name, number) for number, name in rows if name != "."))
    return MxSet(domain, tuple(hosts), answer.ttl, answer.ad, null=null, authoritative=answer.authoritative)


async def host_of(dns: Resolver, name: str, preference: int) -> MxHost:
    """Everything about one host. Raises PortFailure."""
    alias, four, six = await asyncio.gather(*(dns.lookup(name, rtype) for rtype in ("CNAME", "A", "AAAA")))
    tlsa, failure = Answer(Status.NODATA), ""
    try:
        tlsa = await dns.lookup(owner(name), "TLSA")
    except PortFailure as failed:
        failure = failed.cause.detail
    there: list[tuple[str, Answer]] = [(rtype, one) for rtype, one in (("A", four), ("AAAA", six)) if one.records]
    return MxHost(
        name,
        preference,
        tuple(sorted(four.records) + sorted(six.records)),
        alias.records[0] if alias.records else "",
        tuple((rtype, one.ttl) for rtype, one in there),
        bool(there) and all(one.ad for _, one in there),
        read(tlsa.records),
        tlsa.ad,
        tlsa.ttl,
        failure,
        all(one.authoritative for _, one in there),
    )
