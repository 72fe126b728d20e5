"""Sessions that wait for their client's next command, and which of them goes when a worker is full.

Idle connections are the cheapest attack: a thousand of them, each within its time, and nobody else is served. So a full
worker ends the session that has waited longest and serves the newcomer, if that wait was longer than any client needs
while a worker is full (``limits.COMMAND_TIMEOUT_CROWDED``). Sessions whose command is being carried out, or whose
content comes, are never ended so.

Known gaps: a flood that fills a worker within those seconds still makes it refuse newcomers for so long.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from gateway.mail import limits
from gateway.smtp.wire import ClientLost, IdleTimeout, Wire

TURNS: Final = 8
"""Commands of a worker between two looks at what else has come."""


class Pokable(Protocol):
    """What a session can be told."""

    def poke(self) -> None:
        """Look at your state again."""
        ...


class Idle:
    """The waiting sessions of one worker. patience: seconds that a wait for a command may last."""

    __slots__ = ("_patience", "_since", "_turns")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._turns = 0
        # the longest wait first: a wait is entered at its beginning and keeps its place until a whole command is there
        self._since: dict[Pokable, float] = {}

    async def more(self, session: Pokable, wire: Wire, until: float) -> None:
        """Wait for something new on the wire, until then at the latest (the loop's clock).

        Raises ClientLost, and IdleTimeout where the wait was too long or the session was ended for another's sake.
        """
        since = self._since.setdefault(session, asyncio.get_running_loop().time())
        try:
            await wire.more(min(since + self._patience, until))
        except (ClientLost, IdleTimeout):
            self.busy(session)
            raise
        if session not in self._since:
            raise IdleTimeout

    async def turn(self, session: Pokable) -> None:
        """A whole command came: it does not wait any more. Now and then the other sessions come first: one whose buffer
        is full of commands would else keep the worker to itself until the last of them is answered."""
        self.busy(session)
        self._turns += 1
        if not self._turns % TURNS:
            await asyncio.sleep(0)

    def busy(self, session: Pokable) -> None:
        """It does not wait any more."""
        self._since.pop(session, None)

    def end_one(self) -> bool:
        """End the session that has waited longest. False: none has waited long enough for that."""
        session, since = next(iter(self._since.items()), (None, 0.0))
        if session is None or asyncio.get_running_loop().time() - since < limits.COMMAND_TIMEOUT_CROWDED:
            return False
        del self._since[session]
        session.poke()
        return True
