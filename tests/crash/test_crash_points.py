"""SIGKILL in each state of docs/responsibility.md: nothing that was accepted is lost, no duplicate before S4.

A real node with one worker; the mailstore lies in this process and holds the state while the worker is killed. A state
that only the worker's inside knows (S5) is held by stopping the worker before it can act on what it was told.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path += [str(Path(__file__).parents[1] / part) for part in ("wire", "delivery", "crash")]

from crash_world import Attempt, QuietNames, quiet_names, send_until_accepted
from scripted import Hang, ScriptedStore, Slow, scripted

MESSAGE = (
    b"From: Alice <a@hold.example>\r\nTo: user@example.com\r\nSubject: hello\r\nMessage-ID: <1@hold.example>\r\n\r\n"
    b"line one\r\nline two\r\n"
)
LARGE = MESSAGE + (b"0123456789abcdef" * 4 + b"\r\n") * 360_000
"""24 MB: more than the kernel takes between two ends of which one does not read."""
POLICY = "version: 1\nmode: enforce\nrules: []\n"


def worker(node: Any) -> int:
    return int(node.status()["workers"][0]["pid"])


class Scene:
    """What a state is made of."""

    def __init__(self, node: Any, store: ScriptedStore, names: QuietNames, large: bool) -> None:
        self.node, self.store, self.names = node, store, names
        self.message = LARGE if large else MESSAGE
        self.pid = worker(node)
        self.heard = 0
        self.attempt: Attempt

    async def connect(self) -> None:
        self.attempt = await Attempt.begin(self.node.smtp_port, self.message)

    async def until(self, what: Callable[[], Any], text: str) -> None:
        for _ in range(1200):
            if what():
                return
            await asyncio.sleep(0.025)
        raise AssertionError(f"never: {text}; the mailstore heard {self.store.commands}")

    async def send_content(self) -> None:
        await self.connect()
        await self.attempt.envelope()
        # the node reads all of it before it speaks with the mailstore
        await self.attempt.client.send(self.message + b".\r\n")

    async def heard_by_mailstore(self, word: str) -> None:
        await self.send_content()
        await self.until(lambda: any(c.startswith(word) for c in self.store.commands), f"{word} at the mailstore")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


async def s0_connected(scene: Scene) -> None:
    await scene.connect()
    await scene.attempt.expect(220)


async def s0_mail(scene: Scene) -> None:
    await s0_connected(scene)
    await scene.attempt.expect(250, "EHLO client.example")
    await scene.attempt.expect(250, "MAIL FROM:<a@hold.example>")


async def s0_rcpt(scene: Scene) -> None:
    await s0_mail(scene)
    await scene.attempt.expect(250, "RCPT TO:<user@example.com>")


async def s1_reading(scene: Scene) -> None:
    await scene.connect()
    await scene.attempt.envelope()
    await scene.attempt.client.send(scene.message[: len(scene.message) // 2])
    await asyncio.sleep(0.2)


async def s1_all_but_the_dot(scene: Scene) -> None:
    await scene.connect()
    await scene.attempt.envelope()
    await scene.attempt.client.send(scene.message)
    await asyncio.sleep(0.2)


async def s2_checks(scene: Scene) -> None:
    await scene.connect()
    await scene.attempt.envelope()
    # from here on: the look-up of the author domain's DMARC policy
    scene.names.holding = True
    scene.names.held.clear()
    await scene.attempt.client.send(scene.message + b".\r\n")
    await asyncio.wait_for(scene.names.held.wait(), 30)


async def s3_greeting(scene: Scene) -> None:
    await scene.send_content()
    await scene.until(lambda: scene.store.sessions, "a connection to the mailstore")


async def s3_ehlo(scene: Scene) -> None:
    await scene.heard_by_mailstore("EHLO")


async def s3_envelope(scene: Scene) -> None:
    await scene.heard_by_mailstore("MAIL")


async def s3_data(scene: Scene) -> None:
    await scene.heard_by_mailstore("DATA")


async def s3_half_of_it(scene: Scene) -> None:
    await scene.heard_by_mailstore("DATA")
    await asyncio.sleep(0.5)


async def s4_dot(scene: Scene) -> None:
    await scene.send_content()
    await asyncio.wait_for(scene.store.dot_seen.wait(), 30)


async def s5_mailstore_said_250(scene: Scene) -> None:
    await s4_dot(scene)
    os.kill(scene.pid, signal.SIGSTOP)
    # by now the mailstore's 250 is at the worker's socket, and the worker cannot act on it
    await asyncio.sleep(2.5)


async def s6_not_yet_read(scene: Scene) -> None:
    await scene.send_content()
    await scene.until(lambda: scene.node.events("transaction"), "the record")
    await asyncio.sleep(0.3)


async def s6_read_after_the_kill(scene: Scene) -> None:
    await s6_not_yet_read(scene)
    scene.kill()
    scene.heard = (await scene.attempt.client.reply()).code
    assert scene.heard == 250


async def s7_read(scene: Scene) -> None:
    await scene.send_content()
    scene.heard = (await scene.attempt.client.reply()).code
    assert scene.heard == 250


State = Callable[[Scene], Awaitable[None]]
LATE: dict[str, Any] = {"dot": [Slow(1.5, "250 2.0.0 queued"), "250 2.0.0 queued"]}
STATES: list[tuple[State, dict[str, Any], int, int]] = [
    # state, script of the mailstore, copies at the kill, most copies in the end
    (s0_connected, {}, 0, 1),
    (s0_mail, {}, 0, 1),
    (s0_rcpt, {}, 0, 1),
    (s1_reading, {}, 0, 1),
    (s1_all_but_the_dot, {}, 0, 1),
    (s2_checks, {}, 0, 1),
    (s3_greeting, {"connect": [Hang(), "220 store.test"]}, 0, 1),
    (s3_ehlo, {"EHLO": [Hang(), "250 store.test"]}, 0, 1),
    (s3_envelope, {"MAIL": [Hang(), "250 2.1.0 ok"]}, 0, 1),
    (s3_data, {"DATA": [Hang(), "354 go on"]}, 0, 1),
    (s3_half_of_it, {"cut": Hang()}, 0, 1),
    (s4_dot, {"dot": [Hang(), "250 2.0.0 queued"]}, 1, 2),
    (s5_mailstore_said_250, LATE, 1, 2),
    (s6_not_yet_read, {}, 1, 2),
    (s6_read_after_the_kill, {}, 1, 1),
    (s7_read, {}, 1, 1),
]


@pytest.mark.parametrize(("state", "script", "at_kill", "most"), STATES, ids=[s[0].__name__ for s in STATES])
async def test_sigkill_loses_nothing(
    state: State, script: dict[str, Any], at_kill: int, most: int, start_node: Callable[..., Any]
) -> None:
    half = state is s3_half_of_it
    script = {word: list(answer) if isinstance(answer, list) else answer for word, answer in script.items()}
    async with quiet_names() as names, scripted(script, cut_content_after=100_000 if half else None) as store:
        names.holding = False
        node = await asyncio.to_thread(
            start_node,
            settings={
                "workers": 1,
                "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{store.port}?verify=no"}],
                "dns": {"servers": [f"127.0.0.1:{names.port}"], "timeout": 20},
            },
            policy=POLICY,
        )
        scene = Scene(node, store, names, large=half)
        await state(scene)
        scene.kill()
        await scene.until(lambda: not Path(f"/proc/{scene.pid}").exists(), "the worker is dead")
        await asyncio.sleep(0.2)
        assert len(store.contents) == at_kill
        scene.attempt.close()
        names.holding, store.cut_content_after = False, None
        if scene.heard != 250:
            await send_until_accepted(node.smtp_port, scene.message)
        assert 1 <= len(store.contents) <= most
        body = scene.message.partition(b"\r\n\r\n")[2]
        assert all(content.partition(b"\r\n\r\n")[2] == body for content in store.contents)
        again = await asyncio.to_thread(node.wait, lambda: node.status()["workers"], "a worker in its place")
        assert again[0]["pid"] != scene.pid


async def test_a_kill_inside_the_writing_of_a_file_leaves_no_half_message(start_node: Callable[..., Any]) -> None:
    node = await asyncio.to_thread(start_node, settings={"workers": 1}, policy=POLICY)
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
    node = await asyncio.to_thread(start_node, settings={"workers": 4}, policy=POLICY)
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
        await asyncio.sleep(chance.uniform(0.1, 0.9))

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
