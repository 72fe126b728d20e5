"""The parent process: sockets, workers, signals, reload, the admin port. It never touches mail.

SIGHUP reads the own policy file and the certificates again (certificates also when their files change); SIGTERM or
SIGINT drains; a second one ends at once. Policy and certificates are judged here, once, before any worker hears of
them: what is broken changes nothing.

Known gaps: the settings file itself is read at the start only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.config import Settings
from gateway.node.admin_port import admin_port
from gateway.node.background import beside
from gateway.node.banner import banner
from gateway.node.certificates import Certificates
from gateway.node.channel import Said
from gateway.node.counted_names import begin_node
from gateway.node.crew import Crew
from gateway.node.duties import Duties
from gateway.node.inherited import InheritedError, fitted, take
from gateway.node.notices import Notices, Reports
from gateway.node.policy_host import PolicyHost
from gateway.node.policy_keeper import PolicyKeeper
from gateway.node.systemd import ServiceManager
from gateway.node.tlsa_guard import guard_for
from gateway.ops.admin import Page
from gateway.ops.health import NodeHealth
from gateway.ops.log import Log, standard_output
from gateway.ops.metrics import NodeMetrics, use_folder
from gateway.smtp.listener import make_listening_socket
from gateway.smtp.tls import CertificateError, CertificateHolder, ensure_self_signed

log = logging.getLogger("mxgw.node")

OK: Final = 0
UNAVAILABLE: Final = 69
CONFIG: Final = 78


def run(settings: Settings) -> int:
    """Be the node. Returns the exit code. Raises FaultsError for a broken policy."""
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        _sweep(settings.state_dir)
        folder = settings.state_dir / f"metrics-{os.getpid()}"
        use_folder(folder)
        passed = fitted(take(os.environ), settings.listeners)
        listening = [
            (one.name or one.address, sock or _bound(one.host, one.port))
            for one, sock in zip(settings.listeners, passed, strict=True)
        ]
        admin = _bound(settings.admin.host, settings.admin.port)
        policy_host = PolicyHost(settings)
    except OSError as error:
        print(f"mxgw: {error}", file=sys.stderr)
        return UNAVAILABLE
    except InheritedError as error:
        print(f"mxgw: {error}", file=sys.stderr)
        return CONFIG
    try:
        if settings.tls:
            certificate = CertificateHolder(
                *settings.tls.pairs[0],
                *settings.tls.pairs[1:],
                ciphers=settings.tls.ciphers,
                tickets=settings.tls.tickets,
            )
        else:
            certificate = CertificateHolder(*ensure_self_signed(settings.state_dir, settings.hostname))
    except (CertificateError, OSError) as error:
        print(f"mxgw: tls: {error}", file=sys.stderr)
        return CONFIG
    supervisor = Supervisor(settings, folder, listening, admin, certificate, policy_host)
    try:
        return asyncio.run(supervisor.run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bound(host: str, port: int) -> socket.socket:
    try:
        return make_listening_socket(host, port)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error


def _sweep(state_dir: Path) -> None:
    """Remove what nodes left behind that were killed."""
    for folder in state_dir.glob("metrics-*"):
        pid = folder.name.removeprefix("metrics-")
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


class Supervisor:
    """The node's parent process. listening: name and bound socket, in the order of the settings."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        listening: list[tuple[str, socket.socket]],
        admin: socket.socket,
        certificate: CertificateHolder,
        policy_host: PolicyHost,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._listening = listening
        self._admin = admin
        self._policy_host = policy_host
        self._metrics = NodeMetrics(folder)
        begin_node(self._metrics, settings)
        self._stop = asyncio.Event()
        self._settled = asyncio.Event()
        self._signals = 0
        self._announced = False
        self._log = Log(
            standard_output(folder / "log.lock"),
            node=settings.node,
            form=settings.log.format,
            level=settings.log.level,
        )
        self._places = {name: "{}:{}".format(*sock.getsockname()[:2]) for name, sock in listening}
        self._admin_place = "{}:{}".format(*admin.getsockname()[:2])
        self._health = NodeHealth(
            {
                "version": __version__,
                "hostname": settings.hostname,
                "node": settings.node,
                "pid": os.getpid(),
                "started": round(time.time(), 3),
                "listeners": self._places,
                "routes": [{"name": r.label, "domains": r.domains, "mailstore": r.mailstore} for r in settings.routes],
            }
        )
        self._keeper = PolicyKeeper(settings, self._health, self._metrics)
        self._certificates = Certificates(certificate, self._metrics, self._tell_certificates, guard_for(settings))
        self._health.certificate_not_after = certificate.not_after
        self._crew: Crew | None = None
        self._notices = Notices(self._send_notice)
        self._reports = Reports()
        self._reloading = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._manager = ServiceManager.from_environment(os.environ)

    async def run(self) -> int:
        """Serve until told to stop. Returns the exit code."""
        self._log.install()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        tasks: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(beside(self.reload(), "the reload")))
        settings = self._settings
        log.info(
            "listening",
            extra={
                "event": "listening",
                "listeners": self._places,
                "admin": self._admin_place,
                "pid": os.getpid(),
                "mta_sts": self._policy_host.place,
            },
        )
        if settings.tls is None:
            log.warning("STARTTLS uses a self-signed certificate", extra={"event": "tls"})
        for warning in settings.warnings:
            log.warning("%s", warning, extra={"event": "settings"})
        for listener in settings.listeners:
            if listener.proxy_protocol and listener.proxy_protocol.header != "required":
                log.warning(
                    "clients without a PROXY header have no known address: no check judges it (iprev, dnsbl, rate, spf "
                    "and greylist), no limit a client holds",
                    extra={"event": "client_unknown", "listener": listener.name or listener.address},
                )
        duties = Duties(
            settings, self._health, self._metrics, self._notices, self._reports, self._keeper, self._certificates
        )
        admin, admin_tls = admin_port(
            settings,
            {
                "/healthz": self._healthz,
                "/readyz": self._readyz,
                "/metrics": self._metrics_page,
                **self._policy_host.admin_shows,
            },
            duties.board,
            lambda: self._health.status(time.monotonic()),
            lambda: self._keeper.in_force.policy,
        )
        await admin.start(self._admin, admin_tls)
        await self._policy_host.start()
        await duties.first_look()
        self._crew = Crew(
            settings.worker_count,
            sockets=[sock for _, sock in self._listening],
            health=self._health,
            start=self._first_words,
            on_gone=self._worker_gone,
            on_ready=self._worker_ready,
            on_report=self._reports.tell,
        )
        cluster = beside(duties.run(), "the duties")
        watch = beside(self._certificates.watch(), "the watch over certificates")
        tasks.add(beside(self._watch_recipients(), "the self-test of recipients"))
        telling = beside(
            self._manager.tell(lambda: not self._health.hung(time.monotonic()), self._health.line),
            "telling the service manager",
        )
        await self._stop.wait()
        limits = settings.limits
        self._manager.stopping(limits.drain_settle + limits.drain_timeout)
        for task in (watch, *tasks):
            task.cancel()
        self._health.draining = True
        await self._settle(limits.drain_settle)
        log.info("draining", extra={"event": "drain", "seconds": limits.drain_timeout})
        # the workers have theirs; behind ours, clients would wait in a queue from which nobody takes them
        for _, sock in self._listening:
            sock.close()
        await self._crew.drain(limits.drain_timeout + 10.0)
        cluster.cancel()
        telling.cancel()
        await admin.close()
        await self._policy_host.close()
        await duties.close()
        log.info("stopped", extra={"event": "stopped"})
        self._log.writer.close()
        return OK

    async def _watch_recipients(self) -> None:
        # imported late, since it brings the mailstore clients along: the workers' start does not wait for that
        from gateway.node.self_test import watch_recipients

        await watch_recipients(self._settings, (self._health.recipients_seen, self._metrics.recipients_seen))

    def _told_to_stop(self) -> None:
        self._signals += 1
        self._health.draining = True
        self._stop.set()
        if self._signals > 1 and self._crew:
            self._settled.set()
            self._crew.kill()

    async def _settle(self, seconds: float) -> None:
        # who looks at /readyz (balancers, routes to an Anycast address) sends clients elsewhere before one hears 421
        try:
            await asyncio.wait_for(self._settled.wait(), seconds)
        except TimeoutError:
            pass

    async def reload(self) -> None:
        """Read policy and certificate again; tell the workers of what is sound."""
        async with self._reloading:
            self._manager.reloading()
            if await self._keeper.reload() and self._crew:
                self._crew.tell({"do": "reload", "policy": self._keeper.said})
            await self._certificates.reload()
            if self._announced:
                self._manager.ready(self._health.line())

    def _tell_certificates(self) -> None:
        self._health.certificate_not_after = self._certificates.not_after
        if self._crew:
            self._crew.tell({"do": "reload", "tls": self._certificates.said()})

    def _first_words(self) -> Said:
        settings = self._settings.model_dump(mode="json")
        if self._settings.secret:
            settings["secret"] = self._settings.secret.get_secret_value()
        return {
            "notices": dict(self._notices.last),
            "settings": settings,
            "policy": self._keeper.said,
            "tls": self._certificates.said(),
            "log_lock": str(self._folder / "log.lock"),
        }

    def _send_notice(self, kind: str, data: Any) -> None:
        if self._crew:
            self._crew.tell({"do": "notice", "kind": kind, "data": data})

    def _worker_gone(self, pid: int, crashed: bool) -> None:
        # beside: the next worker does not wait for it
        self._leaving.add(task := beside(self._metrics.worker_gone(pid), f"adding up what worker {pid} counted"))
        task.add_done_callback(self._leaving.discard)
        if crashed:
            self._health.crashes += 1
            self._metrics.crashes.inc()

    def _worker_ready(self) -> None:
        ready = sum(worker.ready for worker in self._health.workers.values())
        if self._announced or ready < self._settings.worker_count:
            return
        self._announced = True
        self._manager.ready(self._health.line())
        log.info("ready", extra={"event": "ready", "workers": ready, "policy": self._health.policy_digest[:8]})
        if self._settings.log.format == "text":
            for line in banner(self._settings, self._health, self._admin_place):
                self._log.writer.write(line)

    # ---- pages

    async def _healthz(self) -> Page:
        hung = self._health.hung(time.monotonic())
        return Page.text(HTTPStatus.SERVICE_UNAVAILABLE if hung else HTTPStatus.OK, hung or "alive")

    async def _readyz(self) -> Page:
        ready, why = self._health.ready(time.monotonic())
        return Page.text(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, why)

    async def _metrics_page(self) -> Page:
        text = await asyncio.to_thread(self._metrics.text)
        return Page(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", text)
