"""The decision record: one JSON object a transaction, enough to explain it and to decide it again.

Fields follow docs/decision-record.md; free text stands in ``detail`` fields, closed words in all others. Nothing of
the content but its size and Message-ID is ever recorded.

Known gaps: DNS answers are not in the record, so a replay needs the findings, which are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gateway.mail.disposition import disposition
from gateway.mail.finding import DkimFinding, Finding
from gateway.mail.reply import Reply
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Verdict
from gateway.ports.mailstore import DeliveryResult

SCHEMA = "mxgw/v1/transaction"
REFUSALS: Final = 20
"""So many refusals of the protocol itself are told in one record; a session ends soon after."""


@dataclass(slots=True)
class RecipientOutcome:
    """One RCPT: the address as given, our reply, its reason, and what the mailstore said."""

    address: str
    reply: str
    reason: str
    result: str = ""  # a word of ports.mailstore.Handover; '' when it never came so far
    mailstore_reply: str = ""


@dataclass(slots=True)
class Notes:
    """What the reception notes down while a transaction lives; becomes the record at its end."""

    started: float
    recipients: list[RecipientOutcome] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    check_seconds: dict[str, float] = field(default_factory=dict)
    why: str = ""  # why a connection is not served, for the operator
    refused: Transaction | None = None  # the last recipient that was refused, with what was found about it
    refusals: list[str] = field(default_factory=list)  # replies of the protocol itself: syntax, order, limits, the end

    def add(self, phase: str, seconds: float, check_seconds: Mapping[str, float]) -> None:
        """A phase was judged."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        for name, spent in check_seconds.items():
            self.check_seconds[name] = self.check_seconds.get(name, 0.0) + spent


def result_word(reply: Reply | None, delivery: DeliveryResult | None) -> str:
    """accepted, partly, deferred, rejected, or aborted where there was no reply."""
    if reply is None:
        return "aborted"
    if reply.code < 400:
        return "accepted"
    if delivery and any(result.handover.held for result in delivery.results.values()):
        return "partly"
    return "rejected" if reply.code >= 500 else "deferred"


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as the record and ``explain --output json`` show it."""
    data: dict[str, Any] = {"outcome": finding.outcome.value, "reason": finding.reason}
    if finding.evidence:
        data["evidence"] = {key: list(v) if isinstance(v, tuple) else v for key, v in finding.evidence.items()}
    if finding.cause:
        data["cause"] = {"port": finding.cause.port, "why": finding.cause.why.value, "detail": finding.cause.detail}
    if isinstance(finding, DkimFinding):
        data["signatures"] = [asdict(signature) for signature in finding.signatures]
    return data


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict with all rules that hit."""
    data: dict[str, Any] = {
        "verdict": verdict.action.word,
        "reason": verdict.reason,
        "rules": [
            {"id": hit.rule, "then": hit.action.word, **({"cut": True} if hit.cut else {})} for hit in verdict.because
        ],
    }
    if verdict.unknown:
        data["unknown"] = list(verdict.unknown)
    if not verdict.enforced:
        data["enforced"] = False
    return data


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(findings: Mapping[str, Finding]) -> dict[str, Any]:
    # the few words that people grep for stand flat beside the full findings
    flat: dict[str, Any] = {name: findings[name].outcome.value for name in ("spf", "dmarc", "arc") if name in findings}
    dkim = findings.get("dkim")
    if isinstance(dkim, DkimFinding):
        flat["dkim"] = [f"{signature.outcome.value}:{signature.domain}" for signature in dkim.signatures]
    iprev = findings.get("iprev")
    if iprev:
        flat["rdns"] = str(iprev.evidence.get("name", ""))
        flat["fcrdns"] = iprev.outcome.value == "pass"
    if "dnsbl" in findings:
        flat["rbl"] = findings["dnsbl"].evidence.get("score", 0)
    if "greylist" in findings:
        flat["greylist"] = findings["greylist"].evidence.get("state", findings["greylist"].reason)
    return flat


def transaction_record(
    tx: Transaction,
    *,
    node: str,
    verdict: Verdict | None,
    reply: Reply | None,
    notes: Notes,
    talk: Notes,
    ended: float,
    profile: str,
    delivery: DeliveryResult | None = None,
) -> dict[str, Any]:
    """The record of one transaction. notes: of the transaction; talk: of the session before it (seconds of connect and
    helo)."""
    connection, envelope = tx.connection, tx.envelope
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "time": timestamp(ended),
        "level": "info",
        "event": "transaction" if envelope else "session" if notes.refusals else "reject",
        "node": node,
        "sid": connection.session_id,
        "qid": tx.id,
        "client_ip": str(connection.client_ip),
        "helo": tx.hello.name if tx.hello else "",
    }
    if connection.proxy_ip:
        record["proxy_ip"] = str(connection.proxy_ip)
        # with it the balancer's own log line of this session is found
        record["client_port"] = connection.external_relay.port if connection.external_relay else connection.client_port
    if connection.proxy_endpoint:
        record["proxy_endpoint"] = connection.proxy_endpoint
    if not connection.client_known:
        record["client_known"] = False
    if relay := connection.external_relay:
        record["relay_ip"] = str(relay.ip)
        if connection.client_known:
            record["relay_helo"], record["relay_hop"] = relay.hello, relay.hop
    if notes.why:
        record["detail"] = notes.why
    if notes.refusals:
        record["protocol"] = notes.refusals
    if connection.tls:
        record["tls"] = f"{connection.tls.version}/{connection.tls.cipher}"
    if envelope:
        record["from"] = str(envelope.reverse_path)
        record["rcpt"] = [str(mailbox) for mailbox in envelope.recipients]
        record["rcpts"] = [
            {key: value for key, value in asdict(outcome).items() if value} for outcome in notes.recipients
        ]
        if envelope.requiretls:
            record["requiretls"] = True
    if tx.message:
        record["size"] = tx.message.size
        record["msgid"] = (tx.message.first("message-id") or b"").decode("utf-8", "replace")[:998]
    record.update(_words(tx.findings))
    record["findings"] = {name: finding_json(found) for name, found in tx.findings.items()}
    record["result"] = result_word(reply, delivery)
    if verdict and (found := disposition(tx, verdict)):
        record["dmarc_policy"] = {key: value for key, value in asdict(found).items() if value}
    record.update(verdict_json(verdict) if verdict else {"verdict": "none", "reason": "aborted", "rules": []})
    record["reply"] = str(reply) if reply else ""
    if delivery:
        record["mailstore"] = delivery.mailstore
        record["ms_reply"] = next(
            (f"{r.code} {r.enhanced} {r.text}".replace("  ", " ") for r in delivery.results.values() if r.code), ""
        )
        cause = next((r.cause for r in delivery.results.values() if r.cause), None)
        if cause:
            record["ms_cause"] = {"port": cause.port, "why": cause.why.value, "detail": cause.detail}
        record["t_mailstore"] = {key: round(value, 4) for key, value in delivery.timings.items()}
        if delivery.ledger:
            record["ledger"] = delivery.ledger
        if any(r.handover.value == "maybe" for r in delivery.results.values()):
            record["maybe_delivered"] = True
    record["profile"] = profile
    record["policy"] = tx.policy_digest
    record["t"] = {key: round(value, 4) for key, value in {**talk.seconds, **notes.seconds}.items()}
    record["t"]["total"] = round(ended - notes.started, 4)
    record["t_checks"] = {key: round(value, 4) for key, value in {**talk.check_seconds, **notes.check_seconds}.items()}
    return record
