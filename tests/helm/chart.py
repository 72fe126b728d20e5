"""Rendering: ``rendered(CI["trial"])`` gives the objects. ``without``: keys with dots that are taken out of the values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "mxgw"
RELEASE, NAMESPACE = "mx", "mail"
FULL = f"{RELEASE}-mxgw"
Object = dict[str, Any]


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


CI = {path.name.removesuffix("-values.yaml"): load(path) for path in sorted((CHART / "ci").glob("*-values.yaml"))}


def merged(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm merges: mappings key by key, all else as a whole."""
    result = dict(values)
    for key, value in change.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return result


def rendered(values: Mapping[str, Any], chart: Path = CHART, release: str = RELEASE) -> list[Object]:
    """Every object. Raises helm_python.HelmError."""
    with helm_python.Chart.load(chart) as loaded:
        texts = loaded.render(dict(values), name=release, namespace=NAMESPACE)
    files = [text for name, text in texts.items() if not name.endswith("NOTES.txt")]
    return [found for text in files for found in yaml.safe_load_all(text) if found]


def notes(values: Mapping[str, Any]) -> str:
    """What Helm says after it has installed the chart."""
    with helm_python.Chart.load(CHART) as loaded:
        texts = loaded.render(dict(values), name=RELEASE, namespace=NAMESPACE)
    return texts["mxgw/templates/NOTES.txt"]


def one(objects: list[Object], kind: str, name: str = FULL) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def workload(objects: list[Object]) -> Object:
    """The DaemonSet or the Deployment of the nodes."""
    kinds = [each for each in objects if each["kind"] in ("DaemonSet", "Deployment")]
    (found,) = [each for each in kinds if each["metadata"]["labels"]["app.kubernetes.io/component"] == "node"]
    return found


def pod(objects: list[Object]) -> Object:
    found: Object = workload(objects)["spec"]["template"]["spec"]
    return found


def node_container(objects: list[Object]) -> Object:
    (found,) = [each for each in pod(objects)["containers"] if each["name"] == "mxgw"]
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    """The spec of every pod there would be."""
    found = {}
    for each in objects:
        if each["kind"] == "Pod":
            found[each["metadata"]["name"]] = each["spec"]
        elif "template" in each.get("spec", {}):
            found[each["metadata"]["name"]] = each["spec"]["template"]["spec"]
    return found


def environment(
    objects: list[Object], secrets: Mapping[tuple[str, str], str], node: str = "edge-a", host: str = "127.0.0.1"
) -> dict[str, str]:
    """The variables of the node's container as kubelet makes them. secrets: (Secret, key) -> value."""
    found: dict[str, str] = {}
    for each in node_container(objects)["env"]:
        source = each.get("valueFrom", {})
        if "fieldRef" in source:
            found[each["name"]] = {"spec.nodeName": node, "metadata.name": f"{FULL}-0", "status.hostIP": host}[
                source["fieldRef"]["fieldPath"]
            ]
        elif "secretKeyRef" in source:
            found[each["name"]] = secrets[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        else:
            found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], each["value"])
    return found


def mounted(
    objects: list[Object], folder: Path, secrets: Mapping[tuple[str, str], bytes], node: str = "edge-a"
) -> Path:
    """The node's files as kubelet mounts them, below ``folder``; paths in the settings are changed to match. Returns the
    settings file. secrets: (Secret, key) -> content; configMaps of others are found there too."""
    volumes = {each["name"]: each for each in pod(objects)["volumes"]}
    maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    for mount in node_container(objects)["volumeMounts"]:
        volume, place = volumes[mount["name"]], folder / mount["mountPath"].lstrip("/")
        if "emptyDir" in volume or "hostPath" in volume:
            place.mkdir(parents=True)
            continue
        assert mount["readOnly"]
        source = volume.get("configMap") or volume["secret"]
        name = source.get("name") or source["secretName"]
        content = {key: text.encode() for key, text in maps.get(name, {}).items()}
        content |= {key: octets for (each, key), octets in secrets.items() if each == name}
        if "items" in source:
            content = {item["path"]: content[item["key"]] for item in source["items"]}
        alone = mount.get("subPathExpr", mount.get("subPath", "")).replace("$(NODE_NAME)", node)
        place.parent.mkdir(parents=True, exist_ok=True)
        if alone:
            place.write_bytes(content[alone])
        else:
            place.mkdir()
            for key, octets in content.items():
                (place / key).write_bytes(octets)
    settings = folder / "etc" / "mxgw" / "gateway.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(re.sub(r"(?<= )/(etc/mxgw|var/lib/mxgw|tmp)", rf"{folder}/\1", text), encoding="utf-8")
    return settings
