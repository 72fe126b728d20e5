"""The watch over block and allow lists, put together for a node's supervisor and for commands.

Known gaps: none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_net import NetResolver
from gateway.cluster.agent import Duty
from gateway.cluster.list_probe import RESOLVER_FAULTS
from gateway.cluster.list_watch import HITS_PERIOD, PERIOD, ListWatch, Watched, cluster_states
from gateway.cluster.own_addresses import OwnAddress, OwnWatch
from gateway.config import Settings, split_address
from gateway.mail.network import is_address
from gateway.node.counted_dns import CountedResolver
from gateway.node.list_desk import NOTICE, REPORT, WorkerLists
from gateway.node.notices import Notices, Reports
from gateway.ops.list_metrics import ListMetrics
from gateway.policy.model import Policy
from gateway.ports.board import Board
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure
from gateway.ports.lists import ListState

log = logging.getLogger("mxgw.rbl")

_OWN_PERIOD = 2.0
_CHECK_PERIOD = 0.2
_RESOLV_CONF = Path("/etc/resolv.conf")


def fresh_resolver(settings: Settings | None) -> Resolver:
    """The resolvers of the settings (None: of the system) without any cache, for one round of questions."""
    servers = [split_address(server) for server in settings.dns.servers] if settings else []
    return NetResolver(servers or None, settings.dns.timeout if settings else 2.0)


def resolver_addresses(settings: Settings | None, resolv_conf: Path = _RESOLV_CONF) -> list[str]:
    """The addresses of those resolvers."""
    if settings and settings.dns.servers:
        return [split_address(server)[0] for server in settings.dns.servers]
    try:
        words = [line.split() for line in resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
    named = [line[1].partition("%")[0] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [text for text in named if is_address(text)]


def served_domains(settings: Settings) -> list[str]:
    """All domains of all routes."""
    return [domain for route in settings.routes for domain in route.domains]


async def lists_now(board: Board) -> WorkerLists:
    """The lists as the cluster has them, for ``mxgw explain``; all sound where the board does not answer."""
    found = WorkerLists()
    try:
        states: Mapping[str, ListState] = {name: one.said for name, one in (await cluster_states(board)).items()}
        found.told({name: [state.state, state.reason, state.since] for name, state in states.items()})
    except PortFailure:
        log.warning("the board does not answer: all block lists count")
    finally:
        await board.close()
    return found


class ListDuties:
    """The duties of a node about lists. policy: the one in force now."""

    def __init__(
        self,
        board: Board,
        settings: Settings,
        policy: Callable[[], Policy],
        notices: Notices,
        reports: Reports,
    ) -> None:
        self._policy = policy
        self._of: tuple[Policy, Watched] | None = None
        metrics = ListMetrics(RESOLVER_FAULTS)

        def resolver() -> Resolver:
            return CountedResolver(fresh_resolver(settings), "rbl")

        self._metrics = metrics
        self._watch = ListWatch(
            board,
            settings.node,
            SystemClock(),
            self._watched,
            resolver,
            resolver_addresses(settings),
            partial(notices.tell, NOTICE),
            metrics,
        )
        reports.on(REPORT, self._watch.hear)
        own = OwnWatch(board, self._watch, self._watched, served_domains(settings), resolver, self._own)
        self.duties = (
            Duty("rbl", PERIOD, self._watch.turn),
            Duty("rbl-check", _CHECK_PERIOD, self._watch.check),
            Duty("rbl-hits", HITS_PERIOD, self._watch.hits),
            Duty("rbl-own", _OWN_PERIOD, own.turn),
        )

    async def leave(self) -> None:
        """Let another node lead. Raises PortFailure."""
        await self._watch.leave()

    def _watched(self) -> Watched:
        policy = self._policy()
        if self._of is None or self._of[0] is not policy:
            self._of = (policy, Watched.of(policy))
        return self._of[1]

    def _own(self, found: Sequence[OwnAddress], lists: Sequence[str]) -> None:
        self._metrics.own_addresses({one.address: one.listed for one in found}, lists)
