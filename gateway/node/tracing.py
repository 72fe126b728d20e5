"""OpenTelemetry traces of a worker's sessions, by the packages of the extra ``otel``, which are imported here only.

The exporter has a thread and a queue of its own: a collector that is slow or away costs spans, never mail.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway import __version__
from gateway.config import Settings
from gateway.config.traces_section import TracesSettings
from gateway.evidence.spans import Book, Session, Span, traced
from gateway.reception import Services

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

EXPORT_SECONDS: Final = 5
LAST_SECONDS: Final = 3.0
"""So long a worker that ends waits for its last spans to leave."""


class Export:
    """Finished sessions to spans. exporter: where they go; None: by OTLP to the settings' endpoint."""

    def __init__(self, settings: TracesSettings, node: str, exporter: SpanExporter | None = None) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=EXPORT_SECONDS)

        class Ids(IdGenerator):
            """The trace's id stands in decision records before its first span is made."""

            trace = 0

            def generate_trace_id(self) -> int:
                return self.trace

            def generate_span_id(self) -> int:
                return random.getrandbits(64) or 1

        self._ids = Ids()
        resource = Resource.create(
            {"service.name": "mxgw", "service.version": __version__, "service.instance.id": node}
        )
        # what is to be seen was decided already
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mxgw", __version__)
        self._api = trace

    def send(self, session: Session) -> None:
        """Into the exporter's queue."""
        self._ids.trace = session.trace
        self._make(session.root, None)

    def _make(self, span: Span, context: Any) -> None:
        kind = self._api.SpanKind.SERVER if context is None else self._api.SpanKind.INTERNAL
        made = self._tracer.start_span(span.name, context, kind, span.attributes, start_time=span.start)
        if span.fault:
            made.set_status(self._api.StatusCode.ERROR)
        if span.inside:
            within = self._api.set_span_in_context(made)
            for part in span.inside:
                self._make(part, within)
        made.end(span.end)

    async def close(self) -> None:
        """Send what is left, but not for ever."""
        # no thread of asyncio's: that one would be waited for
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, LAST_SECONDS)


@dataclass(frozen=True, slots=True)
class Traces:
    """A worker's."""

    export: Export
    book: Book

    def beside(self, services: Services) -> Services:
        """The same services, timed."""
        later = partial(_soon, asyncio.get_running_loop())
        return traced(services, self.book, later)


def _soon(loop: asyncio.AbstractEventLoop, work: Any) -> None:
    loop.call_soon(work)


def traces_of(settings: Settings) -> Traces | None:
    """None where the settings want none."""
    wanted = settings.traces
    if wanted is None:
        return None
    export = Export(wanted, settings.node)
    return Traces(export, Book(export.send, wanted.sample, wanted.slow))
