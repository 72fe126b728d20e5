"""A name server and a Redis that a test may take away, and a node that knows both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from debian import need
from dns_server import NsdServer
from mail_world import DkimKey, policy, zones
from node_process import NodeProcess
from redis_server import RedisServer


@pytest.fixture(scope="session")
def world_zones() -> dict[str, str]:
    return zones(DkimKey())


@pytest.fixture
def name_server(world_zones: dict[str, str]) -> Iterator[NsdServer]:
    need("nsd")
    with NsdServer(world_zones) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    need("redis-server")
    with RedisServer() as server:
        yield server


@pytest.fixture
def node_before(start_node: Callable[..., NodeProcess]) -> Callable[..., NodeProcess]:
    """``node_before(mailstore_port)``: one worker before an SMTP mailstore; ``checks`` and ``settings`` as given."""

    def start(port: int, *, checks: dict[str, Any] | None = None, **settings: Any) -> NodeProcess:
        given = {
            "workers": 1,
            "store": "memory://",
            "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{port}"}],
            **settings,
        }
        return start_node(settings=given, policy=policy(**(checks or {})))

    return start
