"""Packaged policies, their cases, refused policies, schema and digest.

Run with MXGW_UPDATE=1 to rewrite docs/policy.schema.json.

Known gaps: none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.checks import CHECKS
from gateway.policy.casefile import run_cases
from gateway.policy.load import load, load_packaged, load_text
from gateway.policy.schema import policy_schema
from gateway.policy.vocabulary import VOCABULARY
from gateway.yamlfile import FaultsError

ROOT = Path(__file__).parents[2]
NAMES = ("default", "observe", "strict")
SCHEMA = ROOT / "docs" / "policy.schema.json"
BAD = sorted((ROOT / "tests" / "bad_policy").iterdir())
BASE = "version: 1\nrules:\n  - {id: a, at: rcpt, when: {recipient: fail, spf: fail}, then: reject}\n"


def test_every_case_of_the_packaged_policies_holds() -> None:
    results = run_cases(ROOT / "policies" / "cases", {name: load_packaged(name) for name in NAMES})
    assert len(results) >= 25
    assert [str(result) for result in results if not result.passed] == []


@pytest.mark.parametrize("name", NAMES)
def test_packaged_policy_is_the_file_at_the_top(name: str) -> None:
    assert load_packaged(name).digest == load(ROOT / "policies" / f"{name}.yaml").digest


def test_observe_is_default_with_another_mode() -> None:
    default, observe = load_packaged("default").default, load_packaged("observe").default
    assert (default.rules, default.posture, default.checks) == (observe.rules, observe.posture, observe.checks)


@pytest.mark.parametrize("folder", BAD, ids=lambda folder: folder.name)
def test_bad_policy_is_refused_with_all_its_faults(folder: Path) -> None:
    with pytest.raises(FaultsError) as caught:
        load_text((folder / "policy.yaml").read_text(), "policy.yaml")
    assert "\n".join(map(str, caught.value.faults)) + "\n" == (folder / "expected").read_text()


def test_missing_policy_file_is_a_fault_and_no_traceback() -> None:
    with pytest.raises(FaultsError) as caught:
        load(Path("/nonexistent/policy.yaml"))
    assert caught.value.faults[0].line == 0


def test_vocabulary_knows_every_check_its_phase_and_port() -> None:
    first = {check.name: check for check in reversed(CHECKS)}
    assert {name: (check.phase, check.port) for name, check in first.items()} == {
        name: (words.phase, words.port) for name, words in VOCABULARY.items()
    }


def test_published_schema_is_current_and_fits_the_policies() -> None:
    text = json.dumps(policy_schema(), indent=2, sort_keys=True) + "\n"
    if os.environ.get("MXGW_UPDATE"):
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text
    for name in NAMES:
        jsonschema.validate(yaml.safe_load((ROOT / "policies" / f"{name}.yaml").read_text()), policy_schema())


@pytest.mark.parametrize(
    "same",
    [
        "# comment\n" + BASE,
        BASE.replace("recipient: fail, spf: fail", "spf: [fail], recipient: fail"),
        BASE + "mode: enforce\noutage: {dns: proceed}\n",
    ],
)
def test_digest_ignores_spelling(same: str) -> None:
    assert load_text(same, "x").digest == load_text(BASE, "y").digest


def test_digest_sees_what_decides() -> None:
    assert load_text(BASE + "outage: {dns: defer}\n", "x").digest != load_text(BASE, "x").digest


def test_profile_overrides_only_what_it_names() -> None:
    text = BASE + (
        "checks: {greylist: {mode: all, delay: 5}}\noutage: {dns: defer, checks: {spf: quarantine}}\n"
        "profiles:\n  - {name: p, domains: ['*.Example.org'], mode: observe, disable: [a],"
        " checks: {greylist: {mode: off}}, outage: {checks: {dkim: proceed}}}\n"
    )
    profile = load_text(text, "x").for_domain("sub.example.org")
    assert (profile.name, profile.mode.value, profile.rules) == ("p", "observe", ())
    assert (profile.checks.greylist.mode, profile.checks.greylist.delay) == ("off", 5)
    assert [profile.posture[check].value for check in ("spf", "dkim", "dmarc")] == ["quarantine", "proceed", "defer"]
