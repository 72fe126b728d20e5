"""What commands print: aligned columns for people, one JSON object with its schema's name for programs.

Text may change from one version to the next; JSON keeps its meaning while its ``schema`` stays the same.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.yamlfile import FaultsError


class CommandError(Exception):
    """A mistake of the operator or of the surroundings; the text is for people, ``code`` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


def output_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--output text|json``."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for people or for programs")


def config_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--config FILE``."""
    places = "$MXGW_CONFIG, ./gateway.yaml, /etc/mxgw/gateway.yaml"
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings file; default: {places}")


def settings_path(given: Path | None) -> Path:
    """The settings file to read: as given, else by ``MXGW_CONFIG``, else the first of the usual places."""
    if given is not None:
        return given
    if named := os.environ.get("MXGW_CONFIG"):
        return Path(named)
    here, usual = Path("gateway.yaml"), Path("/etc/mxgw/gateway.yaml")
    return usual if usual.exists() and not here.exists() else here


def show_json(command: str, values: Mapping[str, Any]) -> None:
    """Print the values as one JSON object that begins with its schema's name."""
    print(json.dumps({"schema": f"mxgw/v1/{command}", **values}, indent=2, ensure_ascii=False, default=str))


def show_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column is not padded."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_faults(error: FaultsError) -> None:
    """Print all faults to standard error, one a line."""
    for fault in error.faults:
        print(fault, file=sys.stderr)


def faults_json(error: FaultsError) -> list[dict[str, Any]]:
    """The faults as JSON values."""
    names = ("file", "line", "key", "problem", "remedy")
    return [{name: getattr(fault, name) for name in names} for fault in error.faults]
