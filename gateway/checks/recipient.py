"""Does the recipient exist? Asked of the mailstore, remembered in the store.

The cache may help, never harm: where the store is out, the mailstore is asked live. Where the mailstore is out, a
recipient known within the last days is believed; an unknown one is never refused on old knowledge.

Known gaps: single flight holds within one process; a positive answer is not renewed before it runs out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass

from gateway.mail.address import Mailbox
from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, RecipientSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus

log = logging.getLogger("mxgw.checks")

_DETAIL = 200
_asking: dict[tuple[int, str], asyncio.Task[RecipientStatus]] = {}
"""Questions on their way, by directory and address: a burst of mail to one recipient asks once."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    known: Known
    detail: str
    at: float  # seconds, UTC, when the mailstore said so

    def encode(self) -> str:
        return json.dumps([self.known.value, self.detail, self.at])


async def recipient(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """PASS 'known', FAIL 'no-such-recipient', NONE 'unverifiable'. Evidence: cached, stale, detail (what the mailstore
    said). Raises PortFailure('mailstore') when nobody can say."""
    assert isinstance(settings, RecipientSettings)
    if tx.rcpt is None:
        return None
    key = f"rcpt:{tx.rcpt}"
    kept = await _remembered(ports, key)
    if kept and _fresh(kept, ports.clock.now(), settings):
        return _finding(kept.known, kept.detail, cached=True)
    try:
        status = await _ask_once(ports, tx.rcpt)
    except PortFailure:
        if kept and kept.known is Known.YES and ports.clock.now() - kept.at <= settings.stale_ttl:
            return _finding(kept.known, kept.detail, cached=True, stale=True)
        raise
    if not status.cached and status.known is not Known.UNVERIFIABLE:
        await _remember(ports, key, status, settings)
    return _finding(status.known, status.detail[:_DETAIL], cached=status.cached)


def _finding(known: Known, detail: str, *, cached: bool, stale: bool = False) -> Finding:
    evidence: dict[str, Fact] = {"cached": cached, "stale": stale, "detail": detail}
    if known is Known.YES:
        return Finding("recipient", Outcome.PASS, "known", evidence)
    if known is Known.NO:
        return Finding("recipient", Outcome.FAIL, "no-such-recipient", evidence)
    return Finding("recipient", Outcome.NONE, "unverifiable", evidence)


def _fresh(kept: _Remembered, now: float, settings: RecipientSettings) -> bool:
    lifetime = settings.positive_ttl if kept.known is Known.YES else settings.negative_ttl
    return 0 <= now - kept.at < lifetime


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


async def _remembered(ports: Ports, key: str) -> _Remembered | None:
    try:
        text = await ports.store.get(key)
    except PortFailure as failure:
        log.debug("recipient cache not read: %s", failure)
        return None
    if text is None:
        return None
    try:
        known, detail, at = json.loads(text)
        return _Remembered(Known(known), str(detail), float(at))
    except (ValueError, TypeError) as error:
        log.warning("recipient cache holds what nobody can read: %s", error)
        return None


async def _remember(ports: Ports, key: str, status: RecipientStatus, settings: RecipientSettings) -> None:
    positive = status.known is Known.YES
    kept = _Remembered(status.known, status.detail[:_DETAIL], ports.clock.now())
    lifetime = max(settings.positive_ttl, settings.stale_ttl) if positive else settings.negative_ttl
    try:
        await ports.store.put(key, kept.encode(), lifetime)
    except PortFailure as failure:
        log.debug("recipient cache not written: %s", failure)
