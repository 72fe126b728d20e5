"""How this worker sees the shared store: a log line and a gauge for each change.

Known gaps: each worker has its own view and its own lines.
"""

from __future__ import annotations

import logging
import os
from typing import Final

from gateway.ops.metrics import MetricsObserver
from gateway.ports.store_state import StateChange, StoreState

log = logging.getLogger("mxgw.store")

_PID: Final = os.getpid()
_WORDS: Final = {
    StoreState.UP: "the store answers again",
    StoreState.FULL: "the store is full: it takes no writes, reads go on; raise maxmemory or evict volatile keys",
    StoreState.READ_ONLY: "the store takes no writes, reads go on: is it a replica, or can it not save?",
    StoreState.DOWN: "the store does not answer: nobody waits for it, single trials look for its return",
}


class StoreStates:
    """``told`` is an ``OnState``."""

    def __init__(self, observer: MetricsObserver) -> None:
        self._observer = observer
        observer.store_is(StoreState.UP.value)

    def told(self, change: StateChange) -> None:
        """Log and count."""
        self._observer.store_is(change.after.value)
        log.log(
            logging.INFO if change.after is StoreState.UP else logging.WARNING,
            "%s",
            _WORDS[change.after] + (f" ({change.detail})" if change.detail else ""),
            extra={"event": "store_state", "state": change.after.value, "before": change.before.value, "pid": _PID},
        )
