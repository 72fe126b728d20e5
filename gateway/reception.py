"""One session's mail, verb by verb, without a socket: parsed commands in, replies out.

Port 25 drives it (``smtp/``), and so does ``mxgw explain`` with other ports behind it; both therefore decide alike.
It holds the current transaction value, asks the pipeline at each phase, hands accepted mail to the mailstore and writes
one decision record a transaction. Promise 1 lives here: 250 to the end of data is said only after the mailstore's 250.

States (RFC 5321 section 4.1.4): no hello -> hello -> transaction (MAIL) -> recipients (RCPT) -> content -> hello.
A transaction ends by its content, RSET, another hello, STARTTLS or the session's end; each drops the value and writes
the record that is still owed.

Known gaps: without PRDR there is one reply for all recipients of a transaction (RFC 5321 section 3.3), so recipients of
another route or profile are asked to come again (452 4.5.3).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace

from gateway.acceptance import (
    Group,
    Outcome,
    conclude,
    failed,
    is_refusal,
    mime_too_complex,
    refusal_of,
    replies_of,
    split,
    told_for_good,
)
from gateway.evidence.record import REFUSALS, Notes, RecipientOutcome, transaction_record
from gateway.mail.address import Mailbox, ReversePath
from gateway.mail.advertised import greeting
from gateway.mail.dsn import MailDsn, RcptDsn
from gateway.mail.message import Message
from gateway.mail.phase import Phase
from gateway.mail.reply import Reply, reply_for
from gateway.mail.transaction import Connection, Envelope, Hello, Tls, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Judgement
from gateway.policy.model import Policy, Profile
from gateway.ports.mailstore import DeliveryResult
from gateway.services import Services

__all__ = ["Reception", "Services"]

log = logging.getLogger("mxgw.reception")


@dataclass(slots=True)
class _Open:
    """What a transaction (or the talk before it) has besides its value. Replaced whole, never reset field by field."""

    policy: Policy
    notes: Notes
    tx: Transaction | None = None
    groups: list[Group] = field(default_factory=list)
    refused: Profile | None = None  # that of the last refused recipient
    last: tuple[Verdict | None, Reply | None] = (None, None)


class Reception:
    """The mail side of one session. Not safe for concurrent calls: a session says one verb at a time."""

    def __init__(self, services: Services, connection: Connection) -> None:
        self._services = services
        connection = services.pipeline.arrived(connection, services.policy().default)
        connection = replace(connection, server_name=services.identity.hostname)
        self._connected = Transaction(
            id=connection.session_id, connection=connection, now=services.pipeline.ports.clock.now()
        )
        self._greeted: Transaction | None = None
        self._talk = Notes(self._connected.now)
        self._open = _Open(services.policy(), Notes(self._connected.now))
        self._count = 0
        self._unread: list[DeliveryResult] = []
        self._refused: Reply | None = None
        self.client_gone = False
        """Set by the session when the client has hung up: nothing is handed over for nobody any more."""

    # ---- what the session may look at

    @property
    def connection(self) -> Connection:
        """The connection with its TLS as it is now."""
        return self._connected.connection

    @property
    def connected(self) -> Transaction:
        """The connection with what was found about it."""
        return self._connected

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
        """The policy profile that the open transaction is judged by: its first recipient's."""
        groups = self._open.groups
        return groups[0].profile if groups else self._open.refused or self._open.policy.default

    @property
    def offers_requiretls(self) -> bool:
        """RFC 8689 section 2: only over TLS, and only while the way to the mailstore keeps the promise."""
        return self.connection.tls is not None and self._services.keeps_requiretls()

    @property
    def normalizes(self) -> bool:
        """Whether every profile of the transaction wants bare CR and LF made CRLF; else they are refused."""
        profiles = [group.profile for group in self._open.groups] or [self.profile]
        return all(profile.content.bare_line_ending == "normalize" for profile in profiles)

    # ---- verbs

    async def connect(self) -> Reply:
        """Judge the connection. 220 greeting, or the refusal to send in its place (it closes the session)."""
        judged = await self._judge(Phase.CONNECT, self._begin(self._connected))
        self._connected = judged.tx
        if is_refusal(judged.verdict):
            reply = replace(refusal_of(judged, self._services.observer, "CONNECT"), close=True)
            self._write_record(judged.tx, judged.verdict, reply)
            return reply
        identity = self._services.identity
        return Reply(220, "", greeting(identity.hostname))

    def refuse_connection(self, reason: str, why: str) -> Reply:
        """The connection is not served (no valid PROXY header ...): the reply; the record says why."""
        reply = reply_for(reason, self.id)
        self._open.notes.why = why
        self._write_record(self._connected, Verdict(Action.DEFER, reason), reply)
        return reply

    def talked_early(self) -> None:
        """The client sent octets before our greeting; the next hello is judged with that."""
        self._connected = replace(self._connected, connection=replace(self._connected.connection, early_talk=True))

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
        if is_refusal(judged.verdict):
            reply = refusal_of(judged, self._services.observer, verb)
            self._write_record(judged.tx, judged.verdict, reply)
            # RFC 5321 section 4.1.4: where EHLO is not acceptable, the server stays in the state it was in
            self._open = before
            return reply
        now, self._open = self._open, before
        self.reset()
        self._open = now
        self._greeted = judged.tx
        return None

    async def mail(
        self,
        reverse_path: ReversePath,
        *,
        size: int | None,
        body: str,
        smtputf8: bool,
        prdr: bool = False,
        requiretls: bool = False,
        dsn: MailDsn | None = None,
    ) -> Reply:
        """MAIL FROM. The session has checked the state, the syntax and the limits of its own."""
        assert self._greeted is not None
        self._count += 1
        begun = self._begin(self._greeted)
        tx = replace(
            begun,
            id=f"{self.connection.session_id}-{self._count}",
            now=self._open.notes.started,
            envelope=Envelope(
                reverse_path,
                size=size,
                body=body,
                smtputf8=smtputf8,
                prdr=prdr,
                requiretls=requiretls,
                dsn=dsn or MailDsn(),
            ),
        )
        if size is not None and size > self._services.limits.message_octets:
            reply = reply_for("too-big", tx.id)
            self._services.observer.reply("MAIL", reply.code, "too-big")
            self._end(tx, Verdict(Action.REJECT, "too-big"), reply)
            return reply
        judged = await self._judge(Phase.MAIL, tx)
        if is_refusal(judged.verdict):
            reply = refusal_of(judged, self._services.observer, "MAIL")
            self._write_record(judged.tx, judged.verdict, reply)
            return reply
        self._open.tx = judged.tx
        return self._say("MAIL", "mail-ok")

    async def rcpt(self, mailbox: Mailbox | None, dsn: RcptDsn | None = None) -> Reply:
        """RCPT TO; None is ``<Postmaster>`` without a domain."""
        tx, open_ = self._open.tx, self._open
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
        profile = open_.policy.for_domain(mailbox.domain)
        group = next((g for g in open_.groups if g.route is route and g.profile is profile), None)
        if group is None and open_.groups and not tx.envelope.prdr:
            return self._say_rcpt(mailbox, "other-route")
        if mailbox in tx.envelope.recipients:
            # noted already: a client could repeat it for hours
            return self._say("RCPT", "rcpt-ok")
        judged = await self._judge(Phase.RCPT, replace(tx, rcpt=mailbox), profile)
        if is_refusal(judged.verdict):
            reply = refusal_of(judged, self._services.observer, "RCPT")
            self._note_rcpt(mailbox, reply, judged.verdict.reason)
            # keep what was found for the record, judge the next recipient without it
            open_.last, open_.refused, open_.notes.refused = (judged.verdict, reply), profile, judged.tx
            self._services.accounts.recipient_refused(judged.tx, profile)
            return reply
        open_.tx = replace(judged.tx, rcpt=None, envelope=tx.envelope.with_recipient(mailbox, dsn))
        if group is None:
            group = Group(profile, route)
            open_.groups.append(group)
        group.recipients.append(mailbox)
        return self._say_rcpt(mailbox, "rcpt-ok")

    async def content(self, message: Message, read_seconds: float = 0.0) -> Reply:
        """The content is complete: the reply for all recipients, see :meth:`content_replies`."""
        return (await self.content_replies(message, read_seconds))[-1]

    async def content_replies(self, message: Message, read_seconds: float = 0.0) -> tuple[Reply, ...]:
        """The content is complete. Judges it and, if it may pass, hands it over; the replies are the mailstore's
        doing. Several where the client asked for one for each recipient; then the last is for the whole."""
        tx, notes = self._open.tx, self._open.notes
        assert tx is not None
        # who sends more on the same session does not try the message before again
        self.client_spoke()
        started = time.monotonic()
        notes.seconds["read"] = read_seconds
        if await mime_too_complex(message, self._services.limits):
            return (self.refuse_content("mime-too-complex"),)
        parts = split(replace(tx, message=message), self._open.groups, notes)
        work = [conclude(self._services, part, started, lambda: self.client_gone) for part in parts]
        # an error of ours in one of them takes nothing from the others: neither hand-over nor reply nor record
        outcomes: list[Outcome] = []
        for part, ended in zip(parts, await asyncio.gather(*work, return_exceptions=True), strict=True):
            if isinstance(ended, BaseException):
                log.error("%s: an error of ours", part.tx.id, exc_info=ended)
                outcome = failed(self._services, part)
            else:
                outcome = ended
            self._write_record(part.tx, outcome.verdict, outcome.said, outcome.delivery, part.notes, part.profile)
            outcomes.append(outcome)
        self._open = self._fresh()
        self._unread = told_for_good(tx, outcomes)
        return replies_of(tx, outcomes)

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

    def client_spoke(self) -> None:
        """The client said something after our last reply had left: it has read that."""
        unread, self._unread = self._unread, []
        for delivery in unread:
            self._services.reply_read(delivery)

    def refused_by_protocol(self, reply: Reply) -> None:
        """The session refuses by itself (syntax, order, a limit, its end). A record must show it: its id stands in the
        reply, and somebody will look for it."""
        notes = self._open.notes if self._open.tx else self._talk
        if len(notes.refusals) < REFUSALS:
            notes.refusals.append(str(reply))
        if notes is self._talk:
            self._refused = reply

    def close(self) -> None:
        """The session is over."""
        self.reset()
        reply, self._refused = self._refused, None
        if reply is not None:
            verdict = Verdict(Action.DEFER if reply.code < 500 else Action.REJECT, "protocol")
            self._write_record(self._greeted or self._connected, verdict, reply, notes=self._talk)

    # ---- the inside

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
        notes.add(phase.value, judged.seconds, judged.check_seconds)
        return judged

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

    def _end(self, tx: Transaction, verdict: Verdict | None, reply: Reply | None) -> None:
        self._write_record(tx, verdict, reply)
        self._open = self._fresh()

    def _write_record(
        self,
        tx: Transaction,
        verdict: Verdict | None,
        reply: Reply | None,
        delivery: DeliveryResult | None = None,
        notes: Notes | None = None,
        profile: Profile | None = None,
    ) -> None:
        services = self._services
        try:
            record = transaction_record(
                tx,
                node=services.identity.node or services.identity.hostname,
                verdict=verdict,
                reply=reply,
                notes=notes or self._open.notes,
                talk=self._talk,
                ended=services.pipeline.ports.clock.now(),
                profile=(profile or self.profile).name,
                delivery=delivery,
            )
            services.observer.transaction(record)
            services.accounts.ended(tx, verdict, reply, profile or self.profile)
        except Exception:
            log.exception("%s: the decision record is lost", tx.id)
