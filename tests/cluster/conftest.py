"""One bed (bed.py) for all tests of a run that want it; it takes some seconds to raise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bed import Bed, bed


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Three nodes and all that is around them; each test leaves it whole."""
    with bed(tmp_path_factory.mktemp("bed")) as made:
        yield made
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"mxgw-{os.getpid()}-" not in left, "nothing of the bed stays"
