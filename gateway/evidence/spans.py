"""What a session did and when, gathered beside the mail and handed on as a whole when it has ended.

Whether a session is sent is decided at its end, since faults and slowness are known only then; until then it costs a
few tuples. Nothing here stands in the way when traces are off: :func:`traced` is then never called.

Known gaps: a session that starts over after XCLIENT begins another trace; the first one is dropped.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.checks.run import Check
from gateway.delivery.routes import Relay, Route
from gateway.mail.finding import Finding
from gateway.mail.message import OutgoingMessage
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.pipeline import Judgement, Pipeline
from gateway.policy.model import Profile
from gateway.policy.settings import CheckSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult
from gateway.ports.observer import Observer, Record
from gateway.reception import Services

SPANS: Final = 1000
"""Of one session; what comes after them is left out."""
SESSIONS: Final = 20_000
"""At once; the oldest is forgotten."""
DATA: Final = "data"
Attribute = str | int | float | bool


@dataclass(slots=True)
class Span:
    """start, end: nanoseconds since 1970. inside: its parts."""

    name: str
    start: int
    end: int
    attributes: dict[str, Attribute] = field(default_factory=dict)
    fault: bool = False
    inside: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """A session so far. trace: 128 bits. root: the session itself."""

    trace: int
    root: Span
    count: int = 0
    waiting: list[Span] = field(default_factory=list)
    content: int = 0

    def add(self, span: Span, to: list[Span]) -> None:
        """One more part, if there is room."""
        self.root.fault = self.root.fault or span.fault
        # it is made when the first part is over
        self.root.start = min(self.root.start, span.start)
        self.count += 1
        if self.count <= SPANS:
            to.append(span)


class Book:
    """The open sessions of a worker. send: gets those that are to be seen. draw: a number from 0 to 1."""

    def __init__(
        self, send: Callable[[Session], None], sample: float, slow: float, draw: Callable[[], float] | None = None
    ) -> None:
        self._send = send
        self._sample = sample
        self._slow = slow
        self._draw = draw or secrets.SystemRandom().random
        self._open: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def of(self, tx: Transaction) -> Session:
        """The session of this transaction."""
        connection = tx.connection
        found = self._open.get(connection.session_id)
        if found is None:
            now = time.time_ns()
            about: dict[str, Attribute] = {
                "smtp.session": connection.session_id,
                "client.address": str(connection.client_ip),
                "smtp.listener": connection.listener,
            }
            found = Session(secrets.randbits(128) or 1, Span("session", now, now, about))
            self._open[connection.session_id] = found
            while len(self._open) > SESSIONS:
                self._open.popitem(last=False)
        return found

    def judged(self, judged: Judgement, start: int) -> None:
        """A phase is over; the checks that ran in it are its parts."""
        session, now = self.of(judged.tx), time.time_ns()
        if judged.phase is Phase.CONTENT:
            session.content = min(session.content, start) if session.content else start
            return
        about: dict[str, Attribute] = {"smtp.verdict": judged.verdict.action.word, "smtp.reason": judged.verdict.reason}
        inside, session.waiting = session.waiting, []
        session.add(Span(judged.phase.value, start, now, about, inside=inside), session.root.inside)

    def part(self, tx: Transaction, span: Span) -> None:
        """A check or a hand-over is over."""
        session = self.of(tx)
        session.add(span, session.waiting)

    def record(self, record: Record) -> Record:
        """The decision record with the trace's id; a transaction whose content was read has a span of its own."""
        session = self._open.get(str(record.get("sid", "")))
        if session is None:
            return record
        seconds = record.get("t", {})
        if session.content or "read" in seconds:
            now = time.time_ns()
            start = (session.content or now) - int(seconds.get("read", 0.0) * 1e9)
            about: dict[str, Attribute] = {
                "smtp.transaction": str(record["qid"]),
                "smtp.result": str(record.get("result", "")),
                "smtp.reason": str(record.get("reason", "")),
                "smtp.reply": str(record.get("reply", ""))[:3],
                "smtp.size": int(record.get("size", 0)),
            }
            inside, session.waiting, session.content = session.waiting, [], 0
            session.add(Span(DATA, start, now, about, inside=inside), session.root.inside)
        return {**record, "trace": f"{session.trace:032x}"}

    def ended(self, session_id: str, seconds: float, ended: str) -> None:
        """The session is over: it is sent or forgotten."""
        session = self._open.pop(session_id, None)
        if session is None:
            return
        root = session.root
        root.end = time.time_ns()
        root.start = min(root.start, root.end - int(seconds * 1e9))
        root.attributes["smtp.ended"] = ended
        root.fault = root.fault or ended == "error"
        root.inside += session.waiting
        if root.fault or seconds > self._slow or self._draw() < self._sample:
            self._send(session)


@dataclass(frozen=True, slots=True)
class TracingPipeline(Pipeline):
    """A pipeline that is timed. inner: with traced checks."""

    inner: Pipeline | None = None
    book: Book | None = None

    async def judge(self, phase: Phase, tx: Transaction, profile: Profile) -> Judgement:
        """As the pipeline behind it."""
        assert self.inner is not None
        assert self.book is not None
        start = time.time_ns()
        judged = await self.inner.judge(phase, tx, profile)
        self.book.judged(judged, start)
        return judged


@dataclass(frozen=True, slots=True)
class TracingRelay:
    """A relay that is timed."""

    inner: Relay
    book: Book

    def route_for(self, domain: str) -> Route | None:
        """As the relay behind it."""
        return self.inner.route_for(domain)

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """As the relay behind it."""
        start = time.time_ns()
        result = await self.inner.deliver(tx, message, budget)
        words = sorted({one.handover.value for one in result.results.values()})
        about: dict[str, Attribute] = {"smtp.mailstore": result.mailstore, "smtp.result": " ".join(words)}
        fault = any(one.cause is not None for one in result.results.values())
        self.book.part(tx, Span("relay", start, time.time_ns(), about, fault))
        return result


class TracingObserver:
    """An observer that gives records their trace's id, and ends traces. later: runs something when the session has
    written its last record."""

    def __init__(self, inner: Observer, book: Book, later: Callable[[Callable[[], None]], object]) -> None:
        self._inner = inner
        self._book = book
        self._later = later
        self.reply = inner.reply
        self.connection = inner.connection
        self.greeted = inner.greeted
        self.held = inner.held
        self.tls_handshake = inner.tls_handshake
        self.tls_failure = inner.tls_failure
        self.tls_time = inner.tls_time
        self.mailstore_attempt = inner.mailstore_attempt
        self.mailstore_reply = inner.mailstore_reply

    def transaction(self, record: Record) -> None:
        """As the observer behind it."""
        self._inner.transaction(self._book.record(record))

    def session_ended(self, seconds: float, ended: str, session: str = "") -> None:
        """As the observer behind it."""
        self._inner.session_ended(seconds, ended, session)
        self._later(lambda: self._book.ended(session, seconds, ended))


def _timed(check: Check, book: Book) -> Check:
    async def run(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
        start = time.time_ns()
        about: dict[str, Attribute] = {}
        fault = True
        try:
            found = await check.run(tx, ports, settings)
            fault = found is not None and found.cause is not None
            if found is not None:
                about = {"smtp.outcome": found.outcome.value, "smtp.reason": found.reason}
            return found
        except PortFailure as failure:
            about = {"smtp.outcome": "temperror", "smtp.reason": failure.cause.why.value}
            raise
        finally:
            book.part(tx, Span(f"check.{check.name}", start, time.time_ns(), about, fault))

    return replace(check, run=run)


def traced(services: Services, book: Book, later: Callable[[Callable[[], None]], object]) -> Services:
    """The same services, timed."""
    inner = replace(services.pipeline, checks=tuple(_timed(check, book) for check in services.pipeline.checks))
    pipeline = TracingPipeline(inner.ports, inner.checks, inner.beside, inner, book)
    observer = TracingObserver(services.observer, book, later)
    return replace(services, pipeline=pipeline, relay=TracingRelay(services.relay, book), observer=observer)
