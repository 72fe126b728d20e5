"""What became of a message under the author domain's DMARC policy (RFC 9989 section 5.4), as A-R and records show it.

In: the findings and the verdict. Out: the policy that was asked for, what was done of it, and why not more. What other
rules did beyond that policy is not its doing: ``done`` is never harder than the policy.

Known gaps: of several reasons for doing less one is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.mail.finding import Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, Verdict

LEVELS = ("none", "quarantine", "reject")
_DONE = {Action.ACCEPT: "none", Action.QUARANTINE: "quarantine", Action.REJECT: "reject"}


@dataclass(frozen=True, slots=True)
class Disposition:
    """policy: none, quarantine or reject, as asked for. tag: p, sp or np, where that stands. published: what stands
    there before t=y. done: what was done. override: why that is less than published: '' (it is not), test-mode,
    observe, arc, list, forwarder or local-policy."""

    policy: str
    tag: str
    published: str
    done: str
    override: str = ""


def disposition(tx: Transaction, verdict: Verdict) -> Disposition | None:
    """None where no policy was applied: no DMARC result of pass or fail, or the message waits."""
    dmarc = tx.findings.get("dmarc")
    done = _DONE.get(verdict.effective)
    if dmarc is None or done is None or dmarc.outcome not in (Outcome.PASS, Outcome.FAIL):
        return None
    policy = _word(dmarc, "policy", LEVELS, "none")
    published = _word(dmarc, "published", LEVELS, policy)
    tag = _word(dmarc, "tag", ("p", "sp", "np"), "p")
    if dmarc.outcome is Outcome.PASS:
        return Disposition(policy, tag, published, "none")
    done = min(done, policy, key=LEVELS.index)
    return Disposition(
        policy, tag, published, done, "" if done == published else _override(tx, verdict, done == policy)
    )


def _override(tx: Transaction, verdict: Verdict, as_asked: bool) -> str:
    if as_asked:
        return "test-mode"
    if not verdict.enforced:
        return "observe"
    forwarder, arc = tx.findings.get("forwarder"), tx.findings.get("arc")
    if forwarder is not None and forwarder.outcome is Outcome.PASS:
        return "list" if forwarder.reason == "list" else "forwarder"
    return "arc" if arc is not None and arc.evidence.get("trusted") is True else "local-policy"


def _word(finding: Finding, fact: str, words: tuple[str, ...], otherwise: str) -> str:
    value = finding.evidence.get(fact)
    return value if isinstance(value, str) and value in words else otherwise


def policy_domain(tx: Transaction) -> str:
    """The domain whose DMARC policy the message fails, '' where it fails none."""
    dmarc = tx.findings.get("dmarc")
    return str(dmarc.evidence.get("record_domain", "")) if dmarc and dmarc.outcome is Outcome.FAIL else ""
