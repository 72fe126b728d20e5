"""The door: from the TCP connection to our greeting. Who is it, may it come in, does it wait for our word?

A client that talks before it was greeted does not speak SMTP (RFC 5321 section 4.3.1). The wait for that,
``limits.greeting_delay``, runs beside the checks of the connection, and only for clients that did not pass it before
(kept for 36 days since it came last), that no list speaks well of and that the policy does not exempt from
greylisting. Balancers, hosts that may say XCLIENT and clients whose address is not known never wait. Octets that are
there before the greeting are early in any case, with or without a wait.

Known gaps: a client that is held takes one of the worker's slots; with none free it is not held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.mail import limits
from gateway.mail.network import network_of
from gateway.mail.reply import Reply
from gateway.mail.transaction import Connection
from gateway.ports.failure import PortFailure
from gateway.reception import Reception
from gateway.smtp.identify import Endpoints, Listener, Probe, Refusal, header_of_a_stranger, identify
from gateway.smtp.probe import HEADER, answer_probe
from gateway.smtp.wire import ClientLost, IdleTimeout, Wire

if TYPE_CHECKING:
    from gateway.smtp.listener import SmtpServer
    from gateway.smtp.session import Session

log = logging.getLogger("mxgw.smtp")

PASSED_SECONDS: Final = 36 * 86400.0
RENEW_SECONDS: Final = 86400.0
"""Who comes often is written down anew once a day, not each time."""


@dataclass(frozen=True, slots=True)
class Turned:
    """The session ends before it began: the last reply (None: it is said already) and the observer's word."""

    reply: Reply | None
    ended: str


class Slots:
    """So many clients of a worker may be held at a time (slow replies to errors, the wait before the greeting)."""

    __slots__ = ("_on_held", "free", "taken")

    def __init__(self, free: int, on_held: Callable[[float], None] = lambda _seconds: None) -> None:
        self.free = free
        self.taken = 0
        self._on_held = on_held

    async def hold(self, wait: Awaitable[None]) -> bool:
        """Do this waiting in a slot. False: none is free, nobody waits."""
        if self.free <= 0:
            if asyncio.iscoroutine(wait):
                wait.close()
            return False
        self.free -= 1
        self.taken += 1
        since = time.monotonic()
        try:
            await wait
        finally:
            self.free += 1
            self.taken -= 1
            self._on_held(time.monotonic() - since)
        return True


class Door:
    """One session's way in. send: says a reply at once."""

    def __init__(
        self, server: SmtpServer, listener: Listener, wire: Wire, send: Callable[[Reply], Awaitable[None]]
    ) -> None:
        self._server = server
        self._listener = listener
        self._wire = wire
        self._send = send
        self._since = time.monotonic()
        self._held = 0.0
        self._family = 0
        self._uncounted = False
        self._first = True
        self._greeted = False
        self.may_xclient = False

    # ---- in

    async def open(self, ends: Endpoints) -> Connection | Turned:
        """Who it is. A probe has been served then."""
        known = await self._identify(ends)
        while isinstance(known, Probe):
            ended = await self._answer(known)
            if ended == HEADER:
                self._greeted = True
                known = await self._identify(ends)
                known = replace(known, greet_after=None) if isinstance(known, Probe) else known
            elif ended is not None:
                return Turned(None, ended)
            else:
                known = known.as_refusal()
        if isinstance(known, Refusal):
            return self._refuse(known)
        return known

    def admit(self, session: Session, known: Connection) -> Connection | Turned:
        """The connection as it is judged, if it may come in."""
        server = self._server
        self._family = known.client_ip.version
        self.may_xclient = known.client_known and any(known.client_ip in net for net in self._listener.xclient)
        known = server.services.pipeline.arrived(known, server.services.policy().default)
        refused = server.admit(session, known, speaks_for_others=self.may_xclient)
        if refused is not None:
            result, reply = refused
            self._count(self._family, result)
            return Turned(reply, "drained" if result == "refused_drain" else "refused")
        # a check without a header looks like a client until it ends without mail
        self._uncounted = True
        if known.client_known or known.external_relay:
            self.is_client()
        return known

    async def _answer(self, probe: Probe) -> str | None:
        server, ended = self._server, None
        hostname = server.services.identity.hostname
        try:
            ended = await answer_probe(self._wire, self._send, probe, hostname, server.turns_away)
        finally:
            if ended != HEADER:
                self._count(probe.connection.client_ip.version, "probe")
        return ended

    async def _identify(self, ends: Endpoints) -> Connection | Probe | Refusal:
        services = self._server.services
        try:
            return await identify(
                self._wire, ends, self._listener, self._server.new_id(), services.limits.proxy_header_timeout
            )
        except ClientLost:
            if not self._wire.received and self._listener.trusts(ends.peer_ip):
                # some checks only connect
                self._count(ends.peer_ip.version, "probe")
            raise

    def _count(self, family: int, result: str) -> None:
        self._server.services.observer.connection(family, result, self._listener.name)

    def is_client(self) -> None:
        """It is one, and no balancer's check: count it, once."""
        if self._uncounted:
            self._uncounted = False
            self._count(self._family, "accepted")

    def close(self) -> None:
        """The session is over."""
        if self._uncounted:
            self._uncounted = False
            self._count(self._family, "probe")

    def _refuse(self, refusal: Refusal) -> Turned:
        client = refusal.connection.client_ip
        log.warning("%s: %s", client, refusal.why)
        self._count(client.version, "proxy_error")
        reception = Reception(self._server.services, refusal.connection)
        return Turned(reception.refuse_connection("proxy-protocol", refusal.why), "refused")

    # ---- the greeting

    async def greet(self, reception: Reception) -> Reply | Turned:
        """Judge the connection, and see whether the client waits for our word. Raises what the reception raises.

        A flood of connections that are left at once must not keep checks and sessions busy: who goes ends the work."""
        try:
            return await self._wire.while_there(self._greet(reception))
        except ClientLost:
            return Turned(None, "lost")

    async def _greet(self, reception: Reception) -> Reply | Turned:
        loop, connection = asyncio.get_running_loop(), reception.connection
        delay = min(self._server.services.limits.greeting_delay, limits.TARPIT_SECONDS)
        first, self._first = self._first, False
        if not connection.client_known or not first or self._greeted:
            return await reception.connect()
        delay = 0.0 if self.may_xclient else delay
        until = loop.time() + delay
        asked = loop.create_task(self._passed_before(reception)) if delay else None
        try:
            greeting = await reception.connect()
            unheard = not greeting.close and not self._wire.buffer
            if asked is not None and unheard and not _praised(reception) and not await asked:
                await self._server.slots.hold(self._silence(reception, until))
        finally:
            if asked is not None:
                asked.cancel()
        stranger = header_of_a_stranger(self._wire, connection, self._listener)
        if stranger is not None:
            return self._refuse(stranger)
        if self._wire.buffer:
            reception.talked_early()
            self._count(connection.client_ip.version, "pregreet")
        self._server.services.observer.greeted(time.monotonic() - self._since)
        return greeting

    def owes_greeting(self) -> bool:
        """Whether 220 is still to be said: a client whose header came late has heard it."""
        said, self._greeted = self._greeted, False
        return not said

    async def _silence(self, reception: Reception, until: float) -> None:
        loop = asyncio.get_running_loop()
        self._held += max(0.0, until - loop.time())
        while not self._wire.buffer and not self._server.draining:
            try:
                await self._wire.more(until)
            except ClientLost:
                return
            except IdleTimeout:
                break
        if not self._wire.buffer and not self._server.draining:
            await self._remember(reception)

    async def _remember(self, reception: Reception) -> None:
        ports = self._server.services.pipeline.ports
        try:
            await ports.store.put(_key(reception), str(int(ports.clock.now())), PASSED_SECONDS)
        except PortFailure as failure:
            log.info("%s: the store did not learn of a client that waited: %s", reception.id, failure)

    async def _passed_before(self, reception: Reception) -> bool:
        services, client = self._server.services, reception.connection.client_ip
        if any(client in network for network in services.policy().default.checks.greylist.exempt_clients):
            return True
        ports = services.pipeline.ports
        try:
            last = await ports.store.get(_key(reception))
        except PortFailure:
            # without its memory the node would hold the same clients again and again
            return True
        if last is not None and not ports.clock.now() - _seconds(last) < RENEW_SECONDS:
            await self._remember(reception)
        return last is not None

    async def tarpit(self, seconds: float) -> None:
        """Hold a client that makes errors: in a slot, and for no more than TARPIT_SECONDS a session."""
        seconds = min(seconds, limits.TARPIT_SECONDS - self._held)
        if seconds > 0 and await self._server.slots.hold(asyncio.sleep(seconds)):
            self._held += seconds


def _praised(reception: Reception) -> bool:
    dnsbl = reception.connected.findings.get("dnsbl")
    score = dnsbl.evidence.get("score", 0) if dnsbl else 0
    return isinstance(score, int | float) and score < 0


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


def _key(reception: Reception) -> str:
    client = reception.connection.client_ip
    return f"pregreet:{network_of(client) if client.version == 6 else client}"
