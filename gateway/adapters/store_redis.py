"""The store in Redis (or Valkey): shared by the nodes of a cluster.

Each port call is one round trip: a Lua script by EVALSHA (EVAL once where the server does not know it yet) or one
plain command. Windows are those of the server's clock. Every key has a TTL, so ``volatile-*`` eviction is safe, and no
address stands in a key: parts are hashed with HMAC-SHA256, cut to 128 bits. Nothing is retried: a retry would count
twice, and the caller has 300 ms.

Known gaps: in Redis Cluster all greylisting keys lie in one slot, all counters in another; cluster:// and sentinel://
are not part of the contract suite; servers that answer -OOM refuse reads of counters too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gateway.adapters.store_breaker import Breaker
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry
from gateway.ports.store import Counter, GreylistAnswer, GreylistQuestion, Seen

_CONNECT_TIMEOUT = 0.25
_COMMAND_TIMEOUT = 0.15
_POOL_WAIT = 0.05
_POOL_SIZE = 32
_SCRIPTS = Path(__file__).parent / "redis_scripts"


class _Script:
    """A Lua script and the digest by which the server knows it."""

    def __init__(self, name: str) -> None:
        self.source = (_SCRIPTS / name).read_text(encoding="ascii")
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    """Implements ``ports.store.Store`` and ``ports.ledger.Ledger``. url: ``redis://``, ``rediss://``, ``unix://``
    as redis-py reads them, ``sentinel://[user:password@]host1:26379,host2:26379/master-name[/db]`` or ``cluster://host:port``.

    secret: key of the hashes in key names, the same on all nodes. Raises PortFailure('store', timeout | refused |
    protocol | overload); 'overload' is a full pool or the open breaker. ValueError for a URL that cannot be read.
    """

    def __init__(self, url: str, secret: bytes = b"", breaker: Breaker | None = None) -> None:
        self._client: Any = _client(url)  # Redis and RedisCluster share no useful base class
        self._secret = secret
        self._breaker = breaker or Breaker()
        self._greylist_script = _Script("greylist.lua")
        self._count_script = _Script("count.lua")
        self._begin_script = _Script("ledger_begin.lua")
        self._settle_script = _Script("ledger_settle.lua")

    async def greylist(self, question: GreylistQuestion) -> GreylistAnswer:
        """Ask and record by one script."""
        keys = [self._key("gl", "key", question.key), self._key("gl", "client", question.client_key)]
        seen, wait, waited = await self._run(
            self._greylist_script,
            keys,
            [
                _milliseconds(question.delay, 0),
                _milliseconds(question.window),
                _milliseconds(question.pass_lifetime),
                question.auto_allow_after,
                int(bool(question.client_key)),
            ],
        )
        return GreylistAnswer(Seen(_text(seen)), int(wait) / 1000, int(waited) / 1000)

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        """Add all amounts by one script."""
        if not counters:
            return ()
        keys = [self._key("rl", "count", f"{counter.window:g}|{counter.key}") for counter in counters]
        arguments = [
            argument for counter in counters for argument in (counter.amount, _milliseconds(counter.window))
        ]
        results = await self._run(self._count_script, keys, arguments)
        return tuple(float(_text(result)) for result in results)

    async def put(self, key: str, value: str, ttl: float) -> None:
        """Keep a value."""
        async with self._mapped():
            await self._client.set(self._key("", "value", key), value, px=_milliseconds(ttl))

    async def get(self, key: str) -> str | None:
        """The value, or None."""
        async with self._mapped():
            value = await self._client.get(self._key("", "value", key))
        return None if value is None else _text(value)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        async with self._mapped():
            await self._client.delete(self._key("", "value", key))

    async def begin(self, key: str, recipients: Sequence[str], owner: str, lease: float) -> tuple[Entry, ...]:
        """Record *handing over* by one script."""
        fields = [self._field(recipient) for recipient in recipients]
        keys = [self._key("", "ledger", key)]
        answers = await self._run(self._begin_script, keys, [owner, _milliseconds(lease), *fields])
        return tuple(Entry(_text(answer)) for answer in answers)

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        """Record *done* and free the rest by one script."""
        fields = [self._field(recipient) for recipient in (*done, *free)]
        keys = [self._key("", "ledger", key)]
        await self._run(self._settle_script, keys, [owner, _milliseconds(ttl), len(done), *fields])

    async def forget(self, key: str, recipients: Sequence[str]) -> None:
        """The entries go."""
        async with self._mapped():
            await self._client.hdel(self._key("", "ledger", key), *[self._field(each) for each in recipients])

    async def ping(self) -> None:
        """PING; it goes out even while the breaker is open, and closes it."""
        async with self._mapped(trial=True):
            await self._client.ping()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _run(self, script: _Script, keys: list[str], arguments: Sequence[int | str]) -> Any:
        async with self._mapped():
            try:
                return await self._client.evalsha(script.digest, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                # after a restart or a failover the server does not know it; EVAL teaches it
                return await self._client.eval(script.source, len(keys), *keys, *arguments)

    def _hashed(self, kind: str, name: str, octets: int = 16) -> str:
        digest = hmac.new(self._secret, f"{kind}\0{name}".encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:octets]).rstrip(b"=").decode("ascii")

    def _field(self, recipient: str) -> str:
        # unique among the recipients of one message is enough, and there are many of these
        return self._hashed("recipient", recipient, 9)

    def _key(self, tag: str, kind: str, name: str) -> str:
        text = self._hashed(kind, name)
        # keys of one script need one slot of a cluster, hence the tag in braces
        return f"mxgw:{{{tag}}}:{kind}:{text}" if tag else f"mxgw:{{{text}}}:{kind}"

    @asynccontextmanager
    async def _mapped(self, trial: bool = False) -> AsyncIterator[None]:
        if not self._breaker.allows() and not trial:
            raise PortFailure("store", Why.OVERLOAD, "breaker open after repeated failures")
        try:
            yield
        except (exceptions.MaxConnectionsError, exceptions.BusyLoadingError) as error:
            raise self._failed(Why.OVERLOAD, error) from error
        except (TimeoutError, exceptions.TimeoutError) as error:
            raise self._failed(Why.TIMEOUT, error) from error
        except exceptions.AuthenticationError as error:
            raise self._failed(Why.REFUSED, error) from error
        except exceptions.ConnectionError as error:
            why = Why.OVERLOAD if "No connection available" in str(error) else Why.REFUSED
            raise self._failed(why, error) from error
        except (exceptions.RedisError, ValueError) as error:
            raise self._failed(Why.PROTOCOL, error) from error
        except OSError as error:
            raise self._failed(Why.REFUSED, error) from error
        else:
            self._breaker.succeeded()

    def _failed(self, why: Why, error: Exception) -> PortFailure:
        self._breaker.failed()
        return PortFailure("store", why, f"{type(error).__name__}: {error}"[:200])


def _client(url: str) -> Any:
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_TIMEOUT,
        "socket_timeout": _COMMAND_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "mxgw",
    }
    parts = urlsplit(url)
    if parts.scheme == "cluster":
        return RedisCluster.from_url("redis" + url.removeprefix("cluster"), **options)
    if parts.scheme == "sentinel":
        path = parts.path.strip("/").split("/")
        if not path[0] or len(path) > 2 or (len(path) == 2 and not path[1].isdigit()):
            raise ValueError("sentinel:// needs host1:port,host2:port/master-name or .../master-name/db-number")
        hosts = [_host_port(text) for text in parts.netloc.rpartition("@")[2].split(",")]
        credentials = {"username": parts.username, "password": parts.password} if parts.password else {}
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            hosts, sentinel_kwargs=dict(options), **options, **credentials
        )
        return sentinel.master_for(path[0], db=int(path[1]) if len(path) == 2 else 0)
    pool = BlockingConnectionPool.from_url(url, max_connections=_POOL_SIZE, timeout=_POOL_WAIT, **options)
    return Redis.from_pool(pool)


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "26379")
    if not host or not port.isdigit():
        raise ValueError(f"sentinel://: {text!r} is not host:port")
    return host.strip("[]"), int(port)


def _milliseconds(seconds: float, least: int = 1) -> int:
    return max(least, round(seconds * 1000))


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
