"""A real node as a process of its own: two workers, ephemeral ports, a Maildir as mailstore, DNS that nobody answers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

SOON = 30.0


class NodeProcess:
    """settings: keys that replace those of the default file. policy: text of a policy file; None: the packaged one."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        policy: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.maildir = folder / "mail"
        self.policy = folder / "policy.yaml"
        config: dict[str, Any] = {
            "hostname": "mx.example.com",
            "listeners": [{"address": "127.0.0.1:0", "name": "smtp"}],
            "routes": [{"domains": ["example.com"], "mailstore": f"maildir:{self.maildir}"}],
            "dns": {"servers": ["127.0.0.1:9"], "timeout": 0.5},
            "admin": {"address": "127.0.0.1:0"},
            "state_dir": str(folder / "state"),
            "workers": 2,
            **(settings or {}),
        }
        if policy is not None:
            self.policy.write_text(policy, encoding="utf-8")
            config["policy"] = str(self.policy)
        self.config = folder / "gateway.yaml"
        self.config.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.log: list[str] = []
        self.stderr = folder / "stderr"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MXGW_")}
        with self.stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**clean, **(env or {})},
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.log.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log's JSON objects so far."""
        return [json.loads(line) for line in list(self.log)]

    def events(self, event: str) -> list[dict[str, Any]]:
        """Those of one kind."""
        return [record for record in self.records if record["event"] == event]

    def wait(self, what: Callable[[], Any], text: str, seconds: float = SOON) -> Any:
        """Wait until ``what()`` is true and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not in {seconds:g} s: {text}\n{self.stderr.read_text()}\n" + "\n".join(self.log[-30:]))

    def wait_ready(self) -> None:
        """Until all workers serve."""
        self.wait(lambda: self.process.poll() is not None or self.events("ready"), "the node is ready")
        assert self.process.poll() is None, self.stderr.read_text()

    def _place(self, text: str) -> int:
        return int(text.rpartition(":")[2])

    @property
    def smtp_port(self) -> int:
        """Port of the first listener."""
        return self._place(next(iter(self.events("listening")[0]["listeners"].values())))

    @property
    def admin_port(self) -> int:
        """Port of the admin server."""
        return self._place(self.events("listening")[0]["admin"])

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask the admin port: status and text."""
        asked = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            asked.request(method, path)
            answer = asked.getresponse()
            return answer.status, answer.read().decode()
        finally:
            asked.close()

    def status(self) -> dict[str, Any]:
        """/statusz."""
        found: dict[str, Any] = json.loads(self.get("/statusz")[1])
        return found

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of that name that carry these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total

    def messages(self) -> list[bytes]:
        """All messages in the Maildirs."""
        return [file.read_bytes() for file in sorted(self.maildir.rglob("new/*"))]

    def kill(self, number: int) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def kill_all(self) -> None:
        """The supervisor and its workers, with SIGKILL, at once."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, number: int = signal.SIGTERM, seconds: float = SOON) -> int:
        """Signal, wait for the end, return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def end(self) -> None:
        """Make sure that nothing of it stays."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)  # the second one ends it at once
                self.process.wait(10)
        self._reader.join(5)
