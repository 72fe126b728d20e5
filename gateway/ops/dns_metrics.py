"""Questions to the resolvers, counted by what they are for. One of it a process: two would count over each other.

Known gaps: none.
"""

from __future__ import annotations

from gateway.ops.catalogue import ALL
from gateway.ports.purpose import purpose


class DnsMetrics:
    """``lookup`` may be a cache's ``on_lookup``."""

    def __init__(self) -> None:
        self._lookups = ALL["dns_lookups"].make()
        self._seconds = ALL["dns_lookup_duration_seconds"].make()

    def lookup(self, _rtype: str, result: str, seconds: float) -> None:
        """A question went to the resolvers (nothing from a cache comes here)."""
        asked_for = purpose()
        self._lookups.labels(asked_for, result).inc()
        self._seconds.labels(asked_for).observe(seconds)
