"""What the contract tests of this folder share: a clock that goes on by hand, and Redis in all its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from redis_server import RedisServer
from redis_worlds import ClusterRedis, SentinelRedis, TlsRedis

from gateway.adapters.redis_client import Patience

KINDS = ("memory", "sqlite", "servers")

UNHURRIED = Patience(connect=5.0, command=5.0, wait=5.0, whole=10.0)
"""What an answer is, not when it comes, is the contract."""


class HandClock:
    """Goes on by hand."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def advance(self, seconds: float) -> None:
        self.time += seconds


class RedisShapes:
    """urls by scheme; each server keeps what the contract tests wrote."""

    def __init__(self, stack: ExitStack) -> None:
        with ThreadPoolExecutor() as pool:  # each waits for its servers
            worlds = [pool.submit(kind().__enter__) for kind in (RedisServer, TlsRedis, SentinelRedis, ClusterRedis)]
        for world in worlds:
            stack.push(world.result().__exit__)
        self.single, self.tls, self.sentinel, self.cluster = (world.result() for world in worlds)

    @property
    def urls(self) -> Mapping[str, str]:
        return {
            "redis": self.single.url,
            "rediss": self.tls.url,
            "sentinel": self.sentinel.url,
            "cluster": self.cluster.url,
        }

    @property
    def keepers(self) -> list[RedisServer]:
        """All servers that hold keys."""
        return [self.single, self.tls.server, self.sentinel.master, *self.cluster.nodes]
