"""dnspython's resolvers, set to the servers and times that we want.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import dns.asyncresolver
import dns.nameserver
import dns.resolver

R = TypeVar("R", dns.resolver.Resolver, dns.asyncresolver.Resolver)


def resolver_of(kind: type[R], servers: Sequence[tuple[str, int]] | None, timeout: float, budget: float) -> R:
    """A resolver of that kind for servers ``(address, port)``, None: the system's. timeout: seconds for a try; budget:
    seconds in all. Raises ValueError where the system names none."""
    try:
        resolver = kind(configure=servers is None)
    except dns.resolver.NoResolverConfiguration as error:
        raise ValueError(f"the system names no resolver: {error}") from error
    if servers is not None:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
    resolver.timeout = timeout
    resolver.lifetime = budget
    return resolver
