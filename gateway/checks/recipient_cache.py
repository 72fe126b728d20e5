"""What the mailstores said of recipients, kept in the store; read and written by the check, flushed by people.

One value an address, and one mark a domain: whatever was kept before the mark does not count (the store cannot list
its keys, which are hashed in Redis). The mark is looked at once in 30 s a domain and process. The cache may help, never
harm: where the store is out nothing is remembered and nothing fails.

Known gaps: a flush of a whole domain reaches a running process up to 30 s later; so does one of an address that another
process keeps near.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from gateway.mail.address import Mailbox
from gateway.policy.settings import RecipientSettings
from gateway.ports.clock import Clock
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.store import Store

log = logging.getLogger("mxgw.checks")

DETAIL: Final = 200
_MARK_SECONDS: Final = 30.0
_MARKS: Final = 10_000
_marks: WeakKeyDictionary[Store, dict[str, tuple[float, float]]] = WeakKeyDictionary()
"""By store and domain: the time of its last flush, and until when (monotonic) that is believed."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """known; detail: the mailstore's words; at: seconds, UTC, when it said so."""

    known: Known
    detail: str
    at: float

    def encode(self) -> str:
        """As text for the store."""
        return json.dumps([self.known.value, self.detail, self.at])

    def fresh(self, now: float, settings: RecipientSettings) -> bool:
        """Whether it may be used without asking again."""
        lifetime = settings.positive_ttl if self.known is Known.YES else settings.negative_ttl
        return 0 <= now - self.at < lifetime

    def believable(self, now: float, settings: RecipientSettings) -> bool:
        """Whether it may be used while nobody answers: never to refuse."""
        return self.known is Known.YES and now - self.at <= settings.stale_ttl


async def remembered(store: Store, clock: Clock, mailbox: Mailbox) -> Remembered | None:
    """What is kept of an address, fresh or not; None where nothing is, or the store is out."""
    try:
        # together: one round trip's time
        text, mark = await asyncio.gather(store.get(_key(mailbox)), _mark(store, clock, mailbox.domain))
    except PortFailure as failure:
        log.debug("recipient cache not read: %s", failure)
        return None
    if text is None:
        return None
    try:
        known, detail, at = json.loads(text)
        kept = Remembered(Known(known), str(detail), float(at))
    except (ValueError, TypeError) as error:
        log.warning("recipient cache holds what nobody can read: %s", error)
        return None
    return kept if kept.at > mark else None


async def remember(
    store: Store, clock: Clock, mailbox: Mailbox, status: RecipientStatus, settings: RecipientSettings
) -> None:
    """Keep an answer for as long as it may be of use."""
    kept = Remembered(status.known, status.detail[:DETAIL], clock.now())
    positive = status.known is Known.YES
    lifetime = max(settings.positive_ttl, settings.stale_ttl) if positive else settings.negative_ttl
    try:
        await store.put(_key(mailbox), kept.encode(), lifetime)
    except PortFailure as failure:
        log.debug("recipient cache not written: %s", failure)


async def flush_address(store: Store, mailbox: Mailbox) -> None:
    """Forget an address. Raises PortFailure('store')."""
    await store.delete(_key(mailbox))


async def flush_domain(store: Store, clock: Clock, domain: str, settings: RecipientSettings) -> None:
    """Forget all addresses of a domain (A-label). Raises PortFailure('store')."""
    longest = max(settings.positive_ttl, settings.negative_ttl, settings.stale_ttl)
    await store.put(_mark_key(domain), repr(clock.now()), longest)
    _marks.get(store, {}).pop(domain, None)


def _key(mailbox: Mailbox) -> str:
    return f"rcpt:{mailbox}"


def _mark_key(domain: str) -> str:
    return f"rcpt-flushed:{domain}"


async def _mark(store: Store, clock: Clock, domain: str) -> float:
    marks = _marks.setdefault(store, {})
    at, until = marks.get(domain, (0.0, 0.0))
    if clock.monotonic() < until:
        return at
    text = await store.get(_mark_key(domain))
    try:
        at = float(text) if text else 0.0
    except ValueError:
        at = 0.0
    if len(marks) >= _MARKS:
        marks.clear()  # a wildcard route lets strangers choose the names
    marks[domain] = (at, clock.monotonic() + _MARK_SECONDS)
    return at
