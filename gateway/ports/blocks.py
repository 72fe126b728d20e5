"""Emergency blocks as a port: what operators have shut out for a while, on all nodes.

It answers at once from what this process was told last; nothing is asked on the way.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Block:
    """One block. what: ``192.0.2.0/24``, ``bad.example`` (and all below it) or ``user@bad.example``. since and until:
    seconds since 1970 by the cluster's clock. reason and by are for operators only."""

    what: str
    until: float
    since: float = 0.0
    reason: str = ""
    by: str = ""


class Blocks(Protocol):
    """The blocks in force."""

    def of_client(self, client: IPv4Address | IPv6Address) -> Block | None:
        """The narrowest one that holds the client's address, or None."""
        ...

    def of_names(self, domains: Sequence[str], addresses: Sequence[str] = ()) -> Block | None:
        """The first one that holds an address (``user@domain``) or a domain, or one above it, or None."""
        ...


class NoBlocks:
    """Nothing is blocked."""

    def of_client(self, client: IPv4Address | IPv6Address) -> Block | None:  # noqa: ARG002
        """None."""
        return None

    def of_names(self, domains: Sequence[str], addresses: Sequence[str] = ()) -> Block | None:  # noqa: ARG002
        """None."""
        return None
