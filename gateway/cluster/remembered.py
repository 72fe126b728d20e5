"""Places of the board that outlive it: nodes remember what stands there, and write back what the board has lost.

A mark tells a board that has forgotten everything from one on which nothing stands any more. It says when it was made,
and holds something random: a board on which another mark stands than the one that a node knows has forgotten too, and
somebody has put something since. The older mark goes back with the rest, so that a node which comes later does not take
for lost what was lifted meanwhile.

Known gaps: what is lifted in the second in which the nodes write back may come back.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from gateway.ports.board import Board

MARK: Final = "#"
"""Its key: no entry is called so."""


async def put(board: Board, place: str, key: str, value: str, ttl: float | None = None) -> None:
    """Write an entry that is to be remembered. Raises PortFailure."""
    await board.swap(place, MARK, None, f"{await board.now():017.6f} {secrets.token_hex(8)}")
    await board.write(place, key, value, ttl)


def is_lost(known: Mapping[str, str], entries: Mapping[str, str]) -> bool:
    """Whether the board has lost what this node knows. Both with their marks."""
    return MARK in known and entries.get(MARK) != known[MARK]


async def write_back(
    board: Board, place: str, known: Mapping[str, str], mark: str | None, left: Mapping[str, float | None]
) -> dict[str, str]:
    """Put each entry that still holds where nobody has put another one. mark: on the board now. left: those entries,
    with the seconds that they have left (None: for good). Returns what stands there then. Raises PortFailure."""
    for key, seconds in left.items():
        await board.swap(place, key, None, known[key], seconds)
    if mark is None or known[MARK] < mark:
        await board.swap(place, MARK, mark, known[MARK])
    return dict(await board.entries(place))
