"""The workers of a node as the supervisor sees them: start, restart with patience, tell, end.

All workers inherit the same listening sockets, so connections that wait in the kernel's queue survive the death of any
of them.

Known gaps: a worker that hangs without dying is seen (not ready) but not killed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.node.background import beside
from gateway.node.channel import Channel, Said
from gateway.ops.health import NodeHealth, WorkerHealth

log = logging.getLogger("mxgw.node")

BACKOFF_FIRST: Final = 0.2
BACKOFF_MOST: Final = 10.0
SHORT_LIFE: Final = 5.0


class Crew:
    """start gives the first message of a worker; on_gone is called with the pid and whether it was a crash;
    on_report with the kind and the data of what a worker reports. program: the interpreter."""

    def __init__(
        self,
        count: int,
        *,
        sockets: Sequence[socket.socket],
        health: NodeHealth,
        start: Callable[[], Said],
        on_gone: Callable[[int, bool], None],
        on_ready: Callable[[], None],
        on_report: Callable[[str, Any], None],
        program: str = sys.executable,
    ) -> None:
        self._sockets = sockets
        self._health = health
        self._start = start
        self._on_gone = on_gone
        self._on_ready = on_ready
        self._on_report = on_report
        self._program = program
        self._running: dict[int, tuple[Process, Channel]] = {}
        self._ending = False
        health.served = time.monotonic()
        self._keepers = [beside(self._keep(), f"the keeper of worker {number}") for number in range(count)]

    def tell(self, said: Said) -> None:
        """Say it to all."""
        for _, channel in self._running.values():
            channel.say(said)

    async def drain(self, timeout: float) -> None:
        """Ask all to drain; those that are still there after ``timeout`` seconds are killed."""
        self._ending = True
        self.tell({"do": "drain"})
        _, late = await asyncio.wait(self._keepers, timeout=timeout)
        if late:
            log.warning("%d workers did not end in time", len(late), extra={"event": "drain"})
            self.kill()
            await asyncio.wait(self._keepers)

    def kill(self) -> None:
        """End all at once."""
        self._ending = True
        for process, _ in self._running.values():
            process.send_signal(signal.SIGKILL)
        for keeper in self._keepers:
            # one that waits to start the next worker has none to wait for
            if not self._running:
                keeper.cancel()

    async def _keep(self) -> None:
        wait = BACKOFF_FIRST
        while not self._ending:
            born = time.monotonic()
            try:
                await self._life()
            except (OSError, RuntimeError) as error:
                # no memory, process, thread or descriptor to be had, or the program is just being replaced
                log.error("a worker cannot be started: %s", error, extra={"event": "worker"})
            if self._ending:
                return
            wait = min(wait * 2, BACKOFF_MOST) if time.monotonic() - born < SHORT_LIFE else BACKOFF_FIRST
            end = time.monotonic() + wait
            while not self._ending and time.monotonic() < end:
                await asyncio.sleep(0.1)

    async def _life(self) -> None:
        process, channel = await self._started()
        self._running[process.pid] = (process, channel)
        worker = self._health.workers[process.pid] = WorkerHealth(process.pid, last=time.monotonic())
        channel.say(self._start())
        if self._ending:
            channel.say({"do": "drain"})
        listening = beside(self._listen(channel, worker), f"listening to worker {process.pid}")
        code = await process.wait()
        await asyncio.wait((listening,))
        channel.close()
        del self._running[process.pid], self._health.workers[process.pid]
        crashed = code != 0
        if crashed and not self._ending:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            log.error("worker %d crashed: %s", process.pid, how, extra={"event": "worker", "pid": process.pid})
        self._on_gone(process.pid, crashed and not self._ending)

    async def _started(self) -> tuple[Process, Channel]:
        ours, theirs = socket.socketpair()
        inherited = [sock.fileno() for sock in self._sockets]
        words = ["--control", str(theirs.fileno()), *(word for fd in inherited for word in ("--listen", str(fd)))]
        try:
            # a session of its own: Ctrl-C on the terminal is for the supervisor, which drains
            process = await asyncio.create_subprocess_exec(
                self._program,
                *("-m", "gateway.node.worker", *words),
                stdin=DEVNULL,
                pass_fds=[theirs.fileno(), *inherited],
                start_new_session=True,
            )
            return process, await Channel.over(ours)
        except BaseException:
            # a worker that runs already takes it as the end
            ours.close()
            raise
        finally:
            theirs.close()

    async def _listen(self, channel: Channel, worker: WorkerHealth) -> None:
        while (said := await channel.hear()) is not None:
            worker.last = time.monotonic()
            worker.beat = said.get("beat", worker.beat)
            for fault in said.get("reloaded", ()):
                log.error("worker %d: %s", worker.pid, fault, extra={"event": "policy"})
            if report := said.get("report"):
                try:
                    self._on_report(report["kind"], report["data"])
                except Exception:
                    # an error of ours in one report: what the worker says next must still be heard
                    log.exception("a report of worker %d cannot be used", worker.pid, extra={"event": "worker"})
            if said.get("ready"):
                worker.ready = True
                self._on_ready()
            if worker.ready:
                self._health.served = worker.last
