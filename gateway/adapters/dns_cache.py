"""Ask each question once: TTL cache for answers, for "there is none" and briefly for failures; single flight.

Positive answers live for their TTL (an hour at most), negative ones for theirs (15 minutes at most, one minute where
the resolver cannot tell), failures for a few seconds: long enough that one dead domain does not cost one wait per
recipient, short enough that recovery is seen at once (RFC 9520 section 3.2 allows 1 s to 5 min).

Strangers choose the names and what stands there: what is kept is bounded by octets, and a huge answer is not kept.

Known gaps: no refresh before expiry; nothing stale is served.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from gateway.mail.finding import Cause
from gateway.ports.clock import Clock
from gateway.ports.dns import Answer, Resolver, Status
from gateway.ports.failure import PortFailure

POSITIVE_MAX = 3600.0
NEGATIVE_DEFAULT = 60.0
NEGATIVE_MAX = 900.0
FAILURE_TTL = 5.0
MOST_OCTETS = 32 * 1024 * 1024
LONGEST_ANSWER = 16 * 1024
_ENTRY_OCTETS = 500
_RECORD_OCTETS = 60

Key = tuple[str, str]
Observer = Callable[[str, str, float], None]
"""Called after each question to the inner resolver: type, status or why it failed, seconds."""


class CachingResolver:
    """A resolver in front of another. most_octets: of memory for answers, roughly; what was asked for longest ago goes
    first. hits and misses count lookups since the start."""

    def __init__(
        self,
        inner: Resolver,
        clock: Clock,
        most_octets: int = MOST_OCTETS,
        on_lookup: Observer | None = None,
        failure_ttl: float = FAILURE_TTL,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._most_octets = most_octets
        self._octets = 0
        self._on_lookup = on_lookup
        self._failure_ttl = failure_ttl
        self._kept: OrderedDict[Key, tuple[float, Answer | Cause, int]] = OrderedDict()
        self._flying: dict[Key, asyncio.Task[Answer]] = {}
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def lookup(self, name: str, rtype: str) -> Answer:
        """The answer, its ttl being what is left of it. Raises what the inner resolver raises, also from memory."""
        key = (name.removesuffix(".").lower(), rtype)
        kept = self._kept.get(key)
        if kept is not None:
            expires, answer, _ = kept
            left = expires - self._clock.monotonic()
            if left > 0:
                self.hits += 1
                self._kept.move_to_end(key)
                if isinstance(answer, Cause):
                    raise PortFailure(answer.port, answer.why, answer.detail)
                return replace(answer, ttl=int(left))
            self._forget(key)
        self.misses += 1
        flight = self._flying.get(key)
        if flight is None:
            flight = asyncio.create_task(self._ask(key), name=f"dns {key[0]} {rtype}")
            self._flying[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        # shielded: a waiter whose client hung up must not take the answer from the others
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """End the inner resolver; open questions are cancelled."""
        flights = list(self._flying.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._inner.close()

    async def _ask(self, key: Key) -> Answer:
        started = self._clock.monotonic()
        try:
            answer = await self._inner.lookup(*key)
        except PortFailure as failure:
            self._seen(key[1], failure.cause.why, started)
            self._keep(key, failure.cause, self._failure_ttl)
            raise
        self._seen(key[1], answer.status, started)
        if answer.status is Status.OK:
            self._keep(key, answer, min(answer.ttl, POSITIVE_MAX))
        else:
            self._keep(key, answer, min(answer.ttl or NEGATIVE_DEFAULT, NEGATIVE_MAX))
        return answer

    def _seen(self, rtype: str, result: str, started: float) -> None:
        if self._on_lookup is not None:
            self._on_lookup(rtype, result, self._clock.monotonic() - started)

    def _keep(self, key: Key, answer: Answer | Cause, ttl: float) -> None:
        if ttl <= 0:
            return
        self._forget(key)
        records = answer.records if isinstance(answer, Answer) else ()
        octets = _ENTRY_OCTETS + 2 * len(key[0]) + sum(_RECORD_OCTETS + len(record) for record in records)
        if octets > LONGEST_ANSWER:
            return
        self._kept[key] = (self._clock.monotonic() + ttl, answer, octets)
        self._octets += octets
        while self._octets > self._most_octets:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._octets -= kept[2]

    def _landed(self, key: Key, flight: asyncio.Task[Answer]) -> None:
        self._flying.pop(key, None)
        # where every waiter has gone, nobody else fetches the exception and asyncio would complain
        if not flight.cancelled():
            flight.exception()
