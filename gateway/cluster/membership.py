"""Who is in the cluster: each node writes a heartbeat to the board, and all can read all.

A heartbeat is one JSON object. A node that says nothing for 15 s counts as lost, and for an hour it is remembered: it
may be alive and cut off. One that leaves is forgotten at once. A heartbeat under one's own name that is not one's own
tells of a twin: two nodes by one name, which orders and roll-outs could not tell apart.

Known gaps: none.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.ports.board import Board

log = logging.getLogger("mxgw.cluster")

NODES: Final = "nodes"
BEAT_SECONDS: Final = 5.0
LOST_AFTER: Final = 15.0
ROSTER: Final = "roster"
FORGOTTEN_AFTER: Final = 3600.0


class NobodyThereError(Exception):
    """No node is on the board: most often it is not the nodes' board."""


class Heartbeat:
    """Writes what ``state`` says of this node."""

    def __init__(self, board: Board, node: str, state: Callable[[], Mapping[str, Any]]) -> None:
        self._board = board
        self._node = node
        self._state = state
        self._run = secrets.token_hex(8)
        self._twin: float | None = None
        self._beaten = False

    async def turn(self) -> None:
        """One heartbeat. Raises PortFailure."""
        now = await self._board.now()
        await self._look_for_twin(now)
        whose = {"node": self._node, "run": self._run, "twin": self._twin is not None}
        said = json.dumps({**whose, "time": round(now, 3), **self._state()}, separators=(",", ":"))
        # the roster first: who is not on it is not waited for by a roll-out
        await self._board.write(ROSTER, self._node, str(round(now, 3)), FORGOTTEN_AFTER)
        await self._board.write(NODES, self._node, said, LOST_AFTER)
        self._beaten = True

    async def _look_for_twin(self, now: float) -> None:
        before = await self._board.read(NODES, self._node)
        # at the first turn it is the run before this one
        if self._beaten and before and json.loads(before).get("run", self._run) != self._run:
            if self._twin is None:
                log.error("another node beats as %s; give each its own `node`", self._node, extra={"event": "cluster"})
            self._twin = now
        elif self._twin is not None and now - self._twin > LOST_AFTER:
            self._twin = None

    async def leave(self) -> None:
        """The node ends: nobody needs to wait for its silence. Raises PortFailure."""
        await forget(self._board, self._node)


async def members(board: Board) -> dict[str, Mapping[str, Any]]:
    """The nodes that live, by name. Raises PortFailure."""
    return {name: json.loads(said) for name, said in (await board.entries(NODES)).items()}


async def lost(board: Board) -> dict[str, float]:
    """The nodes that fell silent within the hour, and when they were last heard, seconds since 1970. Raises
    PortFailure."""
    live = await board.entries(NODES)
    return {name: float(last) for name, last in (await board.entries(ROSTER)).items() if name not in live}


async def somebody(board: Board) -> bool:
    """Whether a node lives or was heard within the hour. Raises PortFailure."""
    return bool(await board.entries(NODES) or await board.entries(ROSTER))


async def forget(board: Board, node: str) -> None:
    """Nobody waits for that node any more. Raises PortFailure."""
    await board.erase(NODES, node)
    await board.erase(ROSTER, node)
