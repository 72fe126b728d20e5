"""Recordings: what a transaction was told by its client and by every port, enough to live it again offline.

A recording is one JSON line: connection, hello and envelope, each phase with all answers of DNS, store and mailstore,
the hand-over's results, the decision record, and (where wanted) the content. The policy's text stands once in a line
of its own. Sessions are drawn by their id, so that all phases of one are recorded or none.

Known gaps: a transaction that the wire refused before any check ran has no recording.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway import __version__
from gateway.delivery.routes import Relay, Route
from gateway.mail.message import OutgoingMessage
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.pipeline import Judgement, Pipeline
from gateway.policy.model import Policy, Profile
from gateway.ports import Ports
from gateway.ports.answers import encode
from gateway.ports.mailstore import DeliveryResult

log = logging.getLogger("mxgw.journal")

SCHEMA: Final = "mxgw/v1/recording"
POLICY_SCHEMA: Final = "mxgw/v1/recorded-policy"
VOLATILE: Final = ("protocol", "time", "level", "schema", "node", "sid", "qid", "t", "t_checks", "t_mailstore")
"""What differs from one run to the next, and is not compared."""
RECORDING_OCTETS: Final = 1024 * 1024
CONTENT_OCTETS: Final = 512 * 1024
"""Of a bigger content neither digest nor octets are kept."""
_SESSIONS: Final = 2000
_POLICIES: Final = 8

RecordPorts = Callable[[Ports], tuple[Ports, list[list[Any]]]]
"""Ports that write down their answers, and the list that these go to (``adapters.port_recording.recording``)."""
Write = Callable[[str, str, str], None]
"""Gets a recording's line, the digest of its policy, and that policy's line."""


@dataclass(slots=True)
class _Session:
    """What was seen of an open session. talk: the steps of connect and helo; steps: by transaction."""

    talk: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    last: dict[str, Transaction] = field(default_factory=dict)
    deliveries: dict[str, DeliveryResult] = field(default_factory=dict)


class Recorder:
    """sample: the share of sessions. content: keep header and body. policy: the one in force."""

    def __init__(
        self,
        record_ports: RecordPorts,
        write: Write,
        policy: Callable[[], Policy],
        *,
        sample: float = 1.0,
        content: bool = False,
    ) -> None:
        self._record_ports = record_ports
        self._write = write
        self._policy = policy
        self._threshold = sample * 2**32
        self._content = content
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self.route_for: Callable[[str], Route | None] = lambda _domain: None
        self._policies: OrderedDict[str, Policy] = OrderedDict()

    def wants(self, session_id: str) -> bool:
        """Whether this session is one of those that are recorded."""
        drawn = int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:4], "big")
        return drawn < self._threshold

    async def judge(self, pipeline: Pipeline, phase: Phase, tx: Transaction, profile: Profile) -> Judgement:
        """As the pipeline, with all answers written down."""
        policy = self._policy()
        self._policies[policy.digest[:8]] = policy
        if len(self._policies) > _POLICIES:
            self._policies.popitem(last=False)
        ports, answers = self._record_ports(pipeline.ports)
        judged = await replace(pipeline, ports=ports).judge(phase, tx, profile)
        step = {
            "phase": phase.value,
            "rcpt": str(tx.rcpt) if tx.rcpt else "",
            "now": tx.now,
            "ports": [name for name in Ports.__slots__ if getattr(pipeline.ports, name) is not None],
            "answers": answers,
        }
        self._keep(phase, judged.tx, step)
        return judged

    def _keep(self, phase: Phase, tx: Transaction, step: dict[str, Any]) -> None:
        session = self._sessions.setdefault(tx.connection.session_id, _Session())
        self._sessions.move_to_end(tx.connection.session_id)
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
        if phase in (Phase.CONNECT, Phase.HELO):
            session.talk[phase.value] = step
            session.last[tx.id] = tx
            return
        if phase is Phase.MAIL:
            # the transaction before is over
            session.steps, session.last, session.deliveries = {}, {}, {}
        session.steps.setdefault(tx.id, []).append(step)
        session.last[tx.id] = tx

    def delivered(self, tx: Transaction, result: DeliveryResult) -> None:
        """How a hand-over ended."""
        if session := self._sessions.get(tx.connection.session_id):
            session.deliveries[tx.id] = result

    def note(self, record: Mapping[str, Any]) -> None:
        """A transaction has ended with this record. Never raises for what it holds."""
        if record.get("event") not in ("transaction", "reject"):
            return
        session, qid = self._sessions.get(str(record.get("sid"))), str(record.get("qid"))
        if session is None:
            return
        tx = session.last.get(qid) or session.last.get(qid.partition(".")[0])
        policy = self._policies.get(str(record.get("policy")))
        if tx is None or policy is None:
            return
        line = self._line(session, tx, qid, record)
        if len(line) > RECORDING_OCTETS:
            log.info("%s: too big for a recording (%d octets)", qid, len(line), extra={"event": "journal"})
            return
        said = {"schema": POLICY_SCHEMA, "digest": policy.digest, "name": policy.source, "text": policy.text}
        self._write(line, policy.digest, _json(said))

    def _routes(self, steps: list[dict[str, Any]], record: Mapping[str, Any]) -> dict[str, int | None]:
        """Domain -> a number for its route, None: not ours."""
        addresses = [step["rcpt"] for step in steps] + [one["address"] for one in record.get("rcpts", ())]
        numbers: dict[int, int] = {}
        found: dict[str, int | None] = {}
        for domain in dict.fromkeys(_domain(address) for address in addresses if address):
            route = self.route_for(domain)
            found[domain] = None if route is None else numbers.setdefault(id(route), len(numbers))
        return found

    def _line(self, session: _Session, tx: Transaction, qid: str, record: Mapping[str, Any]) -> str:
        whole = qid.partition(".")[0]
        steps = [*session.talk.values()]
        if record["event"] == "transaction":
            steps += session.steps.get(whole, []) if whole == qid else _but_content(session.steps.get(whole, []))
            steps += session.steps.get(qid, []) if whole != qid else []
        message = tx.message if any(step["phase"] == "content" for step in steps) else None
        # hashing more would hold the event loop up
        message = message if message and message.size <= CONTENT_OCTETS else None
        kept = message is not None and self._content
        delivery, came = session.deliveries.get(qid), tx.as_connected()
        return _json(
            {
                "schema": SCHEMA,
                "version": __version__,
                "policy": str(record["policy"]),
                "connection": encode(came.connection),
                "hello": encode(came.hello),
                "behind_relay": encode((tx.connection, tx.hello)) if came is not tx else None,
                "envelope": encode(tx.envelope) if record["event"] == "transaction" else None,
                "steps": steps,
                "routes": self._routes(steps, record),
                "delivery": encode(delivery) if delivery else None,
                "content": base64.b64encode(bytes(message.octets[:])).decode("ascii") if message and kept else None,
                "sha256": hashlib.sha256(message.octets).hexdigest() if message else "",
                "record": {key: value for key, value in record.items() if key not in ("t", "t_checks", "t_mailstore")},
            }
        )


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _but_content(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step for step in steps if step["phase"] != "content"]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RecordingPipeline(Pipeline):
    """A pipeline whose drawn sessions are recorded."""

    recorder: Recorder | None = None

    async def judge(self, phase: Phase, tx: Transaction, profile: Profile) -> Judgement:
        """As the pipeline."""
        plain = Pipeline(self.ports, self.checks, self.beside)
        if self.recorder is None or not self.recorder.wants(tx.connection.session_id):
            return await plain.judge(phase, tx, profile)
        return await self.recorder.judge(plain, phase, tx, profile)


@dataclass(frozen=True, slots=True)
class RecordingRelay:
    """A relay whose results are recorded."""

    inner: Relay
    recorder: Recorder

    def __post_init__(self) -> None:
        self.recorder.route_for = self.inner.route_for

    def route_for(self, domain: str) -> Route | None:
        """As the relay behind it."""
        return self.inner.route_for(domain)

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """As the relay behind it."""
        result = await self.inner.deliver(tx, message, budget)
        self.recorder.delivered(tx, result)
        return result
