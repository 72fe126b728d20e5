"""The store in a sqlite file: private, shared by workers, bounded, and plain about a disk or a lock."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import time
from pathlib import Path

import pytest
from store_subjects import HandClock

from gateway.adapters.board_sqlite import SqliteBoard
from gateway.adapters.store_sqlite import SqliteStore
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistQuestion, Seen

QUESTION = GreylistQuestion("user@example.org", "192.0.2.0/24", 60, 3600, 3600, 2)


async def test_the_file_is_private(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s")
    await store.ping()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    await store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user's")
async def test_a_file_that_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 65532, 65532)
    store = SqliteStore(tmp_path / "s")
    await store.put("key", "1", 60)
    found = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    assert found == dict.fromkeys(("s", "s-wal", "s-shm"), (65532, 65532))
    await store.close()


async def test_a_corrupt_file_is_a_failure_with_a_clear_text(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(os.urandom(8192))
    store = SqliteStore(tmp_path / "s")
    for _ in range(2):
        with pytest.raises(PortFailure, match="no sound SQLite file") as caught:
            await store.put("a", "b", 1)
        assert caught.value.cause.why is Why.PROTOCOL
    (tmp_path / "s").unlink()
    await store.put("a", "b", 60)
    assert await store.get("a") == "b"
    await store.close()


async def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "none" / "s")
    with pytest.raises(PortFailure) as caught:
        await store.ping()
    assert caught.value.cause.why is Why.REFUSED
    await store.close()


async def test_a_lock_held_by_others_is_a_timeout(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s")
    await store.ping()
    other = sqlite3.connect(tmp_path / "s", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(PortFailure) as caught:
        await store.greylist(QUESTION)
    assert caught.value.cause.why is Why.TIMEOUT
    assert time.monotonic() - started < 5
    other.execute("ROLLBACK")
    other.close()
    assert (await store.greylist(QUESTION)).seen is Seen.FIRST
    await store.close()


async def test_two_workers_share_one_file_and_it_outlives_them(tmp_path: Path) -> None:
    one, two = SqliteStore(tmp_path / "s"), SqliteStore(tmp_path / "s")
    await asyncio.gather(one.ping(), two.ping())
    assert (await one.greylist(QUESTION)).seen is Seen.FIRST
    assert (await two.greylist(QUESTION)).seen is Seen.EARLY
    await one.close()
    await two.close()
    again = SqliteStore(tmp_path / "s")
    assert (await again.greylist(QUESTION)).seen is Seen.EARLY
    await again.close()
    with pytest.raises(PortFailure, match="closed"):
        await again.ping()


async def test_what_has_run_out_is_purged(tmp_path: Path) -> None:
    class Clock:
        time = 1000.0

        def now(self) -> float:
            return self.time

        def monotonic(self) -> float:
            return self.time

    clock = Clock()
    store = SqliteStore(tmp_path / "s", clock)
    for number in range(20):
        await store.put(f"k{number}", "v", 10)
    await store.count([Counter("c", 1, 10)])
    await store.greylist(QUESTION)
    clock.time += 100_000
    await store.put("last", "v", 10)
    await store.close()
    left = sqlite3.connect(tmp_path / "s")
    assert [left.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("seen", "counts", "vals")] == [0, 0, 1]
    left.close()


async def test_the_purge_keeps_up_with_strangers_and_the_file_has_a_size(tmp_path: Path) -> None:
    clock = HandClock()
    store = SqliteStore(tmp_path / "s", clock, most_octets=1024 * 1024, few_rows=100)

    def rows(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM vals").fetchone()[0])

    def fill(connection: sqlite3.Connection) -> None:
        until = clock.now() + 10
        strangers = ((f"old {number}", "v", until) for number in range(1000))
        connection.executemany("INSERT INTO vals VALUES (?, ?, ?)", strangers)

    def overfill(connection: sqlite3.Connection) -> None:
        until = clock.now() + 3600
        strangers = ((f"{number}", "v" * 500, until + number) for number in range(6000))
        connection.executemany("INSERT INTO vals VALUES (?, ?, ?)", strangers)

    await store.transaction(fill)
    await clock.advance(60)
    for _ in range(15):
        await store.put("last", "v", 7200)
    assert await store.transaction(rows) == 1
    await store.begin("message", ["r@example.com"], "one", 3600)
    await clock.advance(60)
    await store.transaction(overfill)
    for _ in range(80):
        await clock.advance(0.1)
        await store.put("last", "v", 7200)
    assert 500 < await store.transaction(rows) < 2200
    assert await store.get("0") is None
    assert await store.get("5999")
    assert await store.begin("message", ["r@example.com"], "two", 3600) == (Entry.BUSY,)
    await store.close()


async def test_a_full_file_forgets_nothing_of_what_does_not_fill_it(tmp_path: Path) -> None:
    clock = HandClock()
    store = SqliteStore(tmp_path / "s", clock, most_octets=1024 * 1024, few_rows=100)

    def overfill(connection: sqlite3.Connection) -> None:
        rows = ((f"{number}", "v" * 500, clock.now() + 7200) for number in range(20_000))
        connection.executemany("INSERT INTO vals VALUES (?, ?, ?)", rows)

    await store.transaction(overfill)
    for seen in (Seen.FIRST, Seen.EARLY, Seen.EARLY):
        assert (await store.greylist(QUESTION)).seen is seen
        await clock.advance(1)
    await store.close()


async def test_a_board_full_of_records_takes_nothing_from_greylisting(tmp_path: Path) -> None:
    clock = HandClock()
    store = SqliteStore(tmp_path / "s", clock, most_octets=256 * 1024, few_rows=0)
    board = SqliteBoard(tmp_path / "s", clock)
    for _ in range(60):
        await board.append("decisions", "r" * 16384, 100, 3600)
    for seen in (Seen.FIRST, Seen.EARLY, Seen.EARLY):
        await clock.advance(1)
        assert (await store.greylist(QUESTION)).seen is seen
    await board.close()
    await store.close()
