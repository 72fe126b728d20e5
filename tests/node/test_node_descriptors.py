"""File descriptors: a worker takes what it may have, and takes fewer sessions where that is too little."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import resource
from gateway.node.descriptors import make_room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(make_room(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "sessions", "then"),
    [(1024, 8192, 1000, 2512), (4096, 8192, 1000, 4096), (1024, 2512, 1000, 2512), (1024, 2000, 744, 2000), (400, 400, 1, 400)],
)
def test_room(soft: int, hard: int, sessions: int, then: int) -> None:
    # in a process of its own: the hard limit cannot be raised again
    done = subprocess.run([sys.executable, "-c", ASK.format(soft=soft, hard=hard)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(sessions), str(then)]
    assert ("sessions in place of 1000" in done.stderr) is (sessions < 1000)
