"""The chart under helm/mxgw, rendered by Helm itself (as a library), with the values of its ci folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
