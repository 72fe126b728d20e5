"""What nodes that should be alike differ in: policy, version, EHLO words, certificates. And a name that two share.

Known gaps: settings that show in none of these (routes, resolvers) are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.cluster.rollout import Generation

_SOON: Final = 7 * 86400.0
_TOLD: Final = 3.0


def odd_one(digests: Mapping[str, str], node: str, own: str) -> str:
    """Why this node is the odd one where no policy was pushed: more than half of all nodes agree on another one. ''
    where it is not, or where there is no such majority."""
    counted = Counter({**digests, node: own}.values())
    digest, number = counted.most_common(1)[0]
    if digest == own or number * 2 <= counted.total():
        return ""
    return f"{number} of {counted.total()} nodes have policy {digest[:8]}, this one {own[:8]}"


def served_elsewhere(nodes: Mapping[str, Mapping[str, Any]], node: str, digest: str) -> bool:
    """Whether another node that lives serves the cluster's policy, so that this one may send clients there. nodes:
    heartbeats by name. digest: of that policy; '' where it is not known."""
    return any(
        name != node and not said.get("odd") and not said.get("draining") and digest in ("", said.get("policy"))
        for name, said in nodes.items()
    )


def usual(values: Sequence[str]) -> str:
    """The most frequent; of equally frequent ones the first in order."""
    counted = Counter(values)
    return min(counted, key=lambda value: (-counted[value], value), default="")


def drifts(nodes: Mapping[str, Mapping[str, Any]], current: Generation, now: float) -> list[str]:
    """One line for each difference that an operator should end. nodes: heartbeats by name. now: the board's clock."""
    found: list[str] = []
    most = usual([str(said["policy"]) for said in nodes.values()])
    expected = current.digest if current.digest and now > current.at else most
    for name, said in nodes.items():
        if current.at <= now < current.at + _TOLD:
            break  # heartbeats tell of the switch a little later
        if said["policy"] != expected:
            found.append(f"{name} runs another policy ({said['policy'][:8]}, generation {said.get('generation', 0)})")
        elif said.get("odd"):
            found.append(f"{name}: {said['odd']}")
    found += [
        f"{name}: two nodes go by this name and are seen as one; give each its own `node`"
        for name, said in nodes.items()
        if said.get("twin")
    ]
    for key, words in (("version", "another version"), ("ehlo", "other EHLO words")):
        most = usual([str(said.get(key, "")) for said in nodes.values()])
        found += [f"{name} has {words} ({_shown(said.get(key))})" for name, said in nodes.items()
                  if str(said.get(key, "")) != most]  # fmt: skip
    return found + _certificates(nodes, now)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _certificates(nodes: Mapping[str, Mapping[str, Any]], now: float) -> list[str]:
    """Each node may have its own; those for the same names must be one and the same, and none may be at its end."""
    found: list[str] = []
    prints: dict[tuple[str, str], dict[str, str]] = {}
    for node, said in nodes.items():
        for one in said.get("certificates", ()):
            prints.setdefault((" ".join(one["names"]), one["kind"]), {})[node] = one["sha256"]
            if (left := one["not_after"] - now) < _SOON:
                ends = f"ends in {left / 86400:.1f} days" if left > 0 else "has expired"
                found.append(f"{node}: its certificate for {' '.join(one['names'])} ({one['kind']}) {ends}")
    for (names, kind), by_node in prints.items():
        most = usual(list(by_node.values()))
        found += [f"{node} shows another certificate for {names} ({kind})" for node, seen in by_node.items()
                  if seen != most]  # fmt: skip
    return found
