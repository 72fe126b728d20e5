"""A constant flow of probes, each sent again as long as nobody has taken it: an honest sender with a short patience.

Where no target could be reached, nothing is tried for the length of one pause, as senders do with a dead destination.

Known gaps: the pause between attempts is constant; real senders wait longer each time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.drills.probe import Envelope, Gate, How, Probe, Seen, Tried, attempt
from gateway.drills.targets import Target, in_order


@dataclass(slots=True)
class Sent:
    """One message and all that was tried for it. troubled: a session was cut, or one attempt was not enough. began,
    ended: on the monotonic clock; ended 0: it is still owed."""

    message_id: str
    began: float
    attempts: int = 0
    troubled: bool = False
    how: How = How.LATER
    ended: float = 0.0


@dataclass(slots=True)
class Load:
    """rate: messages a second; retry: seconds between two attempts for one message; parallel: sessions at a time."""

    targets: Sequence[Target]
    envelope: Envelope
    token: str
    rate: float
    retry: float
    parallel: int
    sent: list[Sent] = field(default_factory=list)
    accepted_at: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    unreached: int = 0
    unanswered: int = 0
    seen: Seen = field(default_factory=dict)
    troubles: list[float] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _room: asyncio.Semaphore = field(init=False)
    _flow: asyncio.Task[None] | None = None
    _dead_until: float = 0.0
    _failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.parallel)

    def begin(self) -> None:
        """Let it flow."""
        self._flow = asyncio.create_task(self._run())

    async def _run(self) -> None:
        began = time.monotonic()
        for number in range(1_000_000):
            await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
            if self._room.locked():
                # as many wait as may be under way: more would only make the end longer
                await self._room.acquire()
                self._room.release()
            task = asyncio.create_task(self._send(Probe(number, self.token, self.envelope)))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failure = error

    async def _send(self, probe: Probe) -> None:
        sent = Sent(probe.message_id, time.monotonic())
        self.sent.append(sent)
        octets = probe.octets()
        while True:
            if (left := self._dead_until - time.monotonic()) > 0:
                sent.troubled = True
                await asyncio.sleep(left)
            async with self._room:
                if self._dead_until > time.monotonic():
                    continue
                tried = await attempt(probe, octets, in_order(self.targets), self.gate, self.seen)
            sent.attempts += 1
            self._note(tried)
            sent.troubled = sent.troubled or tried.cut > 0 or tried.how is not How.ACCEPTED
            if sent.troubled:
                self.troubles.append(time.monotonic())
            if tried.how in (How.ACCEPTED, How.REFUSED):
                sent.how, sent.ended = tried.how, time.monotonic()
                return
            sent.how = tried.how
            if tried.unreached == len(self.targets):
                self._dead_until = time.monotonic() + self.retry
            await asyncio.sleep(self.retry)

    def _note(self, tried: Tried) -> None:
        self.replies.update(text[:9] if text[4:5].isdecimal() else text[:3] for text in tried.codes)
        self.cut += tried.cut
        self.unreached += tried.unreached
        self.unanswered += tried.how is How.UNANSWERED
        if tried.how is How.ACCEPTED and tried.target:
            self.accepted_at[tried.target.place] += 1

    @property
    def owed(self) -> int:
        """Messages that nobody has taken yet."""
        return sum(not sent.ended for sent in self.sent)

    async def stop(self, patience: float) -> None:
        """Begin no more; wait so many seconds until nothing is owed, then give up. Raises what broke the flow."""
        if self._flow:
            self._flow.cancel()
            await asyncio.gather(self._flow, return_exceptions=True)
            self._flow = None
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failure:
            raise self._failure
