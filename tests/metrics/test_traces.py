"""OpenTelemetry traces: one a session, seen by a collector of OTLP over HTTP; nothing of it while they are off."""

from __future__ import annotations

import gzip
import smtplib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.config.traces_section import TracesSettings
from gateway.evidence.spans import SPANS, Book, Session, traced
from gateway.node.tracing import Export
from tests.real.node_process import NodeProcess
from tests.wire.client import connect
from tests.wire.house import house

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed: pip install 'mxgw[otel]'")

CONNECT_TO_QUIT = ["connect", "helo", "mail", "rcpt", "data"]


@dataclass
class Collector:
    """What it was sent: spans by their ids."""

    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def inside(self, parent: Any) -> list[Any]:
        return sorted(
            (span for span in self.spans if span.parent_span_id == parent.span_id),
            key=lambda span: span.start_time_unix_nano,
        )


@contextmanager
def collector() -> Iterator[Collector]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = Collector()

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                octets = gzip.decompress(octets)
            said = ExportTraceServiceRequest.FromString(octets)
            for resource in said.resource_spans:
                found.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                for scope in resource.scope_spans:
                    found.spans.extend(scope.spans)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_node_sends_one_trace_a_session_and_its_id_stands_in_the_record(tmp_path):
    with collector() as seen:
        traces = {"endpoint": seen.url, "sample": 1.0}
        # recordings take hold of the same pipeline and relay
        journal = tmp_path / "journal.jsonl"
        node = NodeProcess(tmp_path / "node", {"traces": traces, "workers": 1, "journal": {"file": str(journal)}})
        try:
            node.wait_ready()
            with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=30) as client:
                client.ehlo("client.example.org")
                client.mail("a@example.org")
                client.rcpt("b@example.com")
                code, said = client.data("From: a@example.org\r\nSubject: x\r\n\r\nx\r\n")
            record = node.wait(lambda: node.events("transaction"), "its record")[0]
            assert code == 250, said
            # the worker sends what is left when it ends
            assert node.stop() == 0
        finally:
            node.end()
    assert record["sid"] in journal.read_text(encoding="utf-8")
    (root,) = seen.named("session")
    assert not root.parent_span_id
    assert root.trace_id.hex() == record["trace"]
    assert {span.trace_id for span in seen.spans} == {root.trace_id}
    assert [span.name for span in seen.inside(root)] == CONNECT_TO_QUIT
    about = attributes(root)
    assert about["smtp.session"] == record["sid"]
    assert about["client.address"] == "127.0.0.1"
    assert about["smtp.ended"] == "quit"
    by_name = {span.name: span for span in seen.inside(root)}
    assert "check.iprev" in [span.name for span in seen.inside(by_name["connect"])]
    assert "check.spf" in [span.name for span in seen.inside(by_name["mail"])]
    assert "check.recipient" in [span.name for span in seen.inside(by_name["rcpt"])]
    in_data = [span.name for span in seen.inside(by_name["data"])]
    assert {"check.dkim", "check.dmarc"} <= set(in_data)
    assert in_data[-1] == "relay"
    assert attributes(by_name["data"])["smtp.result"] == "accepted"
    assert attributes(seen.named("relay")[0])["smtp.result"] == "delivered"
    for span in seen.spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert root.start_time_unix_nano <= span.start_time_unix_nano
    # DNS is dead on this node, so SPF knew nothing: a fault
    assert seen.named("check.spf")[0].status.code == 2
    assert seen.resources[0]["service.name"] == "mxgw"
    assert seen.resources[0]["service.instance.id"] == "mx.example.com"


async def converse(h: Any, book: Book, words: tuple[bytes, ...]) -> None:
    async with connect(h.port) as client:
        await client.reply()
        for word in words:
            await client.send(word)
            await client.reply()
        await client.send(b"QUIT\r\n")
        await client.reply()


ORDINARY = (b"EHLO c.example.org\r\n", b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.com>\r\n")
MAIL = (*ORDINARY, b"DATA\r\n", b"From: a@example.org\r\n\r\nx\r\n.\r\n")


@contextmanager
def booked(h: Any, book: Book) -> Iterator[None]:
    """The house's services, timed."""
    import asyncio

    h.server.services = traced(h.server.services, book, asyncio.get_running_loop().call_soon)
    yield


@pytest.mark.parametrize(("sample", "sent"), [(0.0, 0), (1.0, 1)])
async def test_an_ordinary_session_is_sent_by_chance_only(sample: float, sent: int):
    kept: list[Session] = []
    book = Book(kept.append, sample, slow=1000)
    async with house() as h:
        with booked(h, book):
            await converse(h, book, MAIL)
            await ended(book)
    assert len(kept) == sent
    if kept:
        assert [span.name for span in kept[0].root.inside] == CONNECT_TO_QUIT
        assert not kept[0].root.fault


async def ended(book: Book) -> None:
    import asyncio

    async with asyncio.timeout(30):
        while len(book):
            await asyncio.sleep(0.01)


async def test_a_slow_session_is_sent_always():
    kept: list[Session] = []
    book = Book(kept.append, 0.0, slow=1e-9)
    async with house() as h:
        with booked(h, book):
            await converse(h, book, ORDINARY)
            await ended(book)
    assert [span.name for span in kept[0].root.inside] == ["connect", "helo", "mail", "rcpt"]


async def test_a_session_with_a_mailstore_that_fails_is_sent_always():
    from gateway.mail.finding import Cause, Why
    from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult

    kept: list[Session] = []
    book = Book(kept.append, 0.0, slow=1000)

    class Dead:
        def __init__(self, inner: Any) -> None:
            self.route_for = inner.route_for

        async def deliver(self, tx: Any, message: Any, budget: float) -> DeliveryResult:
            out = RecipientResult(Handover.DEFERRED, cause=Cause("mailstore", Why.TIMEOUT))
            return DeliveryResult("smtp://dead", dict.fromkeys(tx.envelope.recipients, out))

    from dataclasses import replace

    async with house() as h:
        h.server.services = replace(h.server.services, relay=Dead(h.server.services.relay))
        with booked(h, book):
            await converse(h, book, MAIL)
            await ended(book)
        assert h.watcher.records[-1]["trace"] == f"{kept[0].trace:032x}"
    (data,) = [span for span in kept[0].root.inside if span.name == "data"]
    assert data.inside[-1].name == "relay"
    assert data.inside[-1].fault


async def test_a_session_of_a_thousand_commands_keeps_a_thousand_spans():
    kept: list[Session] = []
    book = Book(kept.append, 1.0, slow=1000)
    async with house() as h:
        with booked(h, book):
            await converse(h, book, ORDINARY)
            await ended(book)
    session = kept[0]
    from gateway.evidence.spans import Span

    for _ in range(2 * SPANS):
        session.add(Span("x", 0, 0), session.root.inside)
    assert len(session.root.inside) <= SPANS


async def test_a_collector_that_is_away_costs_a_worker_three_seconds_at_its_end():
    import time

    export = Export(TracesSettings(endpoint="http://127.0.0.1:9/v1/traces"), "mx")
    kept: list[Session] = []
    book = Book(lambda session: (kept.append(session), export.send(session))[0], 1.0, slow=1000)
    async with house() as h:
        with booked(h, book):
            await converse(h, book, ORDINARY)
            await ended(book)
    started = time.monotonic()
    await export.close()
    assert time.monotonic() - started < 20


async def test_the_spans_are_whole_in_memory_too():
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    export = Export(TracesSettings(), "mx", memory)
    book = Book(export.send, 1.0, slow=1000)
    async with house() as h:
        with booked(h, book):
            await converse(h, book, MAIL)
            await ended(book)
        await export.close()
        spans = memory.get_finished_spans()
        (root,) = [span for span in spans if span.parent is None]
        assert f"{root.context.trace_id:032x}" == h.watcher.records[-1]["trace"]
        assert {"session", *CONNECT_TO_QUIT, "relay"} <= {span.name for span in spans}


def test_nothing_is_imported_while_traces_are_off():
    code = (
        "import sys, gateway.node.worker, gateway.node.supervisor;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_settings_say_what_is_missing_where_the_extra_is_not_installed(tmp_path):
    settings = tmp_path / "gateway.yaml"
    settings.write_text(
        "hostname: mx.example.com\nroutes: [{domains: [example.com], mailstore: 'smtp://127.0.0.1:9'}]\n"
        f"state_dir: {tmp_path}/state\ntraces: {{}}\n",
        encoding="utf-8",
    )
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from gateway.cli.main import main;"
        f"raise SystemExit(main(['check-config', '--config', {str(settings)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert "pip install 'mxgw[otel]'" in done.stdout + done.stderr


def test_an_endpoint_is_a_url():
    with pytest.raises(ValueError, match="http"):
        TracesSettings(endpoint="127.0.0.1:4318")
