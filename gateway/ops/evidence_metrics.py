"""Metrics of what nodes compare among themselves.

Known gaps: none.
"""

from __future__ import annotations

import time

from gateway.ops.catalogue import ALL


class VerifyMetrics:
    """In the supervisor, after ``metrics.use_folder``."""

    def __init__(self) -> None:
        self._mismatch = ALL["cluster_verify_mismatch"].make()
        self._at = ALL["cluster_verify_timestamp_seconds"].make()
        self._mismatch.set(0)
        self._at.set(0)

    def mismatches(self, number: int) -> None:
        """So many now."""
        self._mismatch.set(number)
        self._at.set(time.time())
