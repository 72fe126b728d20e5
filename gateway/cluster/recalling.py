"""The policy that a recorded decision was made with: in force here, or kept on the board since it was pushed.

Known gaps: an own file that has been changed since is not kept anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.cluster.rollout_board import bundle_of, state_of
from gateway.policy.load import load_text
from gateway.policy.model import Policy
from gateway.ports.board import Board


async def policy_of(board: Board, record: Mapping[str, Any], in_force: Policy) -> Policy:
    """That one, or the one in force where it is not to be had. Raises PortFailure, FaultsError."""
    decided = str(record.get("policy", ""))[:8]
    if not decided or in_force.digest.startswith(decided):
        return in_force
    for digest in (await state_of(board)).kept:
        if digest.startswith(decided) and (bundle := await bundle_of(board, digest)) is not None:
            return load_text(bundle.text, bundle.name)
    return in_force
