"""The Mailstore port over SMTP (RFC 5321), and all that SMTP and LMTP share: pool, retry, recipient callout.

Known gaps: no CHUNKING (BDAT) towards the mailstore; BINARYMIME is not offered on our other side either.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from gateway.delivery import requiretls, xclient
from gateway.delivery.breaker import Health, Standing
from gateway.delivery.handover import AfterDot, Results, hand_over, path_octets, result_of
from gateway.delivery.pace import Pace
from gateway.delivery.pool import Pool, PoolLimits
from gateway.delivery.session import Dialect, Session
from gateway.delivery.wire import ClosingReply, ConnectionLost, Deadline, ServerReply
from gateway.mail.address import NULL, Mailbox
from gateway.mail.finding import Why
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Known, RecipientStatus

# 5.0.x says nothing; 5.1.x and 5.2.1: no such mailbox, disabled; 5.4.1 is how Exchange Online says it
_UNKNOWN = re.compile(r"5\.(1\.\d+|2\.1|4\.1|0\.\d+)")
_EXISTS = re.compile(r"5\.2\.[24]")


async def one_reply_for_all(
    session: Session, recipients: Sequence[Mailbox], deadline: Deadline, results: Results
) -> None:
    """After the dot SMTP has one reply, true for every accepted recipient."""
    try:
        reply = await session.reply(deadline, "final dot", session.dialect.timeouts.dot)
    except ClosingReply as closing:
        reply = closing.reply
    results.update(dict.fromkeys(recipients, result_of(reply)))


class _StaleSession(PortFailure):
    """A kept session was dead before it said anything."""


@contextmanager
def _stale_noticed(session: Session, fresh: bool) -> Iterator[None]:
    try:
        yield
    except ConnectionLost as lost:
        if fresh or session.answered:
            raise
        raise _StaleSession("mailstore", lost.cause.why, lost.cause.detail) from lost


class RelayMailstore:
    """A mailstore that speaks SMTP or LMTP. Construct it inside a running event loop or before; it connects lazily."""

    def __init__(
        self,
        dialect: Dialect,
        after_dot: AfterDot,
        limits: PoolLimits,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._dialect = dialect
        self._after_dot = after_dot
        self._pool = Pool(dialect, limits, jitter)
        self._pace = Pace(limits.rate)
        self._keeps_requiretls = requiretls.ends_here(dialect.url)

    @property
    def name(self) -> str:
        """The URL without options, such as ``smtp://10.1.0.5:25``."""
        return str(self._dialect.url)

    @property
    def idle(self) -> int:
        """Sessions kept for the next transaction."""
        return self._pool.idle

    @property
    def ready(self) -> bool:
        """Whether a callout finds an open session: one that was told of no client, and recipients are asked for."""
        return self._dialect.url.verify and self._pool.ready

    @property
    def keeps_requiretls(self) -> bool:
        """Whether the last session could carry a message that asks for REQUIRETLS."""
        return self._keeps_requiretls

    def standing(self) -> Standing:
        """Free, busy (sessions or rate), or down."""
        standing = self._pool.standing()
        return Standing.BUSY if standing is Standing.FREE and self._pace.wait > 0 else standing

    def health(self) -> Health:
        """For /statusz."""
        return self._pool.health()

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand over for all recipients inside ``budget`` seconds. Raises PortFailure when nothing was taken."""
        deadline = Deadline.after(budget)
        if self._pool.standing() is not Standing.DOWN:
            await self._pace.turn(deadline)
        try:
            return await self._attempt(tx, message, deadline, fresh=False)
        except _StaleSession:
            # the kept connection had died in our absence; the mailstore itself may be well
            return await self._attempt(tx, message, deadline, fresh=True)

    async def _attempt(
        self, tx: Transaction, message: OutgoingMessage, deadline: Deadline, *, fresh: bool
    ) -> DeliveryResult:
        assert tx.envelope is not None
        started, client = time.perf_counter(), xclient.attributes(tx)
        async with self._pool.session(deadline, fresh=fresh, client=client) as session:
            connected = time.perf_counter() - started
            self._learn(session)
            with _stale_noticed(session, fresh):
                told = await hand_over(session, client, tx.envelope, message, deadline, self._after_dot)
        return replace(told, mailstore=self.name, timings={"connect": connected, **told.timings})

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """MAIL FROM:<>, RCPT, RSET. A 5yz which does not say that the mailbox is unknown (such as 5.7.1) leaves it
        open: the mailstore will speak for itself at the hand-over. Raises PortFailure for 4yz and worse."""
        if not self._dialect.url.verify:
            return RecipientStatus(Known.UNVERIFIABLE, "verify=no")
        deadline = Deadline.after(self._dialect.timeouts.command)
        try:
            return await self._ask(mailbox, deadline, fresh=False)
        except _StaleSession:
            return await self._ask(mailbox, deadline, fresh=True)

    async def _ask(self, mailbox: Mailbox, deadline: Deadline, *, fresh: bool) -> RecipientStatus:
        async with self._pool.callout(deadline, fresh=fresh) as session:
            self._learn(session)
            with _stale_noticed(session, fresh):
                mail, rcpt = await self._callout(session, mailbox, deadline)
        if mail.code // 100 != 2:
            raise PortFailure("mailstore", Why.REFUSED, f"MAIL FROM:<>: {mail}")
        return status_of(rcpt)

    async def _callout(self, session: Session, mailbox: Mailbox, deadline: Deadline) -> tuple[ServerReply, ServerReply]:
        parameters = b" SMTPUTF8" if mailbox.needs_smtputf8 and session.offers("SMTPUTF8") else b""
        mail = b"MAIL FROM:" + path_octets(NULL) + parameters + b"\r\n"
        rcpt = b"RCPT TO:" + path_octets(mailbox) + b"\r\n"
        if mailbox.needs_smtputf8 and not parameters:
            return ServerReply(250), ServerReply(550, ("5.6.7 no SMTPUTF8",))
        if not session.offers("PIPELINING"):
            if session.dirty:
                await session.command(b"RSET\r\n", deadline)
            session.dirty = True
            begun = await session.command(mail, deadline)
            return begun, await session.command(rcpt, deadline) if begun.code // 100 == 2 else begun
        lines = [*([b"RSET\r\n"] if session.dirty else []), mail, rcpt, b"RSET\r\n"]
        session.dirty = True
        async with deadline.phase("RCPT", self._dialect.timeouts.command):
            await session.wire.send(b"".join(lines))
        replies = [await session.reply(deadline, line[:4].decode("ascii")) for line in lines]
        session.dirty = replies[-1].code // 100 != 2
        return replies[-3], replies[-2]

    def _learn(self, session: Session) -> None:
        self._keeps_requiretls = requiretls.ends_here(self._dialect.url) or requiretls.session_keeps(session)

    async def close(self) -> None:
        """QUIT to the idle sessions."""
        await self._pool.close()


def status_of(rcpt: ServerReply) -> RecipientStatus:
    """What a reply to RCPT says of the recipient's being. Raises PortFailure for 4yz."""
    detail = str(rcpt)
    if rcpt.code // 100 == 2 or (rcpt.code >= 500 and _EXISTS.fullmatch(rcpt.enhanced)):
        return RecipientStatus(Known.YES, detail)
    if rcpt.code < 500:
        raise PortFailure("mailstore", Why.REFUSED, f"RCPT: {detail}")
    if _UNKNOWN.fullmatch(rcpt.enhanced) or (not rcpt.enhanced and rcpt.code in (550, 551, 553)):
        return RecipientStatus(Known.NO, detail)
    return RecipientStatus(Known.UNVERIFIABLE, detail)


class SmtpMailstore(RelayMailstore):
    """smtp://host:port"""

    def __init__(self, dialect: Dialect, limits: PoolLimits, jitter: Callable[[], float] = random.random) -> None:
        super().__init__(dialect, one_reply_for_all, limits, jitter)
