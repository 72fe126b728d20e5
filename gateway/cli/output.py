"""What commands print: columns for people (a table on a terminal), JSON with its schema's name for programs.

Text may change from one version to the next; JSON keeps its meaning while its ``schema`` stays the same: fields may be
added, none is taken away or given another meaning under that name.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.sysexits import DATAERR, NOINPUT

if TYPE_CHECKING:
    from gateway.yamlfile import FaultsError


FORMS: Final = ("text", "json", "jsonl")
_AS_LINES: ContextVar[bool] = ContextVar("as_lines", default=False)


class CommandError(Exception):
    """A mistake of the operator or of the surroundings; the text is for people, ``code`` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


def cannot_read(what: object, error: OSError | UnicodeDecodeError) -> str:
    """What to say of a file; the same words everywhere."""
    why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"
    return f"{what} cannot be read: {why}"


def unusable(error: ValueError | OSError, what: object = None) -> CommandError:
    """What was given cannot be used: 66 for a file that cannot be read, else 65. what: the file, where the error does
    not name it."""
    if isinstance(error, OSError) and (what or error.filename):
        return CommandError(NOINPUT, cannot_read(what or error.filename, error))
    if isinstance(error, UnicodeDecodeError):
        return CommandError(DATAERR, cannot_read(what or "a file", error))
    return CommandError(DATAERR, f"{what}: {error}" if what else str(error))


class _Form(argparse.Action):
    """jsonl is json to the commands; only the printing differs."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        _AS_LINES.set(values == "jsonl")
        setattr(namespace, self.dest, "json" if values == "jsonl" else values)


def output_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--output text|json|jsonl``."""
    _AS_LINES.set(False)
    parser.add_argument(
        "-o", "--output", choices=FORMS, default="text", action=_Form, help="for people, or for programs (docs/cli.md)"
    )


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
    """Print the values as one JSON object that begins with its schema's name; with ``--output jsonl`` one object a
    line: first each member of the lists of objects (schema ``mxgw/v1/COMMAND.LIST``), then the rest (that of ``json``).
    """
    schema = f"mxgw/v1/{command}"
    if not _AS_LINES.get():
        print(json.dumps({"schema": schema, **values}, indent=2, ensure_ascii=False, default=str))
        return
    lists = {key: value for key, value in values.items() if _is_list_of_objects(value)}
    for key, members in lists.items():
        for member in members:
            print(json.dumps({"schema": f"{schema}.{key}", **member}, ensure_ascii=False, default=str))
    rest = {key: value for key, value in values.items() if key not in lists}
    print(json.dumps({"schema": schema, **rest}, ensure_ascii=False, default=str))


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, dict) for one in value)


def show_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as columns; a first row in capitals is their heading. On a terminal that takes colours a table with
    folded cells; else (a pipe, NO_COLOR) aligned plain text, its last column not padded."""
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    if not cells:
        return
    if on_terminal():
        from gateway.cli.table import show_table

        show_table(cells)
        return
    widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def on_terminal() -> bool:
    """Whether standard output is a terminal that may be sent colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """What a stranger wrote must not move the operator's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def show_faults(error: FaultsError) -> None:
    """Print all faults to standard error, one a line."""
    for fault in error.faults:
        print(printable(str(fault)), file=sys.stderr)


def faults_json(error: FaultsError) -> list[dict[str, Any]]:
    """The faults as JSON values."""
    names = ("file", "line", "key", "problem", "remedy")
    return [{name: getattr(fault, name) for name in names} for fault in error.faults]
