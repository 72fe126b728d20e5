"""A link to Redis (or Valkey): scripts by EVALSHA, failures as PortFailure, a time for each call, a breaker.

Nothing is retried here: a retry would count twice, and who waits for us has a budget.

Known gaps: the breaker is one for all servers of a cluster.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import exceptions
from redis.asyncio import RedisCluster

from gateway.adapters.redis_client import Patience, client_of
from gateway.adapters.redis_state import RedisState
from gateway.adapters.store_breaker import Breaker
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.store_state import OnState, StoreState, nobody_told

_SCRIPTS = Path(__file__).parent / "redis_scripts"
_NO_WRITES = ("MISCONF", "NOREPLICAS")


class Script:
    """A Lua script of redis_scripts/ and the digest by which the server knows it."""

    def __init__(self, name: str) -> None:
        self.source = (_SCRIPTS / name).read_text(encoding="ascii")
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """url: see :func:`client_of`. secret: key of the hashes in key names, the same on all nodes. on_state: told when
    the server goes up, down, full or read-only. node: whose connections they are.

    Calls raise PortFailure('store', timeout | refused | protocol | overload); 'overload' is a full pool or the open
    breaker. ValueError for a URL that cannot be read.
    """

    def __init__(
        self,
        url: str,
        secret: bytes = b"",
        breaker: Breaker | None = None,
        patience: Patience | None = None,
        on_state: OnState = nobody_told,
        node: str = "",
    ) -> None:
        self._patience = patience or Patience()
        # Redis and RedisCluster share no useful base class
        self.client: Any = client_of(url, self._patience, node)
        self._secret = secret
        self._state = RedisState(breaker, on_state)
        self.is_cluster = isinstance(self.client, RedisCluster)
        self._knows_nodes = not self.is_cluster
        self._learning: asyncio.Future[Any] | None = None
        self._places = asyncio.Semaphore(self._patience.connections)

    @property
    def state(self) -> StoreState:
        """How the server is, by what it said last."""
        return self._state.state

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
        """Around each use of ``client``: its time is bounded, failures become PortFailure. trial: also while the
        breaker is open."""
        if not self._state.breaker.allows() and not trial:
            raise PortFailure("store", Why.OVERLOAD, "breaker open after repeated failures")
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._place()
        try:
            async with asyncio.timeout(self._patience.whole - (loop.time() - started)):
                if not self._knows_nodes:
                    await self._learn_nodes()
                yield
        except asyncio.CancelledError:
            # who waited had no time left: that counts, a client who hung up at once does not
            if loop.time() - started >= self._patience.command / 2:
                self._state.failed("no answer while anybody waited")
            raise
        except exceptions.BusyLoadingError as error:
            raise self._failed(Why.OVERLOAD, error) from error
        except (TimeoutError, exceptions.TimeoutError) as error:
            raise self._failed(Why.TIMEOUT, error) from error
        except exceptions.AuthenticationError as error:
            raise self._failed(Why.REFUSED, error) from error
        except exceptions.ConnectionError as error:
            raise self._failed(Why.REFUSED, error) from error
        except exceptions.OutOfMemoryError as error:
            raise self._refused(StoreState.FULL, error) from error
        except exceptions.ResponseError as error:
            if _forbidden(error):
                self._state.answered()
                raise PortFailure("store", Why.REFUSED, _detail(error)) from error
            if not isinstance(error, exceptions.ReadOnlyError) and not str(error).startswith(_NO_WRITES):
                raise self._failed(Why.PROTOCOL, error) from error
            # the name may belong to another server by now
            await self._drop_idle()
            raise self._refused(StoreState.READ_ONLY, error) from error
        except exceptions.RedisClusterException as error:
            # no RedisError: none of the cluster's servers answered, or nobody has the slot
            raise self._failed(Why.REFUSED, error) from error
        except (exceptions.RedisError, ValueError) as error:
            raise self._failed(Why.PROTOCOL, error) from error
        except OSError as error:
            raise self._failed(Why.REFUSED, error) from error
        else:
            self._state.answered()
        finally:
            self._places.release()

    async def _place(self) -> None:
        if not self._places.locked():  # costs nothing while there is room
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._patience.wait):
                await self._places.acquire()
        except TimeoutError as error:
            # our own crowd says nothing about the server
            raise PortFailure("store", Why.OVERLOAD, f"{self._patience.connections} calls under way") from error

    async def _learn_nodes(self) -> None:
        # several calls that learn at once would close each other's connections; and who learns the nodes and slots may
        # take longer than a call: it goes on for the next one
        if self._learning is None or self._learning.done():
            self._learning = asyncio.ensure_future(self.client.initialize())
            self._learning.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._learning)
        self._knows_nodes = True

    def _failed(self, why: Why, error: Exception) -> PortFailure:
        self._knows_nodes = not self.is_cluster
        detail = _detail(error)
        self._state.failed(detail)
        return PortFailure("store", why, detail)

    def _refused(self, state: StoreState, error: Exception) -> PortFailure:
        detail = f"{state}: {error}"[:200]
        self._state.refused(state, detail)
        return PortFailure("store", Why.REFUSED, detail)

    async def _drop_idle(self) -> None:
        pool = getattr(self.client, "connection_pool", None)  # a cluster's client follows MOVED by itself
        if pool is not None:
            with contextlib.suppress(exceptions.RedisError, OSError):
                await pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close all connections."""
        if self._learning is not None:
            self._learning.cancel()
        await self.client.aclose()


def _forbidden(error: exceptions.ResponseError) -> bool:
    """The server is well and does not do this for us: a right that the user lacks, a command that was renamed."""
    return isinstance(error, exceptions.NoPermissionError) or "unknown command" in str(error)


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def milliseconds(seconds: float, least: int = 1) -> int:
    """For scripts and PX, at least ``least``."""
    return max(least, round(seconds * 1000))


def text_of(value: bytes | str) -> str:
    """What a server said, as text."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
