"""Metrics of what nodes compare among themselves.

Known gaps: none.
"""

from __future__ import annotations

import time


class VerifyMetrics:
    """In the supervisor, after ``metrics.use_folder``."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Gauge

        registry = CollectorRegistry()
        self._mismatch = Gauge(
            "mxgw_cluster_verify_mismatch",
            "Recordings that nodes decide differently",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._at = Gauge(
            "mxgw_cluster_verify_timestamp_seconds",
            "When this node last compared itself with the others",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._mismatch.set(0)

    def mismatches(self, number: int) -> None:
        """So many now."""
        self._mismatch.set(number)
        self._at.set(time.time())
