"""One mail transaction over a session: envelope, content, final dot (RFC 5321 section 3.3, RFC 2920, RFC 2033).

The line that matters is the final dot. Before it a failure is a PortFailure: nothing was taken, another mailstore may
be tried. From the moment on at which the dot may have left, a failure is MAYBE (RFC 1047): the message may lie in the
mailstore, and only the client's next attempt, with its risk of a duplicate, is lossless.

Known gaps: content is expected with CRLF line ends only, as the session hygiene on our other side ensures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from gateway.delivery import requiretls, xclient
from gateway.delivery.session import Session
from gateway.delivery.wire import ConnectionLost, Deadline, ServerReply
from gateway.mail import limits
from gateway.mail.address import Mailbox, ReversePath
from gateway.mail.finding import Cause, Why
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Envelope
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult

Results = dict[Mailbox, RecipientResult]


class AfterDot(Protocol):
    """Reads what comes after the final dot; fills in a result for each recipient in order. Raises PortFailure when
    the connection fails; what was filled in before stands."""

    async def __call__(
        self, session: Session, recipients: Sequence[Mailbox], deadline: Deadline, results: Results
    ) -> None:
        """SMTP has one reply for all, LMTP one for each."""
        ...


_OURS: Final = re.compile(r"5\.7\.(51|60[6-9]|6[1-4]\d)")


def _our_fault(reply: ServerReply) -> bool:
    """Whether a 5yz is about our session and not about the message: TLS or authentication is wanted (530: RFC 3207,
    RFC 4954), or Microsoft 365 does not know our address (5.7.51) or has banned it (5.7.606 to 5.7.649)."""
    return reply.code == 530 or (reply.code >= 500 and _OURS.fullmatch(reply.enhanced) is not None)


def result_of(reply: ServerReply) -> RecipientResult:
    """A final reply as a result: 2yz DELIVERED, 5yz about the message REFUSED, all else DEFERRED."""
    kinds = {2: Handover.DELIVERED, 5: Handover.REFUSED}
    kind = kinds.get(reply.code // 100, Handover.DEFERRED)
    if _our_fault(reply):
        kind = Handover.DEFERRED  # a wrong setting of ours must not send everybody's mail back
    return RecipientResult(kind, reply.code, reply.enhanced, reply.text)


async def hand_over(
    session: Session,
    client: xclient.Attributes,
    envelope: Envelope,
    message: OutgoingMessage,
    deadline: Deadline,
    after_dot: AfterDot,
) -> DeliveryResult:
    """All of it, on behalf of that client; the name of the mailstore is left open. Raises PortFailure when nothing was
    taken."""
    started = time.perf_counter()
    await session.introduce(client, deadline)
    parameters = await _parameters(session, envelope, message)
    if isinstance(parameters, RecipientResult):
        return DeliveryResult("", dict.fromkeys(envelope.recipients, parameters), lacking=True)
    results, data = await _envelope(session, envelope, parameters, deadline)
    timings = {"envelope": time.perf_counter() - started}
    accepted = [mailbox for mailbox in envelope.recipients if mailbox not in results]
    if data is None or data.code != 354:
        for mailbox in accepted:
            results[mailbox] = result_of(data) if data else RecipientResult(Handover.DEFERRED)
        return DeliveryResult("", results, timings)
    if not accepted:
        # DATA went out with the envelope and nobody is left: RFC 2920 section 3.1 wants the dot
        await session.command(b".\r\n", deadline)
        session.dirty = False
        return DeliveryResult("", results, timings)
    started = time.perf_counter()
    early = await _content(session, message, deadline)
    if early:
        results.update(dict.fromkeys(accepted, result_of(early)))
    else:
        await _dot(session, accepted, deadline, after_dot, results)
    timings["content"] = time.perf_counter() - started
    return DeliveryResult("", results, timings)


async def _parameters(session: Session, envelope: Envelope, message: OutgoingMessage) -> bytes | RecipientResult:
    """The parameters of MAIL, or why the message cannot go to this mailstore at all."""
    words = b""
    if session.offers("SIZE"):
        words += b" SIZE=%d" % message.size
    if await _is_8bit(message):
        if not session.offers("8BITMIME"):
            return RecipientResult(Handover.REFUSED, 554, "5.6.3", "The mailstore takes no 8-bit content (8BITMIME)")
        words += b" BODY=8BITMIME"
    if _needs_smtputf8(envelope, message):
        if not session.offers("SMTPUTF8"):
            return RecipientResult(Handover.REFUSED, 550, "5.6.7", "The mailstore takes no UTF-8 addresses (SMTPUTF8)")
        words += b" SMTPUTF8"
    if envelope.requiretls:
        promise = requiretls.mail_parameter(session)
        if isinstance(promise, RecipientResult):
            return promise
        words += promise
    if session.offers("DSN"):
        words += envelope.dsn.parameters.encode("ascii")
    return words


def _rcpt_parameters(session: Session, envelope: Envelope, mailbox: Mailbox) -> bytes:
    dsn = envelope.rcpt_dsn.get(mailbox)
    return dsn.parameters.encode("ascii") if dsn and session.offers("DSN") else b""


async def _is_8bit(message: OutgoingMessage) -> bool:
    if message.size > limits.OFF_LOOP_OCTETS:
        return await asyncio.to_thread(_has_high_octets, message)
    return _has_high_octets(message)


def _has_high_octets(message: OutgoingMessage) -> bool:
    return not all(chunk.isascii() for chunk in message.chunks())


def _needs_smtputf8(envelope: Envelope, message: OutgoingMessage) -> bool:
    paths: list[ReversePath] = [envelope.reverse_path, *envelope.recipients]
    if any(isinstance(path, Mailbox) and path.needs_smtputf8 for path in paths):
        return True
    # RFC 6531 section 3.4: a client that said SMTPUTF8 for an all-ASCII header did not need it
    return envelope.smtputf8 and not (message.message.header.isascii() and message.prepended.isascii())


async def _envelope(
    session: Session, envelope: Envelope, parameters: bytes, deadline: Deadline
) -> tuple[Results, ServerReply | None]:
    """RSET where needed, MAIL, RCPTs, DATA. Returns results of those not accepted and DATA's reply (None: not said)."""
    mail = b"MAIL FROM:" + path_octets(envelope.reverse_path) + parameters + b"\r\n"
    rcpts = [
        b"RCPT TO:" + path_octets(mailbox) + _rcpt_parameters(session, envelope, mailbox) + b"\r\n"
        for mailbox in envelope.recipients
    ]
    pipelined = session.offers("PIPELINING")
    rset = [b"RSET\r\n"] if session.dirty else []
    session.dirty = True
    if pipelined:
        async with deadline.phase("envelope", session.dialect.timeouts.command):
            await session.wire.send(b"".join([*rset, mail, *rcpts, b"DATA\r\n"]))

    async def answer(line: bytes) -> ServerReply:
        if pipelined:
            return await session.reply(deadline, line[:4].decode("ascii"))
        return await session.command(line, deadline)

    for line in rset:
        await answer(line)
    begun = await answer(mail)
    results: Results = {}
    if _our_fault(begun):
        raise PortFailure("mailstore", Why.REFUSED, f"configuration: MAIL: {begun}")
    if begun.code // 100 != 2:
        results = dict.fromkeys(envelope.recipients, result_of(begun))
        if not pipelined:
            return results, None
    for mailbox, line in zip(envelope.recipients, rcpts, strict=True):
        reply = await answer(line)
        if mailbox not in results and reply.code // 100 != 2:
            results[mailbox] = result_of(reply)
    if len(results) == len(envelope.recipients) and not pipelined:
        return results, None
    return results, _no_success(await answer(b"DATA\r\n"))


def _no_success(data: ServerReply) -> ServerReply:
    # 2yz to DATA makes no sense and must never be read as "delivered"
    return ServerReply(451, (f"unexpected reply to DATA: {data}",)) if data.code // 100 == 2 else data


def path_octets(path: ReversePath) -> bytes:
    """``<user@example.org>`` or ``<>``. Raises ValueError for control characters, which no parser of ours lets in."""
    text = f"<{path}>"
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise ValueError("control character in a path")
    return text.encode("utf-8", "surrogateescape")


async def _content(session: Session, message: OutgoingMessage, deadline: Deadline) -> ServerReply | None:
    """Everything up to the dot. Returns the mailstore's refusal where it gave one before it closed the connection."""
    try:
        for chunk in stuff(message.chunks()):
            async with deadline.phase("content", session.dialect.timeouts.command):
                await session.wire.send(chunk)
    except ConnectionLost:
        early = await session.reply(deadline, "content")  # raises ConnectionLost when there is none
        if early.positive:
            raise
        session.wire.abort()
        return early
    return None


async def _dot(
    session: Session, accepted: Sequence[Mailbox], deadline: Deadline, after_dot: AfterDot, results: Results
) -> None:
    if deadline.left < session.dialect.timeouts.dot_least:
        raise PortFailure("mailstore", Why.BUDGET, f"{max(0.0, deadline.left):.3g} s left before the final dot")
    if session.wire.closed:
        raise ConnectionLost("connection lost before the final dot")
    session.wire.post(b".\r\n")
    try:
        await after_dot(session, accepted, deadline, results)
        session.dirty = False
    except PortFailure as failure:
        lost = RecipientResult(Handover.MAYBE, cause=Cause("mailstore", failure.cause.why, failure.cause.detail))
        for mailbox in accepted:
            results.setdefault(mailbox, lost)
        session.wire.abort()


def stuff(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Dot-stuffing (RFC 5321 section 4.5.2), also where a chunk ends inside CRLF-dot; ends with CRLF, without the
    final dot."""
    tail = b"\r\n"
    for chunk in chunks:
        if not chunk:
            continue
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if chunk.startswith(b".") and tail == b"\r\n":
            stuffed = b"." + stuffed
        elif chunk.startswith(b"\n.") and tail.endswith(b"\r"):
            stuffed = b"\n." + stuffed[1:]
        yield stuffed
        tail = (tail + chunk[-2:])[-2:]
    if tail != b"\r\n":
        yield b"\r\n"
