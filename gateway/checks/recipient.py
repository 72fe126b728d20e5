"""Does the recipient exist? Asked of the mailstore, remembered in the store.

Where a session with the mailstore is open, it is asked again even if the answer is remembered: that costs one round
trip, and a mailbox that came or went counts at once. The cache may help, never harm: where the store is out, the
mailstore is asked live. Where the mailstore is out, a recipient known within the last days is believed; an unknown one
is never refused on old knowledge.

Who asks for many recipients that do not exist is guessing: such questions are counted by the client's network, and
above the limit the answer is POLICY instead of FAIL, which says nothing about the recipient any more. Recipients that
exist are never touched by the count. A question answered POLICY is taken off again, so that being deferred does not
prolong the deferral. Nobody waits until an answer is written down.

Known gaps: single flight holds within one process; a positive answer is not renewed before it runs out; while the
store is out nothing is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from gateway.checks.recipient_cache import DETAIL, Remembered, remember, remembered
from gateway.mail.address import Mailbox
from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.network import network_of
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, RecipientSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.store import Counter

log = logging.getLogger("mxgw.checks")

LIVE_SECONDS: Final = 1.0
"""How long an open session may take to answer what is remembered anyway."""
ASK_SECONDS: Final = 4.0
"""How long the mailstore may take where something older can stand in for its answer: less than the check has."""

_asking: dict[tuple[int, str], asyncio.Task[RecipientStatus]] = {}
"""Questions on their way, by directory and address: a burst of mail to one recipient asks once."""
_writing: set[asyncio.Task[None]] = set()


async def recipient(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """PASS 'known', FAIL 'no-such-recipient', POLICY 'too-many-unknown', NONE 'unverifiable'. Evidence: cached, stale,
    detail (what the mailstore said), unknown (how many unknown recipients the client's network has asked for in the
    window), excess (how many above the limit). Raises PortFailure('mailstore') when nobody can say."""
    assert isinstance(settings, RecipientSettings)
    if tx.rcpt is None:
        return None
    now = ports.clock.now()
    kept = None if ports.listed(tx.rcpt.domain) else await remembered(ports.store, ports.clock, tx.rcpt)
    fresh = kept if kept and kept.fresh(now, settings) else None
    if fresh and ports.live(tx.rcpt.domain):
        with suppress(PortFailure, TimeoutError):
            async with asyncio.timeout(LIVE_SECONDS):
                return await _answered(tx, ports, settings, await _ask_once(ports, tx.rcpt), kept)
    if fresh:
        unknown = await _counted(tx, ports, settings) if fresh.known is Known.NO else 0.0
        return await _finding(tx, ports, settings, RecipientStatus(fresh.known, fresh.detail, cached=True), unknown)
    stale = kept if kept and kept.believable(now, settings) else None
    try:
        async with asyncio.timeout(ASK_SECONDS if stale else None):
            status = await _ask_once(ports, tx.rcpt)
    except (PortFailure, TimeoutError):
        if stale is None:
            raise
        evidence: dict[str, Fact] = {"cached": True, "stale": True, "detail": stale.detail}
        return Finding("recipient", Outcome.PASS, "known", evidence)
    return await _answered(tx, ports, settings, status, kept)


async def _answered(
    tx: Transaction, ports: Ports, settings: RecipientSettings, status: RecipientStatus, kept: Remembered | None
) -> Finding:
    """Remembered and counted, as far as that is of use. kept: what was remembered before."""
    assert tx.rcpt is not None
    is_new = not status.cached and status.known is not Known.UNVERIFIABLE
    if is_new and (work := remember(ports.store, ports.clock, tx.rcpt, status, settings, kept)):
        _write(work)
    unknown = await _counted(tx, ports, settings) if status.known is Known.NO else 0.0
    return await _finding(tx, ports, settings, status, unknown)


def _write(work: Coroutine[Any, Any, None]) -> None:
    # in a context of its own: what no decision waits for has no part in its time for the store
    task = asyncio.create_task(work, name="recipient cache", context=Context())
    _writing.add(task)
    task.add_done_callback(_writing.discard)


async def written() -> None:
    """Wait until all answers are written down."""
    if _writing:
        await asyncio.wait(set(_writing))


async def _finding(
    tx: Transaction, ports: Ports, settings: RecipientSettings, status: RecipientStatus, unknown: float
) -> Finding:
    evidence: dict[str, Fact] = {"cached": status.cached, "stale": False, "detail": status.detail[:DETAIL]}
    if status.known is Known.YES:
        return Finding("recipient", Outcome.PASS, "known", evidence)
    if status.known is Known.UNVERIFIABLE:
        return Finding("recipient", Outcome.NONE, "unverifiable", evidence)
    excess = unknown - settings.unknown_limit if settings.unknown_limit else 0.0
    evidence |= {"unknown": round(unknown, 2), "excess": round(max(0.0, excess), 2)}
    if excess > 0:
        await _counted(tx, ports, settings, amount=-1)
        return Finding("recipient", Outcome.POLICY, "too-many-unknown", evidence)
    return Finding("recipient", Outcome.FAIL, "no-such-recipient", evidence)


async def _counted(tx: Transaction, ports: Ports, settings: RecipientSettings, amount: int = 1) -> float:
    """Unknown recipients of the client's network in the window, this one included; 0 where that cannot be said."""
    if not settings.unknown_limit or not tx.connection.client_known:
        return 0.0
    network = network_of(tx.connection.client_ip, settings.ipv4_prefix, settings.ipv6_prefix)
    try:
        (number,) = await ports.store.count([Counter(f"unknown:{network}", amount, settings.unknown_window)])
    except PortFailure as failure:
        log.debug("unknown recipients not counted: %s", failure)
        return 0.0
    return number


async def _ask_once(ports: Ports, mailbox: Mailbox) -> RecipientStatus:
    key = (id(ports.recipients), str(mailbox))
    task = _asking.get(key)
    if task is None:
        task = asyncio.ensure_future(ports.recipients.recipient(mailbox))
        _asking[key] = task

        def done(finished: asyncio.Task[RecipientStatus]) -> None:
            _asking.pop(key, None)
            if not finished.cancelled():
                finished.exception()  # looked at, so that asyncio does not complain where all who asked have gone

        task.add_done_callback(done)
    # one asker that runs out of time must not take the answer from the others
    return await asyncio.shield(task)
