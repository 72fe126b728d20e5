"""Three real nodes over one Redis and one Maildir, mail to send through a balancer, and what became of it."""

from __future__ import annotations

import re
import smtplib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from node_process import NodeProcess

Start = Callable[..., NodeProcess]

POLICY = """\
version: 1
mode: enforce
checks: {greylist: {mode: "off"}, iprev: {enabled: false}, helo: {enabled: false}, spf: {enabled: false}}
rules: []
outage: {dns: proceed, store: proceed, mailstore: defer}
"""


class Nodes:
    """``Nodes(start_node, redis.url, tmp_path)``, then ``add``; all deliver into one Maildir."""

    def __init__(self, start: Start, store: str, folder: Path) -> None:
        self._start = start
        self._store = store
        self._maildir = folder / "mailstore"
        self.all: list[NodeProcess] = []

    def add(self, address: str = "127.0.0.1:0", **proxy: Any) -> NodeProcess:
        """Start one more. proxy: keys of ``proxy_protocol`` beside ``trusted``."""
        node = self._start(
            settings={
                "listeners": [
                    {"address": address, "name": "smtp", "proxy_protocol": {"trusted": ["127.0.0.0/8"], **proxy}}
                ],
                "routes": [{"domains": ["example.com"], "mailstore": f"maildir:{self._maildir}"}],
                "store": self._store,
                "workers": 1,
                "limits": {"drain_timeout": 10, "greeting_delay": 0},
            },
            policy=POLICY,
        )
        self.all.append(node)
        return node

    def kept(self) -> Counter[str]:
        """The Message-IDs in the mailstore, and how often each."""
        found = (re.search(rb"(?m)^Message-ID: <([^>]+)>", file.read_bytes()) for file in self._maildir.rglob("new/*"))
        return Counter(match[1].decode() for match in found if match)

    def records(self, event: str = "transaction") -> list[dict[str, Any]]:
        """Those of all nodes."""
        return [record for node in self.all for record in node.events(event)]

    def wait_records(self, number: int) -> list[dict[str, Any]]:
        """Until there are so many transactions on record."""
        self.all[0].wait(lambda: len(self.records()) >= number, f"{number} records")
        return self.records()

    def assert_probes_left_nothing(self, sessions: int) -> None:
        """They are counted as probes and as nothing else; so many sessions were clients'."""
        assert sum(node.metric("mxgw_connections_total", result="accepted") for node in self.all) == sessions
        for node in self.all:
            assert node.metric("mxgw_connections_total", result="probe") > 0
            assert node.metric("mxgw_connections_total", result="proxy_error") == 0
            assert node.events("reject") == []


def message(name: str) -> bytes:
    return f"Message-ID: <{name}>\r\nSubject: x\r\n\r\nx\r\n".encode()


def send(port: int, name: str, source: str = "127.0.0.1") -> None:
    """One message in one session; all must go well."""
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=30, source_address=(source, 0)) as client:
        client.sendmail("a@sender.example", ["user@example.com"], message(name))


def send_all(jobs: Sequence[tuple[int, str, str]]) -> None:
    """Several at a time: port, Message-ID, source address."""
    with ThreadPoolExecutor(9) as pool:
        list(pool.map(lambda job: send(*job), jobs))


def numbered(count: int) -> Iterator[str]:
    """Message-IDs."""
    return (f"{number}@sender.example" for number in range(count))
