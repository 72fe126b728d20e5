"""Tables for a terminal, by rich: folded cells, a heading, words of verdicts in colour.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_GOOD: Final = frozenset({"ok", "pass", "accept", "accepted", "up", "ready", "serving", "sound", "yes", "closed"})
_BAD: Final = frozenset({"error", "wrong", "reject", "rejected", "fail", "failed", "down", "open", "accepts-all", "no"})
_DOUBTFUL: Final = frozenset(
    {"warning", "unclear", "unknown", "defer", "deferred", "degraded", "disabled", "temperror"}
)


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, all of one length, of printable text. A first row in capitals is the heading."""
    heading = len(rows) > 1 and _is_heading(rows[0])
    table = Table(box=None, show_header=heading, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(Text(name) if heading else "", overflow="fold")
    for row in rows[1:] if heading else rows:
        # Text, so that brackets in what a stranger wrote are no mark-up
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    Console(highlight=False, emoji=False).print(table)


def _is_heading(row: Sequence[str]) -> bool:
    return any(map(str.isalpha, "".join(row))) and all(cell == cell.upper() for cell in row)


def _style(cell: str) -> str:
    word = cell.strip().lower()
    return "green" if word in _GOOD else "red" if word in _BAD else "yellow" if word in _DOUBTFUL else ""
