"""Whether this node turns new sessions away, and why: an order to drain, or a policy that is not the cluster's.

Sessions that are open go on. The listening sockets stay open, so that clients hear 421 and go to another node.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.node.notices import Notices
from gateway.ops.health import NodeHealth

NOTICE: Final = "turned-away"


class TurnedAway:
    """The supervisor's side: several causes, one word for workers and /readyz."""

    def __init__(self, health: NodeHealth, notices: Notices) -> None:
        self._health = health
        self._notices = notices
        self._causes: dict[str, str] = {}

    def cause(self, name: str, why: str) -> None:
        """Because of this; '': not any more."""
        self._causes[name] = why
        self._health.turned_away = "; ".join(why for _, why in sorted(self._causes.items()) if why)
        self._notices.tell(NOTICE, self._health.turned_away)


class Gate:
    """A worker's side. more: another reason, asked at each session."""

    def __init__(self, notices: Notices, more: Callable[[], str]) -> None:
        self._why = ""
        self._more = more
        notices.on(NOTICE, self._told)

    def shut(self) -> str:
        """Why no session may begin now; '' when one may."""
        return self._why or self._more()

    def _told(self, why: str) -> None:
        self._why = why
