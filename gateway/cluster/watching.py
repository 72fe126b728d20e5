"""Who looks on live: orders of ``mxgw tail``, ``mxgw trace`` and the page, which end by themselves.

Place ``watch``: each who looks on has an entry, renewed while he does. While there is one, nodes write their decisions
to the board each second; those with a network make workers note the dialogs of clients in it, which go to the journal
``trace:ID``, sealed. All is bounded, what is too much is dropped from the old end and counted.

Known gaps: a line of a dialog is seen up to three seconds later.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from typing import Any, Final

from gateway.cluster.sealed import Seal
from gateway.ports.board import Board

PLACE: Final = "watch"
TRACE: Final = "trace"
"""Kind of the notice to workers, and of their reports."""
WATCH_PERIOD: Final = 1.0
LEASE_SECONDS: Final = 6.0
MOST: Final = 8
"""So many orders are obeyed at a time."""
_LINES: Final = 400
_KEPT_LINES: Final = 100
_KEPT_SECONDS: Final = 60.0
_AT_ONCE: Final = 60


def seal_of(secret: bytes) -> Seal:
    """The seal of dialogs."""
    return Seal(secret, "dialog")


@dataclass(frozen=True, slots=True)
class Watch:
    """One who looks on. network: whose dialogs he wants to see; '' for verdicts only."""

    id: str
    network: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a dialog. way: C the client's, S ours, - about the session. at: seconds since 1970 by the node."""

    node: str
    session: str
    client: str
    at: float
    way: str
    text: str


async def renew(board: Board, watch: Watch) -> None:
    """Begin, or go on for some seconds more. Raises PortFailure."""
    await board.write(PLACE, watch.id, json.dumps({"network": watch.network}), LEASE_SECONDS)


async def leave(board: Board, watch: Watch) -> None:
    """End it. Raises PortFailure."""
    await board.erase(PLACE, watch.id)


async def watches(board: Board) -> tuple[Watch, ...]:
    """Who looks on now. Raises PortFailure."""
    found = []
    for name, said in list((await board.entries(PLACE)).items())[:MOST]:
        try:
            network = str(json.loads(said)["network"])
            found.append(Watch(name, str(ip_network(network)) if network else ""))
        except (ValueError, KeyError, TypeError):
            continue  # of another version
    return tuple(found)


async def said_after(board: Board, seal: Seal, watch: Watch, after: str) -> tuple[str, list[Said], int]:
    """The lines of a trace after that number: the next number, the lines, and how many were dropped. Raises
    PortFailure."""
    lines: list[Said] = []
    dropped = 0
    for line in await board.lines(f"{TRACE}:{watch.id}", after, _KEPT_LINES):
        after = line.number
        text = seal.open(line.value)
        if text is not None:
            told = json.loads(text)
            lines += [Said(**one) for one in told["lines"]]
            dropped += int(told["dropped"])
    return after, lines, dropped


class WatchDuty:
    """A node's part. tell: gets id and network of each trace, for the workers."""

    def __init__(self, board: Board, seal: Seal, node: str, tell: Callable[[Sequence[Sequence[str]]], None]) -> None:
        self._board = board
        self._seal = seal
        self._node = node
        self._tell = tell
        self._watches: tuple[Watch, ...] = ()
        self._lines: dict[str, deque[Said]] = {}
        self._dropped: dict[str, int] = {}

    @property
    def watched(self) -> bool:
        """Whether anybody looks on."""
        return bool(self._watches)

    def hear(self, data: Mapping[str, Any]) -> None:
        """A worker's lines, by the order's id."""
        for ident, told in data.items():
            if ident not in self._lines:
                continue
            lines = self._lines[ident]
            new = [Said(self._node, *line) for line in told["lines"]]
            dropped = int(told["dropped"]) + max(0, len(lines) + len(new) - _LINES)
            lines.extend(new)
            self._dropped[ident] = self._dropped.get(ident, 0) + dropped

    async def turn(self) -> None:
        """Read the orders, hand the lines on. Raises PortFailure."""
        self._watches = await watches(self._board)
        traces = [watch for watch in self._watches if watch.network]
        self._lines = {watch.id: self._lines.get(watch.id, deque(maxlen=_LINES)) for watch in traces}
        self._dropped = {ident: count for ident, count in self._dropped.items() if ident in self._lines}
        self._tell([[watch.id, watch.network] for watch in traces])
        for ident, lines in self._lines.items():
            while lines:
                taken = [lines.popleft() for _ in range(min(len(lines), _AT_ONCE))]
                said = {"lines": [asdict(line) for line in taken], "dropped": self._dropped.pop(ident, 0)}
                text = self._seal.close(json.dumps(said))
                await self._board.append(f"{TRACE}:{ident}", text, _KEPT_LINES, _KEPT_SECONDS)
