"""Two nodes with one real Redis, clients at chosen loopback addresses, and commands run as an operator runs them."""

from __future__ import annotations

import contextlib
import io
import json
import smtplib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from node_process import NodeProcess
from redis_server import RedisServer

DEFAULT_POLICY = Path(__file__).parents[2] / "policies" / "default.yaml"
Refusal = tuple[int, str]
QUICK = {"limits": {"greeting_delay": 0}}


DAY = 86400


def policy() -> str:
    """The packaged policy with small limits for clients outside 127.0.0.0/24; those in 127.2.0.0/16 are greylisted."""
    found = yaml.safe_load(DEFAULT_POLICY.read_text(encoding="utf-8"))
    found["checks"]["rate"] = {
        "exempt": ["127.0.0.0/24"],
        "connections": 0,
        "messages": 3,
        "errors": 12,
        "window": DAY,
        "lease": 4,
        "client": {"sessions": 3},
        "domain": {"messages": 5, "window": DAY},
        "recipient": {"messages": 6, "window": DAY},
    }
    found["checks"]["greylist"] = {
        "mode": "all",
        "delay_all": 2,
        "exempt_clients": ["127.0.0.0/15", "127.3.0.0/16", "127.4.0.0/14"],
    }
    found["checks"]["reputation"] = {"ipv4_prefix": 16}
    found["rules"].append(
        {"id": "trap", "at": "rcpt", "when": {"recipient": "trap@*"}, "then": "reject", "reason": "content-policy"}
    )
    return yaml.safe_dump(found)


class TwoNodes:
    """mx1 with two workers and mx2 with one; policy: text of both nodes' policy file, None: the packaged one."""

    def __init__(self, folder: Path, server: RedisServer, policy: str | None = None) -> None:
        self.server = server
        self.nodes = [
            NodeProcess(
                folder / name,
                {"hostname": f"{name}.example.net", "store": server.url, "workers": workers, **QUICK},
                policy,
            )
            for name, workers in (("mx1", 2), ("mx2", 1))
        ]

    def wait_ready(self) -> None:
        for node in self.nodes:
            node.wait_ready()

    def end(self) -> None:
        for node in self.nodes:
            node.end()

    def command(self, *words: str, node: int = 0) -> tuple[int, Any, str]:
        """Exit code, JSON (None where there is none) and standard error of ``mxgw WORDS --config ... -o json``."""
        return command(self.nodes[node].config, *words)


def command(config: Path, *words: str) -> tuple[int, Any, str]:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main([*words, "--config", str(config), "-o", "json"])
    return code, json.loads(output.getvalue()) if output.getvalue().strip() else None, errors.getvalue()


@contextlib.contextmanager
def two_nodes(folder: Path, policy: str | None = None) -> Iterator[TwoNodes]:
    with RedisServer() as server:
        world = TwoNodes(folder, server, policy)
        try:
            world.wait_ready()
            yield world
        finally:
            world.end()


def try_to_send(
    node: NodeProcess,
    client: str = "127.0.0.2",
    reverse_path: str = "",
    recipient: str = "user@example.com",
    body: bytes = b"From: <ann@sender.example>\r\nSubject: x\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n",
) -> Refusal:
    """One message in a session of its own: 250, or the first refusal. Each client has a domain of its own if none is
    named."""
    reverse_path = reverse_path or f"ann@{client}.example"
    try:
        session = smtplib.SMTP("127.0.0.1", node.smtp_port, "client.example", timeout=20, source_address=(client, 0))
    except smtplib.SMTPConnectError as error:
        return error.smtp_code, said(error.smtp_error)
    with contextlib.closing(session):
        for verb, words in ((session.ehlo, ()), (session.mail, (reverse_path,)), (session.rcpt, (recipient,))):
            code, text = verb(*words)
            if code >= 400:
                return code, said(text)
        code, text = session.data(body)
        return code, said(text)


def said(text: bytes | str) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else text


def until(what: Callable[[], Any], text: str, seconds: float = 30.0) -> float:
    """Wait until ``what()`` is true; returns how long it took."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        if what():
            return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"not in {seconds:g} s: {text}")
