"""A candidate policy in the shadow of the one in force, on all nodes: the order, and what they counted.

Place ``shadow``: the order, and the candidate's text. Place ``shadow-said``: what each node has counted up to now,
which stays readable for a week after the end. Replies are never touched: workers compare (``policy.compare``), nodes
add up, the command reads.

Known gaps: what a node has counted since its last turn is lost when it is killed.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from gateway.policy.compare import Tally
from gateway.ports.board import Board

log = logging.getLogger("mxgw.cluster")

PLACE: Final = "shadow"
SAID: Final = "shadow-said"
SHADOW_SECONDS: Final = 1.0
TEXT_OCTETS: Final = 1024 * 1024
_ORDER: Final = "order"
_TEXT: Final = "text"
_KEPT: Final = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Order:
    """Compare with the candidate of that digest, from ``since`` to ``until`` by the board's clock."""

    id: str
    digest: str
    name: str
    by: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class NodeSaid:
    """What a node has counted, or why it cannot load the candidate."""

    tally: Tally = field(default_factory=Tally)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The order, whether it still runs, what each node said, and the sum."""

    order: Order
    running: bool
    nodes: Mapping[str, NodeSaid]
    total: Tally


async def start(board: Board, text: str, name: str, digest: str, by: str, seconds: float) -> Order:
    """Begin, in place of what may run. Raises PortFailure; ValueError for a text that is too big."""
    if len(text.encode()) > TEXT_OCTETS:
        raise ValueError(f"the policy is larger than {TEXT_OCTETS} octets")
    now = await board.now()
    order = Order(secrets.token_hex(8), digest, name, by, round(now, 3), round(now + seconds, 3))
    # the text first: who reads the order finds it
    await board.write(f"{PLACE}-text", _TEXT, json.dumps({"id": order.id, "text": text}), seconds + _KEPT)
    await board.write(PLACE, _ORDER, json.dumps(asdict(order)), seconds + _KEPT)
    return order


async def stop(board: Board) -> Order | None:
    """End what runs; what was counted stays. None: nothing ran. Raises PortFailure."""
    order, now = await order_of(board), await board.now()
    if order is None or order.until <= now:
        return None
    # rounding must not put the end ahead of the moment in which it was said
    ended = replace(order, until=math.floor(now * 1000) / 1000)
    await board.write(PLACE, _ORDER, json.dumps(asdict(ended)), _KEPT)
    return ended


async def order_of(board: Board) -> Order | None:
    """The last order, running or not. Raises PortFailure."""
    said = await board.read(PLACE, _ORDER)
    return Order(**json.loads(said)) if said else None


async def report(board: Board) -> Report | None:
    """What all nodes have counted for the last order; None: there is none. Raises PortFailure."""
    order = await order_of(board)
    if order is None:
        return None
    nodes: dict[str, NodeSaid] = {}
    total = Tally()
    for node, said in (await board.entries(SAID)).items():
        if (heard := _heard(said, order.id)) is not None:
            nodes[node] = heard
            total.add(heard.tally)
    return Report(order, order.until > await board.now(), nodes, total)


def _heard(said: str, order: str) -> NodeSaid | None:
    data = json.loads(said)
    return NodeSaid(Tally.from_json(data["tally"]), data["fault"]) if data["id"] == order else None


class ShadowDuty:
    """A node's part. loads: gets text and name, returns '' or why this node cannot load that policy. tell: gets the
    candidate for the workers, or None."""

    def __init__(
        self,
        board: Board,
        node: str,
        loads: Callable[[str, str], Awaitable[str]],
        tell: Callable[[dict[str, str] | None], None],
    ) -> None:
        self._board = board
        self._node = node
        self._loads = loads
        self._tell = tell
        self._order: Order | None = None
        self._said = NodeSaid()
        self._news = False

    def hear(self, data: Mapping[str, Any]) -> None:
        """What a worker has counted since its last word."""
        if self._order is not None and data["id"] == self._order.id:
            self._said.tally.add(Tally.from_json(data["tally"]))
            self._news = True

    async def turn(self) -> None:
        """Read the order, tell the workers, say what was counted. Raises PortFailure."""
        order = await order_of(self._board)
        if order is None and self._order is None:
            return
        now = await self._board.now()
        if order is not None and (self._order is None or self._order.id != order.id):
            if order.until > now:
                await self._begin(order)
        elif self._order is not None and (order is None or order.until <= now):
            self._tell(None)
            await self._say()
            self._order = None
            log.info("the shadow policy has ended", extra={"event": "shadow"})
        if self._news:
            await self._say()

    async def _begin(self, order: Order) -> None:
        said = json.loads(await self._board.read(f"{PLACE}-text", _TEXT) or "{}")
        if said.get("id") != order.id:
            return  # another order has just been given
        before = await self._board.read(SAID, self._node)
        # a node that was restarted goes on where it was
        self._said = (_heard(before, order.id) if before else None) or NodeSaid()
        fault = await self._loads(said["text"], order.name)
        self._said = replace(self._said, fault=fault)
        self._order, self._news = order, True  # said in this turn
        self._tell(None if fault else {"id": order.id, "text": said["text"], "name": order.name})
        log.info("shadow policy: %s", fault or "begins", extra={"event": "shadow", "digest": order.digest})

    async def _say(self) -> None:
        assert self._order is not None
        said = {"id": self._order.id, "tally": self._said.tally.as_json(), "fault": self._said.fault}
        self._news = False
        left = max(0.0, self._order.until - await self._board.now())
        try:
            await self._board.write(SAID, self._node, json.dumps(said, separators=(",", ":")), left + _KEPT)
        except BaseException:
            self._news = True
            raise
