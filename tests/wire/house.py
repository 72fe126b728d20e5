"""A server on an ephemeral port with honest small parts behind it: no checks, no rules, a relay that keeps what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.run import Check
from gateway.delivery.stamp import Identity
from gateway.mail.address import Mailbox
from gateway.mail.limits import TARPIT_SLOTS, WireLimits
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.pipeline import Pipeline
from gateway.policy.model import Mode, Policy, Profile
from gateway.policy.settings import ChecksSettings, ContentSettings
from gateway.ports import Ports
from gateway.ports.mailstore import DeliveryResult, Handover, Known, RecipientResult, RecipientStatus
from gateway.ports.observer import NullObserver
from gateway.ports.store import Store
from gateway.reception import Services
from gateway.smtp.listener import SmtpServer, make_listening_socket
from gateway.smtp.tls import CertificateHolder, ensure_self_signed


class Watcher(NullObserver):
    def __init__(self) -> None:
        self.records: list[Any] = []
        self.ended: list[str] = []
        self.connections: list[str] = []
        self.handshakes: list[str] = []
        self.failures: list[str] = []

    def transaction(self, record: Any) -> None:
        self.records.append(record)

    def session_ended(self, seconds: float, ended: str, session: str = "") -> None:
        self.ended.append(ended)

    def connection(self, family: int, result: str, listener: str = "") -> None:
        self.connections.append(result)

    def tls_handshake(self, side: str, version: str, result: str) -> None:
        self.handshakes.append(result)

    def tls_failure(self, side: str, cause: str) -> None:
        self.failures.append(cause)


class Anybody:
    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        return RecipientStatus(Known.YES)


@dataclass(frozen=True, slots=True)
class OneRoute:
    domain: str


class KeepingRelay:
    """Serves example.com and *.example.com; delivers all into ``kept`` and can be slow or broken."""

    def __init__(self) -> None:
        self.route = OneRoute("example.com")
        self.kept: list[bytes] = []
        self.transactions: list[Transaction] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.error: Exception | None = None

    def route_for(self, domain: str) -> Any:
        return self.route if domain == "example.com" else None

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        self.began.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        self.kept.append(bytes(message.message.octets[:]))
        self.transactions.append(tx)
        assert tx.envelope is not None
        done = RecipientResult(Handover.DELIVERED, 250, "2.0.0", "ok")
        return DeliveryResult("keeping", dict.fromkeys(tx.envelope.recipients, done))


def policy(bare: Literal["refuse", "normalize"] = "refuse") -> Policy:
    profile = Profile(
        "default", (), Mode.ENFORCE, (), ChecksSettings(), ContentSettings(bare_line_ending=bare), posture={}
    )
    return Policy(1, "0123456789abcdef", profile)


@dataclass
class House:
    server: SmtpServer
    port: int
    relay: KeepingRelay
    watcher: Watcher
    policy: list[Policy | Exception] = field(default_factory=list)


@asynccontextmanager
async def house(
    spool_dir: Path | None = None,
    *,
    tls: Path | None = None,
    bare: Literal["refuse", "normalize"] = "refuse",
    proxy_trusted: Sequence[Any] = (),
    checks: Sequence[Check] = (),
    store: Store | None = None,
    tarpit_slots: int = TARPIT_SLOTS,
    keeps_requiretls: bool = False,
    listener: Mapping[str, Any] | None = None,
    **limits: Any,
) -> AsyncIterator[House]:
    """limits: fields of WireLimits. tls: a directory for a self-signed certificate. listener: more of ``start``."""
    relay, watcher = KeepingRelay(), Watcher()
    in_force: list[Policy | Exception] = [policy(bare)]

    def policy_now() -> Policy:
        if isinstance(in_force[0], Exception):
            raise in_force[0]
        return in_force[0]

    ports = Ports(ZoneResolver.from_text(""), store or MemoryStore(SystemClock()), Anybody(), SystemClock())
    services = Services(
        Identity("mx.example.com", "mx.example.com"),
        Pipeline(ports, checks=tuple(checks)),
        policy_now,
        relay,
        watcher,
        WireLimits(**{"greeting_delay": 0.0, **limits}),
        postmaster_domain="example.com",
        keeps_requiretls=lambda: keeps_requiretls,
    )
    holder = CertificateHolder(*ensure_self_signed(tls, "mx.example.com")) if tls else None
    server = SmtpServer(
        services, tls=lambda: holder.context() if holder else None, spool_dir=spool_dir, tarpit_slots=tarpit_slots
    )
    sock = make_listening_socket("127.0.0.1", 0)
    await server.start(sock, "test", proxy_trusted, **(listener or {}))
    try:
        yield House(server, server.addresses[0][1], relay, watcher, in_force)
    finally:
        await server.close()
        for _ in range(100):
            if not server.sessions:
                break
            await asyncio.sleep(0.01)
