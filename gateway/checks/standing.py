"""Standing: what verdicts have taught about networks and authenticated domains, as counters that decay.

Two sums a subject, good and bad, halve in each half-life. A verdict adds to them when its transaction ends; the score
weighs them against each other, and little knowledge keeps it near 0:

    score = 10 x (bad - good) / (bad + good + least)

Known gaps: a domain is learnt as it authenticated, without its organisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.checks.proven import dkim_domains
from gateway.mail.address import Mailbox
from gateway.mail.finding import Outcome
from gateway.mail.network import network_of
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.policy.model import Profile
from gateway.policy.settings import ReputationSettings
from gateway.ports.store import Counter, Tally

BAD_REASONS: Final[Mapping[str, float]] = {
    "dnsbl": 1.0,
    "auth-policy": 1.0,
    "spf-policy": 1.0,
    "dkim-policy": 1.0,
    "content-policy": 1.0,
    "early-talker": 1.0,
    "helo-policy": 1.0,
    "ptr-policy": 0.5,
    "relay-denied": 0.5,
    "too-many-unknown": 0.5,
    "recipient-unknown": 0.25,
}
"""What a refusal for that reason teaches. An operator's block, a size or a loop says nothing about the sender."""
QUARANTINED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Subject:
    """by: network or domain; whom: which."""

    by: str
    whom: str

    def counter(self, what: str, amount: float, half_life: float) -> Counter:
        """what: good or bad."""
        return Counter(f"standing:{what}:{self.by}:{self.whom}", amount, half_life, Tally.DECAY)


def network_subject(tx: Transaction, settings: ReputationSettings) -> Subject | None:
    """The client's network, or None where the client is not known."""
    if not tx.connection.client_known:
        return None
    return Subject("network", network_of(tx.connection.client_ip, settings.ipv4_prefix, settings.ipv6_prefix))


def domain_subject(tx: Transaction) -> Subject | None:
    """The domain that has proven itself: the author's by DMARC, else the reverse-path's by SPF, else the first of a
    DKIM signature that passes; None where there is none."""
    dmarc, spf = tx.findings.get("dmarc"), tx.findings.get("spf")
    if dmarc and dmarc.outcome is Outcome.PASS and (author := str(dmarc.evidence.get("author_domain", ""))):
        return Subject("domain", author)
    path = tx.envelope.reverse_path if tx.envelope else None
    if spf and spf.outcome is Outcome.PASS and isinstance(path, Mailbox) and not path.is_literal:
        return Subject("domain", path.domain)
    signed = dkim_domains(tx)
    return Subject("domain", signed[0]) if signed else None


def score_of(good: float, bad: float, least: float) -> float:
    """From -10 (good) to 10."""
    good, bad = max(0.0, good), max(0.0, bad)
    return 10.0 * (bad - good) / (bad + good + least)


def lessons(tx: Transaction, verdict: Verdict | None, code: int, profile: Profile) -> list[Counter]:
    """What a transaction teaches that ended with this verdict and reply code; nothing where a verdict only repeats what
    reputation said, which would never end."""
    settings = profile.checks.reputation
    if verdict is None or not settings.enabled or _only_hearsay(verdict, profile):
        return []
    what, amount = _lesson(verdict, code)
    subjects = (network_subject(tx, settings), domain_subject(tx))
    return [subject.counter(what, amount, settings.half_life) for subject in subjects if subject and amount]


def _lesson(verdict: Verdict, code: int) -> tuple[str, float]:
    if verdict.action is Action.ACCEPT:
        return "good", 1.0 if code == 250 else 0.0
    if verdict.action is Action.QUARANTINE:
        return "bad", QUARANTINED
    return "bad", BAD_REASONS.get(verdict.reason, 0.0)


def _only_hearsay(verdict: Verdict, profile: Profile) -> bool:
    rules = {rule.id: rule for rule in profile.rules}
    speaking = [rules[hit.rule] for hit in verdict.because if hit.action is verdict.action and not hit.cut]
    return bool(speaking) and all(
        any(getattr(condition, "check", "") == "reputation" for condition in rule.when) for rule in speaking
    )
