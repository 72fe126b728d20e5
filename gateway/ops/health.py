"""What a node is now, as a value: fed by the workers' heartbeats, shown by /readyz, /statusz and the page.

Ready means: a worker answers and the node is not draining. It never depends on the store, DNS or the mailstore: a
node without them still answers 451, and taking all nodes out at once would lose what still works.

Known gaps: the counts are those of the last heartbeat, so up to a second old.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

FRESH: Final = 15.0
"""Seconds after which a worker that says nothing counts as not ready."""
HUNG: Final = 20.0
"""Seconds after which it counts as stuck: the watchdog gets nothing and /healthz says 503."""
NOBODY: Final = 60.0
"""Seconds without a worker that serves, after which the node counts as stuck too."""


@dataclass(slots=True)
class WorkerHealth:
    """One worker as the supervisor sees it. last: ``monotonic`` seconds of its last word; beat: what it said."""

    pid: int
    ready: bool = False
    last: float = 0.0
    beat: Mapping[str, Any] = field(default_factory=dict)


def _no_doubt() -> str:
    return ""


@dataclass(slots=True)
class NodeHealth:
    """The node. identity: what never changes while it runs (version, hostname, listeners, routes without secrets).
    served: ``monotonic`` seconds of the last word of a worker that serves; before the first one, of their start."""

    identity: Mapping[str, Any]
    policy_digest: str = ""
    policy_generation: int = 0
    policy_source: str = ""
    mode: str = ""
    certificate_not_after: float = 0.0
    draining: bool = False
    turned_away: str = ""
    odd: str = ""
    in_doubt: Callable[[], str] = _no_doubt
    crashes: int = 0
    served: float = math.inf
    workers: dict[int, WorkerHealth] = field(default_factory=dict)
    recipients: Sequence[Mapping[str, Any]] = ()

    def recipients_seen(self, found: Sequence[Mapping[str, Any]]) -> None:
        """What the self-test of recipient verification found, one a mailstore of each route."""
        self.recipients = found

    def ready(self, monotonic: float) -> tuple[bool, str]:
        """Whether to send clients here, and why (not)."""
        if self.draining:
            return False, "draining"
        if why := self.turned_away or self.in_doubt():
            return False, why
        fresh = sum(1 for worker in self.workers.values() if worker.ready and monotonic - worker.last < FRESH)
        return (True, f"{fresh} workers ready") if fresh else (False, "no worker is ready")

    def hung(self, monotonic: float) -> str:
        """Which workers serve but say nothing any more, or that none has served for long; '' where all is well. Only a
        new start helps then."""
        silent = [worker.pid for worker in self.workers.values() if worker.ready and monotonic - worker.last >= HUNG]
        if silent:
            return f"no word from worker {', '.join(map(str, silent))}"
        nobody = not self.draining and monotonic - self.served >= NOBODY
        return f"no worker has served for {NOBODY:g} s" if nobody else ""

    def line(self) -> str:
        """One line for a service manager's status."""
        sessions = sum(int(worker.beat.get("sessions", 0)) for worker in self.workers.values())
        state = "draining, " if self.draining else ""
        return f"{state}policy {self.policy_digest[:8]} {self.mode}, {sessions} sessions"

    def status(self, monotonic: float) -> dict[str, Any]:
        """The JSON of /statusz."""
        ready, why = self.ready(monotonic)
        beats = [dict(worker.beat) for worker in self.workers.values()]
        return {
            **self.identity,
            "ready": ready,
            "state": why,
            "mode": self.mode,
            "policy": {
                "digest": self.policy_digest,
                "source": self.policy_source,
                "generation": self.policy_generation,
            },
            "policy_mismatch": self.odd,
            "certificate_not_after": self.certificate_not_after,
            "sessions": sum(int(beat.get("sessions", 0)) for beat in beats),
            "inflight": sum(int(beat.get("inflight", 0)) for beat in beats),
            "mailstores": _mailstores(beats),
            "store": _store(beats),
            "recipients": list(self.recipients),
            "worker_crashes": self.crashes,
            "workers": [
                {"pid": worker.pid, "ready": worker.ready, "silent": round(monotonic - worker.last, 1), **worker.beat}
                for worker in self.workers.values()
            ],
        }


def _store(beats: Sequence[Mapping[str, Any]]) -> str:
    """The worst that a worker says of the shared store: ok, or what its breaker says."""
    return next((said for beat in beats if (said := str(beat.get("store", "ok"))) != "ok"), "ok")


def _mailstores(beats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each mailstore once: sums of counts, and up only where no worker's breaker is open."""
    merged: dict[str, Any] = {}
    for beat in beats:
        for name, seen in beat.get("mailstores", {}).items():
            first = merged.setdefault(name, {"up": True, "sessions": 0, "waiting": 0})
            worse = first["up"] and not seen["up"]
            sums = {key: first[key] + seen[key] for key in ("sessions", "waiting")}
            details = {key: seen[key] for key in ("failures", "detail", "retry_in") if key in seen}
            merged[name] = {**first, **(details if worse or "detail" not in first else {}), **sums}
            merged[name]["up"] = first["up"] and seen["up"]
    return merged
