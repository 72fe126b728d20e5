"""A resolver for questions about ourselves: any type (TLSA, CNAME, NS ...), with the resolver's word on DNSSEC (AD).

Slower than the hot path's and without a cache: what is asked is how things stand now. By dnspython.

Known gaps: the AD bit is believed as it comes, so the way to the resolver must be trusted (loopback, or our network); a
negative answer has no TTL.
"""

from __future__ import annotations

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.resolver

from gateway.adapters.dns_names import question, rdata_text
from gateway.adapters.dns_servers import resolver_of
from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure

_PAYLOAD = 1232


class ValidatedResolver:
    """``ports.dns.Resolver`` for all types; those that it does not know come in the form of master files."""

    def __init__(self, servers: Sequence[tuple[str, int]] | None, timeout: float = 2.0, budget: float = 6.0) -> None:
        self._resolver = resolver_of(dns.asyncresolver.Resolver, servers, timeout, budget)
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
        records = tuple(rdata_text(rdata, rtype) for rdata in found.rrset)
        return Answer(Status.OK, records, min(found.rrset.ttl, found.chaining_result.minimum_ttl), ad, own)

    async def close(self) -> None:
        """Nothing stays open."""
