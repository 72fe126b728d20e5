"""One client's session: octets in, replies out, with TLS and time. aiosmtpd's protocol with another inside.

The base class gives the type, the lifecycle's names and asyncio's flow control. Replaced are its reading (by lines that
may end in LF), its one timer for everything, its handling of exceptions (a 5yz that tells them to strangers) and its
cancelling of the task when the client hangs up: a hand-over to the mailstore that has begun is always finished.

Replies are collected while complete commands are waiting and leave in one write (RFC 2920 section 3.2); before the
session waits, they leave.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from aiosmtpd.smtp import SMTP

from gateway.mail import limits
from gateway.mail.reply import Reply, reply_for
from gateway.mail.transaction import Connection
from gateway.reception import Reception
from gateway.smtp.commands import Commands
from gateway.smtp.content import ContentReader, Unreadable
from gateway.smtp.identify import Endpoints, Listener, Probe, Refusal, identify
from gateway.smtp.pace import Pace
from gateway.smtp.probe import answer_probe
from gateway.smtp.starttls import HandshakeFailed, handshake
from gateway.smtp.wire import Broken, ClientLost, IdleTimeout, Wire

if TYPE_CHECKING:
    from gateway.smtp.listener import SmtpServer

log = logging.getLogger("mxgw.smtp")

T = TypeVar("T")

OUTPUT_OCTETS: Final = 4096
"""So many octets of replies are collected at most before they are written."""
ERROR_DELAY: Final = 1.0
LINGER: Final = 2.0
"""Seconds for which octets are still read after our last reply: closing on unread octets would destroy the reply."""
ABORT_AFTER: Final = 10.0


class _Closing(Exception):
    """The session ends; ended is the observer's word."""

    def __init__(self, ended: str) -> None:
        self.ended = ended
        super().__init__(ended)


def session_template(hostname: str) -> dict[str, Any]:
    """What aiosmtpd's constructor makes: it inspects its own methods for 110 us, so it runs once a server."""
    loop = asyncio.get_running_loop()
    attributes = dict(vars(SMTP(None, hostname=hostname, ident="mxgw", loop=loop)))
    for name in ("_smtp_methods", "_handle_hooks", "_auth_methods"):
        attributes[name] = {}
    return attributes


class Session(SMTP):
    """One connection, from accept to close. Made by ``SmtpServer`` only."""

    def __init__(self, server: SmtpServer, listener: Listener, template: dict[str, Any]) -> None:
        vars(self).update(template)
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(self, None, loop=loop)  # type: ignore[arg-type]  # no reader: see Wire
        self._server = server
        self._listener = listener
        self._limits = server.services.limits
        self._wire = Wire(loop)
        self._output = bytearray()
        self._errors = 0
        self._started = loop.time()
        self._reception: Reception | None = None
        self._commands: Commands | None = None
        self._plain = True
        self._link: asyncio.Transport | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there. After STARTTLS this is not called again."""
        # uvloop's transports are of no class of asyncio's
        self.transport = self._link = link = cast(asyncio.Transport, transport)
        self._wire.attach(link)
        self._server.enter(self)
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        self._wire.feed(data)

    def eof_received(self) -> bool:
        """The client ends its side. What it sent is still answered, save over TLS, which has no half-close here."""
        self._wire.end()
        return self._plain

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone. Nothing is cancelled: the task sees it at its next read or write."""
        self._wire.lose()
        if self._reception is not None:
            self._reception.client_gone = True
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        asyncio.StreamReaderProtocol.connection_lost(self, error)

    def poke(self) -> None:
        """The server drains: look at it now if idle."""
        self._wire.poke()

    def abort(self) -> None:
        """End it without a word."""
        if self._link is not None:
            self._link.abort()

    # ---- the session

    async def _handle_client(self) -> None:
        ended = "error"
        try:
            ended = await self._serve()
        except _Closing as closing:
            ended = closing.ended
        except (ClientLost, ConnectionError):
            ended = "lost"
        except Exception:
            log.exception("session %s ended by an error of ours", self._id)
        finally:
            self._end(ended)
            if self._reception is not None:
                await self._guarded(self._close_reception(), None)

    def _end(self, ended: str) -> None:
        if self._link is not None and not self._wire.lost:
            self._link.close()
            # a client that does not read keeps the last reply in our buffer: not for ever
            self._abort_timer = self.loop.call_later(ABORT_AFTER, self._link.abort)
        self._server.leave(self)
        self._server.services.observer.session_ended(self.loop.time() - self._started, ended)

    async def _close_reception(self) -> None:
        if self._reception is not None:
            self._reception.close()

    @property
    def _id(self) -> str:
        return self._reception.id if self._reception else "?"

    async def _serve(self) -> str:
        known = await identify(
            self._wire,
            Endpoints.of(self._link),
            self._listener,
            self._server.new_id(),
            self._limits.proxy_header_timeout,
        )
        observer = self._server.services.observer
        if isinstance(known, Probe):
            observer.connection(known.connection.client_ip.version, "probe")
            hostname, draining = self._server.services.identity.hostname, lambda: self._server.draining
            ended = await answer_probe(self._wire, self._send, known, hostname, draining)
            if ended is not None:
                return await self._bye(None, ended)
            known = Refusal(known.connection, "PROXY listener: mail from a trusted peer that sent no header")
        if isinstance(known, Refusal):
            return await self._refuse(known)
        refused = self._server.admit(self, known)
        if refused is not None:
            result, reply = refused
            observer.connection(known.client_ip.version, result)
            return await self._bye(reply, "drained" if result == "refused_drain" else "refused")
        observer.connection(known.client_ip.version, "accepted")
        return await self._greet(known)

    async def _refuse(self, refusal: Refusal) -> str:
        client = refusal.connection.client_ip
        log.warning("%s: %s", client, refusal.why)
        self._server.services.observer.connection(client.version, "proxy_error")
        reception = Reception(self._server.services, refusal.connection)
        return await self._bye(reception.refuse_connection("proxy-protocol", refusal.why), "refused")

    async def _greet(self, connection: Connection) -> str:
        services = self._server.services
        reception = await self._guarded(_call(lambda: Reception(services, connection)), None)
        if reception is None:
            return await self._bye(reply_for("local-error", connection.session_id), "error")
        self._reception = reception
        if self._wire.lost:
            raise ClientLost
        self._commands = Commands(reception, services.identity.hostname, self._limits, self._has_tls)
        greeting = await self._guarded(reception.connect(), None)
        if greeting is None:
            return await self._bye(self._commands.reason("local-error"), "error")
        if greeting.close:
            return await self._bye(greeting, "refused")
        self._say(greeting)
        return await self._converse(reception, self._commands)

    def _has_tls(self) -> bool:
        return self._server.tls() is not None

    async def _converse(self, reception: Reception, commands: Commands) -> NoReturn:
        deadline = self.loop.time() + self._limits.command_timeout
        while True:
            if self._server.draining:
                await self._close(commands.reason("shutting-down"), "drained")
            command = self._wire.command()
            if command is None:
                await self._flush()
                try:
                    await self._wire.more(min(deadline, self._started + self._limits.session_timeout))
                except IdleTimeout:
                    await self._close(commands.reason("timeout"), "timeout")
                continue
            await self._obey(command, reception, commands)
            deadline = self.loop.time() + self._limits.command_timeout

    async def _obey(self, command: bytes | Broken, reception: Reception, commands: Commands) -> None:
        if isinstance(command, Broken):
            verb, reply = "?", commands.protocol(500, "5.5.2", command.value.capitalize())
            if command is Broken.ENDLESS:
                reply = commands.reason("too-many-errors")
        else:
            answered = await self._guarded(commands.answer(command), None)
            if answered is None:
                # what the reception holds now is nobody's guess: start over
                await self._guarded(_call(reception.reset), None)
                answered = ("?", commands.reason("local-error"))
            verb, reply = answered
        if verb == "STARTTLS" and reply.code == 220 and self._wire.buffer:
            # RFC 3207 section 4.2 and CVE-2011-0411: whatever came in plain text must not count after TLS
            refusal = commands.protocol(554, "5.5.1", "Plain text behind STARTTLS", close=True)
            self._observe(verb, refusal)
            await self._close(refusal, "error")
        if reply.code >= 500:
            reply = await self._count_error(reply, commands)
        self._observe(verb, reply)
        if reply.close:
            ended = "quit" if verb == "QUIT" else "timeout" if reply.enhanced == "4.4.2" else "refused"
            await self._close(reply, ended)
        self._say(reply)
        if reply.code == 354:
            await self._data(reception, commands)
        elif verb == "STARTTLS" and reply.code == 220:
            await self._starttls(reception)
        elif len(self._output) >= OUTPUT_OCTETS:
            await self._flush()

    def _observe(self, verb: str, reply: Reply) -> None:
        # what the reception says it counts itself, with the reason
        assert self._commands is not None
        said_by_reception = verb in ("MAIL", "RCPT") or (verb in ("EHLO", "HELO") and reply.code >= 400)
        if self._commands.own_refusal or not said_by_reception:
            self._server.services.observer.reply(verb, reply.code, "")

    async def _count_error(self, reply: Reply, commands: Commands) -> Reply:
        self._errors += 1
        if self._errors >= self._limits.errors_hard:
            return commands.reason("too-many-errors")
        if self._errors > self._limits.errors_soft:
            await self._flush()
            await asyncio.sleep(ERROR_DELAY)
        return reply

    # ---- content

    def _content_deadline(self) -> Callable[[], float]:
        """From now on content comes: tells until when the next octets must be there."""
        time, wire, limit = self.loop.time, self._wire, self._limits
        pace, before = Pace(limit.data_rate, limit.data_rate_window, time()), wire.received
        end = self._started + limit.session_timeout
        return lambda: min(time() + limit.data_idle_timeout, end, pace.deadline(time(), wire.received - before))

    async def _data(self, reception: Reception, commands: Commands) -> None:
        await self._flush()
        began = self.loop.time()
        reader = ContentReader(
            self._wire,
            message_octets=self._limits.message_octets,
            bare_line_ending=reception.profile.content.bare_line_ending,
            spool_dir=self._server.spool_dir,
            deadline=self._content_deadline(),
            header_octets=self._limits.header_octets,
            header_fields=self._limits.header_fields,
        )
        try:
            content = await reader.read()
        except IdleTimeout:
            await self._close(commands.reason("timeout"), "timeout")
        if isinstance(content, Unreadable):
            reply = reception.refuse_content(content.reason)
            if reply.close or not content.complete:
                await self._close(reply, "refused")
        else:
            # a task of its own: whatever happens to this session, a hand-over that has begun is finished
            work = self.loop.create_task(reception.content(content, self.loop.time() - began))
            self._server.keep(work)
            answered = await self._guarded(asyncio.shield(work), None)
            if answered is None:
                answered = await self._guarded(_call(lambda: reception.refuse_content("local-error")), None)
            reply = answered or commands.reason("local-error")
        if reply.code == 250:
            self._errors = 0
        elif reply.code >= 500:
            reply = await self._count_error(reply, commands)
        if reply.close:
            await self._close(reply, "refused")
        self._say(reply)

    # ---- TLS

    async def _starttls(self, reception: Reception) -> None:
        await self._flush()
        observer = self._server.services.observer
        context = self._server.tls()
        assert context is not None
        assert self._link is not None
        self._wire.attach(None)
        try:
            transport, tls = await handshake(self._link, self, context)
        except HandshakeFailed as failed:
            who = {"session": self._id, "client_ip": str(reception.connection.client_ip)}
            log.info("TLS handshake failed, %s", failed, extra={"event": "tls", **who, **failed.facts})
            observer.tls_handshake("in", failed.version, failed.result)
            observer.tls_failure("in", failed.cause)
            raise ClientLost from failed
        observer.tls_handshake("in", tls.version, "ok")
        self._plain = False
        self.transport = self._link = transport
        self._wire.attach(transport)
        reception.tls_started(tls)

    # ---- replies

    def _say(self, reply: Reply) -> None:
        self._output += reply.encode()

    async def _flush(self) -> None:
        if not self._output:
            return
        if self._wire.lost or self._link is None:
            raise ClientLost
        octets, self._output = bytes(self._output), bytearray()
        self._link.write(octets)
        try:
            async with asyncio.timeout(self._limits.command_timeout):
                await self._drain_helper()  # type: ignore[attr-defined]  # asyncio's flow control
        except TimeoutError as error:
            self.abort()
            raise _Closing("timeout") from error

    async def _send(self, reply: Reply) -> None:
        self._say(reply)
        await self._flush()

    async def _close(self, reply: Reply, ended: str) -> NoReturn:
        raise _Closing(await self._bye(reply, ended))

    async def _bye(self, reply: Reply | None, ended: str) -> str:
        """The last reply, unless it is said already: say it, and give it time to arrive."""
        if reply is not None:
            self._say(reply)
        await self._flush()
        transport = self._link
        if (ended == "quit" and not self._wire.buffer) or not self._plain or transport is None:
            return ended
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
        deadline, octets = self.loop.time() + LINGER, 0
        try:
            while octets < limits.MEBIBYTE:
                octets += len(self._wire.buffer)
                self._wire.buffer.clear()
                await self._wire.more(deadline)
        except (ClientLost, IdleTimeout):
            pass
        return ended

    async def _guarded(self, work: Awaitable[T], otherwise: T | None) -> T | None:
        """The outermost net of a session: an error of ours is logged here and never told to the client."""
        try:
            return await work
        except Exception:
            log.exception("session %s: an error of ours", self._id)
            return otherwise


async def _call(function: Callable[[], T]) -> T:
    return function()
