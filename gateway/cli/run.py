"""``mxgw run``: the node in the foreground, until SIGTERM.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import os

from gateway.cli.output import config_argument, settings_path


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--config``."""
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Read the settings, then be the node. Settings first: a fault is said before anything heavy is imported."""
    from gateway.config import load_settings

    settings = load_settings(settings_path(args.config), os.environ, node=True)
    from gateway.node import supervise

    return supervise(settings)
