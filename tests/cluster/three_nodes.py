"""Three real nodes with one real Redis, and the commands of an operator."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from node_process import NodeProcess
from redis_server import RedisServer
from redis_worlds import SentinelRedis

from gateway.adapters.board_redis import RedisBoard
from gateway.cli.main import main

NAMES = ("mx1.example.net", "mx2.example.net", "mx3.example.net")
SOON = 30.0


def policy(rule: str, mode: str = "enforce") -> str:
    """A policy whose digest depends on the rule's name; it refuses HELO names that begin with it."""
    return f"""version: 1
mode: {mode}
checks: {{greylist: {{enabled: false}}}}
rules:
  - {{id: {rule}, at: rcpt, when: {{reverse_path_domain: "{rule}.example"}}, then: reject, reason: blocked}}
"""


class Cluster:
    """The nodes by short name; commands run with the settings of the first that lives."""

    def __init__(self, folder: Path, redis: RedisServer | SentinelRedis, **settings: Any) -> None:
        self.folder = folder
        self.redis = redis
        self._settings = settings
        self.nodes: dict[str, NodeProcess] = {}
        self._lives = 0

    def start(self, *names: str, **settings: Any) -> None:
        """Start these and wait until they serve and see each other."""
        for name in names:
            self.nodes[name] = self._node(name, settings)
        for name in names:
            self.nodes[name].wait_ready()

    def _node(self, name: str, settings: dict[str, Any]) -> NodeProcess:
        self._lives += 1
        return NodeProcess(
            self.folder / f"{name}-{self._lives}",
            {
                "hostname": f"{name}.example.net",
                "store": self.redis.url,
                "workers": 1,
                "state_dir": str(self.folder / f"state-{name}"),
                "limits": {"greeting_delay": 0},
                **self._settings,
                **settings,
            },
            policy=policy("base"),
        )

    def file(self, name: str, text: str) -> Path:
        """A policy file of the operator's."""
        path = self.folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def mxgw(self, *words: str | Path) -> tuple[int, str]:
        """A command: exit code and output with errors."""
        config = next(node.config for node in self.nodes.values())
        return mxgw(*words, "--config", config)

    def json(self, *words: str | Path) -> Any:
        """The command's JSON."""
        code, text = self.mxgw(*words, "--output", "json")
        assert text.startswith("{"), (code, text)
        # behind it may stand what the command says on standard error
        return json.JSONDecoder().raw_decode(text)[0]

    def wait(self, what: Callable[[], Any], text: str, seconds: float = SOON) -> Any:
        """Until it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.1)
        logs = "\n".join(f"{name}: {line}" for name, node in self.nodes.items() for line in node.log[-8:])
        raise AssertionError(f"not in {seconds:g} s: {text}\n{logs}")

    def on_board(self, work: Callable[[RedisBoard], Awaitable[Any]]) -> Any:
        """Do it with the nodes' board."""

        async def over() -> Any:
            board = RedisBoard(self.redis.url)
            try:
                return await work(board)
            finally:
                await board.close()

        return asyncio.run(over())

    def digests(self) -> dict[str, str]:
        """What each node's supervisor says."""
        return {name: node.status()["policy"]["digest"] for name, node in self.nodes.items()}

    def generations(self) -> set[int]:
        """All that are in force."""
        return {node.status()["policy"]["generation"] for node in self.nodes.values()}

    def end(self) -> None:
        """Nothing of it stays."""
        for node in self.nodes.values():
            node.end()


@contextmanager
def cluster(folder: Path, *names: str, **settings: Any) -> Iterator[Cluster]:
    """With Redis and these nodes."""
    with RedisServer() as redis:
        made = Cluster(folder, redis, **settings)
        try:
            made.start(*names)
            yield made
        finally:
            made.end()


def mxgw(*words: str | Path) -> tuple[int, str]:
    """Run a command, in this process since that is quicker."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        code = main([str(word) for word in words])
    return code, told.getvalue()


class Client:
    """A plain SMTP client, line by line."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._file = self._socket.makefile("rwb")
        self.greeting = self.reply()

    def reply(self) -> str:
        """All lines of one reply."""
        lines = []
        while line := self._file.readline().decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] == " ":
                break
        return "\n".join(lines)

    def say(self, line: str) -> str:
        """A command and its reply."""
        self._file.write(line.encode() + b"\r\n")
        self._file.flush()
        return self.reply()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()
