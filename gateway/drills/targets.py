"""Where a sender finds the cluster: the MX of a domain (RFC 5321 section 5.1), or the places that were given.

Known gaps: a domain without MX has no implicit one here; places that are given are all of one preference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ports.dns import Resolver, addresses


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host."""

    preference: int
    host: str
    address: str
    port: int

    @property
    def place(self) -> str:
        """For people."""
        bare = f"[{self.address}]" if ":" in self.address else self.address
        return f"{bare}:{self.port}" if self.host == self.address else f"{self.host} {bare}:{self.port}"


async def by_mx(dns: Resolver, domain: str, families: Sequence[int] = (4, 6)) -> tuple[Target, ...]:
    """All addresses of all MX of a domain. families: 4, 6. Raises PortFailure."""
    found: list[Target] = []
    for record in (await dns.lookup(domain, "MX")).records:
        preference, _, host = record.partition(" ")
        for family in families:
            found += [Target(int(preference), host, str(address), 25) for address in await addresses(dns, host, family)]
    return tuple(sorted(found, key=lambda target: (target.preference, target.host, target.address)))


def in_order(targets: Sequence[Target]) -> list[Target]:
    """For one attempt: by preference; those of one preference are shuffled, as senders do."""
    shuffled = random.sample(list(targets), len(targets))
    return sorted(shuffled, key=lambda target: target.preference)
