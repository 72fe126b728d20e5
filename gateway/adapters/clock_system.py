"""The machine's clock.

Known gaps: none.
"""

from __future__ import annotations

import time


class SystemClock:
    """``ports.clock.Clock`` over the operating system."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        return time.monotonic()
