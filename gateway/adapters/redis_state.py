"""What the answers of a Redis say about it: up, full, read-only or down (the breaker's word), and who is told.

A refused write is an answer: it opens no breaker, for reads go on and cost nothing.

Known gaps: a store that refused a write counts as such for 10 s after the last one, also when it takes them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.adapters.store_breaker import Breaker
from gateway.ports.store_state import OnState, StateChange, StoreState, nobody_told

_REFUSAL_SECONDS = 10.0


class RedisState:
    """breaker: opens and closes by what is told here. on_state: told of each change."""

    def __init__(
        self,
        breaker: Breaker | None = None,
        on_state: OnState = nobody_told,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = breaker or Breaker()
        self._on_state = on_state
        self._monotonic = monotonic
        self._refusal = StoreState.UP
        self._refused_until = 0.0
        self._told = StoreState.UP

    @property
    def state(self) -> StoreState:
        """As it is now."""
        if self.breaker.open:
            return StoreState.DOWN
        return self._refusal if self._monotonic() < self._refused_until else StoreState.UP

    def answered(self) -> None:
        """A call was answered."""
        if self.breaker.open:
            self._refused_until = 0.0  # what it said before it was gone is old
        self.breaker.succeeded()
        self._tell("")

    def refused(self, state: StoreState, detail: str) -> None:
        """A write was refused: FULL or READ_ONLY."""
        self.breaker.succeeded()
        self._refusal = state
        self._refused_until = self._monotonic() + _REFUSAL_SECONDS
        self._tell(detail)

    def failed(self, detail: str) -> None:
        """A call was not answered."""
        self.breaker.failed()
        self._tell(detail)

    def _tell(self, detail: str) -> None:
        if (state := self.state) is not self._told:
            before, self._told = self._told, state
            self._on_state(StateChange(before, state, detail))
