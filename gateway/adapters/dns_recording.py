"""A resolver that writes down what is asked and what is answered: the evidence behind a result.

Known gaps: answers that the resolver behind it had in its cache look like any other.
"""

from __future__ import annotations

from gateway.ports.dns import Answer, Asked, Resolver
from gateway.ports.failure import PortFailure


class RecordingResolver:
    """Another resolver; ``asked`` holds each question once, in the order of the answers."""

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self._asked: dict[tuple[str, str], Asked] = {}

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What was asked so far."""
        return tuple(self._asked.values())

    async def lookup(self, name: str, rtype: str) -> Answer:
        """As the resolver behind it."""
        key = (name.removesuffix(".").lower(), rtype)
        try:
            answer = await self._inner.lookup(name, rtype)
        except PortFailure as failure:
            self._asked[key] = Asked(*key, failure.cause.why.value)
            raise
        self._asked[key] = Asked(*key, answer.status.value, answer.records, answer.ttl)
        return answer

    async def close(self) -> None:
        """End the resolver behind it."""
        await self._inner.close()
