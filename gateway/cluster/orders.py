"""Orders of an operator to one node: to drain, and to serve again.

An order stands on the board until it is lifted, and the node keeps a copy on its disk: it is in force over a restart,
also one without the board.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

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
    there = await board.read(PLACE, node) is not None
    await board.erase(PLACE, node)
    return there


async def orders(board: Board) -> dict[str, Mapping[str, str]]:
    """All, by node. Raises PortFailure."""
    return {node: json.loads(said) for node, said in (await board.entries(PLACE)).items()}


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
        if said == self._known:
            return
        self._known = said
        why = _why(said) if said else ""
        log.warning("order: %s", why or "serve", extra={"event": "order"})
        self._obey(why)
        await asyncio.to_thread(self._keep, said)

    def _keep(self, said: str | None) -> None:
        try:
            if said is None:
                self._file.unlink(missing_ok=True)
                return
            part = self._file.with_suffix(".part")
            part.write_text(said, encoding="utf-8")
            part.replace(self._file)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error, extra={"event": "order"})


def _why(said: str) -> str:
    try:
        order = json.loads(said)
        return "draining by order" + (f": {order['reason']}" if order["reason"] else "")
    except (ValueError, TypeError, KeyError):
        return "draining by order"
