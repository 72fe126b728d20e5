"""/metrics as read by a program, and docs/metrics.md as made from the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from gateway.ops import catalogue
from gateway.ops.metric import Metric

Labels = dict[str, str]


@dataclass(frozen=True)
class Page:
    samples: list[tuple[str, Labels, float]]

    @classmethod
    def of(cls, text: str) -> Page:
        found = [
            (sample.name, dict(sample.labels), sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
        return cls(found)

    @property
    def families(self) -> set[str]:
        histograms = {metric.full for metric in catalogue.ALL.values() if metric.kind == "histogram"}
        names = set()
        for name, _, _ in self.samples:
            base = name.rpartition("_")[0]
            names.add(base if base in histograms else name)
        return names

    def series(self, metric: Metric) -> list[Labels]:
        names = metric.samples
        return [
            {key: text for key, text in labels.items() if key not in ("le", "pid")}
            for name, labels, _ in self.samples
            if name in names
        ]

    def values(self, metric: Metric) -> list[float]:
        return [value for name, _, value in self.samples if name in metric.samples]

    def value(self, sample: str, /, **labels: str) -> float:
        """The sum of the samples of that name with these labels."""
        return sum(value for name, found, value in self.samples if name == sample and found.items() >= labels.items())


def docs_page() -> str:
    lines = [
        "# Metrics",
        "",
        "Made from the definitions in gateway/ops/catalogue.py by `MXGW_UPDATE=1 pytest tests/metrics`; do not edit.",
        "",
        "`GET /metrics` on the admin port sums all workers of the node. Counters and histograms with closed labels are there at",
        "zero from the start, so that `rate()` sees the first event. No label value comes from a stranger. Where a label is",
        "described in words its values are those of your settings or policy, or of the page named.",
        "",
        "Alerts and recording rules: deploy/prometheus; a dashboard: deploy/grafana/mxgw.json; what to do: docs/runbook.md.",
        "How Prometheus is told of the nodes: docs/install-vm.md (deploy/prometheus/scrape), docs/install-kubernetes.md.",
    ]
    for area, metrics in catalogue.AREAS.items():
        lines += ["", f"## {area}", "", "| metric | type | labels | what it says |", "|---|---|---|---|"]
        for metric in metrics:
            lines.append(f"| `{metric.full}` | {metric.kind} | {_labels(metric)} | {_text(metric)} |")
    return "\n".join(lines) + "\n"


def _labels(metric: Metric) -> str:
    return "; ".join(
        f"`{name}`: {said if isinstance(said, str) else _words(said)}" for name, said in metric.labels.items()
    )


def _words(said: tuple[str, ...]) -> str:
    if len(said) > 20:
        return "a row of docs/replies.md, `mailstore` or empty"
    return " ".join(word or '""' for word in said)


def _text(metric: Metric) -> str:
    ends = f"; classes up to {metric.buckets[-1]:g}" if metric.buckets else ""
    return metric.text.replace("|", "\\|") + ends
