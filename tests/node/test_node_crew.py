"""The workers' keeper over a worker of the tests' own: one that cannot be started, one whose report cannot be used."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.node.background import beside
from gateway.node.crew import Crew
from gateway.ops.health import NodeHealth

WORKER = f"""#!{sys.executable}
import socket, sys
with socket.socket(fileno=int(sys.argv[sys.argv.index("--control") + 1])) as control:
    control.sendall(b'{{"report": {{"kind": "odd", "data": 1}}}}\\n{{"ready": true}}\\n')
    while b"drain" not in (said := control.recv(1000)) and said:
        pass
"""


async def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def crew(program: Path, health: NodeHealth, on_report: Callable[[str, Any], None]) -> Crew:
    return Crew(
        1, sockets=(), health=health, start=dict, on_gone=lambda *_: None, on_ready=lambda: None,
        on_report=on_report, program=str(program),
    )  # fmt: skip


def ready(health: NodeHealth) -> bool:
    return any(worker.ready for worker in health.workers.values())


async def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program, health = tmp_path / "python", NodeHealth({})
    descriptors = len(os.listdir("/proc/self/fd"))
    kept = crew(program, health, lambda *_: None)
    await until(lambda: "a worker cannot be started: [Errno 2]" in caplog.text)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert not health.workers
    # the environment that was being replaced is whole again
    part = tmp_path / "part"
    part.write_text(WORKER)
    part.chmod(0o700)
    part.rename(program)
    started = health.served
    await until(lambda: ready(health))
    assert health.served >= started
    await kept.drain(20.0)
    assert not health.workers


async def test_a_report_that_cannot_be_used_does_not_make_the_worker_unheard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program, health = tmp_path / "python", NodeHealth({})
    program.write_text(WORKER)
    program.chmod(0o700)

    def no_use(kind: str, data: object) -> None:
        raise KeyError(kind, data)

    kept = crew(program, health, no_use)
    await until(lambda: ready(health))
    assert "cannot be used" in caplog.text
    assert len(health.workers) == 1
    await kept.drain(20.0)


async def test_a_task_beside_the_mail_does_not_die_unheard(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise KeyError("sundial")

    async def ends() -> None:
        await asyncio.sleep(0)

    drain = asyncio.Event()
    beside(fails(), "the beats", drain.set)
    await asyncio.wait_for(drain.wait(), 10)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "the beats has failed")
    assert record.exc_info and isinstance(record.exc_info[1], KeyError)
    calm = asyncio.Event()
    cancelled = beside(asyncio.sleep(60), "asleep", calm.set)
    cancelled.cancel()
    await asyncio.wait((cancelled, beside(ends(), "ends", calm.set)))
    await asyncio.sleep(0)
    assert not calm.is_set()
    assert len(caplog.records) == 1
