"""One world for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tracking_world import RedisServer, World
from tracking_world import world as make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if why := RedisServer.missing():
        pytest.skip(why)
    with make(tmp_path_factory.mktemp("tracking") / "nodes") as found:
        yield found
