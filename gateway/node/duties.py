"""What this node does for its cluster beside the mail: its duties, put together.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from pathlib import Path

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.store_open import open_board
from gateway.cluster.agent import Agent, Duty
from gateway.cluster.blocks import PERIOD, BlockWatch
from gateway.cluster.greylist import GREYLIST_SECONDS, GreylistDuty, seal_of
from gateway.cluster.journal import JOURNAL_SECONDS, DecisionDuty
from gateway.cluster.journal import seal_of as seal_of_decisions
from gateway.cluster.membership import LOST_AFTER, NODES
from gateway.cluster.shadow import SHADOW_SECONDS, ShadowDuty
from gateway.cluster.watching import TRACE, WATCH_PERIOD, WatchDuty
from gateway.cluster.watching import seal_of as seal_of_dialogs
from gateway.config import Settings
from gateway.node import greylist_desk, shadow_desk
from gateway.node.certificates import Certificates
from gateway.node.lists import ListDuties
from gateway.node.membership import Membership
from gateway.node.notices import BLOCKS, DECISIONS, Notices, Reports
from gateway.node.notices import NODES as NODES_ALIVE
from gateway.node.policy_keeper import PolicyKeeper
from gateway.node.verify import verify_duty
from gateway.ops.health import NodeHealth
from gateway.ops.metrics import NodeMetrics
from gateway.ports.board import Board
from gateway.ports.failure import PortFailure

_LEAVE_SECONDS = 2.0


def board_of(settings: Settings) -> Board:
    """The board beside the settings' store. Raises ValueError."""
    return open_board(settings.store, settings.state_dir, SystemClock(), settings.shared_secret)


def blocks_file(settings: Settings) -> Path:
    """Where a node keeps the last word about emergency blocks."""
    return settings.state_dir / "blocks.json"


class Duties:
    """The node's side of the cluster. ``run`` until cancelled, then ``close``."""

    def __init__(
        self,
        settings: Settings,
        health: NodeHealth,
        metrics: NodeMetrics,
        notices: Notices,
        reports: Reports,
        keeper: PolicyKeeper,
        certificates: Certificates,
    ) -> None:
        self._notices = notices
        self._board = board_of(settings)
        self._member = Membership(
            settings, self._board, health, metrics, notices, reports, keeper, certificates
        )
        self._counted: deque[int] = deque(maxlen=int(LOST_AFTER / PERIOD))
        self._blocks = BlockWatch(
            self._board, SystemClock(), partial(notices.tell, BLOCKS), blocks_file(settings)
        )
        self._blocks.start()
        self._greylist = GreylistDuty(
            self._board,
            seal_of(settings.shared_secret),
            settings.node,
            partial(notices.tell, greylist_desk.NOTICE),
            metrics.greylist_not_shared,
        )
        reports.on(greylist_desk.REPORT, self._greylist.hear)
        self._lists = ListDuties(self._board, settings, lambda: keeper.in_force.policy, notices, reports)
        self._shadow = ShadowDuty(
            self._board, settings.node, shadow_desk.fault_of, partial(notices.tell, shadow_desk.NOTICE)
        )
        reports.on(shadow_desk.REPORT, self._shadow.hear)
        self._watch = WatchDuty(
            self._board, seal_of_dialogs(settings.shared_secret), settings.node, partial(notices.tell, TRACE)
        )
        reports.on(TRACE, self._watch.hear)
        kept = settings.decisions
        self._decisions = DecisionDuty(
            self._board,
            seal_of_decisions(settings.shared_secret),
            settings.node,
            kept.lines,
            kept.hours * 3600,
            kept.flush,
            lambda: self._watch.watched,
        )
        reports.on(DECISIONS, self._decisions.hear)
        self.agent = Agent(
            (
                *self._member.duties,
                Duty("greylist", GREYLIST_SECONDS, self._greylist.turn),
                Duty("blocks", PERIOD, self._blocks.turn),
                Duty("nodes", PERIOD, self._count_nodes),
                *self._lists.duties,
                Duty("shadow", SHADOW_SECONDS, self._shadow.turn),
                verify_duty(self._board, settings.shared_secret, settings.node, lambda: keeper.in_force.policy),
                Duty("decisions", JOURNAL_SECONDS, self._decisions.turn),
                Duty("watch", WATCH_PERIOD, self._watch.turn),
            )
        )

    @property
    def board(self) -> Board:
        """The board that the duties use."""
        return self._board

    async def first_look(self) -> None:
        """Before the workers start: what the cluster has decided meanwhile."""
        await self._member.first_look()

    async def run(self) -> None:
        """All duties, again and again."""
        await self.agent.run()

    async def close(self) -> None:
        """Leave the cluster."""
        with contextlib.suppress(PortFailure, TimeoutError):
            await asyncio.wait_for(self._member.leave(), _LEAVE_SECONDS)
            await asyncio.wait_for(self._lists.leave(), _LEAVE_SECONDS)
            await asyncio.wait_for(self._decisions.leave(), _LEAVE_SECONDS)
            await asyncio.wait_for(self._greylist.count(), _LEAVE_SECONDS)
        await self._board.close()

    async def _count_nodes(self) -> None:
        # the most of the last moments: a board that came back empty does not make the others' shares bigger
        self._counted.append(len(await self._board.entries(NODES)))
        self._notices.tell(NODES_ALIVE, max(self._counted))
