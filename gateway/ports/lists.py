"""Block and allow lists as a port: which of them count at the moment, and how often they hit.

It answers at once from what this process was told last; nothing is asked on the way.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

OK: Final = "ok"
DEGRADED: Final = "degraded"
DISABLED: Final = "disabled"
STATES: Final = (OK, DEGRADED, DISABLED)
NO_ANSWER: Final = "no-answer"
HIT_RATIO: Final = "hit-ratio"


@dataclass(frozen=True, slots=True)
class ListState:
    """How a list is. state: ok, degraded or disabled; reason: '' for ok, else a word of docs/dnsbl.md; since: seconds
    since 1970."""

    state: str = OK
    reason: str = ""
    since: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether decisions use it. One that only does not answer is asked all the same: what is not known then is
        weighed as such."""
        return self.state == OK or (self.state == DEGRADED and self.reason == NO_ANSWER)

    @property
    def is_asked(self) -> bool:
        """Whether it is asked. One that is out for its hits is, lest nobody could tell when they have gone down."""
        return self.counts or self.reason == HIT_RATIO

    def __str__(self) -> str:
        return f"{self.state}:{self.reason}" if self.reason else self.state


class ListDesk(Protocol):
    """Lists by their names. Never waits and never raises."""

    def state(self, name: str) -> ListState:
        """How it is; ok where nobody knows."""
        ...

    def note(self, answered: Iterable[str], hit: Iterable[str]) -> None:
        """A client was judged: the lists that answered, and those of them that hold it."""
        ...


class NoLists:
    """All lists are ok, and nobody counts."""

    def state(self, name: str) -> ListState:  # noqa: ARG002
        """ok."""
        return _SOUND

    def note(self, answered: Iterable[str], hit: Iterable[str]) -> None:
        """Nothing happens."""


_SOUND = ListState()
