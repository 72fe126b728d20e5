"""The board in Redis: a hash for each place, a stream for each journal.

Entries that run out carry their end in their value, by the server's clock; Redis 7.0 knows no end of a hash's field. A
place whose entries all run out does so itself. Nobody in a session waits for the board, so it has a second for each
call.

Known gaps: a journal in Redis Cluster lies in one slot. There replicas are not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.adapters.redis_client import Patience
from gateway.adapters.redis_link import RedisLink, Script, milliseconds, text_of
from gateway.ports.board import Line

_PATIENCE = Patience(connect=0.5, command=1.0, wait=1.0, whole=2.0, connections=4)
_REPLICA_SECONDS = 0.3
"""For a replica to confirm; one on the same network needs a thousandth of it."""
_MARK_SECONDS = 60.0


class RedisBoard:
    """``ports.board.Board``. url, secret and failures: see :class:`RedisLink`."""

    def __init__(self, url: str, secret: bytes = b"", patience: Patience = _PATIENCE) -> None:
        self._link = RedisLink(url, secret, patience=patience)
        self._write_script = Script("board_write.lua")
        self._entries_script = Script("board_entries.lua")

    async def write(self, place: str, key: str, value: str, ttl: float | None = None) -> None:
        """Put it."""
        await self._put(place, [key, 1, value, _ttl(ttl), "any"])

    async def read(self, place: str, key: str) -> str | None:
        """One value."""
        return (await self.entries(place)).get(key)

    async def entries(self, place: str) -> Mapping[str, str]:
        """All values."""
        found = [text_of(each) for each in await self._link.run(self._entries_script, [_key("place", place)], [])]
        return dict(sorted(zip(found[::2], found[1::2], strict=True)))

    async def erase(self, place: str, key: str) -> None:
        """Take it away."""
        await self._put(place, [key, 0, "", 0, "any"])

    async def swap(self, place: str, key: str, before: str | None, after: str | None, ttl: float | None = None) -> bool:
        """By one script."""
        test = ["none"] if before is None else ["is", before]
        return await self._put(place, [key, int(after is not None), after or "", _ttl(ttl), *test])

    async def append(self, journal: str, value: str, keep: int, ttl: float) -> None:
        """Add a line."""
        key = _key("journal", journal)
        async with self._link.mapped():
            pipeline = self._link.client.pipeline(transaction=False)
            pipeline.xadd(key, {"v": value}, maxlen=keep, approximate=keep > 1000)
            pipeline.pexpire(key, milliseconds(ttl))
            await pipeline.execute()

    async def lines(self, journal: str, after: str = "", limit: int = 1000) -> Sequence[Line]:
        """Oldest first."""
        async with self._link.mapped():
            found = await self._link.client.xrange(
                _key("journal", journal), min=f"({_id(after)}" if after else "-", count=limit
            )
        return [_line(number, fields) for number, fields in found]

    async def latest(self, journal: str, limit: int = 1000, before: str = "") -> Sequence[Line]:
        """Newest first."""
        async with self._link.mapped():
            found = await self._link.client.xrevrange(
                _key("journal", journal), max=f"({_id(before)}" if before else "+", count=limit
            )
        return [_line(number, fields) for number, fields in found]

    async def forget(self, journal: str, before: float) -> None:
        """By the time in their numbers."""
        async with self._link.mapped():
            await self._link.client.xtrim(_key("journal", journal), minid=max(0, int(before * 1000)), approximate=False)

    async def now(self) -> float:
        """The server's TIME."""
        async with self._link.mapped():
            seconds, micros = await self._link.client.time()
        return float(seconds) + int(micros) / 1e6

    async def replicated(self) -> bool:
        """A write of this connection's own that a replica confirms: it comes after all that was read before."""
        if self._link.is_cluster:
            return True
        async with self._link.mapped():
            role = await self._link.client.role()
            if text_of(role[0]) != "master":
                return False
            if not role[2]:
                return True
            pipeline = self._link.client.pipeline(transaction=False)  # WAIT speaks of its own connection's writes
            pipeline.set("mxgw:replicated", "", px=milliseconds(_MARK_SECONDS))
            pipeline.wait(1, milliseconds(_REPLICA_SECONDS))
            return bool((await pipeline.execute())[-1])

    async def close(self) -> None:
        """Close all connections."""
        await self._link.close()

    async def _put(self, place: str, arguments: list[int | str]) -> bool:
        return bool(await self._link.run(self._write_script, [_key("place", place)], arguments))


def _key(kind: str, name: str) -> str:
    return f"mxgw:{kind}:{name}"


def _ttl(ttl: float | None) -> int:
    return 0 if ttl is None else milliseconds(ttl)


def _line(number: bytes | str, fields: Mapping[Any, Any]) -> Line:
    milli, _, count = text_of(number).partition("-")
    value = fields.get(b"v", fields.get("v", b""))
    # with zeros in front numbers sort as texts
    return Line(f"{int(milli):015d}-{int(count):06d}", int(milli) / 1000, text_of(value))


def _id(number: str) -> str:
    milli, _, count = number.partition("-")
    return f"{int(milli)}-{int(count or 0)}"
