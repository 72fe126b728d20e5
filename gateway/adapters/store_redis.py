"""The store in Redis (or Valkey): shared by the nodes of a cluster.

Each port call is one round trip: a Lua script by EVALSHA (EVAL once where the server does not know it yet) or one
plain command; counts of the same moment share one. Windows are those of the server's clock. Every key has a TTL, so
``volatile-*`` eviction is safe, and no address stands in a key: parts are hashed with HMAC-SHA256, cut to 128 bits.
Nothing is retried: a retry would count twice, and the caller has 300 ms.

Known gaps: in Redis Cluster all greylisting keys lie in one slot, all counters in another; while the server is full,
calls that would have to write fail, also where they ask something.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.adapters.redis_client import Patience
from gateway.adapters.redis_gathered import GatheredCounts, Words
from gateway.adapters.redis_link import RedisLink, Script, milliseconds, text_of
from gateway.adapters.store_breaker import Breaker
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistAnswer, GreylistMark, GreylistQuestion, Seen, Tally
from gateway.ports.store_state import OnState, StoreState, nobody_told


class RedisStore:
    """``ports.store.Store`` and ``ports.ledger.Ledger``. url, secret and failures: see :class:`RedisLink`."""

    def __init__(
        self,
        url: str,
        secret: bytes = b"",
        breaker: Breaker | None = None,
        patience: Patience | None = None,
        on_state: OnState = nobody_told,
        node: str = "",
    ) -> None:
        self._link = RedisLink(url, secret, breaker, patience, on_state, node)
        self._greylist_script = Script("greylist.lua")
        self._count_script = Script("count.lua")
        self._begin_script = Script("ledger_begin.lua")
        self._settle_script = Script("ledger_settle.lua")
        self._gathered = GatheredCounts(self._count)

    @property
    def state(self) -> StoreState:
        """How the server is, by what it said last."""
        return self._link.state

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """Ask and record by one script."""
        keys = [self._key("gl", "key", question.key), self._key("gl", "client", question.client_key)]
        seen, wait, waited = await self._link.run(
            self._greylist_script,
            keys,
            [
                milliseconds(question.delay, 0),
                milliseconds(question.window),
                milliseconds(question.retention),
                milliseconds(question.pass_lifetime),
                question.auto_allow_after if question.client_key else 0,
                milliseconds(question.auto_window),
                # unique among the senders of one client is enough
                self._link.hashed("sender", question.sender or question.key, 6),
                "look" if question.look else "learn" if question.learn else "ask",
            ],
        )
        return GreylistAnswer(Seen(text_of(seen)), int(wait) / 1000, int(waited) / 1000)

    async def greylist_mark(self, marks: Sequence[GreylistMark]) -> None:
        """Record them in one round trip."""
        async with self._link.mapped():
            pipeline = self._link.client.pipeline(transaction=False)
            for mark in marks:
                key = self._key("gl", "client" if mark.is_client else "key", mark.key)
                if mark.lifetime > 0:
                    pipeline.set(key, "A" if mark.is_client else "P", px=milliseconds(mark.lifetime))
                else:
                    pipeline.delete(key)
            await pipeline.execute()

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """Add all amounts by one script, together with what others count in this moment."""
        if not counters:
            return ()
        keys, words = [self._counted(counter) for counter in counters], [_how(counter) for counter in counters]
        if any(counter.limit for counter in counters):
            return tuple(await self._count(keys, words))  # all or nothing is about this call's counters alone
        return tuple(await self._gathered.count(keys, words))

    async def _count(self, keys: Sequence[str], words: Sequence[Words]) -> Sequence[float]:
        arguments = [word for each in words for word in each]
        results = await self._link.run(self._count_script, list(keys), arguments)
        return [float(text_of(result)) for result in results]

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Keep a value."""
        async with self._link.mapped():
            await self._link.client.set(self._key("", "value", key), value, px=milliseconds(ttl))

    async def get(self, key: str) -> str | None:
        """The value, or None."""
        async with self._link.mapped():
            value = await self._link.client.get(self._key("", "value", key))
        return None if value is None else text_of(value)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        async with self._link.mapped():
            await self._link.client.delete(self._key("", "value", key))

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """Record *handing over* by one script."""
        fields = [self._field(recipient) for recipient in recipients]
        keys = [self._key("", "ledger", key)]
        answers = await self._link.run(self._begin_script, keys, [owner, milliseconds(lease), *fields])
        return tuple(Entry(text_of(answer)) for answer in answers)

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """Record *done* and free the rest by one script."""
        fields = [self._field(recipient) for recipient in (*done, *free)]
        keys = [self._key("", "ledger", key)]
        await self._link.run(self._settle_script, keys, [owner, milliseconds(ttl), len(done), *fields])

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """The entries go."""
        async with self._link.mapped():
            await self._link.client.hdel(self._key("", "ledger", key), *[self._field(each) for each in recipients])

    async def ping(self) -> None:
        """PING; it goes out even while the breaker is open, and closes it."""
        async with self._link.mapped(trial=True):
            await self._link.client.ping()

    async def close(self) -> None:
        """Close all connections."""
        await self._link.close()

    def _counted(self, counter: Counter) -> str:
        if counter.tally is Tally.HELD:
            return self._key("rl", "held", counter.key)
        kind = "count" if counter.tally is Tally.WINDOW else "decay"
        return self._key("rl", kind, f"{counter.window:g}|{counter.key}")

    def _field(self, recipient: str) -> str:
        # unique among the recipients of one message is enough, and there are many of these
        return self._link.hashed("recipient", recipient, 9)

    def _key(self, tag: str, kind: str, name: str) -> str:
        text = self._link.hashed(kind, name)
        # keys of one script need one slot of a cluster, hence the tag in braces
        return f"mxgw:{{{tag}}}:{kind}:{text}" if tag else f"mxgw:{{{text}}}:{kind}"


def _how(counter: Counter) -> Words:
    """A counter as count.lua wants it."""
    window = milliseconds(counter.window)
    amount, limit = f"{counter.amount:.15g}", f"{counter.limit:.15g}"
    return (counter.tally.value, amount, window, limit, counter.owner, int(counter.forget))
