"""Rules by the client's AS and country: written, tried as cases, and at both ends where the origin is unknown."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.cli.main import main
from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.policy.decide import decide
from gateway.policy.load import load_text
from gateway.policy.schema import policy_schema
from gateway.yamlfile import FaultsError

POLICY = """\
version: 1
checks: {asn: {ipv4_zone: origin.asn.example, ipv6_zone: origin6.asn.example}}
rules:
  - {id: partners, at: connect, when: {client.asn: AS64510}, then: accept, through: rcpt}
  - {id: bad-hosts, at: rcpt, when: {client.asn: [64496, AS64497]}, then: reject}
  - {id: far-away, at: rcpt, when: {client.country: [no, DE], spf: [none, neutral, policy, softfail, permerror, fail]}, then: defer}
outage: {dns: proceed}
"""
CASES = """\
cases:
  - {name: one of the AS, policy: origin, at: rcpt, findings: {asn: {asn: [64497]}}, expect: {verdict: reject, reason: blocked, rules: [bad-hosts]}}
  - {name: one of several origins, policy: origin, at: rcpt, findings: {asn: {asn: [64500, 64496]}}, expect: {verdict: reject}}
  - {name: a number without a list, policy: origin, at: rcpt, findings: {asn: {asn: 64496}}, expect: {verdict: reject}}
  - {name: another AS, policy: origin, at: rcpt, findings: {asn: {asn: [6449]}}, expect: {verdict: accept, rules: []}}
  - {name: nobody announces it, policy: origin, at: rcpt, findings: {asn: none}, expect: {verdict: accept, rules: []}}
  - {name: not asked, policy: origin, at: rcpt, expect: {verdict: accept, rules: []}}
  - {name: a partner's AS is no bad host, policy: origin, at: rcpt, findings: {asn: {asn: [64510, 64496]}}, expect: {verdict: accept, rules: [], cut: [bad-hosts]}}
  - {name: a country without SPF, policy: origin, at: rcpt, findings: {asn: {asn: [64500], country: [NO]}}, expect: {verdict: defer, rules: [far-away]}}
  - {name: a country with SPF, policy: origin, at: rcpt, findings: {asn: {asn: [64500], country: [NO]}, spf: pass}, expect: {verdict: accept}}
  - {name: an unknown origin refuses nobody, policy: origin, at: rcpt, findings: {asn: temperror}, expect: {verdict: accept, unknown: [asn]}}
"""


def test_cases_of_policy_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "origin.yaml").write_text(POLICY)
    (tmp_path / "cases.yaml").write_text(CASES)
    assert main(["policy", "test", str(tmp_path / "cases.yaml"), "--policy", str(tmp_path / "origin.yaml")]) == 0
    assert capsys.readouterr().out == "10 cases, 0 failed\n"


def _decided(rules: str, **findings: Finding) -> Verdict:
    head = "version: 1\nchecks: {asn: {ipv4_zone: origin.asn.example}}\noutage: {dns: quarantine}\nrules:\n"
    tx = Transaction("t", Connection("s", ip_address("192.0.2.1")), 0.0, findings=findings)
    return decide(tx, load_text(head + rules, "x").default, Phase.RCPT)


UNKNOWN = Finding.unknown("asn", Cause("dns", Why.TIMEOUT))
REFUSAL = "  - {id: bad, at: rcpt, when: {client.asn: 64496}, then: reject}\n"
FAVOUR = "  - {id: friend, at: rcpt, when: {client.asn: 64510}, then: accept}\n"
LISTED = '  - {id: listed, at: rcpt, when: {dnsbl.score: ">= 5"}, then: reject}\n'


def test_an_unknown_origin_that_would_matter_takes_the_posture() -> None:
    verdict = _decided(REFUSAL, asn=UNKNOWN)
    assert (verdict.action, verdict.unknown) == (Action.QUARANTINE, ("asn",))


def test_an_unknown_friend_who_is_listed_waits() -> None:
    listed = Finding("dnsbl", Outcome.FAIL, "listed", {"score": 9.0})
    verdict = _decided(FAVOUR + LISTED, asn=UNKNOWN, dnsbl=listed)
    assert (verdict.action, verdict.reason, verdict.unknown) == (Action.DEFER, "unknown", ("asn",))
    assert _decided(FAVOUR + LISTED, dnsbl=listed).action is Action.REJECT


def test_an_unknown_origin_that_no_rule_speaks_of_does_not_matter() -> None:
    assert _decided(LISTED, asn=UNKNOWN).unknown == ()


def test_spelling_does_not_change_the_digest() -> None:
    one, other = (
        load_text(POLICY.replace("[64496, AS64497]", numbers).replace("[no, DE]", countries), "x").digest
        for numbers, countries in (("[64496, AS64497]", "[no, DE]"), ('["64497", as64496]', "[de, NO]"))
    )
    assert one == other


def test_the_schema_says_the_same() -> None:
    jsonschema.validate(yaml.safe_load(POLICY.replace("[no,", '["no",')), policy_schema())
    wrong = yaml.safe_load(POLICY.replace("AS64510", "4294967296"))
    assert list(jsonschema.Draft202012Validator(policy_schema()).iter_errors(wrong))


def test_the_example_of_the_page_loads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    example = page.partition("## Rules by source\n\n```yaml\n")[2].partition("```")[0]
    assert len(load_text("version: 1\n" + example, "policy.md").default.rules) == 4


@pytest.mark.parametrize("off", ["{}", "{asn: {enabled: false, ipv4_zone: origin.asn.example}}"])
def test_a_rule_on_what_nobody_is_asked_about_is_a_fault(off: str) -> None:
    with pytest.raises(FaultsError, match=r"rules\[0\]\.when: nobody is asked for the client's origin"):
        load_text(f"version: 1\nchecks: {off}\nrules:\n{REFUSAL}", "x")
