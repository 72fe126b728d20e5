"""Greylisting (RFC 6647): who comes for the first time and looks odd is asked to come again.

It looks at what other checks found; what they could not find out never makes anybody wait. It decides at RCPT; after
the content (``at_content``, off by default) it decides again for those who did not look odd by their envelope and have
neither SPF nor DKIM for the author's domain. Where the store is out, those who passed here in the last day are known;
of all others nothing is (the policy's posture proceeds by default).

Known gaps: after the content it asks for the first recipient only; whom our users wrote to is not seen by an inbound
node (``mxgw greylist seed`` takes a list).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from gateway.auth.author import author
from gateway.auth.public_suffix import suffix_list
from gateway.checks.forwarder import entry_for
from gateway.checks.greylist_key import (
    GreylistKey,
    answers_own_mail,
    confirmed_name,
    key_of,
    organisation,
    sender_of,
    spf_domain,
)
from gateway.checks.greylist_pools import POOLS, below, included
from gateway.checks.proven import dkim_domains
from gateway.mail.finding import Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, GreylistSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.store import GreylistQuestion, Seen

_WAITS: Final = (Seen.FIRST, Seen.EARLY, Seen.EXPIRED)
_NOT_SUSPICIOUS: Final = "not-suspicious"


async def greylist(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """FAIL 'first', 'early' or 'expired': should come again; PASS: known, passed, auto, bypass, skipped (not
    suspicious), learn; NONE: mode off; unknown with state skipped_store: the store is out. Evidence: state (those
    words), key, key_kind (spf, ptr, net), wait and waited in seconds, answer (style of the reply), near (the store is
    out, this process remembers the pass), entry (of the operator's list)."""
    assert isinstance(settings, GreylistSettings)
    if tx.rcpt is None:
        return None
    finding = await judge(tx, ports, settings)
    ports.greylist.note(finding, settings.window)
    return finding


async def greylist_content(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """As :func:`greylist`, for what the envelope could not say; None: its finding stands."""
    assert isinstance(settings, GreylistSettings)
    before = tx.findings.get("greylist")
    if not settings.at_content or settings.mode != "suspicious" or before is None or before.reason != _NOT_SUSPICIOUS:
        return None
    if tx.message is None or tx.envelope is None or not tx.envelope.recipients or _speaks_for_author(tx, settings):
        return None
    first = replace(tx, rcpt=tx.envelope.recipients[0])
    finding = await _asked(first, ports, settings, look=False)
    ports.greylist.note(finding, settings.window)
    return finding


async def judge(tx: Transaction, ports: Ports, settings: GreylistSettings, *, look: bool = False) -> Finding:
    """The finding for ``tx.rcpt``. look: nothing is recorded."""
    if settings.mode == "off":
        return Finding("greylist", Outcome.NONE, "off", {"state": "off"})
    if why := _exempt(tx, settings):
        return Finding("greylist", Outcome.PASS, why, {"state": "bypass"})
    if entry := ports.greylist.allowed(tx):
        return Finding("greylist", Outcome.PASS, "allowed", {"state": "bypass", "entry": entry})
    recipient = tx.findings.get("recipient")
    if recipient and recipient.outcome is Outcome.FAIL:
        # no need to remember guesses at addresses; the recipient check has the say
        return Finding("greylist", Outcome.PASS, "no-such-recipient", {"state": "skipped"})
    if not _concerned(tx, settings):
        return Finding("greylist", Outcome.PASS, _NOT_SUSPICIOUS, {"state": "skipped"})
    return await _asked(tx, ports, settings, look=look)


def question_of(key: GreylistKey, sender: str, settings: GreylistSettings) -> GreylistQuestion:
    """What the store is asked about a key."""
    learning = settings.mode == "learn"
    return GreylistQuestion(
        key=store_key(key.key),
        client_key=store_key(key.client) if settings.auto_allow_after else "",
        delay=settings.delay_all if settings.mode == "all" else settings.delay,
        window=settings.learn_window if learning else settings.window,
        pass_lifetime=settings.pass_lifetime,
        auto_allow_after=settings.auto_allow_after,
        sender=sender,
        auto_window=settings.auto_allow_window,
        learn=learning,
    )


def store_key(text: str) -> str:
    """The name under which the store knows a key or a client."""
    return f"gl:{text}"


async def _asked(tx: Transaction, ports: Ports, settings: GreylistSettings, *, look: bool) -> Finding:
    if not suffix_list.cache_info().currsize:
        await asyncio.to_thread(suffix_list)  # some 40 ms, once a process
    key = key_of(tx, settings)
    evidence: dict[str, Fact] = {"key_kind": key.kind, "key": key.key}
    question = question_of(key, sender_of(tx), settings)
    try:
        answer = await ports.store.greylist(replace(question, look=look))
        if answer.near and settings.on_store_error != "local":
            raise PortFailure("store", Why.REFUSED, "what this process remembers is not asked for")
    except PortFailure as failure:
        return Finding.unknown("greylist", failure.cause, {"state": "skipped_store", **evidence})
    learning = settings.mode == "learn"
    evidence |= {
        "state": "learn" if learning else answer.seen.value,
        "wait": answer.wait,
        "waited": answer.waited,
    }
    if answer.near:
        evidence["near"] = True
    if answer.seen not in _WAITS or learning:
        return Finding("greylist", Outcome.PASS, answer.seen.value, evidence)
    evidence["answer"] = settings.answer
    return Finding("greylist", Outcome.FAIL, answer.seen.value, evidence)


def _exempt(tx: Transaction, settings: GreylistSettings) -> str:
    """Why this transaction never waits; '' if it may have to."""
    assert tx.rcpt is not None
    client, dnsbl, recipient = tx.connection.client_ip, tx.findings.get("dnsbl"), tx.findings.get("recipient")
    if not tx.connection.client_known:
        return "client-not-known"
    if any(client in network for network in settings.exempt_clients):
        return "exempt-client"
    if tx.rcpt.local_part.lower() in {name.lower() for name in settings.exempt_local_parts}:
        return "exempt-recipient"
    if dnsbl and dnsbl.outcome is not Outcome.TEMPERROR and _number(dnsbl.evidence.get("score", 0)) < 0:
        return "allow-listed"
    if any(client in network for network in settings.forwarders.clients):
        return "forwarder"
    if answers_own_mail(tx) and recipient and recipient.outcome is Outcome.PASS:
        return "answers-own-mail"
    return _exempt_name(tx, settings)


def _exempt_name(tx: Transaction, settings: GreylistSettings) -> str:
    spf, names = tx.findings.get("spf"), [confirmed_name(tx)]
    if spf and spf.outcome is Outcome.PASS:
        domain = spf_domain(tx)
        if entry_for(domain, settings.forwarders.domains):
            return "forwarder"
        names += [domain, included(str(spf.evidence.get("mechanism", "")))]
    own = frozenset(name.lower().rstrip(".") for name in settings.exempt_domains)
    if any(below(name, own) for name in names):
        return "exempt-domain"
    return "pool" if settings.exempt_pools and any(below(name, POOLS) for name in names) else ""


def _concerned(tx: Transaction, settings: GreylistSettings) -> bool:
    """Whether the mode covers this transaction."""
    if settings.mode in ("all", "learn"):
        return True
    if settings.mode == "unknown":
        # an answer that is missing is not an answer: the sender may well be known
        return _answered_not_pass(tx, "spf") and _answered_not_pass(tx, "iprev")
    iprev, helo, dnsbl, pregreet = (tx.findings.get(name) for name in ("iprev", "helo", "dnsbl", "pregreet"))
    reputation = tx.findings.get("reputation")
    # where some lists did not answer: the least that the score can be
    score = _number(dnsbl.evidence.get("score_least", dnsbl.evidence.get("score", 0))) if dnsbl else 0.0
    return bool(
        (pregreet and pregreet.outcome is Outcome.FAIL)
        or _answered_not_pass(tx, "iprev")
        or (iprev and iprev.evidence.get("generic"))
        or (helo and helo.outcome is Outcome.FAIL)
        or (score > 0 and score >= settings.dnsbl_score)
        or (reputation and reputation.outcome is Outcome.FAIL)
    )


def _speaks_for_author(tx: Transaction, settings: GreylistSettings) -> bool:
    """Whether SPF or DKIM passes for the author's organisation or a pool, or nobody knows yet."""
    assert tx.message is not None
    dkim, dmarc, spf = (tx.findings.get(name) for name in ("dkim", "dmarc", "spf"))
    if any(found and found.outcome is Outcome.TEMPERROR for found in (dkim, dmarc, spf)):
        return True
    proven = dkim_domains(tx)
    if settings.exempt_pools and any(below(domain, POOLS) for domain in proven):
        return True
    if spf and spf.outcome is Outcome.PASS:
        proven.append(spf_domain(tx))
    domain = author(tx.message).domain
    return bool(domain) and organisation(domain) in {organisation(each) for each in proven if each}


def _answered_not_pass(tx: Transaction, check: str) -> bool:
    finding = tx.findings.get(check)
    return finding is not None and finding.outcome not in (Outcome.PASS, Outcome.TEMPERROR)


def _number(fact: Fact) -> float:
    return float(fact) if isinstance(fact, int | float) else 0.0
