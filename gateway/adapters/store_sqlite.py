"""The store in one SQLite file: the default of a lone node, shared by its worker processes, kept over a restart.

One connection lives in one thread of its own, so that the event loop never waits for a disk. Every call is one
transaction; ``BEGIN IMMEDIATE`` takes the write lock first, so that reading and recording are one step for all
workers. WAL with ``synchronous=NORMAL``: a power cut may lose the last moments, which costs one deferral.

What has run out goes with the calls that write: more of it than they add. Strangers choose the keys, so beyond a size
of the file what would run out first goes too, of all but the ledger and what has few rows.

Known gaps: keys stand in clear in the file (mode 0600); one host only, never on a network file system. What became
free in the file is used again, and not given back to the disk. A file full of keys that passed greylisting has no room
for those that wait.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.adapters.store_greylist import ClientState, KeyState, marked, step
from gateway.adapters.store_sqlite_counts import counted, keep_counted
from gateway.adapters.store_tally import tally
from gateway.mail.finding import Why
from gateway.ports.clock import Clock
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion

_T = TypeVar("_T")
_BUSY_MILLISECONDS = 150
_OPEN_TRIES = 10
_OPEN_PAUSE = 0.02
_PURGE_SECONDS = 30.0
_PURGE_ROWS = 100
_MOST_OCTETS = 512 * 1024 * 1024
_FEW_ROWS = 10_000  # in a file that is full they are not what fills it
_TABLES = ("seen", "clients", "counts", "vals", "ledger")
_USED = """SELECT (page_count - freelist_count) * page_size
           FROM pragma_page_count, pragma_freelist_count, pragma_page_size"""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, first REAL, passed INTEGER, expires REAL,
                                 learnt INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clients (id TEXT PRIMARY KEY, allowed INTEGER, expires REAL, passes TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (id TEXT PRIMARY KEY, bucket INTEGER, current INTEGER, previous INTEGER,
                                   expires REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vals (id TEXT PRIMARY KEY, value TEXT, expires REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (id TEXT PRIMARY KEY, owner TEXT, expires REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_expires ON seen (expires);
CREATE INDEX IF NOT EXISTS clients_expires ON clients (expires);
CREATE INDEX IF NOT EXISTS counts_expires ON counts (expires);
CREATE INDEX IF NOT EXISTS vals_expires ON vals (expires);
CREATE INDEX IF NOT EXISTS ledger_expires ON ledger (expires);
"""
_UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SqliteStore:
    """Implements ``ports.store.Store`` and ``ports.ledger.Ledger`` over the file ``path`` (made with mode 0600, its
    directory must exist).

    clock: whose ``now`` decides windows; the system's when None. most_octets: of the file; few_rows: of a table, which
    are kept until they run out, whatever the file's size. Raises PortFailure('store', timeout) when other workers hold
    the lock for more than 150 ms, 'protocol' for a file that is no sound database, 'refused' for all else (no
    permission, disk full); each later call tries to open again.
    """

    def __init__(
        self, path: Path, clock: Clock | None = None, most_octets: int = _MOST_OCTETS, few_rows: int = _FEW_ROWS
    ) -> None:
        self._path = path
        self._most_octets = most_octets
        self._few_rows = few_rows
        self._now = clock.now if clock else time.time
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "store")
        self._connection: sqlite3.Connection | None = None
        self._purged = 0.0
        self._behind = False

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """Ask and record in one transaction."""
        return await self._call(lambda connection: self._greylist(connection, question))

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """Record them in one transaction."""
        await self._call(lambda connection: self._mark(connection, marks))

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """Add all amounts in one transaction and return the counts."""
        return await self._call(lambda connection: self._count(connection, counters))

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Keep a value."""
        await self._call(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO vals VALUES (?, ?, ?)", (key, value, self._now() + ttl)
            )
        )

    async def get(self, key: str) -> str | None:
        """The value, or None."""
        query = "SELECT value FROM vals WHERE id = ? AND expires > ?"
        row = await self._call(
            lambda connection: connection.execute(query, (key, self._now())).fetchone(), begin="BEGIN"
        )
        return None if row is None else str(row[0])

    async def delete(self, key: str) -> None:
        """Forget a value."""
        await self._call(lambda connection: connection.execute("DELETE FROM vals WHERE id = ?", (key,)))

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """Record *handing over* in one transaction."""
        return await self._call(lambda connection: self._begin(connection, _rows(key, recipients), owner, lease))

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """Record *done* and free the rest in one transaction."""

        def work(connection: sqlite3.Connection) -> None:
            until = self._now() + ttl
            connection.executemany(
                "INSERT OR REPLACE INTO ledger VALUES (?, '', ?)", [(row, until) for row in _rows(key, done)]
            )
            connection.executemany(
                "DELETE FROM ledger WHERE id = ? AND owner = ?", [(row, owner) for row in _rows(key, free)]
            )

        await self._call(work)

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """The entries go."""
        rows = [(row,) for row in _rows(key, recipients)]
        await self._call(lambda connection: connection.executemany("DELETE FROM ledger WHERE id = ?", rows))

    async def transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run other work in the store's thread and in one transaction with the write lock. Raises as all calls do."""
        return await self._call(work)

    async def look(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """As ``transaction``, without the write lock: the work only reads."""
        return await self._call(work, "BEGIN")

    async def ping(self) -> None:
        """Open the file if need be and read one page."""
        await self._call(lambda connection: connection.execute("SELECT count(*) FROM vals LIMIT 1").fetchone(), "BEGIN")

    async def close(self) -> None:
        """Close the file; later calls raise PortFailure."""
        if (thread := self._thread) is None:
            return
        self._thread = None
        await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
        thread.shutdown(wait=False)

    # ---- in the store's thread

    async def _call(self, work: Callable[[sqlite3.Connection], _T], begin: str = "BEGIN IMMEDIATE") -> _T:
        if self._thread is None:
            raise PortFailure("store", Why.REFUSED, "closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work, begin)

    def _transaction(self, work: Callable[[sqlite3.Connection], _T], begin: str) -> _T:
        try:
            connection = self._connection or self._connect()
            connection.execute(begin)
            try:
                result = work(connection)
                if begin != "BEGIN":
                    self._purge(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result
        except sqlite3.Error as error:
            raise self._failure(error) from error
        except OSError as error:
            raise PortFailure("store", Why.REFUSED, f"{self._path}: {error.strerror or error}") from error

    def _failure(self, error: sqlite3.Error) -> PortFailure:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes keep the primary one in the low octet
        if code in _BUSY:
            return PortFailure("store", Why.TIMEOUT, f"{self._path}: locked for {_BUSY_MILLISECONDS} ms")
        self._disconnect()
        if code in _UNREADABLE:
            return PortFailure(
                "store", Why.PROTOCOL, f"{self._path} is no sound SQLite file ({error}); move it away and restart"
            )
        return PortFailure("store", Why.REFUSED, f"{self._path}: {error}")

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            # made here and not by SQLite, so that the addresses in it are never readable to others, not for a moment;
            # never opened beside a connection: closing it would drop this process's locks on the file
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                if os.geteuid() == 0:
                    # a command of root's before the node's first start: the file is the node's, as the folder is.
                    # SQLite gives the files that it makes beside it to the same owner
                    folder = self._path.parent.stat()
                    os.fchown(descriptor, folder.st_uid, folder.st_gid)
            finally:
                os.close(descriptor)
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_MILLISECONDS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    @staticmethod
    def _prepare(connection: sqlite3.Connection) -> None:
        # workers start together, and the change to WAL fails at once where another is at it: SQLite does not wait there
        for left in reversed(range(_OPEN_TRIES)):
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(_SCHEMA)
                return
            except sqlite3.OperationalError as error:
                if not left or error.sqlite_errorcode & 0xFF not in _BUSY:
                    raise
                time.sleep(_OPEN_PAUSE)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _greylist(self, connection: sqlite3.Connection, question: GreylistQuestion) -> GreylistAnswer:
        now = self._now()
        row = connection.execute(
            "SELECT first, passed, expires, learnt FROM seen WHERE id = ? AND expires > ?", (question.key, now)
        ).fetchone()
        kept = None
        if question.client_key:
            kept = connection.execute(
                "SELECT allowed, expires, passes FROM clients WHERE id = ? AND expires > ?", (question.client_key, now)
            ).fetchone()
        taken = step(
            now,
            question,
            KeyState(row[0], bool(row[1]), row[2], bool(row[3])) if row else None,
            ClientState.decode(bool(kept[0]), *kept[1:]) if kept else None,
        )
        _keep(connection, question.key, taken.state)
        _keep(connection, question.client_key, taken.client)
        return taken.answer

    def _mark(self, connection: sqlite3.Connection, marks: Sequence[GreylistMark]) -> None:
        now = self._now()
        for mark in marks:
            if (kept := marked(now, mark)) is not None:
                _keep(connection, mark.key, kept)
            elif mark.is_client:
                connection.execute("DELETE FROM clients WHERE id = ?", (mark.key,))
            else:
                connection.execute("DELETE FROM seen WHERE id = ?", (mark.key,))

    def _count(self, connection: sqlite3.Connection, counters: Sequence[Counter]) -> tuple[float, ...]:
        now = self._now()
        keep, answers = tally(now, counters, [counted(connection, counter) for counter in counters])
        for counter, kept in zip(counters, keep, strict=True):
            if kept is not None:
                keep_counted(connection, counter, kept)
        return tuple(answers)

    def _begin(
        self, connection: sqlite3.Connection, rows: Sequence[str], owner: str, lease: float
    ) -> tuple[Entry, ...]:
        now = self._now()
        answers: list[Entry] = []
        for row in rows:
            kept = connection.execute("SELECT owner FROM ledger WHERE id = ? AND expires > ?", (row, now)).fetchone()
            if kept and kept[0] != owner:
                answers.append(Entry.BUSY if kept[0] else Entry.DONE)
            else:
                connection.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)", (row, owner, now + lease))
                answers.append(Entry.OURS)
        return tuple(answers)

    def _purge(self, connection: sqlite3.Connection) -> None:
        now = self._now()
        if not self._behind and 0 <= now - self._purged < _PURGE_SECONDS:
            return
        self._purged = now
        is_full = connection.execute(_USED).fetchone()[0] > self._most_octets
        # in small portions, for the write lock is everybody's; while one was full, with each call that writes
        self._behind = False
        for table in _TABLES:
            may_cut = is_full and table != "ledger" and self._has_many(connection, table)
            until = float("inf") if may_cut else now
            # the names are ours, hence no injection
            gone = connection.execute(
                f"DELETE FROM {table} WHERE id IN "  # noqa: S608
                f"(SELECT id FROM {table} WHERE expires <= ? ORDER BY expires LIMIT ?)",
                (until, _PURGE_ROWS),
            )
            self._behind = self._behind or gone.rowcount >= _PURGE_ROWS

    def _has_many(self, connection: sqlite3.Connection, table: str) -> bool:
        # the name is ours, hence no injection
        query = f"SELECT 1 FROM {table} LIMIT 1 OFFSET ?"  # noqa: S608
        return connection.execute(query, (self._few_rows,)).fetchone() is not None


def _rows(key: str, recipients: Sequence[str]) -> list[str]:
    return [f"{key}|{recipient}" for recipient in recipients]


def _keep(connection: sqlite3.Connection, key: str, kept: KeyState | ClientState | None) -> None:
    if isinstance(kept, KeyState):
        connection.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)",
            (key, kept.first, int(kept.passed), kept.expires, int(kept.learnt)),
        )
    elif kept is not None:
        connection.execute(
            "INSERT OR REPLACE INTO clients VALUES (?, ?, ?, ?)", (key, int(kept.allowed), kept.expires, kept.encode())
        )
