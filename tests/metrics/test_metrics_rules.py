"""Alerts, recording rules and the dashboard: promtool takes them, and they use nothing that a node does not have."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.ops import catalogue
from tests.metrics.prometheus_tool import promtool

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
ALERTS = PROMETHEUS / "mxgw-alerts.yaml"
RECORDING = PROMETHEUS / "mxgw-recording.yaml"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
SCRAPE = PROMETHEUS / "scrape/mxgw.yaml"
DASHBOARD = ROOT / "deploy/grafana/mxgw.json"
OUTER = {"instance", "job", "le", "namespace", "node"}
"""Labels that the reader of /metrics, or the histogram, brings."""
ASKED_FOR = {
    "queue depth": "mxgw_inflight_deliveries",
    "4yz": 'mxgw_smtp_replies_total{class="4xx"',
    "5yz": 'mxgw_smtp_replies_total{class="5xx"',
    "TLS failures": 'mxgw_tls_handshakes_total{result!="ok"',
    "session time": "mxgw_session_duration_seconds_sum",
    "deferrals": 'mxgw_transactions_total{result="deferred"',
    "accepted": 'mxgw_transactions_total{result="accepted"',
    "greylisting": "mxgw_greylist_total",
    "greylisting's delay": "mxgw_greylist_delay_seconds_bucket",
    "DNSBL": "mxgw_rbl_hits_total",
    "own addresses on lists": "mxgw_own_address_listed",
    "DNS failures": 'mxgw_dns_lookups_total{result!~"ok|nxdomain|nodata"',
}
PER_NODE = (
    "queue depth", "4yz", "5yz", "TLS failures", "session time", "deferrals", "accepted", "greylisting", "DNSBL",
    "DNS failures",
)  # fmt: skip


def rules_of(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def plain(expr: str) -> str:
    """What Grafana makes of it."""
    return expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$job", ".*")


def dashboard_exprs() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [plain(expr) for expr in [*drawn, *(one["expr"] for one in dashboard["annotations"]["list"])]]


ALL_EXPRS = [rule["expr"] for path in (ALERTS, RECORDING) for rule in rules_of(path)] + dashboard_exprs()
BY_SAMPLE = {sample: metric for metric in catalogue.ALL.values() for sample in metric.samples}
RECORDED = {rule["record"] for rule in rules_of(RECORDING)}


def test_promtool_takes_the_rules():
    said = promtool("check", "rules", ALERTS, RECORDING)
    assert said.count("SUCCESS") == 2


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_runs_the_rules_tests(path: Path):
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("rule", rules_of(ALERTS), ids=lambda rule: rule["alert"])
def test_each_alert_fires_in_one_case_is_silent_in_another_and_says_what_to_do(rule):
    cases = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == rule["alert"]
    ]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_the_runbook_has_a_heading_for_each_alert():
    runbook = ROOT / "docs/runbook.md"
    if not runbook.exists():
        return
    headings = re.findall(r"^#+ +`?(\w+)", runbook.read_text(encoding="utf-8"), re.M)
    assert {rule["alert"] for rule in rules_of(ALERTS)} <= set(headings)


@pytest.mark.parametrize("expr", ALL_EXPRS)
def test_only_metrics_labels_and_values_of_the_catalogue_are_used(expr: str):
    samples = set(re.findall(r"\bmxgw_[a-z0-9_]+", re.sub(r"\b\w+:[\w:]+", "", expr)))
    assert samples <= BY_SAMPLE.keys()
    assert set(re.findall(r"\b(?:instance|mxgw):[\w:]+", expr)) <= RECORDED
    assert samples or "mxgw:" in expr or "mxgw_" in expr or "up{" in expr
    for sample, matchers in re.findall(r"\b(mxgw_[a-z0-9_]+)\{([^}]*)\}", expr):
        metric = BY_SAMPLE[sample]
        for name, how, text in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
            assert name in metric.labels or name in OUTER, f"{sample} has no label {name}"
            said = metric.labels.get(name)
            if said is not None and not isinstance(said, str):
                assert set(text.split("|") if "~" in how else [text]) <= set(said), f"{sample}: {name}{how}{text}"
    used = {sample: BY_SAMPLE[sample] for sample in samples}
    for labels in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", expr):
        known = OUTER.union(*(metric.labels for metric in used.values())) if used else None
        assert known is None or set(filter(None, re.split(r",\s*", labels))) <= known


def test_the_dashboard_shows_what_was_asked_for_and_for_each_node():
    exprs = [(panel, target["expr"]) for panel in panels() for target in panel["targets"]]
    for what, part in ASKED_FOR.items():
        found = [expr for _, expr in exprs if part in expr]
        assert found, what
        if what in PER_NODE:
            name = part.partition("{")[0]
            assert any("by (instance" in expr and name in expr for _, expr in exprs), what


def test_each_panel_has_unit_description_and_legends():
    seen = set()
    for panel in panels():
        assert panel["title"] not in seen
        seen.add(panel["title"])
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_promtool_parses_each_expression_of_the_dashboard(tmp_path):
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(dashboard_exprs())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", "--lint=none", file)


def test_the_dashboard_tells_clusters_apart(tmp_path: Path) -> None:
    """What is equal within each of two clusters is one policy and one version in each, and each panel can be narrowed."""
    every = [target for panel in panels() for target in panel["targets"]]
    assert not [target["expr"] for target in every if 'job=~"$job"' not in target["expr"]]
    # a recorded series of the cluster, or a number per cluster, has its name in the legend
    of_clusters = [one for one in every if "mxgw:" in one["expr"] or "by (job, namespace)" in one["expr"]]
    assert all("{{job}} {{namespace}}" in one["legendFormat"] for one in of_clusters)
    counted = [one["expr"] for one in of_clusters if one["expr"].startswith("count ")]
    assert len(counted) == 2
    series = [
        {"series": f'{name}{{job="{job}", instance="{job}{node}", {label}="{job}"}}', "values": "1"}
        for name, label in (("mxgw_policy_info", "digest"), ("mxgw_build_info", "version"))
        for job in ("mxgw-a", "mxgw-b")
        for node in (1, 2)
    ]
    one_each = [{"labels": f'{{job="{job}"}}', "value": 1} for job in ("mxgw-a", "mxgw-b")]
    cases = [{"expr": plain(expr), "eval_time": "0m", "exp_samples": one_each} for expr in counted]
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"tests": [{"input_series": series, "promql_expr_test": cases}]}), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", file)


def test_prometheus_takes_the_file_of_what_to_read(tmp_path: Path) -> None:
    for path in (SCRAPE, ALERTS, RECORDING):
        shutil.copy(path, tmp_path)
    assert "is valid prometheus config file" in promtool("check", "config", tmp_path / SCRAPE.name)
    (job,) = yaml.safe_load(SCRAPE.read_text(encoding="utf-8"))["scrape_configs"]
    assert "mxgw" in job["job_name"]
    assert len(job["static_configs"]) == 2
    page = (ROOT / "docs/install-vm.md").read_text(encoding="utf-8")
    assert f"```yaml\n{SCRAPE.read_text(encoding='utf-8')}```" in page


def test_the_charts_copies_are_the_same():
    files = ROOT / "helm/mxgw/files"
    pairs = [
        (ALERTS, "rules/mxgw-alerts.yaml"),
        (RECORDING, "rules/mxgw-recording.yaml"),
        (DASHBOARD, "dashboards/mxgw.json"),
    ]
    for ours, theirs in pairs:
        # links or copies
        assert not (files / theirs).exists() or (files / theirs).read_bytes() == ours.read_bytes(), (
            f"cp {ours.relative_to(ROOT)} helm/mxgw/files/{theirs}"
        )


def test_docs_name_no_metric_that_is_not_there():
    known = {name for metric in catalogue.ALL.values() for name in (metric.full, *metric.samples)}
    for page in (ROOT / "docs").rglob("*.md"):
        named = re.findall(r"(?<![\w:])mxgw_[a-z0-9_]+[a-z0-9]", page.read_text(encoding="utf-8"))
        assert set(named) <= known, page.name
