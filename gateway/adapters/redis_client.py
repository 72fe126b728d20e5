"""A client for each kind of Redis URL, with bounded waiting and no retries.

Known gaps: all sentinels have the same credentials.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

_TLS: Final[Mapping[str, Callable[[str], object]]] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_check_hostname": lambda text: text.lower() in ("true", "yes", "1"),
}
_SENTINEL: Final = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to connect, for an answer, for a connection of the pool, and for all of a call; how many connections."""

    connect: float = 0.25
    command: float = 0.15
    wait: float = 0.05
    whole: float = 0.3
    connections: int = 32


def client_of(url: str, patience: Patience, node: str = "") -> Any:
    """``redis://``, ``rediss://`` (TLS), ``unix://``: as redis-py reads them.
    ``sentinel://[user:password@]host1:26379,host2:26379/master-name[/db]``, ``cluster://[user:password@]host:port``:
    with TLS where ssl_ca_certs is given.

    Behind ``?``: ssl_ca_certs, ssl_certfile, ssl_keyfile (files), ssl_check_hostname; for sentinels also
    sentinel_username and sentinel_password. node: whose connections they are, for CLIENT LIST. Raises ValueError,
    without passwords.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": patience.connect,
        "socket_timeout": patience.command,
        "socket_keepalive": True,
        "socket_keepalive_options": {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3},
        "retry": Retry(NoBackoff(), 0),
        "client_name": f"mxgw:{node}" if node else "mxgw",
        # no greeting beyond what is needed: each command more is one that the ACL must allow
        "protocol": 2,
        "driver_info": None,
    }
    parts = urlsplit(url)
    if parts.scheme == "cluster":
        # the link lets no more than ``connections`` in, so no pool here is ever too small
        scheme = "rediss" if "ssl_ca_certs=" in parts.query else "redis"
        return RedisCluster.from_url(
            scheme + url.removeprefix("cluster"), max_connections=patience.connections, **options
        )
    if parts.scheme == "sentinel":
        return _by_sentinels(url, {**options, "max_connections": patience.connections})
    if parts.scheme == "unix":
        options = {key: value for key, value in options.items() if not key.startswith("socket_keepalive")}
    pool = BlockingConnectionPool.from_url(url, max_connections=patience.connections, timeout=patience.wait, **options)
    return Redis.from_pool(pool)


def _by_sentinels(url: str, options: dict[str, Any]) -> Any:
    parts = urlsplit(url)
    path = parts.path.strip("/").split("/")
    if not path[0] or len(path) > 2 or (len(path) == 2 and not path[1].isdigit()):
        raise ValueError("sentinel:// needs host1:port,host2:port/master-name or .../master-name/db-number")
    userinfo, _, places = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    credentials = {"username": unquote(user) or None, "password": unquote(password)} if password else {}
    tls: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query):
        if name in _TLS:
            tls[name] = _TLS[name](value)
        elif name in _SENTINEL:
            own[_SENTINEL[name]] = value
        else:
            raise ValueError(f"sentinel:// knows no option {name}")
    if tls:
        tls["ssl"] = True
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        [_host_port(text) for text in places.split(",")],
        sentinel_kwargs={**options, **tls, **own},
        **{**options, **tls, **credentials},
    )
    return sentinel.master_for(path[0], db=int(path[1]) if len(path) == 2 else 0)


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "26379")
    if not host or not port.isdigit():
        raise ValueError(f"sentinel://: {text!r} is not host:port")
    return host.strip("[]"), int(port)
