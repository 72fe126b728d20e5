"""Workers that serve another policy than the one that is in force on their node.

Known gaps: it is said in the log only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Final

from gateway.ops.health import WorkerHealth

log = logging.getLogger("mxgw.node")

PATIENCE: Final = 10.0
"""Seconds: a worker changes by itself and tells of it with its next heartbeat."""


class Strays:
    """Logs each of them once."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def see(self, workers: Mapping[int, WorkerHealth], digest: str, monotonic: float) -> None:
        """Look at their heartbeats. digest: of the policy in force."""
        told = {pid: str(worker.beat.get("policy", digest)) for pid, worker in workers.items()}
        self._since = {pid: self._since.get(pid, monotonic) for pid, seen in told.items() if seen != digest}
        for pid, since in self._since.items():
            if monotonic - since >= PATIENCE:
                self._since[pid] = math.inf
                log.error(
                    "worker %d serves policy %s, in force is %s: restart the node",
                    *(pid, told[pid][:8], digest[:8]),
                    extra={"event": "policy", "pid": pid},
                )
