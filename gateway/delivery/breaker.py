"""Whether a mailstore is up, learned from real sessions: a breaker that opens, waits, probes and closes again.

In: what became of each attempt to connect and be greeted, and whether MAIL was answered. Out: ``up``, and seconds until
the next probe. Three failures in a row of either kind open it; then nobody waits for a dead mailstore, and one probe at
a time asks whether it is back: after 1 s, twice as long after each probe that fails, at most 30 s, give or take a fifth
lest all nodes come in step. What comes after MAIL never counts: recipients and content are a stranger's, who must not
be able to take a mailstore down for everybody.

Known gaps: a mailstore that hangs only after RCPT or the final dot counts as up.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Protocol, runtime_checkable

FAILURES: Final = 3
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
JITTER: Final = 0.2


class Standing(IntEnum):
    """How promising a mailstore is now; the smaller the better."""

    FREE = 0  # up, and a session and the rate allow a message at once
    BUSY = 1  # up, but one has to wait
    DOWN = 2  # the breaker is open


@dataclass(frozen=True, slots=True)
class Health:
    """What /statusz says of a mailstore. retry_in: seconds to the next probe; detail: the last failure while down."""

    name: str
    up: bool
    failures: int = 0
    retry_in: float = 0.0
    detail: str = ""
    sessions: int = 0
    waiting: int = 0

    def as_json(self) -> dict[str, Any]:
        """For the page: without what says nothing."""
        shown: dict[str, Any] = {"up": self.up, "sessions": self.sessions, "waiting": self.waiting}
        if self.failures:
            shown |= {"failures": self.failures, "detail": self.detail}
        return shown if self.up else {**shown, "retry_in": round(self.retry_in, 1)}


@runtime_checkable
class Pooled(Protocol):
    """A mailstore that keeps sessions open."""

    @property
    def ready(self) -> bool:
        """Whether one waits that can be asked for a recipient."""
        ...


def both(first: Health, second: Health) -> Health:
    """Two clients of one mailstore (other options, same name) as one: down if one is, sessions added."""
    shown = second if first.up and not second.up else first
    return replace(shown, sessions=first.sessions + second.sessions, waiting=first.waiting + second.waiting)


@runtime_checkable
class Watched(Protocol):
    """A mailstore that knows how it is; one that does not (a Maildir) counts as free."""

    def standing(self) -> Standing:
        """Now."""
        ...

    def health(self) -> Health:
        """Now, with the details."""
        ...


class Breaker:
    """Mutable by nature. jitter gives numbers from 0 to 1 (``random.random``)."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._pause = 0.0
        self.failures = 0
        self.silences = 0
        self.detail = ""

    @property
    def up(self) -> bool:
        """False while it is open."""
        return self._pause == 0.0

    def failed(self, detail: str) -> bool:
        """An attempt to connect or be greeted failed. True when this one has opened the breaker."""
        self.failures += 1
        return self._opened(detail)

    def silent(self, detail: str) -> bool:
        """A session was greeted and MAIL never answered. True when this one has opened the breaker."""
        self.silences += 1
        return self._opened(detail)

    def _opened(self, detail: str) -> bool:
        self.detail = detail
        if self._pause or max(self.failures, self.silences) < FAILURES:
            return False
        self._pause = FIRST_PAUSE
        return True

    def greeted(self) -> None:
        """A session is there; only a probe closes the breaker."""
        self.failures = self.failures if self._pause else 0

    def answered(self) -> None:
        """MAIL was answered, whatever the answer."""
        self.silences = self.silences if self._pause else 0

    def probe_failed(self, detail: str) -> None:
        """The one probe of this pause failed: wait twice as long for the next."""
        self.failures += 1
        self.detail = detail
        self._pause = min(self._pause * 2, LONGEST_PAUSE) or FIRST_PAUSE

    def succeeded(self) -> bool:
        """The probe was greeted and its MAIL answered. True when that has closed the breaker."""
        was_down = not self.up
        self._pause, self.failures, self.silences, self.detail = 0.0, 0, 0, ""
        return was_down

    def pause(self) -> float:
        """Seconds to wait before the next probe, jitter included."""
        return self._pause * (1 - JITTER + 2 * JITTER * self._jitter())
