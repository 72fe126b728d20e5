"""Counters as rows of the SQLite store: one row a counter, with HELD one row an owner.

Known gaps: none.
"""

from __future__ import annotations

import sqlite3

from gateway.adapters.store_tally import NOTHING, Kept
from gateway.ports.store import Counter, Tally


def counted(connection: sqlite3.Connection, counter: Counter) -> Kept:
    """What is kept of it."""
    name = _name(counter)
    if counter.tally is Tally.HELD:
        # all rows that begin with the name: "}" is the character behind "|"
        rows = connection.execute(
            "SELECT id, current, expires FROM counts WHERE id >= ? AND id < ?", (f"{name}|", f"{name}}}")
        ).fetchall()
        return Kept(held={row[0][len(name) + 1 :]: (row[1], row[2]) for row in rows})
    row = connection.execute("SELECT bucket, current, previous, expires FROM counts WHERE id = ?", (name,)).fetchone()
    return Kept(*row) if row else NOTHING


def keep_counted(connection: sqlite3.Connection, counter: Counter, kept: Kept) -> None:
    """Keep it, in the same transaction."""
    name = _name(counter)
    if counter.tally is not Tally.HELD:
        row = (name, kept.at, kept.current, kept.previous, kept.expires)
        connection.execute("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?, ?)", row)
        return
    connection.execute("DELETE FROM counts WHERE id >= ? AND id < ?", (f"{name}|", f"{name}}}"))
    connection.executemany(
        "INSERT INTO counts VALUES (?, 0, ?, 0, ?)",
        [(f"{name}|{owner}", number, end) for owner, (number, end) in kept.held.items()],
    )


def _name(counter: Counter) -> str:
    if counter.tally is Tally.HELD:
        return f"held|{counter.key}"
    return f"{'decay|' if counter.tally is Tally.DECAY else ''}{counter.window:g}|{counter.key}"
