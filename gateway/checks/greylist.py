"""Greylisting (RFC 6647): who comes for the first time and looks odd is asked to come again.

It looks at what other checks found; what they could not find out never makes anybody wait. Where the store is out, it
fails as a port (the policy's posture proceeds by default), since nobody could remember the first attempt.

Known gaps: decided at RCPT, so DKIM cannot speak for the author; no shipped list of senders' pools (SPF keys join
them).
"""

from __future__ import annotations

from gateway.checks.greylist_key import GreylistKey, key_of, spf_domain
from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, GreylistSettings
from gateway.ports import Ports
from gateway.ports.store import GreylistQuestion, Seen


async def greylist(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """FAIL 'first' or 'early': should come again; PASS: known, passed, auto, bypass, skipped (not suspicious), learn;
    NONE: mode off. Evidence: state (those words), key_kind (spf, ptr, net), wait and waited in seconds. Raises
    PortFailure('store')."""
    assert isinstance(settings, GreylistSettings)
    if tx.rcpt is None:
        return None
    if settings.mode == "off":
        return Finding("greylist", Outcome.NONE, "off", {"state": "off"})
    if why := _exempt(tx, settings):
        return Finding("greylist", Outcome.PASS, why, {"state": "bypass"})
    recipient = tx.findings.get("recipient")
    if recipient and recipient.outcome is Outcome.FAIL:
        # no need to remember guesses at addresses; the recipient check has the say
        return Finding("greylist", Outcome.PASS, "no-such-recipient", {"state": "skipped"})
    if not _concerned(tx, settings):
        return Finding("greylist", Outcome.PASS, "not-suspicious", {"state": "skipped"})
    return await _asked(key_of(tx, settings), ports, settings)


async def _asked(key: GreylistKey, ports: Ports, settings: GreylistSettings) -> Finding:
    answer = await ports.store.greylist(
        GreylistQuestion(
            key=f"gl:{key.key}",
            client_key=f"gl:{key.client}" if settings.auto_allow_after else "",
            delay=settings.delay_all if settings.mode == "all" else settings.delay,
            window=settings.window,
            pass_lifetime=settings.pass_lifetime,
            auto_allow_after=settings.auto_allow_after,
        )
    )
    learning = settings.mode == "learn"
    evidence: dict[str, Fact] = {
        "state": "learn" if learning else answer.seen.value,
        "key_kind": key.kind,
        "wait": answer.wait,
        "waited": answer.waited,
    }
    wait = answer.seen in (Seen.FIRST, Seen.EARLY) and not learning
    return Finding("greylist", Outcome.FAIL if wait else Outcome.PASS, answer.seen.value, evidence)


def _exempt(tx: Transaction, settings: GreylistSettings) -> str:
    """Why this transaction never waits; '' if it may have to."""
    assert tx.rcpt is not None
    client, spf, dnsbl = tx.connection.client_ip, tx.findings.get("spf"), tx.findings.get("dnsbl")
    if not tx.connection.client_known:
        return "client-not-known"
    if any(client in network for network in settings.exempt_clients):
        return "exempt-client"
    if tx.rcpt.local_part.lower() in {name.lower() for name in settings.exempt_local_parts}:
        return "exempt-recipient"
    if dnsbl and dnsbl.outcome is not Outcome.TEMPERROR and _number(dnsbl.evidence.get("score", 0)) < 0:
        return "allow-listed"
    if spf and spf.outcome is Outcome.PASS and (domain := spf_domain(tx)):
        names = {name.lower() for name in settings.exempt_domains}
        if domain in names or any(domain.endswith(f".{name}") for name in names):
            return "exempt-domain"
    return ""


def _concerned(tx: Transaction, settings: GreylistSettings) -> bool:
    """Whether the mode covers this transaction."""
    if settings.mode in ("all", "learn"):
        return True
    if settings.mode == "unknown":
        # an answer that is missing is not an answer: the sender may well be known
        return _answered_not_pass(tx, "spf") and _answered_not_pass(tx, "iprev")
    iprev, helo, dnsbl, pregreet = (tx.findings.get(name) for name in ("iprev", "helo", "dnsbl", "pregreet"))
    return bool(
        (pregreet and pregreet.outcome is Outcome.FAIL)
        or _answered_not_pass(tx, "iprev")
        or (iprev and iprev.evidence.get("generic"))
        or (helo and helo.outcome is Outcome.FAIL)
        or (dnsbl and _number(dnsbl.evidence.get("score", 0)) >= settings.dnsbl_score)
    )


def _answered_not_pass(tx: Transaction, check: str) -> bool:
    finding = tx.findings.get(check)
    return finding is not None and finding.outcome not in (Outcome.PASS, Outcome.TEMPERROR)


def _number(fact: Fact) -> float:
    return float(fact) if isinstance(fact, int | float) else 0.0
