"""Read ``gateway.yaml``, the ``MXGW_`` variables and the file ``environment`` beside it; report everything that is
wrong in one go, with line and remedy.

Known gaps: nothing is asked over the network here; a mailstore that is down is no fault of the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic

from gateway.config.admin_section import admin_faults
from gateway.config.arc_section import read_key
from gateway.config.environment_file import EnvironmentFile, read_environment
from gateway.config.mailstore_entry import pem_faults
from gateway.config.masking import masked
from gateway.config.model import Settings
from gateway.config.place import split_address
from gateway.delivery.recipients_list import read_list
from gateway.yamlfile import Document, Fault, FaultsError, dotted, faults_from, read

SCALARS = (
    *("hostname", "node", "authserv_id", "store", "policy", "state_dir", "spool_dir", "workers", "header_prefix"),
    "secret",
    # of each host its own, where hosts share one settings file
    "admin.address",
)
"""Keys that an environment variable ``MXGW_<KEY>`` overrides, a dot written as an underscore."""

_REMEDIES = {
    "routes": "name at least one route: domains and mailstore",
    "mailstore": "say where the mail of these domains goes, such as smtp://10.1.0.5:25",
    "domains": "name the recipient domains of this route",
    "address": "write it like 0.0.0.0:25 or [::]:25",
    "trusted": "name the balancers' networks, such as 10.0.0.0/8",
    "store": "write it like redis://10.2.0.7:6379/0, or leave it out for sqlite in state_dir",
    "hostname": "give the full name that the address of this node resolves to",
    "node": "give a name that no other node has, such as mx1",
    "authserv_id": "give a domain name, the same on all nodes",
    "certificate": "give the PEM file of the chain",
    "key": "give the PEM file of the private key",
    "ciphers": "write it as `openssl ciphers` takes it, such as ECDHE+AESGCM, or leave it out",
    "header_prefix": "write it like X-Gateway-",
    "secret": "use 16 characters or more",
    "servers": "write it like 127.0.0.1:53",
}
_SHOWN_VALUE = re.compile(r", not (?:'[^']*'|\"[^\"]*\"|\S+)$")


def variable(key: str) -> str:
    """The name of the variable that overrides this key of ``SCALARS``."""
    return f"MXGW_{key.upper().replace('.', '_')}"


def load_settings(path: Path, environ: Mapping[str, str], *, node: bool = False) -> Settings:
    """The settings of a node, complete and checked.

    path: the settings file; relative paths inside are relative to its folder. environ: ``MXGW_<KEY>`` overrides the
    keys of ``SCALARS``; an empty variable counts as absent, and then the one in the file ``environment`` of that
    folder is taken. node: for the node itself, whose unit has read that file, so that one it cannot read is no fault.
    Raises FaultsError with every fault at once.
    """
    document = read(path)
    if not isinstance(document.data, dict):
        raise FaultsError([Fault(document.file, 1, "", "must hold keys and values", "write `routes:` and so on")])
    data = dict(document.data)
    folder = path.absolute().parent
    beside = read_environment(folder)
    variables = _variables(environ, beside)
    warnings = _beside_warnings(environ, beside, node)
    faults: list[Fault] = []
    for key, (value, place, line) in variables.items():
        if not _is_text(value):
            faults.append(Fault(place, line, key, "is not UTF-8 text", "write it in UTF-8"))
            continue
        section, _, last = key.rpartition(".")
        inner = data.get(section) or {}
        if not section:
            data[key] = value
        elif isinstance(inner, dict):
            data[section] = {**inner, last: value}
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(data, context={"folder": folder})
    except pydantic.ValidationError as error:
        faults += faults_from(error, document, _REMEDIES, model=Settings)
    faults += _cross_faults(document, data, folder)
    faults = [_told(fault, variables) for fault in faults]
    if faults or settings is None:
        raise FaultsError(faults)
    return settings.with_origin(_origins(settings, document, path.name, variables), warnings)


def _variables(environ: Mapping[str, str], beside: EnvironmentFile) -> dict[str, tuple[str, str, int]]:
    """Key -> value, and where it stands: the variable's name and 0, or a file and its line."""
    # other MXGW_ names are let be: Kubernetes makes MXGW_PORT and more for a service of our name
    names = {key: variable(key) for key in SCALARS}
    given = {key: (environ[name], name, 0) for key, name in names.items() if environ.get(name)}
    there = {key: beside.variables[name] for key, name in names.items() if name in beside.variables}
    found = {key: (value, str(beside.path), line) for key, (value, line) in there.items() if value}
    return {**found, **given}


def _beside_warnings(environ: Mapping[str, str], beside: EnvironmentFile, node: bool) -> tuple[str, ...]:
    """What to say of the file ``environment``. Raises FaultsError where a command needs what it cannot read."""
    if beside.bare:
        return (f"secret: every user can read {beside.path}; chgrp mxgw and chmod 0640 it",)
    if beside.fault is None:
        return ()
    given = [bool(environ.get(variable(key))) for key in ("store", "secret")]
    # one of the two alone shows that a node's unit has read the file as root, and nothing in a shell
    if all(given) or (node and any(given)):
        return ()
    if node:
        return (f"{beside.path} {beside.fault.problem}; nothing in it is known here",)
    raise FaultsError([beside.fault])


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _told(fault: Fault, variables: Mapping[str, tuple[str, str, int]]) -> Fault:
    """The fault with the variable named as its file where the value came from there, one remedy, and no password."""
    problem, remedy = fault.problem, fault.remedy
    if fault.key == "secret" or "; " in problem:
        problem = _SHOWN_VALUE.sub("", problem)
    if "; " in problem:
        # a URL's own text knows better what to write than the table does
        problem, _, remedy = problem.partition("; ")
    fault = replace(fault, problem=masked(problem), remedy=masked(remedy))
    if fault.key not in variables or fault.problem == "unknown key":
        return fault
    _, file, line = variables[fault.key]
    return replace(fault, file=file, line=line)


def _origins(
    settings: Settings, document: Document, file: str, variables: Mapping[str, tuple[str, str, int]]
) -> dict[str, str]:
    origins: dict[str, str] = {}
    for path in _leaves(settings.model_dump(mode="json"), ()):
        key = dotted(path)
        known = document.known(path)
        if key in variables:
            _, place, line = variables[key]
            origins[key] = f"{Path(place).name}:{line}" if line else place
        elif known == path or (known == path[:-1] and isinstance(path[-1], int)):
            # the latter: one mailstore, written without the brackets of a list
            origins[key] = f"{file}:{document.line(path)}"
        else:
            origins[key] = "default"
    return origins


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for n, inner in enumerate(value):
            yield from _leaves(inner, (*path, n))
    else:
        yield path


def _cross_faults(document: Document, data: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """What one key alone does not show; works on raw data, so that it also runs where a model was refused."""
    yield from _listener_faults(document, data)
    yield from _route_faults(document, data)
    yield from _tls_faults(document, data.get("tls"), folder)
    for key, problem, remedy in admin_faults(data.get("admin"), folder):
        yield document.fault(("admin", key), problem, remedy)
    yield from _arc_faults(document, data, folder)
    yield from _folder_faults(document, data, folder)
    yield from _recipient_faults(document, data, folder)
    for n, route in _sections(data, "routes"):
        for problem, remedy in pem_faults(route.get("mailstore"), folder):
            yield document.fault(("routes", n, "mailstore"), problem, remedy)
    policy = data.get("policy")
    if isinstance(policy, str) and policy:
        yield from _policy_faults(document, policy, folder / policy)


def _sections(data: Mapping[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    value = data.get(key)
    if isinstance(value, list):
        yield from ((n, item) for n, item in enumerate(value) if isinstance(item, dict))


def _listener_faults(document: Document, data: Mapping[str, Any]) -> Iterator[Fault]:
    seen: dict[tuple[str, int], int] = {}
    admin = data.get("admin")
    places = [(("listeners", n, "address"), item.get("address")) for n, item in _sections(data, "listeners")]
    if isinstance(admin, dict):
        places.append((("admin", "address"), admin.get("address")))  # type: ignore[arg-type]
    if isinstance(policy_host := data.get("mta_sts"), dict) and "address" in policy_host:
        places.append((("mta_sts", "address"), policy_host["address"]))  # type: ignore[arg-type]
    for path, text in places:
        try:
            place = split_address(str(text))
        except ValueError:
            continue  # the model has said so
        if place in seen and place[1]:
            yield document.fault(path, f"{text} is taken by line {seen[place]}", "give each listener its own port")
        seen.setdefault(place, document.line(path))


def _route_faults(document: Document, data: Mapping[str, Any]) -> Iterator[Fault]:
    domains: dict[str, int] = {}
    names: dict[str, int] = {}
    for n, route in _sections(data, "routes"):
        listed = route.get("domains")
        for m, domain in enumerate(listed if isinstance(listed, list) else []):
            path = ("routes", n, "domains", m)
            key = str(domain).lower()
            if key in domains:
                yield document.fault(path, f"'{domain}' is routed by line {domains[key]} too", "keep it in one route")
            domains.setdefault(key, document.line(path))
        name = route.get("name")
        if name and name in names:
            yield document.fault(("routes", n, "name"), f"'{name}' is the name of line {names[name]} too", "rename one")
        if isinstance(name, str):
            names.setdefault(name, document.line(("routes", n, "name")))


def _recipient_faults(document: Document, data: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    for n, route in _sections(data, "routes"):
        recipients = route.get("recipients")
        written = recipients.get("file") if isinstance(recipients, dict) else None
        if not isinstance(written, str):
            continue
        if not (folder / written).is_file():
            path = ("routes", n, "recipients", "file")
            yield document.fault(path, f"there is no file '{written}'", "make it: one address or @domain a line")
            continue
        try:
            read_list(folder / written)
        except FaultsError as error:
            yield from error.faults


def _tls_faults(document: Document, tls: object, folder: Path) -> Iterator[Fault]:
    if not isinstance(tls, dict):
        return
    from gateway.config.certificate import file_faults  # cryptography is slow to import

    places: list[tuple[tuple[str | int, ...], Mapping[str, Any]]] = [(("tls",), tls)]
    places += [(("tls", "certificates", n), pair) for n, pair in _sections(tls, "certificates")]
    for path, pair in places:
        files = {key: folder / pair[key] for key in ("certificate", "key") if isinstance(pair.get(key), str)}
        for key, problem, remedy in file_faults(files):
            yield document.fault((*path, key), problem, remedy)
    if isinstance(tls.get("next_key"), str):
        for _, problem, remedy in file_faults({"key": folder / tls["next_key"]}):
            yield document.fault(("tls", "next_key"), problem, remedy)


def _arc_faults(document: Document, data: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    arc = data.get("arc")
    section = arc.get("seal") if isinstance(arc, dict) else None
    if not isinstance(section, dict) or not isinstance(section.get("key"), str):
        return
    try:
        read_key(folder / section["key"])
    except ValueError as error:
        yield document.fault(("arc", "seal", "key"), str(error), "make one: openssl genrsa -out arc.key 2048")


def _folder_faults(document: Document, data: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    for key in ("state_dir", "spool_dir"):
        value = data.get(key, "/var/lib/mxgw" if key == "state_dir" else "")
        if not isinstance(value, str) or not value:
            continue
        place = folder / value
        there = next((parent for parent in (place, *place.parents) if parent.exists()), Path("/"))
        if not there.is_dir():
            yield document.fault((key,), f"{there} is not a folder", "name a folder, or one that can be made")
        elif not os.access(there, os.W_OK | os.X_OK):
            yield document.fault(
                (key,), f"{there} cannot be written to", f"give this user rights there, or change {key}"
            )


def _policy_faults(document: Document, written: str, path: Path) -> Iterator[Fault]:
    if not path.is_file():
        yield document.fault(
            ("policy",), f"there is no file '{written}'", "correct the path, or leave it out for the default"
        )
        return
    from gateway.policy.load import load  # the policy's parser is needed by few commands

    try:
        load(path)
    except FaultsError as error:
        yield from error.faults
