"""The board in a SQLite file beside the store's, for a lone node: its commands and its processes share it.

A file of its own, since the store's has a size, beyond which it forgets: records of decisions must not push
greylisting out, nor wait for its write lock.

Known gaps: one host only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.adapters.store_sqlite import SqliteStore
from gateway.ports.board import Line
from gateway.ports.clock import Clock

_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS board (place TEXT, key TEXT, value TEXT, expires REAL, PRIMARY KEY (place, key))
                                  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, time REAL, value TEXT,
                                    expires REAL);
CREATE INDEX IF NOT EXISTS board_expires ON board (expires);
CREATE INDEX IF NOT EXISTS journal_name ON journal (name, number);
CREATE INDEX IF NOT EXISTS journal_expires ON journal (expires, name);
"""
_NEWEST = "SELECT expires FROM journal WHERE name = ? ORDER BY number DESC LIMIT 1"
_NUMBER_DIGITS = 20
_PURGE_SECONDS = 60.0


class SqliteBoard:
    """``ports.board.Board`` beside the store's file ``path``: for ``store.sqlite3`` in ``store-board.sqlite3``."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._store = SqliteStore(path.with_stem(f"{path.stem}-board"), clock)
        self._now = clock.now
        self._made = False
        self._purged = 0.0

    async def write(self, place: str, key: str, value: str, ttl: float | None = None) -> None:
        """Put it."""
        await self._call(lambda connection: self._put(connection, place, key, value, ttl))

    async def read(self, place: str, key: str) -> str | None:
        """One value."""
        return await self._look(lambda connection: self._value(connection, place, key))

    async def entries(self, place: str) -> Mapping[str, str]:
        """All values."""
        query = "SELECT key, value FROM board WHERE place = ? AND (expires IS NULL OR expires > ?) ORDER BY key"
        return dict(await self._look(lambda connection: connection.execute(query, (place, self._now())).fetchall()))

    async def erase(self, place: str, key: str) -> None:
        """Take it away."""
        await self._call(lambda connection: _erase(connection, place, key))

    async def swap(self, place: str, key: str, before: str | None, after: str | None, ttl: float | None = None) -> bool:
        """In one transaction."""

        def work(connection: sqlite3.Connection) -> bool:
            if self._value(connection, place, key) != before:
                return False
            if after is None:
                _erase(connection, place, key)
            else:
                self._put(connection, place, key, after, ttl)
            return True

        return await self._call(work)

    async def append(self, journal: str, value: str, keep: int, ttl: float) -> None:
        """Add a line."""

        def work(connection: sqlite3.Connection) -> None:
            now = self._now()
            connection.execute(
                "INSERT INTO journal (name, time, value, expires) VALUES (?, ?, ?, ?)", (journal, now, value, now + ttl)
            )
            connection.execute(
                "DELETE FROM journal WHERE name = ? AND number <= (SELECT number FROM journal WHERE name = ? "
                "ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (journal, journal, keep),
            )
            self._purge(connection)

        await self._call(work)

    async def lines(self, journal: str, after: str = "", limit: int = 1000) -> Sequence[Line]:
        """Oldest first."""
        return await self._lines(journal, "number > ?", int(after or 0), "ASC", limit)

    async def latest(self, journal: str, limit: int = 1000, before: str = "") -> Sequence[Line]:
        """Newest first."""
        return await self._lines(journal, "number < ?", int(before or 2**62), "DESC", limit)

    async def forget(self, journal: str, before: float) -> None:
        """By their time."""
        await self._call(
            lambda connection: connection.execute("DELETE FROM journal WHERE name = ? AND time < ?", (journal, before))
        )

    async def now(self) -> float:
        """This host's clock."""
        return self._now()

    async def replicated(self) -> bool:
        """There is one copy, and no fail-over."""
        return True

    async def close(self) -> None:
        """Close the file."""
        await self._store.close()

    async def _lines(self, journal: str, test: str, number: int, order: str, limit: int) -> Sequence[Line]:
        # test and order are ours, hence no injection. A journal lives until its last line runs out
        query = (
            f"SELECT number, time, value FROM journal WHERE name = ? AND {test} AND "  # noqa: S608
            f"({_NEWEST}) > ? ORDER BY number {order} LIMIT ?"
        )
        rows = await self._look(
            lambda connection: connection.execute(query, (journal, number, journal, self._now(), limit)).fetchall()
        )
        return [Line(f"{row[0]:0{_NUMBER_DIGITS}d}", row[1], row[2]) for row in rows]

    async def _look(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        # nodes look many times a second: the write lock is for those who write
        if not self._made:
            return await self._call(work)
        return await self._store.look(work)

    async def _call(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def with_tables(connection: sqlite3.Connection) -> _T:
            if not self._made:
                for statement in _SCHEMA.split(";")[:-1]:
                    connection.execute(statement)
                self._made = True
            return work(connection)

        return await self._store.transaction(with_tables)

    def _purge(self, connection: sqlite3.Connection) -> None:
        now = self._now()
        if 0 <= now - self._purged < _PURGE_SECONDS:
            return
        self._purged = now
        old = connection.execute("SELECT DISTINCT name FROM journal WHERE expires <= ?", (now,)).fetchall()
        for (journal,) in old:
            if connection.execute(_NEWEST, (journal,)).fetchone()[0] <= now:
                connection.execute("DELETE FROM journal WHERE name = ?", (journal,))

    def _value(self, connection: sqlite3.Connection, place: str, key: str) -> str | None:
        query = "SELECT value FROM board WHERE place = ? AND key = ? AND (expires IS NULL OR expires > ?)"
        row = connection.execute(query, (place, key, self._now())).fetchone()
        return None if row is None else str(row[0])

    def _put(self, connection: sqlite3.Connection, place: str, key: str, value: str, ttl: float | None) -> None:
        now = self._now()
        connection.execute("DELETE FROM board WHERE expires <= ?", (now,))
        expires = None if ttl is None else now + ttl
        connection.execute("INSERT OR REPLACE INTO board VALUES (?, ?, ?, ?)", (place, key, value, expires))


def _erase(connection: sqlite3.Connection, place: str, key: str) -> None:
    connection.execute("DELETE FROM board WHERE place = ? AND key = ?", (place, key))
