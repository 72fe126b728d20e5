"""Store and board by their URL, as it stands under ``store:`` in the node's settings.

Known gaps: none.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.board_sqlite import SqliteBoard
from gateway.adapters.clock_system import SystemClock
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_sqlite import SqliteStore
from gateway.ports.board import Board
from gateway.ports.clock import Clock
from gateway.ports.ledger import LedgerStore
from gateway.ports.store_state import OnState, nobody_told

_CONNECTIONS = 32
_LEAST_CONNECTIONS = 4
_REDIS = ("redis", "rediss", "unix", "sentinel", "cluster")


def open_store(
    url: str,
    state_dir: Path,
    clock: Clock | None = None,
    secret: bytes = b"",
    on_state: OnState = nobody_told,
    node: str = "",
    share: int = 1,
) -> LedgerStore:
    """The store of that URL; '' is ``state.sqlite`` in ``state_dir``. Nothing is connected to yet.

    clock: for memory and sqlite (Redis has its own). secret: key of hashed names in Redis. on_state: told when a
    Redis goes up, down, full or read-only. node: whose connections they are. share: among how many workers the node's
    32 connections go. Raises ValueError with a text for the operator (without passwords).
    """
    place = _place(url, state_dir)
    if isinstance(place, Path):
        return SqliteStore(place, clock)
    if place == "memory":
        return MemoryStore(clock or SystemClock())
    # not needed by a lone node, and redis-py takes 60 ms to import
    from gateway.adapters.redis_client import Patience
    from gateway.adapters.store_redis import RedisStore

    try:
        patience = Patience(connections=max(_LEAST_CONNECTIONS, _CONNECTIONS // share))
        return RedisStore(url, secret, patience=patience, on_state=on_state, node=node)
    except ValueError as error:
        raise ValueError(f"store: {error}") from error


def open_board(url: str, state_dir: Path, clock: Clock | None = None, secret: bytes = b"") -> Board:
    """The board beside the store of that URL. Arguments and errors as for :func:`open_store`."""
    place = _place(url, state_dir)
    if isinstance(place, Path):
        return SqliteBoard(place, clock or SystemClock())
    if place == "memory":
        return MemoryBoard(clock or SystemClock())
    from gateway.adapters.board_redis import RedisBoard

    try:
        return RedisBoard(url, secret)
    except ValueError as error:
        raise ValueError(f"store: {error}") from error


def _place(url: str, state_dir: Path) -> Path | str:
    """The SQLite file, or the scheme of another kind. Raises ValueError."""
    parts = urlsplit(url)
    if not url:
        return state_dir / "state.sqlite"
    if parts.scheme == "sqlite":
        if parts.netloc:
            raise ValueError("store: sqlite:// has no host; write sqlite:///path/to/file (three slashes)")
        return state_dir / "state.sqlite" if parts.path in ("", "/") else Path(unquote(parts.path))
    if parts.scheme == "memory" or parts.scheme in _REDIS:
        return parts.scheme
    raise ValueError(f"store: scheme {parts.scheme or 'missing'!r} is not one of memory, sqlite, {', '.join(_REDIS)}")
