"""The end of data: judge the content, hand it over, and say what became of it, for all recipients or for each.

The recipients of a transaction that share a profile and a route are a :class:`Group`. A transaction has one, unless the
client asked for a reply for each recipient (PRDR, draft-hall-prdr): then it is split here into one transaction a
group, each with its own id, verdict, hand-over and decision record.

Known gaps: the checks of the content run once a group; groups are rare.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.delivery.fold import fold
from gateway.delivery.routes import Route
from gateway.delivery.stamp import stamp
from gateway.evidence.record import Notes
from gateway.mail.address import Mailbox
from gateway.mail.disposition import policy_domain
from gateway.mail.greylist_text import greylist_text
from gateway.mail.limits import OFF_LOOP_OCTETS, WireLimits
from gateway.mail.message import Message
from gateway.mail.mime_shape import is_busy, too_complex
from gateway.mail.phase import Phase
from gateway.mail.reply import REPLIES, Reply, reply_for
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Judgement
from gateway.policy.model import Profile
from gateway.ports.mailstore import DeliveryResult
from gateway.ports.observer import Observer
from gateway.services import Services


@dataclass(slots=True)
class Group:
    """Accepted recipients with one profile and one route, in order."""

    profile: Profile
    route: Route
    recipients: list[Mailbox] = field(default_factory=list)


@dataclass(slots=True)
class Part:
    """A group at the end of data: a transaction of its own. tx: with what was found so far."""

    tx: Transaction
    profile: Profile
    notes: Notes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a part. said: None when the client is gone and nothing was handed over."""

    part: Part
    verdict: Verdict
    reply: Reply
    said: Reply | None
    delivery: DeliveryResult | None = None

    def reply_for(self, mailbox: Mailbox) -> Reply:
        """The reply for one of its recipients alone."""
        if self.delivery is None or mailbox not in self.delivery.results:
            return self.reply
        return fold(replace(self.delivery, results={mailbox: self.delivery.results[mailbox]}), self.part.tx.id)


def refusal_of(judged: Judgement, observer: Observer, verb: str) -> Reply:
    """The reply of a verdict that refuses, counted."""
    reason = judged.verdict.reason
    if reason not in REPLIES:
        reason = "local-policy-defer" if judged.verdict.effective is Action.DEFER else "blocked"
    if reason == "unknown" and judged.phase is Phase.CONNECT:
        reason = "unknown-connect"  # in place of a greeting a client expects 421 (RFC 5321 section 3.8)
    text = greylist_text(judged.tx) if reason == "greylisted" else None
    connection = judged.tx.connection
    named = connection.client_known and (connection.external_relay or REPLIES[reason].names_client)
    client = str(connection.client_ip) if named else ""
    reply = reply_for(reason, judged.tx.id, text, about=_about(reason, judged.tx), client=client)
    observer.reply(verb, reply.code, reason)
    return reply


def _about(reason: str, tx: Transaction) -> str:
    """What the postmaster of the sender has to look at: a domain or the label of a list, '' for none."""
    if reason == "auth-policy":
        return policy_domain(tx)
    check, name = {"dnsbl": ("dnsbl", "listed"), "spf-policy": ("spf", "domain")}.get(reason, ("", ""))
    # a rule may give this reason where the check has found nothing
    fact = tx.findings[check].evidence.get(name, "") if check in tx.findings else ""
    return str(fact[0] if isinstance(fact, tuple) and fact else fact or "")


def is_refusal(verdict: Verdict) -> bool:
    """Whether the client gets 4yz or 5yz."""
    return verdict.effective >= Action.DEFER


async def mime_too_complex(message: Message, limits: WireLimits) -> bool:
    """Whether its MIME structure is beyond what readers can be asked to take."""
    look = functools.partial(too_complex, message, depth=limits.mime_depth, parts=limits.mime_parts)
    return await asyncio.to_thread(look) if message.size > OFF_LOOP_OCTETS or is_busy(message) else look()


def split(tx: Transaction, groups: Sequence[Group], notes: Notes) -> list[Part]:
    """One part a group. The first has the id of the whole, and in its notes what was refused."""
    if len(groups) == 1:
        return [Part(tx, groups[0].profile, notes)]
    assert tx.envelope is not None
    parts = []
    accepted = {str(mailbox) for group in groups[1:] for mailbox in group.recipients}
    for n, group in enumerate(groups):
        own = {str(mailbox) for mailbox in group.recipients}
        envelope = replace(tx.envelope, recipients=tuple(group.recipients))
        part = replace(tx, id=tx.id if n == 0 else f"{tx.id}.{n + 1}", envelope=envelope)
        outcomes = [o for o in notes.recipients if (o.address not in accepted if n == 0 else o.address in own)]
        copy = replace(
            notes, recipients=outcomes, seconds=dict(notes.seconds), check_seconds=dict(notes.check_seconds)
        )
        parts.append(Part(part, group.profile, copy))
    return parts


async def conclude(services: Services, part: Part, started: float, is_gone: Callable[[], bool]) -> Outcome:
    """Judge one part and hand it over if it may pass. started: when the content was complete (time.monotonic).
    is_gone: whether the client has hung up."""
    judged = await services.pipeline.judge(Phase.CONTENT, part.tx, part.profile)
    notes = part.notes
    notes.add(Phase.CONTENT.value, judged.seconds, judged.check_seconds)
    part.tx = judged.tx
    if is_refusal(judged.verdict):
        reply = refusal_of(judged, services.observer, "DATA")
        return Outcome(part, judged.verdict, reply, reply)
    if is_gone():
        # nobody would hear our 250: the client sends it again, so handing it over now makes a duplicate
        return Outcome(part, judged.verdict, reply_for("local-error", part.tx.id), None)
    outgoing = stamp(judged.tx, judged.verdict, services.identity)
    before = time.monotonic()
    budget = max(0.0, services.limits.answer_budget - (before - started))
    delivery = await services.relay.deliver(judged.tx, outgoing, budget)
    notes.seconds["relay"] = time.monotonic() - before
    _note_results(notes, delivery)
    reply = fold(delivery, part.tx.id)
    services.observer.reply("DATA", reply.code, "accepted" if reply.code == 250 else "mailstore")
    return Outcome(part, judged.verdict, reply, reply, delivery)


def failed(services: Services, part: Part) -> Outcome:
    """What becomes of a part when an error of ours ended its work: the client comes again."""
    reply = reply_for("local-error", part.tx.id)
    services.observer.reply("DATA", reply.code, "local-error")
    return Outcome(part, Verdict(Action.DEFER, "local-error"), reply, reply)


def _note_results(notes: Notes, delivery: DeliveryResult) -> None:
    results = {str(mailbox): result for mailbox, result in delivery.results.items()}
    for outcome in notes.recipients:
        result = results.get(outcome.address)
        if result and not outcome.result:
            outcome.result = result.handover.value
            said = (str(result.code), result.enhanced, result.text) if result.code else ()
            outcome.mailstore_reply = " ".join(word for word in said if word)[:500]


def replies_of(tx: Transaction, outcomes: Sequence[Outcome]) -> tuple[Reply, ...]:
    """The replies of the end of data. One; or with PRDR and several recipients: 353, one for each recipient in the
    order of RCPT, and one for the whole, which is 250 if anybody has the message, for a client takes another one as
    meant for all."""
    assert tx.envelope is not None
    if not tx.envelope.prdr or len(tx.envelope.recipients) == 1:
        return (outcomes[0].reply,)
    by: Mapping[Mailbox, Outcome] = {
        mailbox: outcome
        for outcome in outcomes
        if outcome.part.tx.envelope
        for mailbox in outcome.part.tx.envelope.recipients
    }
    each = [by[mailbox].reply_for(mailbox) for mailbox in tx.envelope.recipients]
    taken = sum(reply.code < 400 for reply in each)
    if taken:
        whole = Reply(250, "2.0.0", f"Accepted for {taken} of {len(each)} recipients [{tx.id}]")
    else:
        whole = next((reply for reply in each if reply.code < 500), each[0])
    close = any(reply.close for reply in each)
    return (
        Reply(353, "", "One reply for each recipient follows"),
        *(replace(reply, close=False) for reply in each),
        replace(whole, close=close),
    )


def told_for_good(tx: Transaction, outcomes: Sequence[Outcome]) -> list[DeliveryResult]:
    """The deliveries for which the client, once it has read the replies, does not come again for those who have the
    message: after a 4yz for all of them it does."""
    assert tx.envelope is not None
    for_each = tx.envelope.prdr and len(tx.envelope.recipients) > 1
    final = [outcome for outcome in outcomes if for_each or not 400 <= outcome.reply.code < 500]
    return [outcome.delivery for outcome in final if outcome.delivery]
