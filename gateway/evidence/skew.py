"""Why one node has more mail than another: who sends it, and to which node each comes. Pure.

Senders choose among MX hosts and addresses. One that sends much and holds on to one address (a cached answer, an open
session, the only family that it speaks) is the usual cause; then its line stands on one node.

Known gaps: the TTL that a sender's resolver keeps is not to be seen from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Final, Literal

By = Literal["domain", "network"]
LEAST: Final = 10
"""Of fewer messages a party that comes to one node only says nothing."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who sends (a reverse-path's domain or a client's network), how much, and how much of it each node got."""

    name: str
    count: int
    nodes: Mapping[str, int]

    @property
    def one_node(self) -> bool:
        """Whether much of it comes, and always to the same node."""
        return self.count >= LEAST and len(self.nodes) == 1


@dataclass(frozen=True, slots=True)
class Skew:
    """nodes: messages by node, most first. parties: most first."""

    total: int
    nodes: Mapping[str, int]
    parties: Sequence[Party]


def skew_of(records: Iterable[Mapping[str, Any]], by: By = "domain") -> Skew:
    """Of decision records: each transaction counts once."""
    nodes: Counter[str] = Counter()
    parties: dict[str, Counter[str]] = {}
    for record in records:
        if record.get("event") != "transaction":
            continue
        node = str(record.get("node", ""))
        nodes[node] += 1
        parties.setdefault(_party(record, by), Counter())[node] += 1
    found = [Party(name, counted.total(), dict(counted.most_common())) for name, counted in parties.items()]
    found.sort(key=lambda party: (-party.count, party.name))
    return Skew(nodes.total(), dict(nodes.most_common()), found)


def _party(record: Mapping[str, Any], by: By) -> str:
    if by == "domain":
        path = str(record.get("from", ""))
        return path.rpartition("@")[2].lower() if path else "<>"
    try:
        address = ip_address(str(record.get("client_ip", "")))
    except ValueError:
        return "-"
    return str(ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))
