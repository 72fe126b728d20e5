"""The values: each is documented, each has a schema, wrong ones are refused with a sentence that helps."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from chart import CHART, CI, FULL, ROOT, load, merged, notes, one, rendered

VALUES = CHART / "values.yaml"
README = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
_LINE = re.compile(r"^( *)([A-Za-z]\w*):(?: (.*?))?(?:\s+# -- (.*))?$")


def documented() -> Iterator[tuple[str, str, bool]]:
    """Key with dots, its text, and whether it opens a mapping of more lines."""
    path: list[tuple[int, str]] = []
    text = ""
    for line in VALUES.read_text(encoding="utf-8").splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            text = bare[5:]
        elif bare.startswith("# ") and text:
            text += " " + bare[2:]
        elif match := _LINE.match(line):
            depth = len(match[1])
            path = [each for each in path if each[0] < depth] + [(depth, match[2])]
            yield ".".join(key for _, key in path), match[4] or text, not match[3]
            text = ""


def value_of(key: str) -> Any:
    found: Any = load(VALUES)
    for part in key.split("."):
        found = found[part]
    return found


def table() -> str:
    rows = ["| value | default | meaning |\n|---|---|---|\n"]
    for key, text, _ in documented():
        if text:
            rows.append(f"| `{key}` | `{json.dumps(value_of(key))}` | {text.replace('|', chr(92) + '|')} |\n")
    return "".join(rows)


def test_every_value_is_documented() -> None:
    rows = list(documented())
    told = {key for key, text, _ in rows if text}
    missing = [
        key for key, text, opens in rows
        if not text and not opens and not any(key.startswith(f"{each}.") for each in told)
    ]  # fmt: skip
    assert missing == []
    assert {key.partition(".")[0] for key, _, _ in rows} == set(load(VALUES))


def test_the_readme_shows_every_value() -> None:
    text = README.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    current = before + BEGIN + table() + END + after
    if os.environ.get("MXGW_UPDATE"):
        README.write_text(current, encoding="utf-8")
    assert README.read_text(encoding="utf-8") == current


def _unknown(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> Iterator[str]:
    if schema.get("additionalProperties") is not False:
        return
    for key in sorted(set(values) ^ (set(schema["properties"]) - {"global"})):
        yield f"{path}{key}"
    for key, value in values.items():
        if isinstance(value, dict) and value and key in schema["properties"]:
            yield from _unknown(schema["properties"][key], value, f"{path}{key}.")


def test_the_schema_knows_exactly_the_values_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_bytes())
    odd = set(_unknown(schema, load(VALUES)))
    # what only some have: what a probe, resources or an issuer may say beyond the defaults
    optional = {
        each for each in odd
        if each.startswith(("probes.", "resources.claims", "redis.bundled.resources.", "dns.unbound.resources."))
    }  # fmt: skip
    assert odd - optional == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "StatefulSet"}, "kind"),
        ({"replicas": 3}, "replicas"),
        ({"exposure": {"mode": "ingress"}}, "exposure"),
        ({"exposure": {"port": 0}}, "port"),
        ({"proxyProtocol": {"enabled": True}}, "trusted"),
        ({"proxyProtocol": {"trusted": ["10.0.0.5"]}}, "trusted"),
        ({"redis": {"mode": "external", "url": "redis://:password@redis:6379/0"}}, "url"),
        ({"workers": 0}, "workers"),
        ({"admin": {"address": "edge-a"}}, "address"),
        ({"hostname": {"value": "mx_1"}}, "hostname"),
        ({"routes": [{"domains": ["example.com"]}]}, "mailstore"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"tls": {"certificate": {"rotationPolicy": "Sometimes"}}}, "rotationPolicy"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_the_schema_refuses(change: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        rendered(merged(CI["trial"], change))


@pytest.mark.parametrize(
    ("base", "change", "said"),
    [
        ("trial", {"image": {"repository": ""}}, "image.repository: name the image"),
        ("trial", {"routes": []}, "routes: say which domains are yours"),
        ("trial", {"hostname": {"value": ""}}, "hostname: give value"),
        ("trial", {"hostname": {"suffix": ".example.net"}}, "exclude each other"),
        ("daemonset", {"authservId": ""}, "authservId: the pods have names of their own"),
        ("trial", {"exposure": {"mode": "hostPort"}}, "hostPort is for a DaemonSet"),
        ("daemonset", {"autoscaling": {"enabled": True}}, "autoscaling.enabled: is for kind: Deployment"),
        ("daemonset", {"rollout": {"maxSurge": 1}}, "rollout.maxSurge: is for kind: Deployment"),
        ("trial", {"state": {"hostPath": "/var/lib/mxgw"}}, "state.hostPath: is for kind: DaemonSet"),
        ("trial", {"drain": {"timeoutSeconds": 300}}, "must be 320 or more"),
        ("trial", {"redis": {"mode": "external"}}, "redis: external needs url or existingSecret"),
        (
            "hostnetwork",
            {"redis": {"mode": "bundled", "url": ""}, "networkPolicy": {"enabled": True}},
            "which the bundled Redis' network policy keeps out",
        ),
        ("loadbalancer", {"tls": {"existingSecret": "x"}}, "existingSecret and certificate.create exclude"),
        ("trial", {"tls": {"certificate": {"create": True}}}, "name the issuer"),
        ("loadbalancer", {"arc": {"selector": ""}}, "arc: domain and selector"),
        ("hostnetwork", {"metrics": {"podMonitor": {"enabled": True}}}, "admin port is on a loopback address"),
        ("hostnetwork", {"settings": {"admin": {"address": "0.0.0.0:8025"}}}, "say it with admin.address"),
        ("daemonset", {"admin": {"address": "host"}}, "admin.address: host is for exposure.mode: hostNetwork"),
        ("trial", {"policy": {"existingConfigMap": "x"}}, "policy: inline and existingConfigMap exclude"),
    ],
)
def test_what_no_schema_can_say_is_refused_too(base: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        rendered(merged(CI[base], change))


@pytest.mark.parametrize(
    ("there", "here", "pattern"), [("prometheus", "rules", "*.y*ml"), ("grafana", "dashboards", "*.json")]
)
def test_rules_and_dashboards_are_those_of_deploy(there: str, here: str, pattern: str) -> None:
    source, taken = ROOT / "deploy" / there, CHART / "files" / here
    files = {file.name: file.read_bytes() for file in source.glob(pattern)}
    # a link, which Helm follows, also when it packs the chart
    assert {file.name: file.read_bytes() for file in taken.glob(pattern)} == files
    kind = "PrometheusRule" if here == "rules" else "ConfigMap"
    prefix = f"{FULL}-" if here == "rules" else f"{FULL}-dashboard-"
    objects = rendered(CI["loadbalancer"])
    for name, octets in files.items():
        stem = name.rpartition(".")[0].lower().removeprefix("mxgw-")
        found = one(objects, kind, prefix + stem)
        if here == "rules":
            assert found["spec"]["groups"] == yaml.safe_load(octets)["groups"]
        else:
            assert json.loads(found["data"][name]) == json.loads(octets)


def test_the_notes_say_what_to_do_next_and_what_should_not_stay_so() -> None:
    text = notes(CI["daemonset"])
    assert "kubectl -n mail rollout status daemonset/mx-mxgw\n" in text
    assert "helm -n mail test mx\n" in text
    assert "privileged" in text
    assert "WARNING" not in text
    trial = notes(CI["trial"])
    assert re.findall(r"(?m)^WARNING: (\S+ \S+)", trial) == ["secret.existingSecret is", "the bundled", "no certificate:"]
    hidden = {"exposure": {"mode": "loadBalancer", "externalTrafficPolicy": "Cluster"}}
    assert "do not see who their clients are" in notes(merged(CI["trial"], hidden))
    assert "redis.mode is none" in notes(merged(CI["trial"], {"redis": {"mode": "none"}}))
    assert "WARNING" not in notes(CI["loadbalancer"])
    assert "WARNING" not in notes(CI["proxy"])
    assert "keeps Prometheus out" in notes(merged(CI["proxy"], {"networkPolicy": {"metricsFrom": []}}))
    assert "keeps Prometheus out" not in notes(
        merged(CI["hostnetwork"], {"admin": {"address": "host"}, "metrics": {"podMonitor": {"enabled": True}}})
    )


def test_the_version_is_the_applications() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "(.+)"$', text)
    assert version
    assert load(CHART / "Chart.yaml")["appVersion"] == version[1]


def test_the_examples_are_not_packed(tmp_path: Path) -> None:
    with helm_python.Chart.load(CHART) as chart:
        names = {each["name"] for each in chart.files}
    assert "files/smtp_test.py" in names
    assert not [name for name in names if name.startswith(("ci/", "files/rules/tests/"))]
