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
from gateway.mail.message import Message
from gateway.mail.reply import Reply, reply_for
from gateway.reception import Reception
from gateway.smtp.bdat import Chunk
from gateway.smtp.commands import Commands
from gateway.smtp.greeting import Door, Turned
from gateway.smtp.identify import Endpoints, Listener
from gateway.smtp.intake import Unreadable
from gateway.smtp.starttls import HandshakeFailed, handshake, text_behind_starttls
from gateway.smtp.transfer import Transfer
from gateway.smtp.wire import Broken, ClientLost, IdleTimeout, Wire
from gateway.smtp.xclient import StartOver, Told

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


class Session(SMTP):
    """One connection, from accept to close. Made by ``SmtpServer`` only."""

    def __init__(self, server: SmtpServer, listener: Listener, template: dict[str, Any]) -> None:
        vars(self).update(template)
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(self, None, loop=loop)  # type: ignore[arg-type]  # no reader: see Wire
        self._server, self.listener = server, listener.name
        self._limits = server.services.limits
        self._wire = Wire(loop)
        self._door = Door(server, listener, self._wire, self._send)
        self._output = bytearray()
        self._errors = 0
        self._started = loop.time()
        self._reception: Reception | None = None
        self._commands: Commands | None = None
        self._transfer: Transfer | None = None
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
        return self._plain and not self._wire.detached

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
                self._safely(self._reception.close)

    def _end(self, ended: str) -> None:
        if self._link is not None and not self._wire.lost:
            self._link.close()
            # a client that does not read keeps the last reply in our buffer: not for ever
            self._abort_timer = self.loop.call_later(ABORT_AFTER, self._link.abort)
        self._door.close()
        if self._transfer is not None:
            self._transfer.drop()
        self._server.leave(self)
        observer = self._server.services.observer
        observer.session_ended(self.loop.time() - self._started, ended, self._id.partition("-")[0])

    @property
    def _id(self) -> str:
        return self._reception.id if self._reception else "?"

    async def _serve(self) -> str:
        known = await self._door.open(Endpoints.of(self._link))
        if not isinstance(known, Turned):
            client, failed = known, Turned(reply_for("local-error", known.session_id), "error")
            known = self._safely(lambda: self._door.admit(self, client)) or failed
        if isinstance(known, Turned):
            return await self._bye(known.reply, known.ended)
        told = Told(known)
        while True:
            try:
                return await self._greet(told)
            except StartOver as again:
                if self._reception is not None:
                    self._safely(self._reception.close)
                told = again.told

    async def _greet(self, told: Told) -> str:
        connection = told.connection
        services = self._server.services
        reception = self._safely(lambda: Reception(services, connection))
        if reception is None:
            return await self._bye(reply_for("local-error", connection.session_id), "error")
        self._reception = reception
        if self._wire.lost:
            raise ClientLost
        xclient = told if self._door.may_xclient else None
        until = self._started + self._limits.session_timeout
        transfer = self._transfer = Transfer(self._wire, reception, self._limits, self._server, until)
        self._commands = Commands(
            reception, services.identity.hostname, self._limits, self._has_tls, xclient, lambda: transfer.chunking
        )
        greeting = await self._guarded(self._door.greet(reception))
        if greeting is None:
            return await self._bye(self._commands.reason("local-error"), "error")
        if isinstance(greeting, Turned):
            return await self._bye(greeting.reply, greeting.ended)
        if greeting.close:
            return await self._bye(greeting, "refused")
        if self._door.owes_greeting():
            self._say(greeting)
        return await self._converse(reception, self._commands, transfer)

    def _has_tls(self) -> bool:
        return self._server.tls() is not None

    async def _converse(self, reception: Reception, commands: Commands, transfer: Transfer) -> NoReturn:
        while True:
            if self._server.draining:
                await self._close(commands.reason("shutting-down"), "drained")
            command = self._wire.command()
            if command is None:
                await self._flush()
                heard = self._wire.received
                try:
                    await self._server.idle.more(self, self._wire, self._started + self._limits.session_timeout)
                except IdleTimeout:
                    await self._close(commands.reason("timeout"), "timeout")
                if self._wire.received > heard:
                    reception.client_spoke()
                continue
            await self._server.idle.turn(self)
            chunk = commands.chunk(command) if isinstance(command, bytes) else None
            if chunk is None:
                await self._obey(command, reception, commands, transfer)
            elif isinstance(chunk, Chunk):
                await self._content(transfer.chunk(chunk), reception, commands, transfer)
            else:
                self._observe("BDAT", chunk)
                await self._close(chunk, "refused")

    async def _obey(
        self, command: bytes | Broken, reception: Reception, commands: Commands, transfer: Transfer
    ) -> None:
        if isinstance(command, Broken):
            verb, reply = "?", commands.protocol(500, "5.5.2", command.value)
            if command is Broken.ENDLESS:
                reply = commands.reason("too-many-errors")
        else:
            answered = await self._guarded(commands.answer(command))
            if answered is None:
                # what the reception holds now is nobody's guess: start over
                self._safely(reception.reset)
                transfer.drop()
                answered = ("?", commands.reason("local-error"))
            verb, reply = answered
            if reply.code == 250 and verb in ("RSET", "EHLO", "HELO"):
                transfer.drop()
        if verb == "STARTTLS" and reply.code == 220 and self._wire.buffer:
            await self._no_tls(text_behind_starttls(), reception, commands)
        if reply.code >= 500:
            reply = await self._count_error(reply, commands)
        self._observe(verb, reply)
        if reply.close:
            ended = "quit" if verb == "QUIT" else "timeout" if reply.enhanced == "4.4.2" else "refused"
            await self._close(reply, ended)
        if verb == "XCLIENT" and reply.code == 220:
            raise StartOver(commands.xclient_told().restarted(self._server.new_id()))
        if verb == "MAIL":
            self._door.is_client()
        self._say(reply)
        if reply.code == 354:
            await self._content(transfer.data(), reception, commands, transfer)
        elif verb == "STARTTLS" and reply.code == 220:
            await self._starttls(reception, commands)
            transfer.drop()
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
        self._server.note_error(self)
        if self._errors >= self._limits.errors_hard:
            return commands.reason("too-many-errors")
        if self._errors > self._limits.errors_soft:
            await self._flush()
            await self._door.tarpit(ERROR_DELAY)
        return reply

    # ---- content

    async def _content(
        self,
        reading: Awaitable[Message | Unreadable | Reply],
        reception: Reception,
        commands: Commands,
        transfer: Transfer,
    ) -> None:
        await self._flush()
        try:
            content = await reading
        except IdleTimeout:
            await self._close(commands.reason("timeout"), "timeout")
        if isinstance(content, Reply):
            self._server.services.observer.reply("BDAT", content.code, "")
            replies: tuple[Reply, ...] = (content,)
        else:
            submitted = await self._guarded(transfer.submit(content))
            if submitted is None:
                answered = self._safely(lambda: reception.refuse_content("local-error"))
                submitted = (answered or commands.reason("local-error"),)
            elif submitted[-1].code == 250:
                self._errors = 0
            replies = submitted
        *each, last = replies
        if last.code >= 500:
            last = await self._count_error(last, commands)
        for reply in each:
            self._say(reply)
        if last.close:
            await self._close(last, "refused")
        self._say(last)

    # ---- TLS

    async def _starttls(self, reception: Reception, commands: Commands) -> None:
        await self._flush()
        context = self._server.tls()
        assert context is not None
        assert self._link is not None
        try:
            observer = self._server.services.observer
            transport, tls = await handshake(self._wire, self._link, self, context, observer=observer)
        except HandshakeFailed as failed:
            await self._no_tls(failed, reception, commands)
        self._plain = False
        self.transport = self._link = transport
        self._wire.attach(transport)
        reception.tls_started(tls)

    async def _no_tls(self, failed: HandshakeFailed, reception: Reception, commands: Commands) -> NoReturn:
        failed.report(self._server.services.observer, self._id, reception.connection.client_ip)
        if not failed.is_plain_text:
            raise ClientLost from failed
        refusal = commands.protocol(554, "5.5.1", "Plain text behind STARTTLS", close=True)
        self._observe("STARTTLS", refusal)
        await self._close(refusal, "error")

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
        # a client that has said nothing, or its last word, has no octets on the way that we would have to read
        quiet = (ended == "quit" or self._reception is None) and not self._wire.buffer
        if quiet or not self._plain or transport is None:
            return ended
        deadline, octets = self.loop.time() + LINGER, 0
        try:
            if transport.can_write_eof() and not transport.is_closing():
                # raises OSError where the client has reset the connection and the loop does not know it yet
                transport.write_eof()
            while octets < limits.MEBIBYTE:
                octets += len(self._wire.buffer)
                self._wire.buffer.clear()
                await self._wire.more(deadline)
        except (ClientLost, IdleTimeout, OSError):
            pass
        return ended

    async def _guarded(self, work: Awaitable[T]) -> T | None:
        """The outermost net of a session: an error of ours is logged here and never told to the client. None then."""
        try:
            return await work
        except Exception:
            log.exception("session %s: an error of ours", self._id)
            return None

    def _safely(self, work: Callable[[], T]) -> T | None:
        """The same for what does not wait."""
        try:
            return work()
        except Exception:
            log.exception("session %s: an error of ours", self._id)
            return None
