"""Time as a port: ``now`` for records and windows, ``monotonic`` for measuring.

Known gaps: none.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where seconds come from."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...
