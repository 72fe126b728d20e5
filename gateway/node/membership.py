"""This node as a member of its cluster: what it says of itself, the orders it obeys, the policy it shares.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from gateway.cluster import orders
from gateway.cluster.agent import Duty
from gateway.cluster.membership import BEAT_SECONDS, Heartbeat
from gateway.cluster.orders import OrderWatch
from gateway.config import Settings
from gateway.mail.advertised import ehlo_words, greeting
from gateway.node.certificates import Certificates
from gateway.node.notices import Notices, Reports
from gateway.node.policy_duty import PERIOD, PolicyDuty
from gateway.node.policy_keeper import PolicyKeeper
from gateway.node.rates import Rates
from gateway.node.strays import Strays
from gateway.node.turned_away import TurnedAway
from gateway.ops.health import NodeHealth
from gateway.ops.metrics import NodeMetrics
from gateway.ports.board import Board
from gateway.ports.failure import PortFailure

log = logging.getLogger("mxgw.cluster")

FIRST_LOOK_SECONDS: Final = 3.0
_RATES_PERIOD: Final = 1.0
_STATUS: Final = (
    *("version", "ready", "state", "sessions", "inflight", "certificate_not_after", "started", "mailstores", "store"),
)


class Membership:
    """The duties are for the node's agent; ``first_look`` comes before the workers."""

    def __init__(
        self,
        settings: Settings,
        board: Board,
        health: NodeHealth,
        metrics: NodeMetrics,
        notices: Notices,
        reports: Reports,
        keeper: PolicyKeeper,
        certificates: Certificates,
    ) -> None:
        self._settings = settings
        self._board = board
        self._health = health
        self._metrics = metrics
        self._certificates = certificates
        self._rates = Rates()
        self._strays = Strays()
        self._shown: object = None
        self._away = TurnedAway(health, notices)
        self._heartbeat = Heartbeat(board, settings.node, self.state)
        self._orders = OrderWatch(board, settings.node, self._ordered, settings.state_dir / "order.json")
        self._orders.start()
        self._policy = PolicyDuty(
            board,
            settings.node,
            keeper,
            notices,
            reports,
            workers=lambda: frozenset(health.workers),
            counts=lambda: self._rates.total,
            on_odd=self._odd,
        )
        health.in_doubt = self._policy.in_doubt
        self.leave = self._heartbeat.leave

    @property
    def duties(self) -> tuple[Duty, ...]:
        """All of them."""
        return (
            Duty("heartbeat", BEAT_SECONDS, self._heartbeat.turn),
            Duty("policy", PERIOD, self._policy.turn),
            Duty("orders", orders.PERIOD, self._orders.turn),
            Duty("rates", _RATES_PERIOD, self._count),
        )

    async def first_look(self) -> None:
        """Join, and see what was decided meanwhile. Without the board the node starts with what it knows."""
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._heartbeat.turn()
                await self._orders.turn()
                await self._policy.first_look()
        except (PortFailure, TimeoutError) as failure:
            log.warning(
                "the node starts without the board (%s), with generation %d of the policy",
                str(failure) or "no answer",
                self._health.policy_generation,
                extra={"event": "rollout", "policy": self._health.policy_digest},
            )

    def state(self) -> Mapping[str, Any]:
        """What the heartbeat says. All of it can be seen on the wire or in /statusz."""
        status, settings = self._health.status(time.monotonic()), self._settings
        return {
            **{key: status[key] for key in _STATUS},
            "policy": status["policy"]["digest"],
            "generation": status["policy"]["generation"],
            "draining": bool(self._health.draining or self._health.turned_away),
            "odd": self._health.odd,
            "per_minute": self._rates.per_minute(),
            "greeting": greeting(settings.hostname),
            "ehlo": [*ehlo_words(settings.limits.wire(settings.worker_count)), "STARTTLS"],
            "certificates": [
                {"names": list(pair.names), "kind": pair.kind, "sha256": sha256, "not_after": pair.not_after}
                for pair, sha256 in ((pair, fingerprint(pair.certificate)) for pair in self._certificates.pairs)
            ],
        }

    async def _count(self) -> None:
        self._rates.see(self._health.workers.values())
        self._strays.see(self._health.workers, self._health.policy_digest, time.monotonic())
        status = self._health.status(time.monotonic())
        left = status["sessions"] if self._health.turned_away else -1
        shown = status["ready"], status["state"], status["policy"], self._health.odd, left
        if shown != self._shown:
            # what an operator waits for is told at once
            self._shown = shown
            await self._heartbeat.turn()

    def _ordered(self, why: str) -> None:
        self._away.cause("order", why)

    def _odd(self, why: str, served_elsewhere: bool) -> None:
        if why and why != self._health.odd:
            log.error("the odd node: %s", why, extra={"event": "policy_mismatch"})
        self._health.odd = why
        self._metrics.policy_mismatch(why != "")
        self._away.cause("policy", why if served_elsewhere and self._settings.cluster.require_policy else "")


def fingerprint(chain: str) -> str:
    """SHA-256 of the leaf in DER, in hexadecimal. chain: PEM, leaf first."""
    leaf = load_pem_x509_certificates(chain.encode())[0]
    return hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
