"""How often lists hold clients, over all nodes: a list whose share jumps is out, whatever its test points say.

Each node counts in buckets of a minute or so, and puts its counts on the board; old buckets become hours of the last
day, against whose mean the share of the newest is held. Counts of a list that is out are not put into its mean.

Known gaps: nothing is concluded of a list in its first hours, until enough clients make a mean.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.policy.settings import DnsblSettings

log = logging.getLogger("mxgw.cluster")

PLACE: Final = "rbl-hits"
KEPT: Final = 25 * 3600.0
_DAY_HOURS: Final = 24
Counts = dict[str, list[int]]
"""List -> [clients asked about, clients held]."""


@dataclass(slots=True)
class Tally:
    """One node's counts. recent: by bucket; hours: by hour since 1970."""

    recent: dict[int, Counts] = field(default_factory=dict)
    hours: dict[int, Counts] = field(default_factory=dict)

    def add(self, asked: Mapping[str, int], hits: Mapping[str, int], now: float, window: float) -> None:
        """Clients were judged."""
        bucket = self.recent.setdefault(int(now // window), {})
        for name, number in asked.items():
            _add(bucket, name, number, hits.get(name, 0))

    def roll(self, now: float, window: float, out: Iterable[str]) -> None:
        """Old buckets become hours, except for lists that are out; old hours go."""
        newest, kept_out = int(now // window), frozenset(out)
        for number in [number for number in self.recent if number < newest - 1]:
            hour = self.hours.setdefault(int(number * window // 3600), {})
            for name, (asked, hits) in self.recent.pop(number).items():
                if name not in kept_out:
                    _add(hour, name, asked, hits)
        for number in [number for number in self.hours if number <= now // 3600 - _DAY_HOURS]:
            del self.hours[number]

    def as_text(self, window: float) -> str:
        """For the board."""
        return json.dumps({"window": window, "recent": self.recent, "hours": self.hours}, separators=(",", ":"))

    @classmethod
    def of_text(cls, text: str, window: float) -> Tally:
        """From the board; buckets of another length are dropped. Raises ValueError."""
        try:
            said = json.loads(text)
            recent = _read(said["recent"]) if said["window"] == window else {}
            return cls(recent, _read(said["hours"]))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(str(error)) from error


def _add(counts: Counts, name: str, asked: int, hits: int) -> None:
    found = counts.setdefault(name, [0, 0])
    found[0] += asked
    found[1] += hits


def _read(said: Mapping[str, Any]) -> dict[int, Counts]:
    return {
        int(number): {str(name): [int(asked), int(hits)] for name, (asked, hits) in counts.items()}
        for number, counts in said.items()
    }


def read_all(entries: Mapping[str, str], window: float) -> dict[str, Tally]:
    """Node -> its counts."""
    found = {}
    for node, text in entries.items():
        try:
            found[node] = Tally.of_text(text, window)
        except ValueError as error:
            log.warning("hits of node %s cannot be read: %s", node, error, extra={"event": "rbl"})
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """recent: share of the newest clients that the list holds; asked: how many they are; mean: of 24 hours, None where
    there were too few clients."""

    recent: float
    asked: int
    mean: float | None

    def alarms(self, settings: DnsblSettings) -> bool:
        """Whether it is beyond both bounds of the settings."""
        if self.asked < settings.hit_least or self.mean is None:
            return False
        return self.recent > settings.hit_ratio and self.recent > settings.hit_factor * self.mean


def share(tallies: Iterable[Tally], name: str, now: float, settings: DnsblSettings) -> Share:
    """One list over all nodes."""
    newest = int(now // settings.hit_window)
    recent, mean = [0, 0], [0, 0]
    for tally in tallies:
        for number, counts in tally.recent.items():
            if number >= newest - 1 and name in counts:
                recent = [recent[0] + counts[name][0], recent[1] + counts[name][1]]
        for counts in tally.hours.values():
            if name in counts:
                mean = [mean[0] + counts[name][0], mean[1] + counts[name][1]]
    return Share(
        recent[1] / recent[0] if recent[0] else 0.0,
        recent[0],
        mean[1] / mean[0] if mean[0] >= settings.hit_least else None,
    )
