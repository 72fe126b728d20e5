"""What two policies differ in, line by line, by what decides and not by how the file is written.

Known gaps: conditions of rules are shown by their values, not as the file has them.
"""

from __future__ import annotations

from typing import Any

from gateway.policy.load import form_of
from gateway.policy.model import Policy, Profile


def differences(before: Policy, after: Policy) -> list[str]:
    """One line each: ``+`` only in ``after``, ``-`` only in ``before``, ``~`` changed. Empty: they decide alike."""
    lines: list[str] = []
    one, other = (_profiles(policy) for policy in (before, after))
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            lines.append(f"{'+' if name in other else '-'} profile {name}")
            continue
        prefix = "" if name == "default" else f"{name}: "
        lines += [line[:2] + prefix + line[2:] for line in _profile(one[name], other[name])]
    return lines


def _profiles(policy: Policy) -> dict[str, Profile]:
    return {profile.name: profile for profile in (policy.default, *policy.profiles)}


def _profile(before: Profile, after: Profile) -> list[str]:
    one, other = form_of(before), form_of(after)
    rules = _rules(one.pop("rules")), _rules(other.pop("rules"))
    lines = []
    for rule in sorted(rules[0].keys() | rules[1].keys()):
        old, new = (found.get(rule) for found in rules)
        if old is None or new is None:
            lines.append(f"{'+' if new else '-'} rule {rule}: {(new or old or {})['then']}")
            continue
        for key in old:
            if old[key] != new[key]:
                lines.append(f"~ rule {rule}.{key}: {_shown(old[key])} -> {_shown(new[key])}")
    common = [[rule for rule in found if rule in rules[0] and rule in rules[1]] for found in rules]
    if common[0] != common[1]:
        lines.append("~ the order of rules")
    flat = _flat(one), _flat(other)
    for key in sorted(flat[0].keys() | flat[1].keys()):
        if flat[0].get(key) != flat[1].get(key):
            lines.append(f"~ {key}: {_shown(flat[0].get(key))} -> {_shown(flat[1].get(key))}")
    return lines


def _rules(found: Any) -> dict[str, dict[str, Any]]:
    return {rule["id"]: rule for rule in found}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{path}.{key}" if path else str(key))
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value)
