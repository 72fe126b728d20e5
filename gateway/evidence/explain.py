"""``mxgw explain``: the same reception as on port 25 with other ports behind it, and nothing happens.

The caller brings a pipeline (live or offline ports, an empty store) and a router, of which only the choice of route is
used: :class:`DryRelay` takes the message and hands it to nobody. What comes out is every check, every rule, the
verdict of each phase, the reply and the fields that would have been added.

Known gaps: a first contact is assumed (empty store), so greylisting shows what a first attempt meets.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from gateway.delivery.routes import Route
from gateway.delivery.stamp import Identity
from gateway.evidence.record import finding_json
from gateway.mail.address import Mailbox, ReversePath
from gateway.mail.limits import WireLimits
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.phase import Phase
from gateway.mail.reply import Reply
from gateway.mail.transaction import Connection, Tls, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Judgement, Pipeline
from gateway.policy.model import Policy, Profile
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult
from gateway.ports.observer import NullObserver
from gateway.reception import Reception, Services


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """The facts of a session that never was. octets: the content in CRLF form, or None to stop before DATA.
    tls: as if STARTTLS had been used. verb: EHLO or HELO."""

    ip: IPv4Address | IPv6Address
    helo: str
    reverse_path: ReversePath
    recipients: tuple[Mailbox, ...]
    octets: bytes | None = None
    tls: bool = False
    verb: str = "EHLO"
    smtputf8: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One check's finding at one phase. recipient: at rcpt, the one in question."""

    phase: Phase
    check: str
    finding: dict[str, Any]
    seconds: float
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class PhaseVerdict:
    """The verdict of one phase and the reply it led to."""

    phase: Phase
    verdict: Verdict
    reply: str
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything ``explain`` knows. fields: octets that would stand on top of the message. removed: fields that would
    be dropped. mailstore: where the message would go, '' when it would not."""

    steps: tuple[Step, ...]
    verdicts: tuple[PhaseVerdict, ...]
    verdict: Verdict
    reply: str
    fields: bytes
    removed: tuple[str, ...]
    mailstore: str
    policy_digest: str
    swaks: str


@dataclass(slots=True)
class DryRelay:
    """Chooses the route and keeps the message."""

    route: Callable[[str], Route | None]
    outgoing: OutgoingMessage | None = None
    mailstore: str = ""

    def route_for(self, domain: str) -> Route | None:
        """As the real router."""
        return self.route(domain)

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Say that all recipients were delivered; nothing leaves."""
        del budget
        assert tx.envelope is not None
        route = self.route(tx.envelope.recipients[0].domain)
        self.outgoing = message
        self.mailstore = route.mailstores[0].name if route else ""
        delivered = RecipientResult(Handover.DELIVERED, 250, "2.0.0", "would be delivered")
        return DeliveryResult(self.mailstore, dict.fromkeys(tx.envelope.recipients, delivered))


@dataclass(frozen=True, slots=True)
class WatchedPipeline(Pipeline):
    """A pipeline that remembers every judgement."""

    seen: list[tuple[Judgement, str]] = field(default_factory=list)

    async def judge(self, phase: Phase, tx: Transaction, profile: Profile) -> Judgement:
        """As the pipeline, and note it."""
        judged = await Pipeline.judge(self, phase, tx, profile)
        self.seen.append((judged, str(tx.rcpt) if tx.rcpt else ""))
        return judged


async def explain(
    request: ExplainRequest,
    *,
    pipeline: Pipeline,
    policy: Policy,
    route: Callable[[str], Route | None],
    identity: Identity,
    limits: WireLimits | None = None,
) -> Explanation:
    """Walk the request through the reception and tell what would have happened. No side effects of its own."""
    watched = WatchedPipeline(pipeline.ports, pipeline.checks)
    relay = DryRelay(route)
    services = Services(identity, watched, lambda: policy, relay, NullObserver(), limits or WireLimits())
    tls = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256) if request.tls else None
    reception = Reception(services, Connection("EXPLAIN", request.ip, tls=tls))
    reply, replies = await _walk(reception, request)
    return _explanation(request, watched, relay, policy, reply, replies)


async def _walk(reception: Reception, request: ExplainRequest) -> tuple[Reply, dict[tuple[Phase, str], Reply]]:
    replies: dict[tuple[Phase, str], Reply] = {}
    reply = replies[(Phase.CONNECT, "")] = await reception.connect()
    if reply.code != 220:
        return reply, replies
    refused = await reception.say_hello(request.verb, request.helo)
    if refused:
        replies[(Phase.HELO, "")] = refused
        return refused, replies
    size = len(request.octets) if request.octets is not None else None
    reply = replies[(Phase.MAIL, "")] = await reception.mail(
        request.reverse_path, size=size, body="8BITMIME", smtputf8=request.smtputf8
    )
    if reply.code != 250:
        return reply, replies
    accepted = 0
    for mailbox in request.recipients:
        reply = replies[(Phase.RCPT, str(mailbox))] = await reception.rcpt(mailbox)
        accepted += reply.code == 250
    if accepted and request.octets is not None:
        reply = replies[(Phase.CONTENT, "")] = await reception.content(Message.parse(request.octets))
    return reply, replies


def _explanation(
    request: ExplainRequest,
    watched: WatchedPipeline,
    relay: DryRelay,
    policy: Policy,
    reply: Reply,
    replies: dict[tuple[Phase, str], Reply],
) -> Explanation:
    steps: list[Step] = []
    verdicts: list[PhaseVerdict] = []
    for judged, recipient in watched.seen:
        for name, seconds in judged.check_seconds.items():
            found = judged.tx.findings.get(name)
            if found is not None:
                steps.append(Step(judged.phase, name, finding_json(found), seconds, recipient))
        said = replies.get((judged.phase, recipient))
        verdicts.append(PhaseVerdict(judged.phase, judged.verdict, str(said) if said else "", recipient))
    last = watched.seen[-1][0].verdict
    # a refusal that no rule gave (unknown domain, other route) has no judgement of its own: the reply tells
    judged_recipients = {recipient for _, recipient in watched.seen}
    for (phase, recipient), said in replies.items():
        if phase is Phase.RCPT and recipient not in judged_recipients:
            last = _verdict_of(said, last)
            verdicts.append(PhaseVerdict(phase, last, str(said), recipient))
    outgoing = relay.outgoing
    return Explanation(
        steps=tuple(steps),
        verdicts=tuple(verdicts),
        verdict=last,
        reply=str(reply),
        fields=outgoing.prepended if outgoing else b"",
        removed=tuple(item.name for item in outgoing.removed) if outgoing else (),
        mailstore=relay.mailstore,
        policy_digest=policy.digest[:8],
        swaks=_swaks(request),
    )


def _verdict_of(reply: Reply, fallback: Verdict) -> Verdict:
    if reply.code < 400:
        return fallback

    action = Action.REJECT if reply.code >= 500 else Action.DEFER
    return replace(Verdict(action), reason="relay-denied" if reply.code >= 500 else "other-route")


def _swaks(request: ExplainRequest) -> str:
    parts = [
        "swaks --server mx.example.net",
        f"--xclient-addr {request.ip}",
        f"--ehlo {shlex.quote(request.helo)}",
        f"--from {shlex.quote(str(request.reverse_path))}",
        f"--to {shlex.quote(','.join(str(mailbox) for mailbox in request.recipients))}",
    ]
    if request.tls:
        parts.append("--tls")
    if request.octets is None:
        parts.append("--quit-after RCPT")
    return " ".join(parts)
