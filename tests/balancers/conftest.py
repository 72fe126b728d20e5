"""The wire's client and server in a process, beside real nodes behind real balancers."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parent.parent / "wire"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
