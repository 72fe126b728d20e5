"""Resolvers that let us down on purpose: for drills, for tests and for ``explain`` without a network.

Known gaps: none.
"""

from __future__ import annotations

import asyncio

from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Resolver
from gateway.ports.failure import PortFailure


class BrokenResolver:
    """Answers nothing: each lookup raises ``PortFailure('dns', why, detail)``."""

    def __init__(self, why: Why = Why.TIMEOUT, detail: str = "no resolver") -> None:
        self._why = why
        self._detail = detail

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Raises PortFailure, always."""
        raise PortFailure("dns", self._why, f"{self._detail}: {name} {rtype}")

    async def close(self) -> None:
        """Nothing is open."""


class SlowResolver:
    """Another resolver, ``delay`` seconds later."""

    def __init__(self, inner: Resolver, delay: float) -> None:
        self._inner = inner
        self._delay = delay

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Wait, then ask. Raises what the inner resolver raises."""
        await asyncio.sleep(self._delay)
        return await self._inner.lookup(name, rtype)

    async def close(self) -> None:
        """End the inner resolver."""
        await self._inner.close()
