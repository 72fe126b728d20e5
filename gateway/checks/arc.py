"""ARC (RFC 8617): does the chain of intermediaries hold, and do we trust the last of them?

Evidence only: what a passing chain is worth is the policy's matter, and only where the newest sealer is listed in the
check's ``trusted_sealers``.

Known gaps: none; sealing is ``delivery.arc_sealing``.
"""

from __future__ import annotations

import functools

from gateway.auth.arc_trust import vouches
from gateway.auth.arc_verify import read_chain, validate
from gateway.auth.author import author
from gateway.checks.dkim import judged, keys_and_hashes
from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import ArcSettings, CheckSettings
from gateway.ports import Ports

MIN_RSA_BITS = 1024


async def arc(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """Evidence: instance (of the newest set; 0 when the sets cannot be read), sealers (newest last), trusted (the chain
    passes, its newest sealer is listed and vouches for the author domain, see ``auth.arc_trust``), cv (what the newest
    sealer found)."""
    assert isinstance(settings, ArcSettings)
    if tx.message is None:
        return None
    chain = read_chain(tx.message, settings.max_sets)
    if chain is None:
        return Finding("arc", Outcome.NONE, "no-chain", {"instance": 0, "sealers": (), "trusted": False, "cv": ""})
    wants = {chain.newest.want} if chain.newest else set()
    answers, digests = await keys_and_hashes(ports.dns, chain.key_names, tx.message, wants)
    judge = functools.partial(validate, tx.message, chain, answers, digests, now=tx.now, min_rsa_bits=MIN_RSA_BITS)
    result = await judged(tx.message, judge)
    listed = {name.lower() for name in settings.trusted_sealers}
    evidence: dict[str, Fact] = {
        "instance": len(chain.sets),
        "sealers": chain.sealers,
        "trusted": result.outcome is Outcome.PASS and vouches(tx.message, chain, listed, author(tx.message).domain),
        "cv": chain.cv,
    }
    return Finding("arc", result.outcome, result.reason, evidence, result.cause)
