"""Real programs and nodes for the last gaps of docs/coverage.md."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("real", "balancers"):
    if str(Path(__file__).parents[1] / folder) not in sys.path:
        sys.path.append(str(Path(__file__).parents[1] / folder))

from collections.abc import Callable, Iterator  # noqa: E402

import pytest  # noqa: E402
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
