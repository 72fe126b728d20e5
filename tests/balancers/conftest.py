"""The wire's client and server in a process, beside real nodes behind real balancers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parent.parent / "wire"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from node_process import NodeProcess  # noqa: E402
from nodes import Nodes  # noqa: E402
from redis_server import RedisServer  # noqa: E402


@pytest.fixture
def nodes(start_node: Callable[..., NodeProcess], tmp_path: Path) -> Iterator[Nodes]:
    """Real nodes with one Redis and one Maildir; none is started yet."""
    if why := RedisServer.missing():
        pytest.skip(f"real component missing: {why}")
    with RedisServer() as server:
        yield Nodes(start_node, server.url, tmp_path)
