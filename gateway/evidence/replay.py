"""``mxgw replay``: a recording lived again by the same reception and pipeline, with the recorded answers behind them.

With the policy that decided, everything must come out as it was: verdict, rules, findings and replies, octet by octet
but for ids and times. With another policy the differences are the answer. A recording without content takes what the
checks of the content had found; they are not run again.

Known gaps: nothing is known of recipients and contents that came after a refusal, where another policy would not have
refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.checks import CHECKS
from gateway.delivery.routes import Route
from gateway.delivery.stamp import Identity
from gateway.evidence.recorded import finding_of
from gateway.evidence.recording import POLICY_SCHEMA, SCHEMA, VOLATILE
from gateway.mail.address import parse_mailbox
from gateway.mail.limits import WireLimits
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.phase import Phase
from gateway.mail.reply import REPLIES
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Judgement, Pipeline
from gateway.policy.decide import decide
from gateway.policy.model import Policy, Profile
from gateway.ports import Ports
from gateway.ports.answers import decode
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult
from gateway.ports.observer import NullObserver, Record
from gateway.reception import Reception, Services

PortsOf = Callable[[Sequence[str], Sequence[Sequence[Any]], Callable[[str], None]], Ports]
"""Names and answers in, ports out (``adapters.port_replay.replaying``)."""
_OF_CONTENT: Final = frozenset(check.name for check in CHECKS if check.phase is Phase.CONTENT)
_BEHIND_RELAY: Final = frozenset(check.name for check in CHECKS if check.behind_relay)
_BEYOND: Final = 10**9
_NO_LIMITS: Final = WireLimits(message_octets=_BEYOND, recipients=_BEYOND, mime_depth=_BEYOND, mime_parts=_BEYOND)
"""The wire's limits have been applied already."""


class NotARecording(ValueError):
    """A line that cannot be replayed; the text says why."""


@dataclass(frozen=True, slots=True)
class RecordedPolicy:
    """The text of a policy that decided."""

    digest: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One transaction, or a session that was refused before one. policy: first digits of the digest. octets: None where
    the content was not kept. behind_relay: connection and hello of the client that a trusted relay's fields told of."""

    id: str
    policy: str
    connection: Connection
    hello: Hello | None
    envelope: Envelope | None
    steps: Sequence[Mapping[str, Any]]
    routes: Mapping[str, int | None]
    delivery: DeliveryResult | None
    octets: bytes | None
    record: Mapping[str, Any]
    behind_relay: tuple[Connection, Hello | None] | None = None

    def step(self, phase: Phase) -> Mapping[str, Any] | None:
        """The first of that phase."""
        return next((step for step in self.steps if step["phase"] == phase.value), None)


def parse_line(line: str) -> Recording | RecordedPolicy:
    """Raises NotARecording."""
    try:
        said = json.loads(line)
        if said["schema"] == POLICY_SCHEMA:
            return RecordedPolicy(said["digest"], said["name"], said["text"])
        if said["schema"] != SCHEMA:
            raise NotARecording(f"schema {said['schema']} is not known")
        octets = base64.b64decode(said["content"]) if said["content"] is not None else None
        if octets is not None and hashlib.sha256(octets).hexdigest() != said["sha256"]:
            raise NotARecording("the content is not the one that was recorded")
        return Recording(
            id=said["record"]["qid"],
            policy=said["policy"],
            connection=decode(said["connection"]),
            hello=decode(said["hello"]),
            envelope=decode(said["envelope"]),
            steps=said["steps"],
            routes=said["routes"],
            delivery=decode(said["delivery"]),
            octets=octets,
            record=said["record"],
            behind_relay=decode(said.get("behind_relay")),
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise error if isinstance(error, NotARecording) else NotARecording(f"not a recording: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out. differences: (field, recorded, replayed). unasked: questions whose answers were not recorded.
    whole: the checks of the content ran too (or there was none). digest: of verdict, rules, findings and replies."""

    recording: Recording
    record: Mapping[str, Any]
    differences: Sequence[tuple[str, Any, Any]]
    unasked: Sequence[str]
    whole: bool
    digest: str


async def replay(recording: Recording, policy: Policy, ports_of: PortsOf) -> Replayed:
    """Live it again. Raises NotARecording for answers that cannot be read."""
    clock, unasked, watch = _Clock(), list[str](), _Watch()
    pipeline = _ReplayPipeline(Ports(_NOTHING, _NOTHING, _NOTHING, clock), recording=recording, ports_of=ports_of)
    pipeline.unasked.append(unasked.append)
    identity = Identity(recording.connection.server_name, recording.connection.server_name)
    relay = _RecordedRelay(recording)
    services = Services(identity, pipeline, lambda: policy, relay, watch, _NO_LIMITS)
    try:
        await _walk(recording, Reception(services, replace(recording.connection, tls=None, early_talk=False)), clock)
    except ValueError as error:
        raise NotARecording(f"{recording.id}: {error}") from error
    # PRDR may have split the transaction; this recording is one part of it
    ours = [one for one in watch.records if one.get("rcpt") == recording.record.get("rcpt")]
    again = next(reversed(ours or watch.records), {})
    whole = recording.step(Phase.CONTENT) is None or recording.octets is not None
    leave_out = () if whole else ("size", "msgid")
    before, after = essence(recording.record, leave_out), essence(again, leave_out)
    if policy.digest[:8] != recording.policy:
        before, after = ({key: value for key, value in one.items() if key != "policy"} for one in (before, after))
    differences = [
        (key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if canonical(before.get(key)) != canonical(after.get(key))
    ]
    digest = hashlib.sha256(canonical({k: v for k, v in after.items() if k != "policy"}).encode()).hexdigest()[:16]
    return Replayed(recording, again, differences, unasked, whole, digest)


def essence(record: Mapping[str, Any], leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """A decision record without what differs from one run to the next: times, names, ids."""
    text = json.dumps(record)
    for ident in sorted({str(record.get("qid", "")), str(record.get("sid", ""))} - {""}, key=len, reverse=True):
        text = text.replace(f"[{ident}]", "[]").replace(f"[{ident}-1]", "[]")
    kept = {key: value for key, value in json.loads(text).items() if key not in {*VOLATILE, *leave_out}}
    if "rcpts" in kept:
        kept["rcpts"] = [one for one in kept["rcpts"] if one["reason"] != "too-many-recipients"]
    return kept


def canonical(value: Any) -> str:
    """JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


async def _walk(recording: Recording, reception: Reception, clock: _Clock) -> None:
    connection, hello, envelope = recording.connection, recording.hello, recording.envelope
    clock.at(recording.step(Phase.CONNECT))
    if (await reception.connect()).code != 220 or hello is None:
        return
    if connection.early_talk:
        reception.talked_early()
    if connection.tls:
        reception.tls_started(connection.tls)
    clock.at(recording.step(Phase.HELO))
    if await reception.say_hello(hello.verb, hello.name) is not None or envelope is None:
        return
    clock.at(recording.step(Phase.MAIL))
    reply = await reception.mail(
        envelope.reverse_path,
        size=envelope.size,
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        prdr=envelope.prdr,
        requiretls=envelope.requiretls,
        dsn=envelope.dsn,
    )
    if reply.code != 250:
        return
    for address in _recipients(recording):
        await reception.rcpt(parse_mailbox(address))
    if reception.envelope and reception.envelope.recipients:
        await _content(recording, reception)
    reception.close()


def _recipients(recording: Recording) -> list[str]:
    """All recipients in their order, those too that PRDR put into other parts: what was found of the last one stands
    in every part."""
    judged = [str(step["rcpt"]) for step in recording.steps if step["phase"] == Phase.RCPT.value]
    own = [one["address"] for one in recording.record["rcpts"] if one["reason"] != "too-many-recipients"]
    merged: list[str] = []
    for address in own:
        if address in judged:
            at = judged.index(address)
            merged += [other for other in judged[:at] if other not in own]
            del judged[: at + 1]
        merged.append(address)
    return merged + [other for other in judged if other not in own]


async def _content(recording: Recording, reception: Reception) -> None:
    reason = str(recording.record["reason"])
    if recording.step(Phase.CONTENT) is not None:
        reception.client_gone = recording.record["result"] == "aborted"
        await reception.content(Message.parse(recording.octets or b""))
    elif recording.record["rcpt"] and recording.record["result"] != "aborted" and reason in REPLIES:
        # the wire refused it before any check ran
        reception.refuse_content(reason)


class _Clock:
    """The time of the recorded step."""

    def __init__(self) -> None:
        self._now = 0.0

    def at(self, step: Mapping[str, Any] | None) -> None:
        """It is then now."""
        self._now = float(step["now"]) if step else self._now

    def now(self) -> float:
        """Seconds since 1970."""
        return self._now

    def monotonic(self) -> float:
        """The same."""
        return self._now


@dataclass(slots=True)
class _Watch(NullObserver):
    records: list[Record] = field(default_factory=list)

    def transaction(self, record: Record) -> None:
        self.records.append(record)


_NOTHING: Any = None
"""Each step brings its own ports; between the steps only the clock is asked."""


@dataclass(frozen=True, slots=True)
class _ReplayPipeline(Pipeline):
    recording: Recording = field(kw_only=True)
    ports_of: PortsOf = field(kw_only=True)
    unasked: list[Callable[[str], None]] = field(default_factory=list)
    used: list[int] = field(default_factory=list)

    async def judge(self, phase: Phase, tx: Transaction, profile: Profile) -> Judgement:
        """The checks, with the answers of that step."""
        recipients = [str(mailbox) for mailbox in tx.envelope.recipients] if tx.envelope else []
        if phase is Phase.CONTENT and recipients != self.recording.record["rcpt"]:
            # another part of a transaction that PRDR split; it has a recording of its own
            return Judgement(phase, tx, Verdict(Action.ACCEPT), 0.0, {})
        if phase is Phase.CONTENT and self.recording.octets is None:
            said, names = self.recording.record["findings"], _OF_CONTENT
            if self.recording.behind_relay is not None:
                connection, hello = self.recording.behind_relay
                tx, names = replace(tx, connection=connection, hello=hello), names | _BEHIND_RELAY
            judged = tx.with_findings({name: finding_of(name, said[name]) for name in said if name in names})
            return Judgement(phase, judged, decide(judged, profile, phase), 0.0, {})
        step = self._step(phase, str(tx.rcpt) if tx.rcpt else "")
        ports = self.ports_of(step["ports"], step["answers"], self.unasked[0])
        return await Pipeline(ports, self.checks).judge(phase, tx, profile)

    def _step(self, phase: Phase, rcpt: str) -> Mapping[str, Any]:
        """The next one of that phase and recipient (a client may ask twice)."""
        steps = self.recording.steps
        found = [n for n, step in enumerate(steps) if (step["phase"], step["rcpt"]) == (phase.value, rcpt)]
        number = next((n for n in found if n not in self.used), found[-1] if found else -1)
        self.used.append(number)
        return steps[number] if number >= 0 else {"ports": [], "answers": []}


@dataclass(frozen=True, slots=True)
class _RecordedRelay:
    """Routes and results as they were."""

    recording: Recording
    numbered: dict[int, Route] = field(default_factory=dict)

    def route_for(self, domain: str) -> Route | None:
        number = self.recording.routes.get(domain)
        return None if number is None else self.numbered.setdefault(number, Route((), (), str(number)))

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        del message, budget
        assert tx.envelope is not None
        recorded = self.recording.delivery
        if recorded is not None and recorded.results.keys() == set(tx.envelope.recipients):
            return recorded
        would = RecipientResult(Handover.DELIVERED, 250, "2.0.0", "would be delivered")
        return DeliveryResult("", dict.fromkeys(tx.envelope.recipients, would))
