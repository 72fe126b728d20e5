"""A worker's shadow policy: each verdict is compared with that of a candidate, if the supervisor told of one.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Verdict
from gateway.policy.compare import Comparison
from gateway.policy.load import load_text
from gateway.yamlfile import FaultsError

NOTICE: Final = "shadow"
REPORT: Final = "shadow"


class ShadowDesk:
    """``note`` stands beside the pipeline; ``take`` goes to the supervisor."""

    def __init__(self) -> None:
        self._id = ""
        self._comparison: Comparison | None = None
        self._loading: asyncio.Task[None] | None = None

    def told(self, candidate: dict[str, str] | None) -> None:
        """The candidate from now on; None: none. The supervisor has loaded it already."""
        self._id, self._comparison = "", None
        if candidate is not None:
            self._id = candidate["id"]
            self._loading = asyncio.create_task(self._load(candidate))

    async def _load(self, candidate: dict[str, str]) -> None:
        policy = await asyncio.to_thread(load_text, candidate["text"], candidate["name"])
        if self._id == candidate["id"]:
            self._comparison = Comparison(policy)

    def note(self, phase: Phase, tx: Transaction, verdict: Verdict) -> None:
        """A verdict of the policy in force."""
        if self._comparison is not None:
            self._comparison.note(phase, tx, verdict)

    def take(self) -> dict[str, Any] | None:
        """What has gathered since the last time, for ``cluster.shadow.ShadowDuty.hear``; None: nothing."""
        tally = self._comparison.take() if self._comparison else None
        return {"id": self._id, "tally": tally.as_json()} if tally and tally.judged else None


async def fault_of(text: str, name: str) -> str:
    """Why this node cannot load a policy; '' if it can."""
    try:
        await asyncio.to_thread(load_text, text, name)
    except FaultsError as error:
        return str(error.faults[0])
    return ""
