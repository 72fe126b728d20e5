"""SIGKILL where no mailstore of the test can hold it: a whole node between two attempts, a worker inside the writing of a
file, and workers at random moments under load.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from debian import need

sys.path += [str(Path(__file__).parents[1] / part) for part in ("wire", "delivery", "crash")]

from crash_world import Attempt, node_over, send_until_accepted, shared_store
from scripted import scripted

MESSAGE = (
    b"From: Alice <a@hold.example>\r\nTo: user@example.com\r\nSubject: hello\r\nMessage-ID: <1@hold.example>\r\n\r\n"
    b"line one\r\nline two\r\n"
)
LARGE = MESSAGE + (b"0123456789abcdef" * 4 + b"\r\n") * 360_000
"""24 MB."""
POLICY = "version: 1\nmode: enforce\nrules: []\n"
AT_ONCE = {"greeting_delay": 0}


def worker(node: Any) -> int:
    return int(node.status()["workers"][0]["pid"])


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_the_retry_after_a_lost_250_is_answered_250_and_delivered_once(kind: str, tmp_path: Path) -> None:
    """The mailstore has said 250, the whole node is killed before the client has read it. The client comes again: over
    Redis to another node, over SQLite to the same node, started again."""
    need("redis-server")
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(shared_store(kind, tmp_path))
        store = await stack.enter_async_context(scripted())
        settings = {
            "store": shared.url,
            "workers": 1,
            "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{store.port}?verify=no"}],
        }
        node = await stack.enter_async_context(node_over(tmp_path / "first", settings, POLICY))
        pid = worker(node)
        attempt = await Attempt.begin(node.smtp_port, MESSAGE)
        await attempt.envelope()
        await attempt.client.send(MESSAGE + b".\r\n")
        await asyncio.to_thread(node.wait, shared.done, "the mailstore has it")
        node.kill(signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        attempt.close()
        assert len(store.contents) == 1
        again = await stack.enter_async_context(node_over(tmp_path / "again", settings, POLICY))
        assert await send_until_accepted(again.smtp_port, MESSAGE) == 1
        assert len(store.contents) == 1
        (record,) = await asyncio.to_thread(again.wait, lambda: again.events("transaction"), "its record")
        assert (record["result"], record["ledger"], record["mailstore"]) == ("accepted", "delivered-before", "")
        assert [rcpt["result"] for rcpt in record["rcpts"]] == ["delivered-before"]
        assert await asyncio.to_thread(again.metric, "mxgw_ledger_total", result="delivered-before") == 1
        # the client has read that 250 and said QUIT: the same content is a new message now
        await asyncio.to_thread(again.wait, lambda: not shared.done(), "the client's QUIT is known")
        assert await send_until_accepted(again.smtp_port, MESSAGE) == 1
        assert len(store.contents) == 2


async def test_a_kill_inside_the_writing_of_a_file_leaves_no_half_message(start_node: Callable[..., Any]) -> None:
    node = await asyncio.to_thread(start_node, settings={"workers": 1, "limits": AT_ONCE}, policy=POLICY)
    caught = False
    for _ in range(8):
        pid = worker(node)
        attempt = await Attempt.begin(node.smtp_port, LARGE)
        sending = asyncio.create_task(attempt.whole())
        while not sending.done() and not list(node.maildir.rglob("tmp/*")):
            await asyncio.sleep(0.001)
        os.kill(pid, signal.SIGSTOP)
        half = [file for file in node.maildir.rglob("tmp/*") if file.stat().st_size < len(LARGE)]
        os.kill(pid, signal.SIGKILL)
        said = await sending
        attempt.close()
        await asyncio.to_thread(
            node.wait, lambda pid=pid: [w for w in node.status()["workers"] if w["ready"] and w["pid"] != pid], "again"
        )
        if half and said.code != 250:
            caught = True
            break
        for file in node.maildir.rglob("tmp/*"):
            file.unlink()
    assert caught, "no kill fell into the writing"
    before = node.messages()
    assert all(message.endswith(LARGE) for message in before)
    await send_until_accepted(node.smtp_port, LARGE)
    assert len(node.messages()) == len(before) + 1
    assert all(message.endswith(LARGE) for message in node.messages())


@pytest.mark.timeout(300)
async def test_twenty_kills_at_random_moments_under_load(start_node: Callable[..., Any]) -> None:
    chance = random.Random(5321)
    # four workers: one that dies young is started again with growing patience
    node = await asyncio.to_thread(start_node, settings={"workers": 4, "limits": AT_ONCE}, policy=POLICY)
    accepted: list[bytes] = []
    over = asyncio.Event()

    async def client(name: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            mark = b"<%d.%d@hold.example>" % (name, number)
            padding = (b"x" * 70 + b"\r\n") * chance.choice((1, 10, 1000, 20_000))
            await send_until_accepted(node.smtp_port, MESSAGE.replace(b"<1@hold.example>", mark) + padding)
            accepted.append(mark)

    clients = [asyncio.create_task(client(name)) for name in range(4)]
    for _ in range(20):
        await asyncio.sleep(chance.uniform(0.1, 0.6))

        def ready() -> list[int]:
            return [w["pid"] for w in node.status()["workers"] if w["ready"]]

        alive = await asyncio.to_thread(node.wait, ready, "a worker serves", 60)
        os.kill(chance.choice(alive), signal.SIGKILL)
    over.set()
    await asyncio.gather(*clients)
    messages = node.messages()
    stored = [re.search(rb"<\d+\.\d+@hold\.example>", message) for message in messages]
    assert all(message.endswith(b"\r\n") and match for message, match in zip(messages, stored, strict=True))
    kept = [match[0] for match in stored if match]
    assert set(accepted) <= set(kept), "accepted and lost"
    assert len(accepted) == len(set(accepted)) >= 20
    assert node.metric("mxgw_worker_crashes_total") == 20
