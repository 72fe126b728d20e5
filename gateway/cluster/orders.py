"""Orders of an operator to one node: to drain, and to serve again.

An order to drain stands on the board until it is lifted, and the node keeps a copy on its disk: it is in force over a
restart, also one without the board, and a board that has lost it gets it back. Lifting is an order too, to serve: the
node takes it off the board once it has obeyed.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.cluster.kept_file import replace_text
from gateway.ports.board import Board

log = logging.getLogger("mxgw.cluster")

PLACE: Final = "orders"
PERIOD: Final = 1.0


async def drain(board: Board, node: str, reason: str, by: str) -> float:
    """Order it. Returns when, by the board's clock. Raises PortFailure."""
    since = round(await board.now(), 3)
    said = {"do": "drain", "reason": reason, "by": by, "since": since}
    await board.write(PLACE, node, json.dumps(said, ensure_ascii=False))
    return since


async def undrain(board: Board, node: str) -> bool:
    """Lift it. Returns whether there was one. Raises PortFailure."""
    there = node in await orders(board)
    await board.write(PLACE, node, json.dumps({"do": "serve", "since": round(await board.now(), 3)}))
    return there


async def orders(board: Board) -> dict[str, Mapping[str, str]]:
    """Those to drain, by node. Raises PortFailure."""
    found = {node: json.loads(said) for node, said in (await board.entries(PLACE)).items()}
    return {node: said for node, said in found.items() if said["do"] == "drain"}


class OrderWatch:
    """A node's duty. obey: told why clients are to be turned away, '' to serve. file: the copy."""

    def __init__(self, board: Board, node: str, obey: Callable[[str], None], file: Path) -> None:
        self._board = board
        self._node = node
        self._obey = obey
        self._file = file
        self._known: str | None = None

    def start(self) -> None:
        """What the last run was told. Reads a small file; one that cannot be read is no reason not to start."""
        try:
            self._known = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            log.warning("%s cannot be read: %s", self._file, error, extra={"event": "order"})
            return
        self._obey(_why(self._known))

    async def turn(self) -> None:
        """One look at the board. Raises PortFailure."""
        said = await self._board.read(PLACE, self._node)
        if said is None and self._known is not None:
            log.warning("the board has lost the order to drain: written back", extra={"event": "order"})
            await self._board.swap(PLACE, self._node, None, self._known)
        if said is None:
            return
        serve = _is_to_serve(said)
        order = None if serve else said
        if order != self._known:
            self._known = order
            why = _why(order) if order else ""
            log.warning("order: %s", why or "serve", extra={"event": "order"})
            self._obey(why)
        elif not serve:
            return
        if await asyncio.to_thread(self._keep, order) and serve:
            await self._board.swap(PLACE, self._node, said, None)

    def _keep(self, order: str | None) -> bool:
        try:
            if order is None:
                self._file.unlink(missing_ok=True)
                return True
            replace_text(self._file, order)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error, extra={"event": "order"})
            return False
        return True


def _is_to_serve(said: str) -> bool:
    try:
        return bool(json.loads(said)["do"] == "serve")
    except (ValueError, TypeError, KeyError):
        return False


def _why(said: str) -> str:
    try:
        order = json.loads(said)
        return "draining by order" + (f": {order['reason']}" if order["reason"] else "")
    except (ValueError, TypeError, KeyError):
        return "draining by order"
