"""The catalogue: every row exists on a fresh node at zero, and every count is the sum over the workers."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import smtplib
import time
from pathlib import Path

import pytest

from gateway.ops import catalogue
from gateway.ops.metric import Metric
from gateway.smtp.tls import ensure_self_signed
from tests.metrics.page import Page, docs_page
from tests.real.node_process import NodeProcess

ROOT = Path(__file__).parents[2]
POLICY = """
version: 1
checks:
  dnsbl: {sites: ["ours:bl.example.org*4"]}
"""
SETTINGS = {
    "listeners": [{"address": "127.0.0.1:0", "name": "smtp"}, {"address": "127.0.0.1:0", "name": "balanced"}],
    "mta_sts": {"mode": "testing", "mx": ["mx.example.net"]},
}
ASKED_FOR = """
build_info policy_info sessions_active sessions_limit connections_total session_duration_seconds banner_delay_seconds
smtp_replies_total transactions_total phase_duration_seconds message_size_bytes tls_handshakes_total
tls_certificate_not_after_timestamp_seconds spf_total dkim_total dmarc_total arc_total greylist_total
greylist_delay_seconds rbl_hits_total rbl_list_state own_address_listed ratelimit_total tarpit_seconds_total
tarpitted_sessions dns_lookups_total dns_lookup_duration_seconds store_ops_total store_op_duration_seconds
store_breaker_open failopen_total mailstore_attempts_total mailstore_replies_total mailstore_duration_seconds
mailstore_up inflight_deliveries spool_messages spool_oldest_seconds recipient_checks_total reports_total
reload_last_success reloads_total tlsa_match mtasts_mismatch loop_lag_seconds log_dropped_total
""".split()
STATES_ONLY_LATER = {"rbl_list_state", "own_address_listed"}
"""Their labels are known when the lists and our addresses have been looked at for the first time."""
NOT_ZERO = {
    "build_info", "policy_info", "sessions_limit", "reload_last_success", "mailstore_up", "store_state", "tlsa_match",
    "tls_certificate_not_after_timestamp_seconds", "mtasts_mismatch", "loop_lag_seconds", "dns_lookups",
    "dns_lookup_duration_seconds", "store_ops", "store_op_duration_seconds", "cluster_verify_timestamp_seconds",
}  # fmt: skip
"""Facts, and what a node does for itself from the start."""
KNOWN = {
    "listener": ("smtp", "balanced"), "list": ("ours",), "profile": ("default",), "domain": ("example.com",),
    "host": ("mx.example.com",),
}  # fmt: skip


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    certificate, key = ensure_self_signed(folder, "mx.example.com")
    tls = {"certificate": str(certificate), "key": str(key), "tlsa_guard": "warn"}
    node = NodeProcess(folder / "node", {**SETTINGS, "tls": tls}, POLICY)
    try:
        node.wait_ready()
        # gauges of sessions come with the first beat
        node.wait(lambda: "mxgw_sessions_active" in node.get("/metrics")[1], "a worker's first beat")
        yield node, Page.of(node.get("/metrics")[1])
    finally:
        node.kill(signal.SIGTERM)
        node.end()  # a second signal: nobody waits for its drain


def test_every_row_of_the_brief_is_in_the_catalogue():
    names = {metric.full.removeprefix("mxgw_") for metric in catalogue.ALL.values()}
    assert set(ASKED_FOR) <= names


@pytest.mark.parametrize("metric", catalogue.ALL.values(), ids=lambda metric: metric.name)
def test_a_fresh_node_has_it_at_zero_with_all_its_labels(fresh, metric: Metric):
    _, page = fresh
    if metric.name in STATES_ONLY_LATER:
        return
    found = page.series(metric)
    assert found, metric.full
    assert all(set(labels) == set(metric.labels) for labels in found)
    for zero in metric.zeros(KNOWN):
        labels = dict(zip(metric.labels, zero, strict=True))
        assert any(one.items() >= labels.items() for one in found), labels
    for name, said in metric.labels.items():
        if not isinstance(said, str):
            assert {labels[name] for labels in found} <= set(said)
    if metric.name not in NOT_ZERO:
        assert set(page.values(metric)) == {0.0}


def test_nothing_is_shown_that_is_not_in_the_catalogue(fresh):
    _, page = fresh
    families = {metric.full for metric in catalogue.ALL.values()}
    assert page.families <= families


def test_what_the_supervisor_knows(fresh):
    _, page = fresh
    assert page.value("mxgw_mtasts_mismatch", domain="example.com") == 1.0
    assert page.value("mxgw_policy_info", generation="0") == 1.0
    assert page.value("mxgw_sessions_limit", listener="smtp") >= 2
    assert page.value("mxgw_tlsa_match") != page.value("mxgw_tlsa_match")  # NaN: nobody publishes a record


def test_after_some_mail_the_counts_are_right_and_are_the_sums_over_the_workers(fresh):
    node, _ = fresh
    for number in range(12):
        with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=20) as client:
            client.ehlo("client.example.org")
            client.mail("a@example.org")
            assert client.rcpt("nobody@elsewhere.example")[0] == 550
            assert client.rcpt("b@example.com")[0] == 250
            code, said = client.data(f"From: a@example.org\r\nSubject: {number}\r\n\r\nx\r\n")
            assert code in (250, 451), said
    node.wait(lambda: node.metric("mxgw_session_duration_seconds_count", ended="quit") == 12, "all sessions have ended")
    page = Page.of(node.get("/metrics")[1])
    assert page.value("mxgw_connections_total", listener="smtp", family="v4", result="accepted") == 12
    assert page.value("mxgw_connections_total", listener="balanced") == 0
    assert page.value("mxgw_banner_delay_seconds_count") == 12
    assert page.value("mxgw_smtp_replies_total", verb="RCPT", **{"class": "5xx"}, reason="relay-denied") == 12
    assert page.value("mxgw_smtp_replies_total", verb="RCPT", **{"class": "2xx"}, reason="rcpt-ok") == 12
    records = [record for record in node.records if record["event"] == "transaction"]
    results = [record["result"] for record in records]
    assert not [record for record in records if "trace" in record]  # traces are off
    for result in ("accepted", "deferred"):
        assert page.value("mxgw_transactions_total", result=result, profile="default") == results.count(result)
    assert page.value("mxgw_message_size_bytes_count") == 12
    assert page.value("mxgw_phase_duration_seconds_count", phase="content") == 12
    assert page.value("mxgw_recipient_checks_total") == 12
    assert page.value("mxgw_ratelimit_total", rule="messages") > 0
    # the resolver is dead on purpose: every kind of question is told apart
    assert page.value("mxgw_dns_lookups_total", purpose="ptr") > 0
    assert page.value("mxgw_dns_lookups_total", purpose="spf") > 0
    assert page.value("mxgw_dns_lookups_total", purpose="rbl") > 0
    assert page.value("mxgw_store_ops_total", role="store", result="ok") > 0
    handed = sum(record["result"] == "accepted" for record in records)
    assert page.value("mxgw_mailstore_attempts_total", result="delivered") == handed
    # the page is the sum of what each worker's file holds
    by_worker = worker_counts(node, "mxgw_connections_total", result="accepted")
    assert sum(by_worker) == 12
    assert len(by_worker) >= 2


def test_counts_of_a_worker_that_has_gone_stay(fresh):
    node, _ = fresh
    counted = node.metric("mxgw_connections_total", result="accepted")
    worker = next(iter(node.status()["workers"]))
    os.kill(int(worker["pid"] if isinstance(worker, dict) else worker), signal.SIGKILL)
    node.wait(lambda: node.metric("mxgw_worker_crashes_total") == 1, "the supervisor has seen it")
    assert node.metric("mxgw_connections_total", result="accepted") == counted


def test_counts_that_cannot_be_added_up_are_told_as_such(fresh):
    node, _ = fresh
    counted = node.metric("mxgw_connections_total", result="accepted")
    (place,) = (node.folder / "state").glob("metrics-*")
    gone = place / "counter_gone.db"
    if gone.exists():
        gone.rename(place / "aside")
    gone.mkdir()
    worker = int(next(iter(node.status()["workers"]))["pid"])
    os.kill(worker, signal.SIGKILL)
    text = f"what worker {worker} counted cannot be added up: [Errno {errno.EISDIR}]"
    node.wait(lambda: [r for r in node.events("worker") if text in r["message"]], "it is told")
    gone.rmdir()
    if (place / "aside").exists():
        (place / "aside").rename(gone)
    assert node.metric("mxgw_worker_counts_failed_total") == 1
    assert node.metric("mxgw_connections_total", result="accepted") == counted
    assert not [record for record in node.events("worker") if "cannot be started" in record["message"]]


def worker_counts(node: NodeProcess, name: str, **labels: str) -> list[float]:
    """That counter in each process's file, where it stands."""
    from prometheus_client.mmap_dict import MmapedDict

    counts = []
    for file in (node.folder / "state").glob("metrics-*/counter_*.db"):
        found = 0.0
        seen = False
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
            _, sample, values, _ = json.loads(key)
            if sample == name and labels.items() <= values.items():
                found, seen = found + value, True
        if seen:
            counts.append(found)
    return counts


def test_the_page_of_metrics_is_what_the_definitions_say():
    written = ROOT / "docs" / "metrics.md"
    if os.environ.get("MXGW_UPDATE"):
        written.write_text(docs_page(), encoding="utf-8")
    assert written.read_text(encoding="utf-8") == docs_page()


def test_the_supervisors_own_questions_to_dns_are_counted(fresh):
    node, _ = fresh
    node.wait(lambda: node.metric("mxgw_dns_lookups_total", purpose="tlsa") > 0, "the TLSA guard has asked")


def test_a_scrape_is_cheap(fresh):
    node, _ = fresh
    started = time.monotonic()
    text = node.get("/metrics")[1]
    assert time.monotonic() - started < 10
    assert len(text) < 400_000
    assert re.search(r"^# HELP mxgw_connections_total ", text, re.M)
