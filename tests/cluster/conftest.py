"""One bed (bed.py) for all tests of a run that want it; it takes some seconds to raise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "real"))

from bed import Bed, bed
from redis_server import RedisServer
from three_nodes import Cluster, cluster


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Three nodes and all that is around them; each test leaves it whole."""
    with bed(tmp_path_factory.mktemp("bed")) as made:
        yield made
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"mxgw-{os.getpid()}-" not in left, "nothing of the bed stays"


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes and Redis on one machine, each with its own file; each test but the last leaves them alike."""
    if why := RedisServer.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("nodes")
    with cluster(folder, "mx1", "mx2", "mx3", cluster={"require_policy": True}) as made:
        made.wait(lambda: all(said["ready"] for said in made.json("cluster", "status")["nodes"].values()), "all serve")
        yield made
