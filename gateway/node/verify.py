"""The daily comparison of nodes, put together: the set of recordings, its replay, its metric.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.cluster.agent import Duty
from gateway.cluster.verify import VERIFY_SECONDS, Run, VerifyDuty, digest_of, seal_of
from gateway.ops.evidence_metrics import VerifyMetrics
from gateway.policy.model import Policy
from gateway.ports.board import Board

if TYPE_CHECKING:
    from gateway.node.replaying import Outcome


def packaged_set() -> str:
    """The recordings that come with the product."""
    return (importlib.resources.files("gateway") / "evidence" / "verify_set.jsonl").read_text(encoding="ascii")


async def run_of(text: str | None, policy: Policy) -> Run:
    """Replay a set (None: ours) in a thread; the mail goes on."""
    chosen = packaged_set() if text is None else text
    outcome = await asyncio.to_thread(_replayed, chosen, policy)
    digests = {one.recording.id: one.digest for one in outcome.replayed}
    return Run(digest_of(chosen), policy.digest[:8], __version__, digests, tuple(outcome.faults))


def _replayed(text: str, policy: Policy) -> Outcome:
    # imported late, since it brings all checks along: the workers' start does not wait for that
    from gateway.node.replaying import replay_lines

    return replay_lines(text.splitlines(), policy)


def verify_duty(board: Board, secret: bytes, node: str, policy: Callable[[], Policy]) -> Duty:
    """The node's duty. policy: the one in force."""
    metrics = VerifyMetrics()

    async def replay(text: str | None) -> Run:
        return await run_of(text, policy())

    duty = VerifyDuty(board, seal_of(secret), node, replay, lambda: policy().digest, metrics.mismatches)
    return Duty("verify", VERIFY_SECONDS, duty.turn)
