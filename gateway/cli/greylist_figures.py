"""What ``mxgw greylist stats`` makes of counts and of logs.

Known gaps: quantiles of the delay are the upper ends of their classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import show_columns

if TYPE_CHECKING:
    from gateway.cluster.greylist import Hour

_ENOUGH = 200
_HARM = 0.95


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts by outcome, of all nodes and by node; delays by class; keys that were first on two nodes."""

    counts: Counter[str]
    nodes: Mapping[str, Counter[str]]
    delays: Sequence[int]
    not_shared: int

    @classmethod
    def of(cls, hours: Iterable[Hour]) -> Figures:
        """The sum of hours."""
        counts: Counter[str] = Counter()
        nodes: dict[str, Counter[str]] = {}
        delays: list[int] = []
        not_shared = 0
        for hour in hours:
            counts.update(hour.counts)
            nodes.setdefault(hour.node, Counter()).update(hour.counts)
            delays = [a + b for a, b in zip(delays, hour.delays, strict=True)] if delays else list(hour.delays)
            not_shared += hour.not_shared
        return cls(counts, nodes, delays, not_shared)

    @property
    def ratio(self) -> float | None:
        """Passed of first: None where nothing was first."""
        first = self.counts["first"] + self.counts["expired"]
        return self.counts["passed"] / first if first else None

    def delay(self, share: float) -> float | None:
        """Seconds that this share of those who passed did not exceed; None: nobody passed; inf: above all classes."""
        from gateway.ports.greylist import DELAYS

        total, seen = sum(self.delays), 0
        for end, number in zip((*DELAYS, float("inf")), self.delays, strict=False):
            seen += number
            if total and seen >= share * total:
                return end
        return None

    @property
    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = []
        if self.not_shared:
            found.append(f"{self.not_shared} first attempts were first on another node too: the state is not shared")
        if self.counts["first"] >= _ENOUGH and self.ratio == 0:
            found.append("nobody has come back: senders' pools are not recognised, or the state is lost")
        if self.counts["first"] >= _ENOUGH and (self.ratio or 0) > _HARM:
            found.append("almost everybody comes back: greylisting only delays")
        if self.counts["skipped_store"]:
            found.append(f"{self.counts['skipped_store']} attempts were not judged, since the store was out")
        return found

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        delays = {"p50": self.delay(0.5), "p95": self.delay(0.95)}
        return {
            "counts": dict(sorted(self.counts.items())),
            "nodes": {node: dict(sorted(counts.items())) for node, counts in sorted(self.nodes.items())},
            "passed_of_first": self.ratio,
            "delay": {name: "more than a day" if end == float("inf") else end for name, end in delays.items()},
            "first_on_two_nodes": self.not_shared,
            "warnings": self.warnings,
        }

    def show(self) -> None:
        """For people."""
        states = sorted(self.counts)
        nodes = sorted(self.nodes)
        rows = [(state, str(self.counts[state]), *(str(self.nodes[n][state]) for n in nodes)) for state in states]
        show_columns([("OUTCOME", "ALL", *nodes), *rows])
        if self.ratio is not None:
            print(f"passed of first: {self.ratio:.0%} (5 to 30 % is usual)")
        if self.counts["passed"]:
            half, most = self.delay(0.5), self.delay(0.95)
            print(f"real delay: half at most {_words(half)}, 95 % at most {_words(most)}")
        for warning in self.warnings:
            print(f"look at this: {warning}")


def _words(end: float | None) -> str:
    return "more than a day" if end is None or end == float("inf") else f"{end:.0f} s"


def firsts_twice(logs: Iterable[Path], window: float) -> list[dict[str, Any]]:
    """Keys that were first on two nodes within ``window`` seconds, without having passed in between, by the decision
    records in these logs. Raises OSError."""
    attempts: dict[str, list[tuple[float, str, str]]] = {}
    for path in logs:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if attempt := _attempt(line):
                    attempts.setdefault(attempt[0], []).append(attempt[1:])
    twice = []
    for key, seen in attempts.items():
        before: tuple[float, str] | None = None
        for at, state, node in sorted(seen):
            if state == "first" and before and before[1] != node and at - before[0] < window:
                twice.append({"key": key, "nodes": [before[1], node], "times": [before[0], at]})
            if state != "early":
                before = (at, node) if state == "first" else None
    return twice


def _attempt(line: str) -> tuple[str, float, str, str] | None:
    if '"greylist"' not in line:
        return None
    try:
        record = json.loads(line)
        found = record["findings"]["greylist"]
        at = datetime.fromisoformat(record["time"]).timestamp()
        return found["evidence"]["key"], at, found["reason"], record["node"]
    except (ValueError, KeyError, TypeError):
        return None  # not one of our records: logs hold all sorts of lines
