"""One worker: a process with one event loop that serves the inherited listening sockets.

It gets settings, policy and certificate from the supervisor, says once a second how it is, and drains when it is told
to, when it gets SIGTERM, or when the supervisor is gone.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.auth.public_suffix import suffix_list
from gateway.checks.recipient import written as recipients_written
from gateway.cluster.journal import Gatherer
from gateway.cluster.watching import TRACE
from gateway.config import Settings
from gateway.node import greylist_desk, list_desk, shadow_desk
from gateway.node.background import beside
from gateway.node.certificates import TlsSaid
from gateway.node.channel import Channel, Said
from gateway.node.compose import Worker, worker_for
from gateway.node.counted_names import CountedNames
from gateway.node.notices import DECISIONS, Notices
from gateway.node.policy_in_force import MOMENT, NEXT, REPORT, PolicyInForce
from gateway.node.policy_source import PolicyText
from gateway.node.rates import Tally
from gateway.node.turned_away import Gate
from gateway.ops.log import Log, standard_output
from gateway.ops.metrics import MetricsObserver
from gateway.policy.model import Policy
from gateway.ports.observer import Record
from gateway.smtp.identify import HeaderUse
from gateway.smtp.tls import CertificateError, make_context
from gateway.smtp.tls_pair import pair_from
from gateway.yamlfile import FaultsError

log = logging.getLogger("mxgw.node")

BEAT: Final = 1.0


class Work:
    """One worker's life. start: what the supervisor said first."""

    def __init__(self, channel: Channel, start: Said) -> None:
        self._channel = channel
        self._settings = settings = Settings.model_validate(start["settings"])
        writer = standard_output(Path(start["log_lock"]))
        self._log = Log(writer, node=settings.node, form=settings.log.format, level=settings.log.level)
        self._log.install()
        self._gathered = Gatherer()
        self._tally = Tally(self._decided)
        self._observer = MetricsObserver(self._tally.note)
        writer.on_drop = self._observer.log_dropped.inc
        self._policy = PolicyInForce(self._parse(start["policy"]), partial(self._report, REPORT))
        self._tls = _context(start["tls"])
        self._notices = Notices()
        for kind, data in start["notices"].items():
            self._notices.tell(kind, data)
        self._lag = 0.0
        self._drain = asyncio.Event()
        self._worker: Worker | None = None
        self._names: CountedNames | None = None

    def _parse(self, said: Said) -> Policy:
        return PolicyText(**said).parse()

    async def run(self, sockets: Sequence[socket.socket]) -> int:
        """Serve until drained. Returns the exit code."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._drain.set)
        settings = self._settings
        worker = self._worker = worker_for(
            settings, self._policy, lambda: self._tls, self._observer, self._notices
        )
        self._notices.on(TRACE, worker.server.tracer.told)
        worker.server.shut = Gate(self._notices, self._policy.shut).shut
        self._notices.on(NEXT, self._policy.told_next)
        self._notices.on(MOMENT, self._policy.told_moment)
        await self._policy.caught_up()
        self._notices.on(greylist_desk.NOTICE, worker.greylist.adopt)
        # before clients come: a burst of first ones would read it all at once
        await asyncio.to_thread(suffix_list)
        names = self._names = CountedNames(self._observer, settings, worker.server.services.limits.sessions)
        names.of(self._policy())
        for sock, listener in zip(sockets, settings.listeners, strict=True):
            proxy, name = listener.proxy_protocol, listener.name or listener.address
            if proxy is None:
                await worker.server.start(sock, name, xclient=listener.xclient)
                continue
            await worker.server.start(
                sock, name, proxy.trusted, direct=proxy.direct, header=HeaderUse(proxy.header), xclient=listener.xclient
            )
        self._channel.say({"ready": True, **self._beat(worker)})
        # without one of these it is half a worker: another takes its place
        tasks = [
            beside(work, name, self._drain.set)
            for name, work in (
                ("the heartbeat", self._beats(worker)),
                ("hearing the supervisor", self._orders()),
                ("the accounts", worker.accounts.run()),
            )
        ]
        await self._drain.wait()
        timeout = settings.limits.drain_timeout
        drained = await worker.server.drain(timeout)
        left = await worker.router.drain(5.0 if drained else 1.0)
        await worker.server.close()
        await worker.router.close()
        await worker.accounts.close()
        await recipients_written()
        await worker.store.close()
        await worker.dns.close()
        for task in tasks:
            task.cancel()
        log.info("worker %d ends", os.getpid(), extra={"event": "drain", "drained": drained, "handovers_left": left})
        if gathered := worker.greylist.take():
            self._report(greylist_desk.REPORT, gathered)
        self._tell_evidence(worker)
        if worker.journal:
            worker.journal.file.close()
        if worker.traces:
            await worker.traces.export.close()
        self._channel.say({"drained": drained})
        await self._channel.flush()
        self._log.writer.close()
        return 0

    async def _orders(self) -> None:
        while (said := await self._channel.hear()) is not None:
            if said["do"] == "drain":
                self._drain.set()
            elif said["do"] == "notice":
                self._notices.tell(said["kind"], said["data"])
            elif said["do"] == "reload":
                await self._reload(said)
        if not self._drain.is_set():
            log.error("the supervisor is gone: draining", extra={"event": "drain"})
            self._drain.set()

    def _report(self, kind: str, data: Any) -> None:
        self._channel.say({"report": {"kind": kind, "data": data}})

    async def _reload(self, said: Said) -> None:
        # the supervisor has judged both already
        faults: list[str] = []
        if said.get("policy"):
            try:
                self._policy.replace(self._parse(said["policy"]))
            except FaultsError as error:
                faults += [str(fault) for fault in error.faults]
        if said.get("tls"):
            try:
                self._tls = await asyncio.to_thread(_context, said["tls"])
            except CertificateError as error:
                faults.append(str(error))
        assert self._worker is not None
        self._channel.say({"reloaded": faults, **self._beat(self._worker)})

    async def _beats(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self._lag = max(0.0, loop.time() - due)
            self._observer.loop_lag.observe(self._lag)
            self._channel.say(self._beat(worker))
            if gathered := worker.greylist.take():
                self._report(greylist_desk.REPORT, gathered)
            if counted := worker.lists.take():
                self._report(list_desk.REPORT, counted)
            self._tell_evidence(worker)

    def _decided(self, record: Record) -> None:
        self._log.emit(record)
        if self._settings.decisions.lines:
            self._gathered.note(record)
        if self._worker and self._worker.journal:
            self._worker.journal.recorder.note(record)

    def _tell_evidence(self, worker: Worker) -> None:
        if compared := worker.shadow.take():
            self._report(shadow_desk.REPORT, compared)
        if traced := worker.server.tracer.take():
            self._report(TRACE, traced)
        if decided := self._gathered.take():
            self._report(DECISIONS, decided)

    def _beat(self, worker: Worker) -> dict[str, Any]:
        sessions, inflight = worker.server.sessions, worker.router.inflight
        by_listener = worker.server.sessions_by_listener
        for listener in self._settings.listeners:
            name = listener.name or listener.address
            self._observer.sessions.labels(name).set(by_listener[name])
        self._observer.tarpitted.set(worker.server.slots.taken)
        if self._names:
            self._names.of(self._policy())
        self._observer.inflight.set(inflight)
        mailstores = worker.router.health
        for mailstore in mailstores:
            self._observer.mailstore_up.labels(mailstore.name).set(mailstore.up)
        return {
            "beat": {
                "sessions": sessions,
                "inflight": inflight,
                "mailstores": {mailstore.name: mailstore.as_json() for mailstore in mailstores},
                "policy": self._policy().digest,
                "results": self._tally.said(),
                "store": self._observer.store_last,
                "loop_lag": round(self._lag, 4),
                "rss": _resident_octets(),
                "draining": self._drain.is_set(),
                "time": round(time.time(), 3),
            }
        }


def _context(said: TlsSaid) -> ssl.SSLContext:
    pairs = [pair_from(certificate, key, "certificate") for certificate, key in said["pairs"]]
    return make_context(pairs, said["ciphers"], said["tickets"])


def _resident_octets() -> int:
    # procfs is memory: this read never waits for a disk
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


async def _work(control: int, listening: Sequence[int]) -> int:
    channel = await Channel.over(socket.socket(fileno=control))
    start = await channel.hear()
    if start is None:
        return 0
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    try:
        return await Work(channel, start).run(sockets)
    finally:
        channel.close()


def main(argv: Sequence[str]) -> int:
    """``python -m gateway.node.worker --control 5 --listen 6 --listen 7``: started by the supervisor only."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--listen", type=int, action="append", default=[])
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    factory = None
    if os.environ.get("MXGW_LOOP") == "uvloop":
        import uvloop

        # off by default: it helps SMTP by 5 % and keeps larger TLS buffers
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_work(args.control, args.listen))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
