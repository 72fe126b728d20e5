"""The supervisor's own questions to DNS, counted beside those of the checks.

Known gaps: none.
"""

from __future__ import annotations

import time
from functools import cache

from gateway.ops.dns_metrics import DnsMetrics
from gateway.ports.dns import Answer, Resolver
from gateway.ports.failure import PortFailure
from gateway.ports.purpose import asking


@cache
def _counts() -> DnsMetrics:
    return DnsMetrics()


class CountedResolver:
    """Another resolver, counted. purpose: a word of ``ports.purpose.PURPOSES``; questions for MX count as mx. Made in
    the supervisor only, after ``metrics.use_folder``."""

    def __init__(self, inner: Resolver, purpose: str) -> None:
        self._inner = inner
        self._purpose = purpose

    async def lookup(self, name: str, rtype: str) -> Answer:
        """As the resolver behind it."""
        # an asker that is cancelled has run out of time
        started, result = time.perf_counter(), "budget"
        try:
            answer = await self._inner.lookup(name, rtype)
            result = answer.status.value
            return answer
        except PortFailure as failure:
            result = failure.cause.why.value
            raise
        finally:
            with asking("mx" if rtype == "MX" else self._purpose):
                _counts().lookup(rtype, result, time.perf_counter() - started)

    async def close(self) -> None:
        """End it."""
        await self._inner.close()
