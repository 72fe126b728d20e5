"""A resolver for questions about ourselves: any type (TLSA, CNAME, NS ...), with the resolver's word on DNSSEC (AD).

Slower than the hot path's and without a cache: what is asked is how things stand now. By dnspython.

Known gaps: the AD bit is believed as it comes, so the way to the resolver must be trusted (loopback, or our network); a
negative answer has no TTL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.nameserver
import dns.rdatatype
import dns.resolver

from gateway.adapters.dns_names import host, question
from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure

_PAYLOAD = 1232


def configure(resolver: Any, servers: Sequence[tuple[str, int]] | None, timeout: float, budget: float) -> None:
    """Set a dnspython resolver's servers (None: those it has), seconds for a try and seconds in all."""
    if servers is not None:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
    resolver.timeout = timeout
    resolver.lifetime = budget


class ValidatedResolver:
    """``ports.dns.Resolver`` for all types; those that it does not know come in the form of master files."""

    def __init__(self, servers: Sequence[tuple[str, int]] | None, timeout: float = 2.0, budget: float = 6.0) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=servers is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise ValueError(f"the system names no resolver: {error}") from error
        configure(self._resolver, servers, timeout, budget)
        self._resolver.use_edns(0, dns.flags.DO, _PAYLOAD)
        self._resolver.flags = dns.flags.RD | dns.flags.AD

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Ask. Raises PortFailure('dns', timeout | protocol); a bogus DNSSEC answer is such a failure too."""
        asked = question(name)
        if asked is None:
            return Answer(Status.NXDOMAIN)
        try:
            found = await self._resolver.resolve(f"{asked}.", rtype, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Answer(Status.NXDOMAIN)
        except dns.exception.Timeout as error:
            raise PortFailure("dns", Why.TIMEOUT, f"{asked} {rtype}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise PortFailure("dns", Why.PROTOCOL, f"{asked} {rtype}: {type(error).__name__}") from error
        ad = bool(found.response.flags & dns.flags.AD)
        own = bool(found.response.flags & dns.flags.AA)
        if found.rrset is None:
            return Answer(Status.NODATA, ad=ad, authoritative=own)
        records = tuple(_text(rdata) for rdata in found.rrset)
        return Answer(Status.OK, records, min(found.rrset.ttl, found.chaining_result.minimum_ttl), ad, own)

    async def close(self) -> None:
        """Nothing stays open."""


def _text(rdata: Any) -> str:
    match dns.rdatatype.to_text(rdata.rdtype):
        case "TXT":
            return b"".join(rdata.strings).decode("latin-1")
        case "MX":
            return f"{rdata.preference} {host(rdata.exchange.to_text())}"
        case "PTR" | "CNAME" | "NS":
            return host(rdata.target.to_text())
        case _:
            return str(rdata.to_text())
