"""The ledger as a port: who holds a message that may come again, for all nodes; one call is one round trip.

Key: an opaque text for one message (``delivery.ledger`` makes it). Recipients have an entry each, since a mailstore may
take a message for one and defer it for another.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from gateway.ports.store import Store


class Entry(StrEnum):
    """What the ledger answers for one recipient."""

    OURS = "ours"  # recorded now as being handed over by us
    BUSY = "busy"  # another session hands it over at this moment, and its lease has not run out
    DONE = "done"  # a mailstore has said 250 for it


class Ledger(Protocol):
    """Raises PortFailure('store', ...). Times in seconds of the store's own clock."""

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """Record *handing over* by ``owner`` for ``lease`` seconds, where nothing stands against it; an answer for
        each recipient in order, in one atomic step. The same owner may begin again."""
        ...

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """How it ended: *done* for ``ttl`` seconds, whoever it was that began; ``free``: nothing was taken, so the
        owner's entries go. One atomic step."""
        ...

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """The client has read its reply: these entries may go."""
        ...


class LedgerStore(Store, Ledger, Protocol):
    """What a real store is: both."""
