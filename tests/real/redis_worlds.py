"""Redis in each of its shapes, as real servers: TLS with client certificates, three Sentinels with a replica, a Cluster of
three nodes. All of them know the user of docs/redis.md, with the rights that stand there and no more."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from certificates import Authority
from redis_server import RedisServer, free_port

PASSWORD = "a pass/word@of tests"
QUOTED = "a%20pass%2Fword%40of%20tests"
DOCS = Path(__file__).parents[2] / "docs" / "redis.md"


def acl_rule() -> str:
    """The rights in docs/redis.md, from ``user mxgw on`` on, without the password."""
    found = re.search(r"^user mxgw on >\S+ (.*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, "docs/redis.md has no ACL line"
    return found[1]


def permit(server: RedisServer) -> None:
    """Let the user of docs/redis.md in."""
    server.say("ACL", "SETUSER", "mxgw", "on", f">{PASSWORD}", *acl_rule().split())


def until(what: Callable[[], Any], text: str, seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"not in {seconds:g} s: {text}")


class TlsRedis:
    """``with TlsRedis() as world: world.url``: port with TLS only, which asks for a client certificate."""

    def __enter__(self) -> TlsRedis:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="mxgw-redis-tls-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        authority = Authority()
        own = authority.write(self.folder, "server", "ecdsa", "localhost")
        self.client = authority.write(self.folder, "client", "ecdsa", "mxgw", client=True)
        self.ca = self.folder / "ca.crt"
        self.ca.write_bytes(authority.certificate)
        port = free_port()
        self.files = (
            "--tls-cert-file", own["certificate"], "--tls-key-file", own["key"],
            "--tls-ca-cert-file", str(self.ca), "--tls-auth-clients", "yes",
        )  # fmt: skip
        self.server = RedisServer("--tls-port", str(port), *self.files)
        self._stack.enter_context(self.server)
        permit(self.server)
        self.port = port
        self.place = f"mxgw:{QUOTED}@localhost:{port}/0"
        files = f"ssl_certfile={self.client['certificate']}&ssl_keyfile={self.client['key']}"
        self.query = f"ssl_ca_certs={self.ca}&{files}"
        self.url = f"rediss://{self.place}?{self.query}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class SentinelRedis:
    """A master, a replica and three Sentinels with short times. down_after in milliseconds. host: where all are met."""

    def __init__(self, down_after: int = 500, host: str = "127.0.0.1") -> None:
        self._down_after = down_after
        self._host = host

    def __enter__(self) -> SentinelRedis:
        self._stack = ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stack.callback(self._end)
        self.master = self._stack.enter_context(RedisServer("--repl-diskless-sync-delay", "0", host=self._host))
        self.replica = self._stack.enter_context(
            RedisServer(
                "--replicaof", f"{self._host} {self.master.port}", "--repl-diskless-sync-delay", "0", host=self._host
            )
        )
        for server in (self.master, self.replica):
            permit(server)
        ports = [self._sentinel(number) for number in range(3)]
        until(lambda: self.replica.figures("replication")["master_link_status"] == "up", "the replica follows")
        for port in ports:
            until(lambda port=port: self._knows(port), f"Sentinel {port} knows all")
        places = ",".join(f"{self._host}:{port}" for port in ports)
        self.url = f"sentinel://mxgw:{QUOTED}@{places}/mail/0"
        self._ports = ports
        return self

    def _sentinel(self, number: int) -> int:
        server = RedisServer()
        self._stack.callback(shutil.rmtree, server.directory, ignore_errors=True)
        settings = server.directory / "sentinel.conf"
        settings.write_text(
            f"bind {' '.join(sorted({'127.0.0.1', self._host}))}\nport {server.port}\ndir {server.directory}\n"
            "protected-mode no\n"
            f"sentinel monitor mail {self._host} {self.master.port} 2\n"
            f"sentinel down-after-milliseconds mail {self._down_after}\n"
            "sentinel failover-timeout mail 3000\n"
        )
        self._processes.append(
            subprocess.Popen(
                ["redis-server", str(settings), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        return server.port

    def _knows(self, port: int) -> bool:
        told = subprocess.run(
            ["redis-cli", "-p", str(port), "SENTINEL", "MASTER", "mail"], capture_output=True, text=True, check=False
        ).stdout.split("\n")
        facts = dict(zip(told[::2], told[1::2], strict=False))
        return facts.get("num-other-sentinels") == "2" and facts.get("num-slaves") == "1"

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class ClusterRedis:
    """Three masters that share the slots."""

    def __enter__(self) -> ClusterRedis:
        self._stack = ExitStack()
        self.nodes = [
            self._stack.enter_context(
                RedisServer(
                    "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(free_port())
                )
            )
            for _ in range(3)
        ]
        edges = (0, 5461, 10923, 16384)
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            node.say("CLUSTER", "ADDSLOTSRANGE", str(edges[number]), str(edges[number + 1] - 1))
            node.say("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            permit(node)
            if node is not first:
                node.say("CLUSTER", "MEET", "127.0.0.1", str(first.port), first.options[-1])
        for node in self.nodes:
            until(lambda node=node: self._is_whole(node), "the cluster is whole")
        self.url = f"cluster://mxgw:{QUOTED}@127.0.0.1:{first.port}"
        return self

    def _is_whole(self, node: RedisServer) -> bool:
        told = node.say("CLUSTER", "INFO")
        return "cluster_state:ok" in told and "cluster_known_nodes:3" in told

    def __exit__(self, *_: object) -> None:
        self._stack.close()
