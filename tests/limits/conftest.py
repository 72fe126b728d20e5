"""Two nodes with one Redis, started once for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from limits_world import RedisServer, TwoNodes, policy, two_nodes


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    if why := RedisServer.missing():
        pytest.skip(why)
    with two_nodes(tmp_path_factory.mktemp("nodes"), policy()) as found:
        yield found
