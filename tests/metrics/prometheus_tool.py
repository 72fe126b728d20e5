"""promtool of Debian's prometheus, which deploy/dev/install-packages unpacks below .test/debian: nothing is started."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.real.debian import MISSING

UNPACKED = Path(__file__).parents[2] / ".test/debian/prometheus/usr/bin/promtool"


def promtool(*arguments: str | Path) -> str:
    """What it says; a failure of the test where it is not content."""
    path = shutil.which("promtool") or str(UNPACKED)
    if not Path(path).exists():
        pytest.skip(
            f"{MISSING} promtool (Debian package prometheus; deploy/dev/install-packages deploy/debian-packages.txt)"
        )
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
