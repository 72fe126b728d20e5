"""Which policy a command means, and where the packaged ones and their cases lie.

Known gaps: none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.policy.model import Policy

CASES: Final = Path(__file__).parents[1] / "policies" / "cases"
PACKAGED: Final = ("default", "observe", "strict")


def policy_in_force(file: Path | None, config: Path | None) -> Policy:
    """The policy of a file, else the one that the node of the settings keeps or has, else the packaged default. Raises
    FaultsError."""
    from gateway.cli.output import settings_path
    from gateway.policy.load import load, load_packaged

    if file is not None:
        return load(file)
    path = settings_path(config)
    if config is not None or path.exists():
        from gateway.config import load_settings
        from gateway.node.policy_keeper import policy_now

        return policy_now(load_settings(path, os.environ))
    return load_packaged("default")
