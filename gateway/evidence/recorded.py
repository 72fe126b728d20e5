"""From a decision record back to values: transaction, findings and verdict, as far as the record holds them.

Known gaps: a record has the findings of one recipient (the last one); the verb of the hello is taken for EHLO.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from gateway.mail.address import NULL, AddressError, Mailbox, parse_mailbox
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Fact, Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Hello, Tls, Transaction
from gateway.mail.verdict import Action, RuleHit, Verdict

_ACTIONS = {action.word: action for action in Action}


class NotReplayable(Exception):
    """The record does not hold what a policy would need; ``why`` is one of :data:`WHY`."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(WHY[why])


WHY: Mapping[str, str] = MappingProxyType(
    {
        "truncated": "the findings were left out, since the record was too big",
        "no-verdict": "the client left before anything was decided",
        "not-policy": "the protocol, a limit or the routes decided, not the policy",
        "unreadable": "not a decision record that this version can read",
        "not-reproduced": "the policy that decided says something else of the recorded findings",
    }
)
"""Why a recorded decision cannot be replayed -> in words."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of what. policy: the first digits of its digest. time: seconds since 1970."""

    tx: Transaction
    phase: Phase
    verdict: Verdict
    policy: str
    time: float


def decision_of(record: Mapping[str, Any]) -> Decision:
    """Raises NotReplayable."""
    try:
        if record.get("truncated") or "findings" not in record:
            raise NotReplayable("truncated")
        if record["verdict"] == "none":
            raise NotReplayable("no-verdict")
        verdict = verdict_of(record)
        if verdict.action >= Action.DEFER and not verdict.because and not verdict.unknown:
            raise NotReplayable("not-policy")
        tx, phase = _transaction(record)
        return Decision(tx, phase, verdict, str(record.get("policy", "")), tx.now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # AddressError is a ValueError
        raise NotReplayable("unreadable") from error


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """The recorded verdict. Raises KeyError, TypeError, AttributeError."""
    reason = str(record["reason"])
    hits = tuple(
        RuleHit(str(rule["id"]), _ACTIONS[rule["then"]], reason, bool(rule.get("cut"))) for rule in record["rules"]
    )
    unknown = tuple(map(str, record.get("unknown", ())))
    return Verdict(_ACTIONS[record["verdict"]], reason, hits, unknown, bool(record.get("enforced", True)))


def finding_of(check: str, said: Mapping[str, Any]) -> Finding:
    """A finding from ``evidence.record.finding_json``. Raises KeyError, TypeError, ValueError."""
    outcome, reason = Outcome(said["outcome"]), str(said["reason"])
    evidence = {name: _fact(value) for name, value in said.get("evidence", {}).items()}
    cause = (
        Cause(said["cause"]["port"], Why(said["cause"]["why"]), said["cause"]["detail"]) if "cause" in said else None
    )
    if "signatures" not in said:
        return Finding(check, outcome, reason, evidence, cause)
    signatures = tuple(
        DkimSignature(**{**signature, "outcome": Outcome(signature["outcome"])}) for signature in said["signatures"]
    )
    return DkimFinding(check, outcome, reason, evidence, cause, signatures)


def _fact(value: Any) -> Fact:
    if isinstance(value, list):
        return tuple(map(str, value))
    if isinstance(value, str | int | float | bool):
        return value
    raise ValueError("not a fact")


def seconds_of(timestamp: str) -> float:
    """A record's ``time``, in seconds since 1970. Raises ValueError."""
    return datetime.fromisoformat(timestamp).timestamp()


def _transaction(record: Mapping[str, Any]) -> tuple[Transaction, Phase]:
    version, _, cipher = str(record.get("tls", "")).partition("/")
    connection = Connection(
        session_id=str(record["sid"]),
        client_ip=ip_address(record["client_ip"]),
        client_known=bool(record.get("client_known", True)),
        tls=Tls(version, cipher) if version else None,
    )
    envelope, rcpt, phase = _envelope(record)
    return Transaction(
        id=str(record["qid"]),
        connection=connection,
        now=seconds_of(record["time"]),
        hello=Hello("EHLO", record["helo"]) if record["helo"] else None,
        envelope=envelope,
        rcpt=rcpt,
        findings={name: finding_of(name, said) for name, said in record["findings"].items()},
        policy_digest=str(record.get("policy", "")),
    ), phase


def _envelope(record: Mapping[str, Any]) -> tuple[Envelope | None, Mailbox | None, Phase]:
    if record["event"] != "transaction":
        return None, None, Phase.HELO if record["helo"] else Phase.CONNECT
    path = _mailbox(record["from"]) if record["from"] else NULL
    envelope = Envelope(path, tuple(map(_mailbox, record["rcpt"])))
    if "size" in record:
        return envelope, None, Phase.CONTENT
    if record["rcpts"]:
        # nobody was accepted, or the client left: the last recipient is the one whose findings are here
        return envelope, _mailbox(record["rcpts"][-1]["address"]), Phase.RCPT
    return envelope, None, Phase.MAIL


def _mailbox(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise ValueError(str(error)) from error
