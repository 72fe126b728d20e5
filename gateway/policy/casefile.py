"""Policy cases: facts in, verdict out, in files a postmaster can read and extend (``mxgw policy test``).

A case names a policy, a phase, what is known of the transaction, the findings and what is expected::

    - name: a spoofed bank is refused
      policy: default
      at: content
      findings: {spf: fail, dmarc: {outcome: fail, policy: reject}}
      expect: {verdict: reject, reason: auth-policy, rules: [dmarc-reject]}

Known gaps: a case has no content; what checks would find in it stands under findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from gateway.mail.address import NULL, AddressError, Mailbox, parse_mailbox
from gateway.mail.finding import Cause, Fact, Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Hello, Tls, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.policy.decide import decide
from gateway.policy.model import Policy
from gateway.policy.vocabulary import VOCABULARY
from gateway.yamlfile import Document, Fault, FaultsError, did_you_mean, faults_from, read


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Expected(_Form):
    verdict: Literal["accept", "quarantine", "defer", "reject"]
    reason: str | None = None
    rules: tuple[str, ...] | None = None
    cut: tuple[str, ...] | None = None
    unknown: tuple[str, ...] | None = None
    enforced: bool | None = None


class _Case(_Form):
    name: str
    policy: str = "default"
    at: Phase
    client: pydantic.IPvAnyAddress = Field(default_factory=lambda: ip_address("203.0.113.9"))
    client_known: bool = True
    helo: str = "client.example"
    tls: bool = False
    reverse_path: str = "author@sender.example"
    recipient: str = "user@example.com"
    findings: dict[str, Outcome | dict[str, Any]] = Field(default_factory=dict)
    expect: _Expected


class _Cases(_Form):
    cases: tuple[_Case, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case: where it stands, its name, and each difference from what was expected (none: it passed)."""

    file: str
    line: int
    name: str
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True where the verdict is the expected one."""
        return not self.differences

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name}: {'; '.join(self.differences) or 'ok'}"


def run_cases(directory: Path, policies: Mapping[str, Policy]) -> list[CaseResult]:
    """Run all ``*.yaml`` of a folder in the order of their names. Raises FaultsError."""
    return run_case_files(sorted(directory.glob("*.yaml")), policies)


def run_case_files(paths: Iterable[Path], policies: Mapping[str, Policy]) -> list[CaseResult]:
    """Run case files against policies by name. Raises FaultsError for files that are no case files."""
    results: list[CaseResult] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            results += _run_file(read(path), policies)
        except FaultsError as error:
            faults += error.faults
    if faults:
        raise FaultsError(faults)
    return results


def _run_file(document: Document, policies: Mapping[str, Policy]) -> list[CaseResult]:
    try:
        form = _Cases.model_validate(document.data)
    except pydantic.ValidationError as error:
        raise FaultsError(faults_from(error, document, model=_Cases)) from error
    results: list[CaseResult] = []
    faults: list[Fault] = []
    for number, case in enumerate(form.cases):
        path = ("cases", number)
        for check in case.findings:
            if check not in VOCABULARY:
                remedy = did_you_mean(check, list(VOCABULARY))
                faults.append(document.fault((*path, "findings", check), "is not a check", remedy))
        if case.policy not in policies:
            remedy = did_you_mean(case.policy, list(policies))
            faults.append(document.fault((*path, "policy"), f"there is no policy '{case.policy}'", remedy))
        if faults:
            continue
        try:
            tx = _transaction(case)
        except (AddressError, ValueError) as error:
            faults.append(document.fault(path, str(error)))
            continue
        profile = policies[case.policy].for_domain(parse_mailbox(case.recipient).domain)
        verdict = decide(tx, profile, case.at)
        differences = _differences(case.expect, verdict)
        results.append(CaseResult(document.file, document.line(path), case.name, differences))
    if faults:
        raise FaultsError(faults)
    return results


def _transaction(case: _Case) -> Transaction:
    recipient = parse_mailbox(case.recipient)
    envelope: Envelope | None = None
    if case.at.order >= Phase.MAIL.order:
        reverse_path = NULL if case.reverse_path in ("", "<>") else parse_mailbox(case.reverse_path)
        recipients: tuple[Mailbox, ...] = (recipient,) if case.at is Phase.CONTENT else ()
        envelope = Envelope(reverse_path, recipients)
    tls = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384") if case.tls else None
    return Transaction(
        id="case",
        connection=Connection("case", case.client, client_known=case.client_known, tls=tls),
        now=0.0,
        hello=Hello("EHLO", case.helo) if case.at is not Phase.CONNECT else None,
        envelope=envelope,
        rcpt=recipient if case.at is Phase.RCPT else None,
        findings={check: _finding(check, given) for check, given in case.findings.items()},
    )


def _finding(check: str, given: Outcome | dict[str, Any]) -> Finding:
    if isinstance(given, Outcome):
        outcome, evidence = given, {}
    else:
        outcome = Outcome(str(given.get("outcome", "none")))
        evidence = {name: _fact(value) for name, value in given.items() if name != "outcome"}
    if outcome is Outcome.TEMPERROR:
        return Finding.unknown(check, Cause(VOCABULARY[check].port or check, Why.TIMEOUT), evidence)
    return Finding(check, outcome, "case", evidence)


def _fact(value: object) -> Fact:
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    raise ValueError(f"{value!r} is not a fact")


def _differences(expected: _Expected, verdict: Verdict) -> tuple[str, ...]:
    fired = tuple(hit.rule for hit in verdict.because if not hit.cut and hit.action is not Action.ACCEPT)
    cut = tuple(hit.rule for hit in verdict.because if hit.cut)
    compared: Sequence[tuple[str, object, object]] = (
        ("verdict", expected.verdict, verdict.action.word),
        ("reason", expected.reason, verdict.reason),
        ("rules", expected.rules, fired),
        ("cut", expected.cut, cut),
        ("unknown", expected.unknown, verdict.unknown),
        ("enforced", expected.enforced, verdict.enforced),
    )
    return tuple(
        f"{what} is {_shown(got)}, expected {_shown(wanted)}"
        for what, wanted, got in compared
        if wanted is not None and wanted != got
    )


def _shown(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value).lower()
