"""A drill from its beginning to its end: calm, the fault, its mending, what is owed, the account.

Known gaps: while the fault is made and sessions are held, the flow stands still.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.drills.account import Account, account
from gateway.drills.catalogue import Drill, Extra
from gateway.drills.load import Load
from gateway.drills.mailbox import Mailbox
from gateway.drills.probe import How, Seen

_STEP = 0.05
_FIRST, _HOLD, _CUT = 3.0, 10.0, 15.0


class NotServedError(Exception):
    """Nothing was accepted before the fault; the text says what was answered."""


@dataclass(frozen=True, slots=True)
class Course:
    """calm: seconds of flow before the fault and after its mending. during: seconds under the fault. patience: seconds
    to wait for what is owed. settle: seconds that the mailstore may take until a message is in the mailbox. hold:
    whether drills that hold sessions in DATA do so. operator: called with what to do, returns when it is done.
    policies: node -> policy digest now, None where nobody can say."""

    drill: Drill
    load: Load
    mailbox: Mailbox
    calm: float
    during: float
    patience: float
    settle: float
    hold: bool
    tell: Callable[[str], None]
    operator: Callable[[str, bool], Awaitable[None]]
    policies: Callable[[], Awaitable[dict[str, str] | None]]

    async def run(self) -> Account:
        """All of it. Raises NotServedError, MailboxError, and what operator raises."""
        before = await self.policies()
        self.load.begin()
        try:
            wrong: list[str] = []
            await self._calm()
            since, recovery = await self._fault(wrong)
            if self.drill.mend:
                told = time.monotonic()
                await self.operator(self.drill.mend, False)
                since = since if self.drill.serves else self._first_again(told)
                await asyncio.sleep(self.calm)
            self.tell(f"no more is sent; {self.load.owed} are owed")
            await self.load.stop(self.patience)
        except BaseException:
            await self.load.stop(0)
            raise
        after = await self.policies()
        if self.drill.extra is Extra.SAME_POLICY and (before is None or before != after):
            wrong.append(f"the nodes' policies were {before or 'not to be seen'} and are {after or 'not to be seen'}")
        return account(self.load, await self._arrived(), since, recovery, tuple(wrong))

    async def _calm(self) -> None:
        await asyncio.sleep(self.calm)
        await _until(lambda: self.load.accepted_at.total() > 0, max(self.calm, _FIRST))
        if not self.load.accepted_at:
            said = ", ".join(self.load.replies) or "nobody answers"
            raise NotServedError(f"no message was accepted before the fault: {said}")
        self.tell(f"{self.load.accepted_at.total()} accepted in {self.calm:g} s of calm")

    async def _fault(self, wrong: list[str]) -> tuple[float, float | None]:
        """When it was made, and the recovery where it is known otherwise than by messages."""
        gate, told = self.load.gate, time.monotonic()
        if self.drill.holds and self.hold:
            gate.shut()
            first = min(target.preference for target in self.load.targets)
            hosts = {target.host for target in self.load.targets if target.preference == first}
            await _until(lambda: all(gate.held_at[host] for host in hosts) and gate.under_way == 0, _HOLD)
            self.tell(f"{gate.held_at.total()} sessions stand in DATA")
        old: Seen = dict(self.load.seen)
        try:
            await self.operator(self.drill.fault, True)
            done = time.monotonic()
            if self.drill.extra is Extra.CUT and self.hold and not await _until(lambda: gate.cut > 0, _CUT):
                wrong.append("no session was cut in DATA: none stood at the node that was killed")
        finally:
            gate.open()
        since = min([done, *(when for when in self.load.troubles if when > told)])
        if self.drill.extra is Extra.CERTIFICATE:
            return since, await self._certificates(old, done, wrong)
        await asyncio.sleep(self.during)
        return since, None

    def _first_again(self, told: float) -> float:
        """When the first message came through that had not before; at the latest now."""
        found = [sent.ended for sent in self.load.sent if sent.troubled and sent.how is How.ACCEPTED]
        return min([time.monotonic(), *(ended for ended in found if ended > told)])

    async def _certificates(self, old: Seen, done: float, wrong: list[str]) -> float:
        """Until each place shows another certificate than before, and shows it for the length of the calm."""
        places = {place for place, _ in old}

        def new() -> set[str]:
            return {place for place, _ in set(self.load.seen) - set(old)}

        if not places:
            wrong.append("no certificate was seen: STARTTLS is not offered")
        elif not await _until(lambda: new() >= places, self.during):
            wrong.append(f"no other certificate within {self.during:g} s at {', '.join(sorted(places - new()))}")
        await asyncio.sleep(self.calm)
        return max([0.0, *(self.load.seen[key][1] - done for key in old)])

    async def _arrived(self) -> Counter[str]:
        """What is in the mailbox; a little later than the replies, it may be."""
        end = time.monotonic() + self.settle
        goal = self.load.accepted_at.total()
        found = await self.mailbox.count()
        while len(found) < goal and time.monotonic() < end:
            await asyncio.sleep(0.5)
            found = await self.mailbox.count()
        # a second copy may come after the first
        await asyncio.sleep(1.0)
        return await self.mailbox.count()


async def _until(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_STEP)
    return True
