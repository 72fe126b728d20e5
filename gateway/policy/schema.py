"""The form of a policy file as pydantic models, and its JSON Schema for editors.

Only the form: what a rule may say, and in which direction, is judged by ``policy.load`` against the vocabulary.

Known gaps: the schema does not know phases and directions; the loader does.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.mail.phase import Phase
from gateway.mail.reply import REPLIES
from gateway.policy.model import Mode, Posture
from gateway.policy.settings import ChecksSettings, ContentSettings
from gateway.policy.vocabulary import SUBJECTS, VOCABULARY

_ITEMS: dict[str, dict[str, Any]] = {
    "client.asn": {"type": ["integer", "string"], "minimum": 0, "maximum": 2**32 - 1, "pattern": "^([Aa][Ss])?[0-9]+$"},
    "client.country": {"type": "string", "pattern": "^[A-Za-z]{2}$"},
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleForm(_Section):
    """One rule: where it stands, what it asks, what it wants."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="lower-case letters, digits, hyphens")
    at: Phase
    when: dict[str, Any] = Field(min_length=1, description="conditions, all of which must hold")
    then: Literal["accept", "quarantine", "defer", "reject"]
    reason: str | None = Field(None, description="key of the reply table")
    through: Phase | None = Field(None, description="accept only: the last phase whose hits it takes out; default: at")
    firm: bool = Field(False, description="no accept rule takes it out")


class OutageForm(_Section):
    """What to do where a missing answer would have decided, by port; ``checks`` overrides for single checks."""

    dns: Posture | None = None
    store: Posture | None = None
    mailstore: Posture | None = None
    checks: dict[str, Posture] = Field(default_factory=dict)


class ProfileForm(_Section):
    """What differs for some recipient domains."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    domains: tuple[str, ...] = Field(min_length=1, description="example.org or *.example.org")
    mode: Mode | None = None
    disable: tuple[str, ...] = Field((), description="ids of rules that do not count here")
    checks: dict[str, Any] = Field(default_factory=dict, description="only the settings that differ")
    outage: OutageForm = OutageForm()
    content: ContentSettings | None = None


class PolicyForm(_Section):
    """A policy file."""

    version: Literal[1]
    mode: Mode = Mode.ENFORCE
    checks: ChecksSettings = ChecksSettings()
    content: ContentSettings = ContentSettings()
    rules: tuple[RuleForm, ...] = ()
    outage: OutageForm = OutageForm()
    profiles: tuple[ProfileForm, ...] = ()


def policy_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a policy file; published as docs/policy.schema.json."""
    schema = PolicyForm.model_json_schema()
    rule = schema["$defs"]["RuleForm"]["properties"]
    rule["when"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "description": "conditions, all of which must hold",
        "properties": _conditions(),
    }
    rule["reason"] = {"enum": sorted(REPLIES), "description": "key of the reply table"}
    checks = schema["$defs"]["ChecksSettings"]["properties"]
    schema["$defs"]["ProfileForm"]["properties"]["checks"] = {
        "type": "object",
        "additionalProperties": False,
        "description": "only the settings that differ",
        "properties": {name: {"type": "object"} for name in checks},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "mxgw-policy",
        "title": "mxgw policy",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _conditions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for check, words in VOCABULARY.items():
        found[check] = _one_or_more({"enum": [outcome.value for outcome in words.outcomes]})
        for fact, kind in words.facts.items():
            if kind.is_number:
                found[f"{check}.{fact}"] = {"type": "string", "pattern": r"^(>=|<=|>|<) *-?[0-9]+(\.[0-9]+)?$"}
            else:
                found[f"{check}.{fact}"] = _one_or_more({"enum": list(kind.values)})
            found[f"{check}.{fact}"]["description"] = kind.meaning
    for subject in SUBJECTS:
        found[subject] = _one_or_more(_ITEMS.get(subject, {"type": "string"}))
    found["tls"] = {"type": "boolean"}
    return found


def _one_or_more(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
