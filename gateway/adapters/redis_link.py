"""A link to Redis (or Valkey): connections by URL, scripts by EVALSHA, failures as PortFailure, a breaker.

Nothing is retried here: a retry would count twice, and who waits for us has a budget.

Known gaps: the breaker is one for all servers of a cluster.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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

_SCRIPTS = Path(__file__).parent / "redis_scripts"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to connect, for an answer, and for a connection of the pool; how many connections."""

    connect: float = 0.25
    command: float = 0.15
    wait: float = 0.05
    connections: int = 32


class Script:
    """A Lua script of redis_scripts/ and the digest by which the server knows it."""

    def __init__(self, name: str) -> None:
        self.source = (_SCRIPTS / name).read_text(encoding="ascii")
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """url: ``redis://``, ``rediss://``, ``unix://`` as redis-py reads them,
    ``sentinel://[user:password@]host1:26379,host2:26379/master-name[/db]`` or ``cluster://host:port``.

    secret: key of the hashes in key names, the same on all nodes. Calls raise PortFailure('store', timeout | refused |
    protocol | overload); 'overload' is a full pool or the open breaker. ValueError for a URL that cannot be read.
    """

    def __init__(
        self, url: str, secret: bytes = b"", breaker: Breaker | None = None, patience: Patience | None = None
    ) -> None:
        # Redis and RedisCluster share no useful base class
        self.client: Any = _client(url, patience or Patience())
        self._secret = secret
        self.breaker = breaker or Breaker()

    async def run(self, script: Script, keys: list[str], arguments: Sequence[int | str]) -> Any:
        """Run a script: one round trip, two where the server does not know it yet."""
        async with self.mapped():
            try:
                return await self.client.evalsha(script.digest, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                # after a restart or a failover the server does not know it; EVAL teaches it
                return await self.client.eval(script.source, len(keys), *keys, *arguments)

    def hashed(self, kind: str, name: str, octets: int = 16) -> str:
        """A name as it may stand in a key: HMAC-SHA256 by the cluster's secret, cut."""
        digest = hmac.new(self._secret, f"{kind}\0{name}".encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:octets]).rstrip(b"=").decode("ascii")

    @asynccontextmanager
    async def mapped(self, trial: bool = False) -> AsyncIterator[None]:
        """Around each use of ``client``: failures become PortFailure. trial: also while the breaker is open."""
        if not self.breaker.allows() and not trial:
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
            self.breaker.succeeded()

    def _failed(self, why: Why, error: Exception) -> PortFailure:
        self.breaker.failed()
        return PortFailure("store", why, f"{type(error).__name__}: {error}"[:200])


    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()


def _client(url: str, patience: Patience) -> Any:
    options: dict[str, Any] = {
        "socket_connect_timeout": patience.connect,
        "socket_timeout": patience.command,
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
    pool = BlockingConnectionPool.from_url(url, max_connections=patience.connections, timeout=patience.wait, **options)
    return Redis.from_pool(pool)


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "26379")
    if not host or not port.isdigit():
        raise ValueError(f"sentinel://: {text!r} is not host:port")
    return host.strip("[]"), int(port)


def milliseconds(seconds: float, least: int = 1) -> int:
    """For scripts and PX, at least ``least``."""
    return max(least, round(seconds * 1000))


def text_of(value: bytes | str) -> str:
    """What a server said, as text."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
