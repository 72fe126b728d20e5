"""What the supervisor tells all workers, by kind: the last word of each counts, also for a worker that starts later.

On the supervisor's side ``tell`` sends; on a worker's side the same object is told by the channel, and ``on`` brings
the news to those who use them. Data is whatever JSON can say.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

BLOCKS: Final = "blocks"
"""Emergency blocks in force, as ``cluster.blocks.BlockWatch`` tells them."""
DECISIONS: Final = "decisions"
"""Report: decision records, for ``cluster.journal.DecisionDuty``."""
NODES: Final = "nodes"
"""How many nodes live."""
Listener = Callable[[Any], None]


class LiveNodes:
    """How many nodes lived when that was heard last; at first only this one."""

    def __init__(self) -> None:
        self.number = 1

    def told(self, number: Any) -> None:
        """So many now."""
        self.number = max(1, int(number))


class Notices:
    """Kind -> the last word, and who wants to know."""

    def __init__(self, send: Callable[[str, Any], None] | None = None) -> None:
        self._send = send
        self._last: dict[str, Any] = {}
        self._listeners: dict[str, list[Listener]] = {}

    @property
    def last(self) -> Mapping[str, Any]:
        """The last word of each kind."""
        return self._last

    def tell(self, kind: str, data: Any) -> None:
        """A new word. The same one again is no news."""
        if kind in self._last and self._last[kind] == data:
            return
        self._last[kind] = data
        if self._send:
            self._send(kind, data)
        for listener in self._listeners.get(kind, ()):
            listener(data)

    def forget(self, kind: str) -> None:
        """Those who come later are not told: the last word holds no more."""
        self._last.pop(kind, None)

    def on(self, kind: str, listener: Listener) -> None:
        """Call it with the last word, if there is one, and with each new one."""
        self._listeners.setdefault(kind, []).append(listener)
        if kind in self._last:
            listener(self._last[kind])


class Reports:
    """What workers tell the supervisor, by kind; each word counts, and none is kept."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def on(self, kind: str, listener: Listener) -> None:
        """Call it with each word."""
        self._listeners.setdefault(kind, []).append(listener)

    def tell(self, kind: str, data: Any) -> None:
        """A worker said it."""
        for listener in self._listeners.get(kind, ()):
            listener(data)
