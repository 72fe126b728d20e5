"""One session's mail, verb by verb, without a socket: parsed commands in, replies out.

Port 25 drives it (``smtp/``), and so does ``mxgw explain`` with other ports behind it; both therefore decide alike.
It holds the current transaction value, asks the pipeline at each phase, hands accepted mail to the mailstore and writes
one decision record a transaction. Promise 1 lives here: 250 to the end of data is said only after the mailstore's 250.

States (RFC 5321 section 4.1.4): no hello -> hello -> transaction (MAIL) -> recipients (RCPT) -> content -> hello.
A transaction ends by its content, RSET, another hello, STARTTLS or the session's end; each drops the value and writes
the record that is still owed.

Known gaps: one reply for all recipients of a transaction (RFC 5321 section 3.3), so recipients of another route or
profile are asked to come again (452 4.5.3).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gateway.delivery.fold import fold
from gateway.delivery.routes import Route
from gateway.delivery.stamp import Identity, stamp
from gateway.evidence.record import Notes, RecipientOutcome, transaction_record
from gateway.mail.address import Mailbox, ReversePath
from gateway.mail.limits import OFF_LOOP_OCTETS, WireLimits
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.mime_shape import too_complex
from gateway.mail.phase import Phase
from gateway.mail.reply import REPLIES, Reply, reply_for
from gateway.mail.transaction import Connection, Envelope, Hello, Tls, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Judgement, Pipeline
from gateway.policy.model import Policy, Profile
from gateway.ports.mailstore import DeliveryResult, Handover
from gateway.ports.observer import Observer, Record

log = logging.getLogger("mxgw.reception")


class Relay(Protocol):
    """What the reception needs of ``delivery.routes.Router``; explain puts a dry one here."""

    def route_for(self, domain: str) -> Route | None:
        """The route of a recipient domain, or None: not ours."""
        ...

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand over inside ``budget`` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions of a worker share. policy: gives the policy in force now. postmaster_domain: where
    ``RCPT TO:<Postmaster>`` without a domain goes (RFC 5321 section 4.5.1)."""

    identity: Identity
    pipeline: Pipeline
    policy: Callable[[], Policy]
    relay: Relay
    observer: Observer
    limits: WireLimits = field(default_factory=WireLimits)
    postmaster_domain: str = ""


@dataclass(slots=True)
class _Open:
    """What a transaction (or the talk before it) has besides its value. Replaced whole, never reset field by field."""

    policy: Policy
    notes: Notes
    tx: Transaction | None = None
    profile: Profile | None = None
    route: Route | None = None
    last: tuple[Verdict | None, Reply | None] = (None, None)


class Reception:
    """The mail side of one session. Not safe for concurrent calls: a session says one verb at a time."""

    def __init__(self, services: Services, connection: Connection) -> None:
        self._services = services
        connection = replace(connection, server_name=services.identity.hostname)
        self._connected = Transaction(
            id=connection.session_id, connection=connection, now=services.pipeline.ports.clock.now()
        )
        self._greeted: Transaction | None = None
        self._talk = Notes(self._connected.now)
        self._open = _Open(services.policy(), Notes(self._connected.now))
        self._count = 0
        self.client_gone = False
        """Set by the session when the client has hung up: nothing is handed over for nobody any more."""

    # ---- what the session may look at

    @property
    def connection(self) -> Connection:
        """The connection with its TLS as it is now."""
        return self._connected.connection

    @property
    def hello(self) -> Hello | None:
        """The hello in force."""
        return self._greeted.hello if self._greeted else None

    @property
    def envelope(self) -> Envelope | None:
        """The envelope of the open transaction, or None."""
        return self._open.tx.envelope if self._open.tx else None

    @property
    def transaction(self) -> Transaction | None:
        """The open transaction's value with all findings so far."""
        return self._open.tx

    @property
    def id(self) -> str:
        """What stands in replies now: the transaction's id, or the session's."""
        return self._open.tx.id if self._open.tx else self.connection.session_id

    @property
    def profile(self) -> Profile:
        """The policy profile that the open transaction is judged by."""
        return self._open.profile or self._open.policy.default

    # ---- verbs

    async def connect(self) -> Reply:
        """Judge the connection. 220 greeting, or the refusal to send in its place (it closes the session)."""
        judged = await self._judge(Phase.CONNECT, self._begin(self._connected))
        self._connected = judged.tx
        if judged.verdict.effective >= Action.DEFER:
            reply = replace(self._refusal(judged, "CONNECT"), close=True)
            self._write_record(judged.tx, judged.verdict, reply)
            return reply
        identity = self._services.identity
        return Reply(220, "", f"{identity.hostname} ESMTP mxgw")

    def refuse_connection(self, reason: str, why: str) -> Reply:
        """The connection is not served (no valid PROXY header ...): the reply; the record says why."""
        reply = reply_for(reason, self.id)
        self._open.notes.why = why
        self._write_record(self._connected, Verdict(Action.DEFER, reason), reply)
        return reply

    def tls_started(self, tls: Tls) -> None:
        """STARTTLS succeeded: hello and transaction are dropped (RFC 3207 section 4.2), findings of the connection
        stay."""
        self.reset()
        self._greeted = None
        self._connected = replace(self._connected, connection=replace(self._connected.connection, tls=tls))

    async def say_hello(self, verb: str, name: str) -> Reply | None:
        """EHLO or HELO. None: accepted (the session writes the EHLO words); else the refusal."""
        before = self._open
        judged = await self._judge(Phase.HELO, self._begin(replace(self._connected, hello=Hello(verb, name))))
        if judged.verdict.effective >= Action.DEFER:
            reply = self._refusal(judged, verb)
            self._write_record(judged.tx, judged.verdict, reply)
            # RFC 5321 section 4.1.4: where EHLO is not acceptable, the server stays in the state it was in
            self._open = before
            return reply
        now, self._open = self._open, before
        self.reset()
        self._open = now
        self._greeted = judged.tx
        return None

    async def mail(self, reverse_path: ReversePath, *, size: int | None, body: str, smtputf8: bool) -> Reply:
        """MAIL FROM. The session has checked the state, the syntax and the limits of its own."""
        assert self._greeted is not None
        services = self._services
        if size is not None and size > services.limits.message_octets:
            return self._say("MAIL", "too-big")
        self._count += 1
        begun = self._begin(self._greeted)
        tx = replace(
            begun,
            id=f"{self.connection.session_id}-{self._count}",
            now=self._open.notes.started,
            envelope=Envelope(reverse_path, size=size, body=body, smtputf8=smtputf8),
        )
        judged = await self._judge(Phase.MAIL, tx)
        if judged.verdict.effective >= Action.DEFER:
            reply = self._refusal(judged, "MAIL")
            self._write_record(judged.tx, judged.verdict, reply)
            return reply
        self._open.tx = judged.tx
        return self._say("MAIL", "mail-ok")

    async def rcpt(self, mailbox: Mailbox | None) -> Reply:
        """RCPT TO; None is ``<Postmaster>`` without a domain."""
        tx = self._open.tx
        assert tx is not None
        assert tx.envelope is not None
        if mailbox is None:
            mailbox = Mailbox("postmaster", self._services.postmaster_domain)
        if len(tx.envelope.recipients) >= self._services.limits.recipients:
            return self._say_rcpt(mailbox, "too-many-recipients")
        route = self._services.relay.route_for(mailbox.domain)
        # an address inside the local part would let the mailstore relay for strangers (percent hack, bang path)
        if route is None or any(char in mailbox.local_part for char in "@%!"):
            return self._say_rcpt(mailbox, "relay-denied")
        profile = self._open.policy.for_domain(mailbox.domain)
        if self._open.route is not None and (route is not self._open.route or profile is not self._open.profile):
            return self._say_rcpt(mailbox, "other-route")
        if mailbox in tx.envelope.recipients:
            return self._say_rcpt(mailbox, "rcpt-ok")
        judged = await self._judge(Phase.RCPT, replace(tx, rcpt=mailbox), profile)
        if judged.verdict.effective >= Action.DEFER:
            reply = self._refusal(judged, "RCPT")
            self._note_rcpt(mailbox, reply, judged.verdict.reason)
            self._open.last = (judged.verdict, reply)
            # keep what was found for the record, judge the next recipient without it
            self._open.notes.refused = judged.tx
            return reply
        envelope = replace(tx.envelope, recipients=(*tx.envelope.recipients, mailbox))
        self._open.tx = replace(judged.tx, rcpt=None, envelope=envelope)
        self._open.profile, self._open.route = profile, route
        return self._say_rcpt(mailbox, "rcpt-ok")

    async def content(self, message: Message, read_seconds: float = 0.0) -> Reply:
        """The content is complete. Judges it and, if it may pass, hands it over; the reply is the mailstore's doing."""
        tx = self._open.tx
        assert tx is not None
        started = time.monotonic()
        self._open.notes.seconds["read"] = read_seconds
        if await self._too_complex(message):
            return self.refuse_content("mime-too-complex")
        judged = await self._judge(Phase.CONTENT, replace(tx, message=message), self.profile)
        if judged.verdict.effective >= Action.DEFER:
            reply = self._refusal(judged, "DATA")
            self._end(judged.tx, judged.verdict, reply)
            return reply
        if self.client_gone:
            # nobody would hear our 250: the client sends it again, so handing it over now makes a duplicate
            self._end(judged.tx, judged.verdict, None)
            return reply_for("local-error", tx.id)
        outgoing = stamp(judged.tx, judged.verdict, self._services.identity)
        before = time.monotonic()
        budget = max(1.0, self._services.limits.answer_budget - (before - started))
        delivery = await self._services.relay.deliver(judged.tx, outgoing, budget)
        self._open.notes.seconds["relay"] = time.monotonic() - before
        for outcome in self._open.notes.recipients:
            for mailbox, result in delivery.results.items():
                if outcome.address == str(mailbox) and not outcome.result:
                    outcome.result = result.handover.value
                    said = (str(result.code), result.enhanced, result.text) if result.code else ()
                    outcome.mailstore_reply = " ".join(word for word in said if word)[:500]
        reply = fold(delivery, tx.id)
        self._services.observer.reply("DATA", reply.code, "accepted" if reply.code == 250 else "mailstore")
        self._end(judged.tx, judged.verdict, reply, delivery)
        return reply

    def refuse_content(self, reason: str) -> Reply:
        """The content cannot be judged at all (too big, bare line ending ...): the reply, and the transaction ends."""
        reply = self._say("DATA", reason)
        if self._open.tx:
            action = Action.DEFER if reply.code < 500 else Action.REJECT
            self._end(self._open.tx, Verdict(action, reason), reply)
        return reply

    def reset(self) -> None:
        """RSET and all that implies it: the transaction is dropped, its record written if one is owed."""
        tx = self._open.tx
        if tx is None:
            return
        if tx.envelope and tx.envelope.recipients:
            self._end(tx, None, None)
        else:
            # nobody was accepted: the last refusal is what became of the transaction
            self._end(self._open.notes.refused or tx, *self._open.last)

    def close(self) -> None:
        """The session is over."""
        self.reset()

    # ---- the inside

    async def _too_complex(self, message: Message) -> bool:
        limits = self._services.limits
        look = functools.partial(too_complex, message, depth=limits.mime_depth, parts=limits.mime_parts)
        return await asyncio.to_thread(look) if message.size > OFF_LOOP_OCTETS else look()

    def _fresh(self) -> _Open:
        return _Open(self._services.policy(), Notes(self._services.pipeline.ports.clock.now()))

    def _begin(self, tx: Transaction) -> Transaction:
        # a transaction ends with the policy that it began with; a reload takes hold here
        self._open = self._fresh()
        return replace(tx, policy_digest=self._open.policy.digest[:8])

    async def _judge(self, phase: Phase, tx: Transaction, profile: Profile | None = None) -> Judgement:
        judged = await self._services.pipeline.judge(phase, tx, profile or self._open.policy.default)
        # connect and helo are the session's: every record of the session shows them
        notes = self._talk if phase in (Phase.CONNECT, Phase.HELO) else self._open.notes
        notes.seconds[phase.value] = notes.seconds.get(phase.value, 0.0) + judged.seconds
        for name, seconds in judged.check_seconds.items():
            notes.check_seconds[name] = notes.check_seconds.get(name, 0.0) + seconds
        return judged

    def _refusal(self, judged: Judgement, verb: str) -> Reply:
        reason = judged.verdict.reason
        if reason not in REPLIES:
            reason = "local-policy-defer" if judged.verdict.effective is Action.DEFER else "blocked"
        reply = reply_for(reason, judged.tx.id)
        self._services.observer.reply(verb, reply.code, reason)
        return reply

    def _say(self, verb: str, reason: str) -> Reply:
        reply = reply_for(reason, self.id)
        self._services.observer.reply(verb, reply.code, reason)
        return reply

    def _note_rcpt(self, mailbox: Mailbox, reply: Reply, reason: str) -> None:
        self._open.notes.recipients.append(RecipientOutcome(str(mailbox), str(reply), reason))

    def _say_rcpt(self, mailbox: Mailbox, reason: str) -> Reply:
        reply = self._say("RCPT", reason)
        self._note_rcpt(mailbox, reply, reason)
        if reply.code >= 400:
            action = Action.DEFER if reply.code < 500 else Action.REJECT
            self._open.last = (Verdict(action, reason), reply)
        return reply

    def _end(
        self, tx: Transaction, verdict: Verdict | None, reply: Reply | None, delivery: DeliveryResult | None = None
    ) -> None:
        self._write_record(tx, verdict, reply, delivery)
        self._open = self._fresh()

    def _write_record(
        self, tx: Transaction, verdict: Verdict | None, reply: Reply | None, delivery: DeliveryResult | None = None
    ) -> None:
        if reply is None:
            result = "aborted"
        elif reply.code >= 500:
            result = "rejected"
        elif reply.code >= 400:
            result = "deferred"
        else:
            result = "accepted"
        if delivery and result != "accepted":
            delivered = any(r.handover is Handover.DELIVERED for r in delivery.results.values())
            result = "partly" if delivered else result
        try:
            self._services.observer.transaction(self._record(tx, verdict, reply, delivery, result))
        except Exception:
            log.exception("%s: the decision record is lost", tx.id)

    def _record(
        self,
        tx: Transaction,
        verdict: Verdict | None,
        reply: Reply | None,
        delivery: DeliveryResult | None,
        result: str,
    ) -> Record:
        return transaction_record(
            tx,
            node=self._services.identity.hostname,
            result=result,
            verdict=verdict,
            reply=reply,
            notes=self._open.notes,
            talk=self._talk,
            ended=self._services.pipeline.ports.clock.now(),
            profile=self.profile.name,
            delivery=delivery,
        )
