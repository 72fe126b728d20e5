"""SPF at MAIL (RFC 7208): may this client use the domain of the reverse-path, and the name in its EHLO?

The outcome is that of the MAIL FROM identity (for ``<>`` postmaster at the EHLO name, section 2.4). The HELO identity
(section 2.3) is checked beside it where its domain is another one; it is shown, and never changes the outcome.

Evidence: domain, identity ('mailfrom' or 'helo'), mechanism (as written, '' for the default result), lookups, problem;
helo_domain and helo_outcome where the HELO identity was checked on its own.
Reasons: the outcome's word; ``no-record``, ``no-domain`` for none; ``bad-record`` for permerror.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.auth.spf_eval import SpfEvaluation, SpfQuestion, SpfResult, identity_of
from gateway.mail.address import NULL, ReversePath
from gateway.mail.finding import Cause, Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, SpfSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure

_MAX_ALIASES = 10
_LONG_OCTETS = 1024


async def spf(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
    """Evaluate inside ``settings.timeout`` seconds. Unknown where the DNS failed at a point that matters."""
    assert isinstance(settings, SpfSettings)
    assert tx.envelope is not None
    path, hello = tx.envelope.reverse_path, tx.hello.name if tx.hello else ""
    domain = identity_of(path, hello)[2]
    helo_domain = identity_of(NULL, hello)[2]
    if path is NULL or not settings.helo or "." not in helo_domain or helo_domain == domain:
        return await _check(tx, path, ports.dns, settings.timeout)
    finding, second = await asyncio.gather(
        _check(tx, path, ports.dns, settings.timeout),
        # half the time: the second opinion must not use up the budget of the first
        _check(tx, NULL, ports.dns, settings.timeout / 2),
    )
    also: dict[str, Fact] = {"helo_domain": helo_domain, "helo_outcome": second.outcome.value}
    return replace(finding, evidence={**finding.evidence, **also})


async def _check(tx: Transaction, path: ReversePath, dns: Resolver, budget: float) -> Finding:
    """One check_host() run; ``path`` NULL checks the HELO identity."""
    hello = tx.hello.name if tx.hello else ""
    evaluation = SpfEvaluation(tx.connection.client_ip, path, hello, tx.now)
    try:
        async with asyncio.timeout(budget):
            result, cause = await _drive(evaluation, dns)
    except TimeoutError:
        known: dict[str, Fact] = {"domain": evaluation.domain, "identity": evaluation.identity}
        return Finding.unknown("spf", Cause("dns", Why.BUDGET, f"{budget:g} s"), known)
    finally:
        evaluation.close()
    return _finding(result, cause)


async def _drive(evaluation: SpfEvaluation, dns: Resolver) -> tuple[SpfResult, Cause | None]:
    cause: Cause | None = None
    step = evaluation.start()
    while isinstance(step, SpfQuestion):
        try:
            records = (await dns.lookup(step.name, step.rtype)).records
        except PortFailure as failure:
            if failure.cause.why is Why.PROTOCOL and await _is_alias_loop(dns, step.name):
                # the data is wrong, not the server: nothing is there, today and tomorrow
                step = evaluation.answered(())
                continue
            cause = failure.cause
            step = evaluation.unanswered(str(cause))
        else:
            if sum(map(len, records)) > _LONG_OCTETS:
                # an answer out of a cache makes nobody wait: let others have their turn between two long records
                await asyncio.sleep(0)
            step = evaluation.answered(records)
    return step, cause


async def _is_alias_loop(dns: Resolver, name: str) -> bool:
    """Resolvers say SERVFAIL to a loop of CNAMEs as to a broken server; asking link by link tells them apart."""
    seen: set[str] = set()
    for _ in range(_MAX_ALIASES):
        if name in seen:
            return True
        seen.add(name)
        try:
            answer = await dns.lookup(name, "CNAME")
        except PortFailure:
            return False
        if not answer.records:
            return False
        name = answer.records[0]
    return False


def _finding(result: SpfResult, cause: Cause | None) -> Finding:
    evidence: dict[str, Fact] = {
        "domain": result.domain,
        "identity": result.identity,
        "mechanism": result.mechanism,
        "lookups": result.lookups,
        "problem": result.problem,
    }
    if result.outcome is Outcome.TEMPERROR:
        return Finding.unknown("spf", cause or Cause("dns", Why.PROTOCOL, result.problem), evidence)
    return Finding("spf", result.outcome, _reason(result), evidence)


def _reason(result: SpfResult) -> str:
    match result.outcome:
        case Outcome.NONE:
            return "no-record" if "." in result.domain else "no-domain"
        case Outcome.PERMERROR:
            return "bad-record"
        case outcome:
            return outcome.value
