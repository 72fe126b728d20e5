"""Which policy judged which session, while sessions go on at all nodes all the time."""

from __future__ import annotations

import threading
import time

from three_nodes import Client, Cluster, policy

from gateway.policy.load import load_text


class Traffic:
    """Short sessions on all nodes, one after the other on each; when each began, and what policy judged it."""

    def __init__(self, nodes: Cluster) -> None:
        self._nodes = nodes
        self._ports = {name: node.smtp_port for name, node in nodes.nodes.items()}
        self._stop = threading.Event()
        self.begun: dict[str, float] = {}
        self.refused: list[tuple[str, float]] = []
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in self._ports]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self, name: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self.one(name, f"s{number}-{name}-{time.monotonic_ns()}@a.example")
            time.sleep(0.02)

    def one(self, name: str, sender: str) -> None:
        begun = time.time()
        try:
            client = Client(self._ports[name])
            if not client.greeting.startswith("220"):
                assert client.greeting.startswith("421"), client.greeting
                self.refused.append((name, begun))
                return
            client.say("EHLO client.example")
            self.begun[sender] = begun
            client.say(f"MAIL FROM:<{sender}>")
            client.say("RCPT TO:<user@example.com>")
            client.say("QUIT")
            client.close()
        except OSError:
            return

    def judged(self) -> list[tuple[float, str, str]]:
        """Begin, node and digest of each session that has a record."""
        found = []
        for name, node in self._nodes.nodes.items():
            for record in node.events("transaction"):
                if (begun := self.begun.get(record["from"])) is not None:
                    found.append((begun, name, record["policy"]))
        return sorted(found)


def digest(name: str) -> str:
    return load_text(policy(name), name).digest
