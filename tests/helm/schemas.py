"""Kubernetes' own JSON schemas, strict (unknown fields are faults), and those of the two operators' objects."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

FOLDER = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
OLDEST = (1, 29)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


_THERE = {folder.name.partition("-")[0].removeprefix("v") for folder in FOLDER.glob("v*-local-strict")}
VERSIONS = sorted((version for version in _THERE if _number(version) >= OLDEST), key=_number)
OPERATORS = Path(__file__).parent / "crd"
FOREIGN = {"monitoring.coreos.com/v1", "cert-manager.io/v1"}


@functools.cache
def _registry(version: str) -> Any:
    definitions = json.loads((FOLDER / f"v{version}-local-strict" / "_definitions.json").read_bytes())
    return Resource.from_contents(definitions) @ Registry()


@functools.cache
def _validator(version: str, kind: str, group: str) -> Any:
    name = re.sub(r"^([^./]*)(?:[.][^/]*)?/", r"\1-", group)
    file = FOLDER / f"v{version}-local-strict" / f"{kind.lower()}-{name}.json"
    schema = json.loads(file.read_bytes())
    registry = Resource.from_contents(schema) @ _registry(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def faults(each: dict[str, Any], version: str) -> list[str]:
    """What the schema of that version says against an object."""
    own = OPERATORS / f"{each['kind'].lower()}.json"
    if each["apiVersion"] in FOREIGN:
        validator = jsonschema.Draft202012Validator(json.loads(own.read_bytes()))
    else:
        validator = _validator(version, each["kind"], each["apiVersion"])
    found = validator.iter_errors(each)
    return [f"{'.'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in found]
