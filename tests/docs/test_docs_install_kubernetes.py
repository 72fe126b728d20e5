"""docs/install-kubernetes.md: its values are rendered by Helm, held against Kubernetes' schemas and read by the node; what
its kubectl lines make and name is what the chart refers to and makes. There is no cluster here: kubectl, docker and the helm
program itself are not called."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helm"))

from certificates import Authority, key_pem, new_key  # noqa: E402
from chart import CHART, environment, load, merged, mounted, pod, rendered  # noqa: E402
from schemas import VERSIONS, faults  # noqa: E402

PAGE = ROOT / "docs" / "install-kubernetes.md"
RELEASE = "mxgw"


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))


def commands(program: str) -> list[list[str]]:
    found = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line]
    assert {words[0] for words in found} == {"docker", "kubectl", "helm"}
    return [words[1:] for words in found if words[0] == program]


def whole() -> list[dict[str, Any]]:
    """The blocks that are complete, and each again with the further values."""
    *complete, further = [yaml.safe_load(text) for text in blocks("yaml")]
    return [*complete, *(merged(each, further) for each in complete)]


@pytest.mark.parametrize("number", range(4))
def test_the_values_make_sound_objects_and_settings(number: int, tmp_path: Path) -> None:
    objects = rendered(whole()[number], release=RELEASE)
    for version in (VERSIONS[0], VERSIONS[-1]):
        assert [said for each in objects for said in faults(each, version)] == []
    key = new_key("ecdsa")
    files = {"tls.crt": Authority().leaf(key, "mx.example.net"), "tls.key": key_pem(key)}
    secrets = {(name, file): octets for name in ("mxgw-tls", "mxgw-tls") for file, octets in files.items()}
    words = {("mxgw-redis", "store"): "redis://127.0.0.1:9/0", ("mxgw-secret", "secret"): "a secret of the cluster"}
    settings = mounted(objects, tmp_path, secrets)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MXGW_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check-config", "--config", str(settings)],
        env={**clean, **environment(objects, words)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_reads_the_metrics_may() -> None:
    """A monitor whose reader the network policy keeps out is a target that is down."""
    *_, further = [yaml.safe_load(text) for text in blocks("yaml")]
    assert further["metrics"]["serviceMonitor"]["enabled"]
    for values in whole():
        objects = rendered(values, release=RELEASE)
        if any(each["kind"] == "ServiceMonitor" for each in objects):
            (policy,) = [each for each in objects if each["kind"] == "NetworkPolicy"]
            (admin,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "admin"]
            assert [each for each in admin["from"] if "namespaceSelector" in each]


def test_the_secrets_that_the_page_makes_are_those_that_the_pods_want() -> None:
    made: dict[str, set[str]] = {}
    for words in commands("kubectl"):
        if "secret" in words:
            kind, name = words[words.index("secret") + 1 :][:2]
            literals = {word.removeprefix("--from-literal=").partition("=")[0] for word in words if "literal" in word}
            made[name] = {"tls.crt", "tls.key"} if kind == "tls" else literals
    spec = pod(rendered(whole()[0], release=RELEASE))
    wanted = {volume["secret"]["secretName"]: {"tls.crt", "tls.key"} for volume in spec["volumes"] if "secret" in volume}
    for each in spec["containers"][0]["env"]:
        if reference := each.get("valueFrom", {}).get("secretKeyRef"):
            wanted[reference["name"]] = {reference["key"]}
    assert made == wanted


def test_the_page_names_what_there_is() -> None:
    names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in rendered(whole()[0], release=RELEASE)}
    named = {word for words in commands("kubectl") for word in words if word.startswith(("daemonset/", "deployment/"))}
    assert named == {"daemonset/mxgw"}
    assert named <= names
    for words in commands("helm"):
        assert RELEASE in words
        assert "mail" in words
        charts = [word for word in words if "/" in word]
        assert all(ROOT / chart == CHART for chart in charts)
    (build, push) = commands("docker")
    assert (ROOT / build[build.index("--file") + 1]).exists()
    image = build[build.index("--tag") + 1]
    assert push[-1] == image
    version = load(CHART / "Chart.yaml")["appVersion"]
    assert {f"{each['image']['repository']}:{version}" for each in whole()} == {image}
    labels = re.findall(r"kubectl label node edge-a (\S+)=(\w+)", PAGE.read_text(encoding="utf-8"))
    assert dict(labels) == whole()[0]["nodeSelector"]
