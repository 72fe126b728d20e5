"""A real redis-server for tests: own port, own directory, nothing kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType


def free_port() -> int:
    """Of the loopback, below the range from which the kernel gives out ports."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 32000")


class RedisServer:
    """``with RedisServer() as server: server.url``. Debian package: redis-server. options: more of its command line.
    host: where it is met, beside the loopback."""

    def __init__(self, *options: str, host: str = "127.0.0.1") -> None:
        self.host = host
        self.options = options if host == "127.0.0.1" else ("--protected-mode", "no", *options)
        self.directory = Path(tempfile.mkdtemp(prefix="mxgw-redis-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str:
        """Why it cannot run; '' if it can."""
        return "" if shutil.which("redis-server") else "redis-server is missing (Debian package redis-server)"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--bind", *sorted({"127.0.0.1", self.host}), "--port", str(self.port), "--save", "", "--appendonly", "no",
             "--dir", str(self.directory), "--daemonize", "no", *self.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    if "--tls-port" in self.options:
                        return
                    connection.settimeout(1)
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("redis-server did not start in 20 s")

    def say(self, *words: str) -> str:
        """What redis-cli answers. Raises RuntimeError."""
        told = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, timeout=20, check=False
        )
        if told.returncode or told.stdout.startswith(("ERR", "(error)")):
            raise RuntimeError(f"redis-cli {words[0]}: {told.stdout}{told.stderr}")
        return told.stdout.strip()

    def figures(self, section: str = "all") -> dict[str, str]:
        """INFO."""
        lines = (line.partition(":") for line in self.say("INFO", section).splitlines() if ":" in line)
        return {key: value.strip() for key, _, value in lines}

    def pause(self) -> None:
        """It keeps its sockets and answers nothing."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
