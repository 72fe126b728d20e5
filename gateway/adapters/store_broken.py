"""A store that is always out: for ``explain --without store``, and to show what outages do.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion


class BrokenStore:
    """Raises PortFailure('store', why) at every question."""

    def __init__(self, why: Why = Why.REFUSED) -> None:
        self._why = why

    def _failure(self) -> PortFailure:
        return PortFailure("store", self._why, "broken on purpose")

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def put(self, key: str, value: str, ttl: float) -> None:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def get(self, key: str) -> str | None:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def delete(self, key: str) -> None:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def forget(self, key: str, recipients: Sequence[str]) -> None:  # noqa: ARG002
        """Raises."""
        raise self._failure()

    async def ping(self) -> None:
        """Raises."""
        raise self._failure()

    async def close(self) -> None:
        """Nothing to end."""
