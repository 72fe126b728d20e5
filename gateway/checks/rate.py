"""How much is sent, on all nodes together: connections, sessions, messages, recipients, unknown recipients and errors
of a client, its network, a reverse-path domain or to a recipient.

One network, not one address: an IPv6 client owns a /64 at least. Windows slide (two fixed ones, weighted): like GCRA
they cost one small value a key and one round trip, and unlike it they answer "how many", which people and records can
read. What is counted stands in
``charges``. Connections count even when refused, but for those that an emergency block
refuses before anything is asked.

A message and its recipients are looked at early, at MAIL and RCPT, and charged when the content is there, all or
nothing; whoever then hears 4yz gets them back (``cluster.accounts``). So an attempt that is deferred uses no budget:
greylisting and limits cannot keep a sender out together. A message refused with 5yz counts.

While the store is out each worker goes on alone with its share (``on_store_error: local``).

Known gaps: unknown recipients of a client or a domain, errors and refused messages are counted a moment after they
happened.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.checks.charges import (
    Charge,
    connection_charges,
    error_charges,
    exempt,
    message_plan,
    recipient_plan,
    subjects,
    transaction_charges,
    unknown_charges,
)
from gateway.mail.finding import Fact, Finding, Outcome, Why
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, RateSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure

STORE_SECONDS: Final = 0.25


async def rate(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """Count this connection. FAIL 'too-many-connections', 'too-many-sessions' or 'too-many-errors'. Raises
    PortFailure('store') where nothing else is known."""
    assert isinstance(settings, RateSettings)
    whom = subjects(tx, settings)
    asked = [*connection_charges(whom, settings), *error_charges(whom, settings, 0)]
    for held in ports.presence.held(tx.connection.client_ip, settings.lease):
        limit = settings.client.sessions if held.by == "client" else settings.sessions
        if limit:
            asked.append(Charge("sessions", held.by, held.whom, limit, held.counter))
    return await _asked(tx, ports, settings, asked)


async def rate_messages(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """May one message more come (at MAIL)? Its finding takes the place of the connection's. FAIL 'too-many-messages' or
    'too-many-errors'."""
    assert isinstance(settings, RateSettings)
    whom = subjects(tx, settings)
    return await _asked(tx, ports, settings, [*message_plan(whom, settings), *error_charges(whom, settings, 0)])


async def rate_recipients(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """May one recipient more come? FAIL 'too-many-recipients', 'too-many-messages' (to the recipient) or
    'too-many-unknown'."""
    assert isinstance(settings, RateSettings)
    if tx.rcpt is None or tx.envelope is None:
        return None
    whom = subjects(tx, settings)
    asked = recipient_plan(whom, settings, len(tx.envelope.recipients) + 1) + unknown_charges(whom, settings, 0)
    return await _asked(tx, ports, settings, asked)


async def rate_content(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """Charge the message and its recipients. FAIL 'too-many-messages' or 'too-many-recipients' where others came
    first. Evidence 'charged' where they were."""
    assert isinstance(settings, RateSettings)
    if tx.envelope is None:
        return None
    return await _asked(tx, ports, settings, transaction_charges(tx, settings), charges=True)


async def _asked(
    tx: Transaction, ports: Ports, settings: RateSettings, asked: list[Charge], charges: bool = False
) -> Finding:
    """Evidence: of the limit that is nearest or furthest exceeded what, by, of, used, limit and window; local: this
    worker's own count."""
    if not asked or exempt(tx.connection.client_ip, settings):
        return Finding("rate", Outcome.PASS, "exempt")
    numbers, local = await _counted(ports, settings, asked)
    used = [(number + charge.planned, charge) for number, charge in zip(numbers, asked, strict=True)]
    number, worst = max(used, key=lambda pair: pair[0] / pair[1].limit)
    over = number > worst.limit
    evidence: dict[str, Fact] = {
        "what": worst.what,
        "by": worst.by,
        "of": worst.whom,
        "used": round(number, 2),
        "limit": worst.limit,
        "window": worst.counter.window,
    }
    if charges and not over:
        evidence["charged"] = True
    if local:
        evidence["local"] = True
    if over:
        return Finding("rate", Outcome.FAIL, f"too-many-{worst.what}", evidence)
    return Finding("rate", Outcome.PASS, "below-limit", evidence)


async def _counted(ports: Ports, settings: RateSettings, asked: list[Charge]) -> tuple[tuple[float, ...], bool]:
    """What the store says, and whether it is this worker's own count that speaks."""
    counters = [charge.counter for charge in asked]
    try:
        # below the check's budget, so that there is time to go by our own count
        async with asyncio.timeout(STORE_SECONDS):
            return await ports.store.count(counters), False
    except (PortFailure, TimeoutError) as error:
        if settings.on_store_error != "local" or ports.limiter is None:
            if isinstance(error, PortFailure):
                raise
            raise PortFailure("store", Why.BUDGET, f"{STORE_SECONDS:g} s") from error
    return ports.limiter.count(counters, [charge.limit for charge in asked]), True
