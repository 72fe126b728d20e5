"""One metric as a value: its name, what it says and which label values there are; and the instrument made of it.

Known gaps: no exemplars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

PREFIX: Final = "mxgw_"
Labels = Mapping[str, tuple[str, ...] | str]
"""Label -> all its values; or, in words, where the values come from."""


@dataclass(frozen=True, slots=True)
class Metric:
    """kind: counter, gauge or histogram. name: without prefix, and without ``_total``. text: help. labels: see Labels.
    buckets: upper ends of a histogram's classes. mode: how a gauge of many processes becomes one number. series: the
    combinations that begin at zero, where not all of the closed labels can come."""

    kind: str
    name: str
    text: str
    labels: Labels = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    mode: str = ""
    series: tuple[tuple[str, ...], ...] = ()

    @property
    def full(self) -> str:
        """The name as it stands in /metrics: of a histogram without _bucket, _sum, _count."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that rules may use."""
        return tuple(self.full + end for end in ("_bucket", "_sum", "_count")) if self.buckets else (self.full,)

    def zeros(self, known: Mapping[str, Iterable[str]] | None = None) -> list[tuple[str, ...]]:
        """The combinations that exist from the start. known: label -> values, for those that others bring; empty while
        one of them is unknown."""
        if self.series:
            return list(self.series)
        known = known or {}
        values = [tuple(known.get(name, ())) if isinstance(said, str) else said for name, said in self.labels.items()]
        return list(product(*values)) if values else []

    def make(self) -> Any:
        """The instrument of prometheus_client, which looks for its folder when it is imported: not before
        ``metrics.use_folder``."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        # a registry of its own is not needed: in multiprocess mode the files are what is collected
        registry, name, labels = CollectorRegistry(), PREFIX + self.name, tuple(self.labels)
        made: Any
        if self.kind == "counter":
            made = Counter(name, self.text, labels, registry=registry)
        elif self.kind == "histogram":
            made = Histogram(name, self.text, labels, registry=registry, buckets=self.buckets)
        else:
            made = Gauge(name, self.text, labels, registry=registry, multiprocess_mode=self.mode)  # type: ignore[arg-type]
        for zero in self.zeros():
            made.labels(*zero)
        return made
