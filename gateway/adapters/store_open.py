"""A store by its URL, as it stands under ``store:`` in the node's settings.

Known gaps: none.
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_sqlite import SqliteStore
from gateway.ports.clock import Clock
from gateway.ports.ledger import LedgerStore

_REDIS = ("redis", "rediss", "unix", "sentinel", "cluster")


class _SystemTime:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def open_store(url: str, state_dir: Path, clock: Clock | None = None, secret: bytes = b"") -> LedgerStore:
    """The store of that URL; '' is ``state.sqlite`` in ``state_dir``. Nothing is connected to yet.

    clock: for memory and sqlite (Redis has its own). secret: key of hashed names in Redis. Raises ValueError with a
    text for the operator (without passwords).
    """
    if not url:
        return SqliteStore(state_dir / "state.sqlite", clock)
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStore(clock or _SystemTime())
    if parts.scheme == "sqlite":
        if parts.netloc:
            raise ValueError("store: sqlite:// has no host; write sqlite:///path/to/file (three slashes)")
        if parts.path in ("", "/"):
            return SqliteStore(state_dir / "state.sqlite", clock)
        return SqliteStore(Path(unquote(parts.path)), clock)
    if parts.scheme in _REDIS:
        # not needed by a lone node, and redis-py takes 60 ms to import
        from gateway.adapters.store_redis import RedisStore

        try:
            return RedisStore(url, secret)
        except ValueError as error:
            raise ValueError(f"store: {error}") from error
    raise ValueError(
        f"store: scheme {parts.scheme or 'missing'!r} is not one of memory, sqlite, {', '.join(_REDIS)}"
    )
