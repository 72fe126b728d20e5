"""SIGKILL at each crash point of docs/responsibility.md, over SQLite and over Redis: nothing that was accepted is lost,
and no duplicate but where the ledger cannot know.

Two real nodes share the store. The worker of the first one has a session at each point when it is killed, and all the
clients come again to the second node. The mailstore of each point lies in this process and holds the state until the
kill. What only the worker's inside knows (S5) is held by stopping the worker before it can act on what it was told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from debian import need

sys.path += [str(Path(__file__).parents[1] / part) for part in ("wire", "delivery", "crash")]

from crash_world import Attempt, QuietNames, Shared, node_over, quiet_names, send_until_accepted, shared_store
from scripted import Hang, ScriptedStore, Slow, scripted

POLICY = "version: 1\nmode: enforce\nrules: []\n"
STORES = ("sqlite", "redis")


class Scene:
    """One crash point: its own recipient domain with its own mailstore, its own message."""

    def __init__(self, label: str, node: Any, store: ScriptedStore, names: QuietNames, shared: Shared) -> None:
        self.node, self.store, self.names, self.shared = node, store, names, shared
        self.label = label
        self.recipient = f"user@{self.label}.example"
        self.message = (
            f"From: Alice <a@{self.label}.author.example>\r\nTo: {self.recipient}\r\nSubject: hello\r\n"
            f"Message-ID: <1@{self.label}.example>\r\n\r\nline one\r\nline two\r\n"
        ).encode()
        self.heard = 0
        self.attempt: Attempt

    async def connect(self) -> None:
        self.attempt = await Attempt.begin(self.node.smtp_port, self.message, self.recipient)

    async def until(self, what: Callable[[], Any], text: str) -> Any:
        for _ in range(1200):
            if found := what():
                return found
            await asyncio.sleep(0.025)
        raise AssertionError(f"{self.label}: never: {text}; the mailstore heard {self.store.commands}")

    async def send_content(self) -> None:
        await self.connect()
        await self.attempt.envelope()
        # the node reads all of it before it speaks with the mailstore
        await self.attempt.client.send(self.message + b".\r\n")

    async def heard_by_mailstore(self, word: str) -> None:
        await self.send_content()
        await self.until(lambda: any(c.startswith(word) for c in self.store.commands), f"{word} at the mailstore")

    def has_record(self) -> bool:
        return any(self.recipient in record["rcpt"] for record in self.node.events("transaction"))


async def s0_connected(scene: Scene) -> None:
    await scene.connect()
    await scene.attempt.expect(220)


async def s0_mail(scene: Scene) -> None:
    await s0_connected(scene)
    await scene.attempt.expect(250, "EHLO client.example")
    await scene.attempt.expect(250, "MAIL FROM:<a@sender.example>")


async def s0_rcpt(scene: Scene) -> None:
    await s0_mail(scene)
    await scene.attempt.expect(250, f"RCPT TO:<{scene.recipient}>")


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
    scene.names.hold = scene.label.encode()
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
    # 24 MB: more than the kernel takes between two ends of which one does not read
    scene.message += (b"0123456789abcdef" * 4 + b"\r\n") * 360_000
    await scene.heard_by_mailstore("DATA")
    await asyncio.sleep(0.5)


async def s4_dot(scene: Scene) -> None:
    await scene.send_content()
    await asyncio.wait_for(scene.store.dot_seen.wait(), 30)


async def s5_mailstore_said_250(scene: Scene) -> None:
    await s4_dot(scene)


async def s6_recorded(scene: Scene) -> None:
    before = scene.shared.done()
    await scene.send_content()
    # our 250 leaves at about this moment; the client reads nothing
    await scene.until(lambda: scene.shared.done() > before, "the ledger says done")


async def s6_not_yet_read(scene: Scene) -> None:
    await scene.send_content()
    await scene.until(scene.has_record, "the record")


async def s6_read_after_the_kill(scene: Scene) -> None:
    await s6_not_yet_read(scene)


async def s7_read(scene: Scene) -> None:
    await scene.send_content()
    scene.heard = (await scene.attempt.client.reply()).code
    assert scene.heard == 250


State = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Point:
    """script: of the mailstore. at_kill: copies that it has when the worker is dead. most: copies in the end."""

    state: State
    script: dict[str, Any]
    at_kill: int
    most: int

    @property
    def label(self) -> str:
        return self.state.__name__.replace("_", "-")


def points() -> list[Point]:
    return [
        Point(s0_connected, {}, 0, 1),
        Point(s0_mail, {}, 0, 1),
        Point(s0_rcpt, {}, 0, 1),
        Point(s1_reading, {}, 0, 1),
        Point(s1_all_but_the_dot, {}, 0, 1),
        Point(s2_checks, {}, 0, 1),
        Point(s3_greeting, {"connect": [Hang(), "220 store.test"]}, 0, 1),
        Point(s3_ehlo, {"EHLO": [Hang(), "250 store.test"]}, 0, 1),
        Point(s3_envelope, {"MAIL": [Hang(), "250 2.1.0 ok"]}, 0, 1),
        Point(s3_data, {"DATA": [Hang(), "354 go on"]}, 0, 1),
        Point(s3_half_of_it, {"cut": Hang()}, 0, 1),
        # the only two where nobody can know: the mailstore has it, and the ledger was not told
        Point(s4_dot, {"dot": [Hang(), "250 2.0.0 queued"]}, 1, 2),
        Point(s5_mailstore_said_250, {"dot": [Slow(0.8, "250 2.0.0 queued"), "250 2.0.0 queued"]}, 1, 2),
        Point(s6_recorded, {}, 1, 1),
        Point(s6_not_yet_read, {}, 1, 1),
        Point(s6_read_after_the_kill, {}, 1, 1),
        Point(s7_read, {}, 1, 1),
    ]


@dataclass
class Row:
    point: Point
    at_kill: int
    attempts: int = 0
    copies: int = 0

    @property
    def fault(self) -> str:
        if self.copies < 1:
            return "LOST"
        if self.at_kill != self.point.at_kill or self.copies > self.point.most:
            return f"expected {self.point.at_kill} at the kill and at most {self.point.most} in the end"
        return ""


Scenes = list[tuple[Point, Scene]]


async def crash(scenes: Scenes, node: Any) -> list[Row]:
    """Bring all of them about in the one worker of the node and kill it."""
    (worker,) = await asyncio.to_thread(node.wait, lambda: [w for w in node.status()["workers"] if w["ready"]], "ready")
    pid = int(worker["pid"])
    # a check may take ten seconds only, and a stopped worker does nothing at all: these come last
    last = [s2_checks, s5_mailstore_said_250]
    await asyncio.gather(*(point.state(scene) for point, scene in scenes if point.state not in last))
    for state in last:
        await asyncio.gather(*(point.state(scene) for point, scene in scenes if point.state is state))
    # now the mailstore's 250 of S5 comes to the worker's socket, and the worker cannot act on it
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(1.2)
    os.kill(pid, signal.SIGKILL)
    for point, scene in scenes:
        if point.state is s6_read_after_the_kill:
            scene.heard = (await scene.attempt.client.reply()).code
    gone = Path(f"/proc/{pid}")
    await asyncio.to_thread(node.wait, lambda: not gone.exists(), "the worker is dead")
    await asyncio.sleep(0.3)
    return [Row(point, at_kill=len(scene.store.contents)) for point, scene in scenes]


async def come_again(scene: Scene, row: Row, port: int) -> None:
    scene.attempt.close()
    scene.names.hold, scene.store.cut_content_after = b"", None
    if scene.heard != 250:
        row.attempts = await send_until_accepted(port, scene.message, scene.recipient)
    row.copies = len(scene.store.contents)
    body = scene.message.partition(b"\r\n\r\n")[2]
    assert all(content.partition(b"\r\n\r\n")[2] == body for content in scene.store.contents)


async def all_points(kind: str, folder: Path) -> list[Row]:
    folder.mkdir()
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(shared_store(kind, folder))
        names = await stack.enter_async_context(quiet_names())
        stores = [
            await stack.enter_async_context(
                scripted(point.script, cut_content_after=100_000 if point.state is s3_half_of_it else None)
            )
            for point in points()
        ]
        settings = {
            "store": shared.url,
            "workers": 1,
            "routes": [
                {"domains": [f"{point.label}.example"], "mailstore": f"smtp://127.0.0.1:{store.port}?verify=no"}
                for point, store in zip(points(), stores, strict=True)
            ],
            "dns": {"servers": [f"127.0.0.1:{names.port}"], "timeout": 20},
        }
        first = await stack.enter_async_context(node_over(folder / "first", settings, POLICY))
        other = await stack.enter_async_context(node_over(folder / "other", settings, POLICY))
        scenes = [
            (point, Scene(point.label, first, store, names, shared))
            for point, store in zip(points(), stores, strict=True)
        ]
        # this one is over by itself a moment later, so it is killed on its own
        alone = [(point, scene) for point, scene in scenes if point.state is s6_recorded]
        together = [each for each in scenes if each not in alone]
        rows = await crash(alone, first) + await crash(together, first)
        await asyncio.gather(
            *(come_again(scene, row, other.smtp_port) for (_, scene), row in zip(alone + together, rows, strict=True))
        )
        return sorted(rows, key=lambda row: row.point.label)


def report(kind: str, rows: list[Row]) -> str:
    lines = [f"\n{kind}: {'killed in':24} copies then  attempts after  copies in the end"]
    lines += [f"  {row.point.label:32} {row.at_kill:5} {row.attempts:15} {row.copies:12}  {row.fault}" for row in rows]
    lost = sum(row.copies < 1 for row in rows)
    duplicates = sum(row.copies - 1 for row in rows if row.copies)
    promised = sum(row.copies - 1 for row in rows if row.copies and row.point.most == 1)
    lines.append(f"  losses {lost}, duplicates {duplicates}, of them where the ledger promises none {promised}")
    return "\n".join(lines)


@pytest.mark.timeout(300)
async def test_sigkill_at_every_crash_point_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("redis-server")
    tables = await asyncio.gather(*(all_points(kind, tmp_path / kind) for kind in STORES))
    with capsys.disabled():
        for kind, rows in zip(STORES, tables, strict=True):
            print(report(kind, rows))
    assert [len(rows) for rows in tables] == [17, 17]
    assert [(row.point.label, row.fault) for rows in tables for row in rows if row.fault] == []
