"""``mxgw version``.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import platform

from gateway import __version__
from gateway.cli.output import output_argument, show_json
from gateway.cli.sysexits import OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--output``."""
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the versions of mxgw and Python."""
    if args.output == "json":
        show_json("version", {"version": __version__, "python": platform.python_version()})
    else:
        print(f"mxgw {__version__} (Python {platform.python_version()})")
    return OK
