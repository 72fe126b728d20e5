"""Questions for names that c-ares will not send: any octet may stand in a label (RFC 2181 section 11), and SPF macros
(``%_``, quoted local parts) put blanks, colons and the like into names. By dnspython; rare, so its cost does not count.

Known gaps: a dot inside a label cannot be asked for; no single server is preferred while another is down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from gateway.adapters.dns_names import rdata_text
from gateway.adapters.dns_servers import resolver_of
from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure

_PLAIN = re.compile(r"[A-Za-z0-9._*/-]+")
"""What c-ares takes for a name."""


def is_odd(name: str) -> bool:
    """True where c-ares would refuse to ask for that name."""
    return not _PLAIN.fullmatch(name)


class OddNameResolver:
    """Asks servers ``(address, port)``, or those of the system where None. budget: seconds a question in all. Raises
    ValueError where the system names none."""

    def __init__(self, servers: Sequence[tuple[str, int]] | None, timeout: float, budget: float) -> None:
        self._resolver = resolver_of(dns.asyncresolver.Resolver, servers, timeout, budget)

    async def lookup(self, name: str, rtype: str) -> Answer:
        """As ``ports.dns.Resolver.lookup``; name: lower case, without a trailing dot."""
        labels = [label.encode("latin-1") for label in name.split(".")]
        try:
            found = await self._resolver.resolve(dns.name.Name([*labels, b""]), rtype, search=False)
        except dns.resolver.NXDOMAIN:
            return Answer(Status.NXDOMAIN)
        except dns.resolver.NoAnswer:
            return Answer(Status.NODATA)
        except dns.exception.Timeout as error:
            raise PortFailure("dns", Why.TIMEOUT, f"{name} {rtype}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise PortFailure("dns", Why.PROTOCOL, f"{name} {rtype}: {type(error).__name__}") from error
        ttl = found.chaining_result.minimum_ttl
        return Answer(Status.OK, tuple(rdata_text(rdata, rtype) for rdata in found), ttl)
