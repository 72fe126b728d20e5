"""A worker's side of the watch over lists: how they are, as the supervisor said last, and how often they hit.

Known gaps: none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.ports.lists import ListState

NOTICE: Final = "lists"
REPORT: Final = "list-hits"


class WorkerLists:
    """``ports.lists.ListDesk``."""

    def __init__(self) -> None:
        self._states: dict[str, ListState] = {}
        self._asked: Counter[str] = Counter()
        self._hits: Counter[str] = Counter()

    def told(self, said: Mapping[str, Any]) -> None:
        """Name -> [state, reason, since], all of them."""
        self._states = {name: ListState(*state) for name, state in said.items()}

    def state(self, name: str) -> ListState:
        """As told last."""
        return self._states.get(name, _SOUND)

    def note(self, answered: Iterable[str], hit: Iterable[str]) -> None:
        """Count them."""
        self._asked.update(answered)
        self._hits.update(list(hit))

    def take(self) -> dict[str, Any] | None:
        """What has gathered since the last time, for ``cluster.list_watch.ListWatch.hear``; None: nothing."""
        if not self._asked:
            return None
        taken = {"asked": dict(self._asked), "hits": dict(self._hits)}
        self._asked.clear()
        self._hits.clear()
        return taken


_SOUND = ListState()
