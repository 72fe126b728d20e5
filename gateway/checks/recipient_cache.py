"""What the mailstores said of recipients, kept in the store; read and written by the check, flushed by people.

One value an address, and one mark a domain and one for all: whatever was kept before a mark does not count (the store
cannot list its keys, which are hashed in Redis). A mark is looked at once in 30 s a domain and process, but before each
refusal from memory: a new mailbox works on all nodes as soon as it was flushed. The cache may help, never harm: where
the store is out nothing is remembered and nothing fails.

Known gaps: that a recipient exists is believed by a running process for up to 30 s after a flush.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from gateway.mail.address import Mailbox
from gateway.policy.settings import RecipientSettings
from gateway.ports.clock import Clock
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.store import Store

log = logging.getLogger("mxgw.checks")

DETAIL: Final = 200
RENEW_SECONDS: Final = 3600.0
"""A mailbox that still exists is written anew after this time, and not for each message."""
DOUBT_SECONDS: Final = 60.0
"""For so long a no is kept that follows a recent yes: who heard the yes, near, may not write it again at once."""
_MARK_SECONDS: Final = 30.0
_MARKS: Final = 10_000
_ALL: Final = "*"
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

    def recent(self, now: float, settings: RecipientSettings) -> bool:
        """Whether it is so young that the same answer need not be written again."""
        positive = self.known is Known.YES
        lifetime = min(settings.positive_ttl, settings.stale_ttl) / 2 if positive else settings.negative_ttl
        return 0 <= now - self.at < min(RENEW_SECONDS if positive else DOUBT_SECONDS, lifetime)


async def remembered(store: Store, clock: Clock, mailbox: Mailbox) -> Remembered | None:
    """What is kept of an address, fresh or not; None where nothing is, or the store is out."""
    try:
        # together: one round trip's time
        text, mark = await asyncio.gather(store.get(_key(mailbox)), _mark(store, clock, mailbox.domain))
        if text is not None and _refuses(text):
            mark = await _mark(store, clock, mailbox.domain, anew=True)
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


def remember(
    store: Store,
    clock: Clock,
    mailbox: Mailbox,
    status: RecipientStatus,
    settings: RecipientSettings,
    before: Remembered | None = None,
) -> Coroutine[Any, Any, None] | None:
    """Keep an answer of this moment for as long as it may be of use; it may be written later. before: what is kept;
    None is returned where that will do."""
    young = before is not None and before.recent(clock.now(), settings)
    if before and young and before.known is status.known:
        return None
    kept = Remembered(status.known, status.detail[:DETAIL], clock.now())
    positive = status.known is Known.YES
    lifetime = max(settings.positive_ttl, settings.stale_ttl) if positive else settings.negative_ttl
    if young and not positive:
        lifetime = min(lifetime, DOUBT_SECONDS)
    return _put(store, _key(mailbox), kept, lifetime)


async def _put(store: Store, key: str, kept: Remembered, lifetime: float) -> None:
    try:
        await store.put(key, kept.encode(), lifetime)
    except PortFailure as failure:
        log.debug("recipient cache not written: %s", failure)


async def flush_address(store: Store, mailbox: Mailbox) -> None:
    """Forget an address. Raises PortFailure('store')."""
    await store.delete(_key(mailbox))


async def flush_domain(store: Store, clock: Clock, domain: str, settings: RecipientSettings) -> None:
    """Forget all addresses of a domain (A-label). Raises PortFailure('store')."""
    await _flush(store, clock, domain, [settings])


async def flush_all(store: Store, clock: Clock, settings: Sequence[RecipientSettings]) -> None:
    """Forget all addresses. settings: those of all profiles. Raises PortFailure('store')."""
    await _flush(store, clock, _ALL, settings)


async def _flush(store: Store, clock: Clock, domain: str, settings: Sequence[RecipientSettings]) -> None:
    longest = max(max(one.positive_ttl, one.negative_ttl, one.stale_ttl) for one in settings)
    await store.put(_mark_key(domain), repr(clock.now()), longest)
    _marks.pop(store, None)


def may_be_near(key: str, value: str) -> bool:
    """Whether a process may keep a value of the store for itself: no refusal, and no mark, which has its own time."""
    return not key.startswith(_mark_key("")) and not (key.startswith("rcpt:") and _refuses(value))


def _refuses(text: str) -> bool:
    return text.startswith(f'["{Known.NO.value}"')


def _key(mailbox: Mailbox) -> str:
    return f"rcpt:{mailbox}"


def _mark_key(domain: str) -> str:
    return f"rcpt-flushed:{domain}"


async def _mark(store: Store, clock: Clock, domain: str, *, anew: bool = False) -> float:
    marks = _marks.setdefault(store, {})
    at, until = marks.get(domain, (0.0, 0.0))
    if clock.monotonic() < until and not anew:
        return at
    try:
        texts = await asyncio.gather(store.get(_mark_key(domain)), store.get(_mark_key(_ALL)))
    except PortFailure:
        if anew:
            raise  # nobody is refused by what may have been flushed
        return at
    at = max(_seconds(text) for text in texts)
    if len(marks) >= _MARKS:
        marks.clear()  # a wildcard route lets strangers choose the names
    marks[domain] = (at, clock.monotonic() + _MARK_SECONDS)
    return at


def _seconds(text: str | None) -> float:
    try:
        return float(text) if text else 0.0
    except ValueError:
        return 0.0
