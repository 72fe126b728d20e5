"""Who is here, and what to go by while the store is out: this process's own part of what all nodes share.

Both answer at once.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from gateway.ports.store import Counter


@dataclass(frozen=True, slots=True)
class Held:
    """Sessions that this process serves now. by: client or network; whom: its address."""

    by: str
    whom: str
    counter: Counter


class Presence(Protocol):
    """The sessions of this process."""

    def held(self, client: IPv4Address | IPv6Address, lease: float) -> Sequence[Held]:
        """Those of the client and of its network, to be said to the store for ``lease`` seconds; () where it has none.
        Renewed and given back without the caller's doing."""
        ...


class Limiter(Protocol):
    """Counts for this process alone."""

    def count(self, counters: Sequence[Counter], limits: Sequence[float]) -> tuple[float, ...]:
        """As ``Store.count``; limits: of each counter for the whole cluster (0: none), against which the answers can be
        held."""
        ...


class Alone:
    """No sessions are counted."""

    def held(self, client: IPv4Address | IPv6Address, lease: float) -> Sequence[Held]:  # noqa: ARG002
        """()."""
        return ()
