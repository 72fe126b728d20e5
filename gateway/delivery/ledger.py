"""No duplicates after a lost reply: who holds a message that may come again (RFC 1047, RFC 5321 section 4.2.5).

Before a message goes to a mailstore, the store that all nodes share records *handing over* for each recipient; after
the mailstore's 250, *done*. The client that never heard our 250 comes again, here or to another node: whoever is *done*
is answered 250 and gets nothing again; for whoever is *handing over* we wait to see how that ends, and ask the client
to come later when it takes long. A record of *handing over* lives for some seconds and is renewed as long as the
attempt does, so a node that was killed holds nobody up for longer. When the client shows that it has read our reply,
the record goes: the same content after that is another message.

A retry is known by the reverse-path, the recipient and the octets of the content as the client sent them, under the
cluster's secret; nothing that we add counts. At least once is the rule: wherever the ledger does not know (the store is
away, the mailstore's answer was lost), the message is handed over, for a duplicate is better than a loss.

Known gaps: a node killed between the mailstore's 250 and the record of it makes a duplicate. A client that closes
without a further command may have read our reply; the same content counts as a retry until ``remember`` is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway.mail.address import Mailbox
from gateway.mail.limits import OFF_LOOP_OCTETS
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry, Ledger
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult
from gateway.ports.store_budget import CALL_SECONDS, within_budget

log = logging.getLogger("mxgw.delivery")

LEASE: Final = 5.0
"""Seconds for which *handing over* stands when it is not renewed, which happens three times in that time."""
PATIENCE: Final = 10.0
"""Seconds for which a retry waits for the end of another attempt; longer than that of a dead one lasts."""
POLL: Final = 0.2
NAMELESS_REMEMBER: Final = 1800.0
"""Seconds for content with neither Message-ID nor Date: a device may mean the same words as another message."""

RECORDED: Final = "recorded"
BEFORE: Final = "delivered-before"
BUSY: Final = "busy"
UNAVAILABLE: Final = "unavailable"
WORDS: Final = (RECORDED, BEFORE, BUSY, UNAVAILABLE)
"""What the ledger meant for one hand-over; label of ``mxgw_ledger_total``."""

HandOver = Callable[[Transaction, OutgoingMessage, float], Awaitable[DeliveryResult]]
_FOUND: Final = {Entry.DONE: RecipientResult(Handover.BEFORE), Entry.BUSY: RecipientResult(Handover.BUSY)}


class DeliveryLedger:
    """Wraps hand-overs. store: shared by the nodes; secret: of the cluster; remember: seconds for which *done* is kept
    until the client shows that it knows; on_result gets one of WORDS for each hand-over; lease and
    patience in seconds."""

    def __init__(
        self,
        store: Ledger,
        secret: bytes,
        remember: float,
        on_result: Callable[[str], None] = lambda _: None,
        lease: float = LEASE,
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._secret = secret
        self._remember = remember
        self._on_result = on_result
        self._lease = lease
        self._patience = patience
        self._forgetting: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()

    async def deliver(
        self, tx: Transaction, message: OutgoingMessage, budget: float, hand_over: HandOver
    ) -> DeliveryResult:
        """Hand over to those recipients who do not have it, inside ``budget`` seconds. Raises what hand_over raises;
        then the entries end with their time."""
        assert tx.envelope is not None
        started, recipients = time.monotonic(), tx.envelope.recipients
        key = await self._key(tx, message.message)
        if forgetting := [task for task in self._forgetting if task.get_name() == key]:
            await asyncio.wait(forgetting)
        try:
            entries = await self._begin(key, [str(each) for each in recipients], tx.id, started + budget / 2)
        except PortFailure as failure:
            log.warning("%s: handed over without the ledger: %s", tx.id, failure.cause)
            self._on_result(UNAVAILABLE)
            return replace(await hand_over(tx, message, budget), ledger=UNAVAILABLE)
        found = {each: _FOUND[entry] for each, entry in zip(recipients, entries, strict=True) if entry in _FOUND}
        result, word = DeliveryResult("", {}), ""
        if ours := tuple(each for each in recipients if each not in found):
            part = tx if not found else replace(tx, envelope=replace(tx.envelope, recipients=ours))
            renewing = asyncio.create_task(self._renew(key, ours, tx.id), name=f"ledger {tx.id}")
            try:
                result = await hand_over(part, message, budget - (time.monotonic() - started))
            finally:
                renewing.cancel()
            word = await self._settle(key, tx, message.message, result)
        results = {**found, **result.results}
        standing = {each.handover for each in found.values()}
        word = BEFORE if Handover.BEFORE in standing else BUSY if standing else word
        self._on_result(word)
        return replace(
            result,
            results={each: results[each] for each in recipients if each in results},
            ledger="" if word == RECORDED else word,
            receipt=key if any(each.handover.held for each in results.values()) else "",
        )

    async def _begin(self, key: str, recipients: Sequence[str], owner: str, latest: float) -> tuple[Entry, ...]:
        end = min(time.monotonic() + self._patience, latest)
        while True:
            entries = await self._store.begin(key, recipients, owner, self._lease)
            if Entry.BUSY not in entries or time.monotonic() >= end:
                return entries
            await asyncio.sleep(POLL)

    async def _renew(self, key: str, recipients: Sequence[Mailbox], owner: str) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._store.begin(key, [str(each) for each in recipients], owner, self._lease)
            except PortFailure as failure:
                log.warning("%s: the ledger was not told that it goes on: %s", owner, failure.cause)

    async def _settle(self, key: str, tx: Transaction, message: Message, result: DeliveryResult) -> str:
        done = [str(each) for each, told in result.results.items() if told.handover.held]
        # MAYBE is free too: nobody hands it over any more, and only the client's next attempt is lossless
        free = [str(each) for each, told in result.results.items() if not told.handover.held]
        named = message.first("message-id") or message.first("date")
        remember = self._remember if named else min(self._remember, NAMELESS_REMEMBER)
        # the client does not wait for a store that is slow, but the record that prevents a duplicate gets there
        task = asyncio.create_task(self._store.settle(key, done, free, tx.id, remember), name=key)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        try:
            await within_budget(asyncio.shield(task))
        except PortFailure as failure:
            log.warning("%s: the ledger does not know how it ended: %s", tx.id, failure.cause)
            return UNAVAILABLE
        return RECORDED

    def reply_read(self, delivery: DeliveryResult) -> None:
        """The client has read a reply which told it all about this delivery. Returns at once; ``deliver`` for the
        same content waits until the entries are gone."""
        if delivery.receipt:
            held = [each for each, told in delivery.results.items() if told.handover.held]
            task = asyncio.create_task(self._forget(delivery.receipt, held), name=delivery.receipt)
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _forget(self, key: str, recipients: list[Mailbox]) -> None:
        if settling := [task for task in self._settling if task.get_name() == key]:
            await asyncio.wait(settling, timeout=CALL_SECONDS)  # else it would come after
        try:
            await self._store.forget(key, [str(each) for each in recipients])
        except PortFailure as failure:
            log.warning("the ledger keeps what a client has read: %s", failure.cause)

    async def close(self) -> None:
        """Wait until all that ended is recorded, and all that was read is forgotten; no longer than a lease, since a
        disk may hang for ever."""
        if under_way := self._settling | self._forgetting:
            await asyncio.wait(under_way, timeout=self._lease)

    async def _key(self, tx: Transaction, message: Message) -> str:
        assert tx.envelope is not None
        mac = hmac.new(self._secret, f"{tx.envelope.reverse_path}\0".encode("utf-8", "surrogateescape"), hashlib.sha256)
        if message.size > OFF_LOOP_OCTETS:
            await asyncio.to_thread(mac.update, message.octets)
        else:
            mac.update(message.octets)
        return mac.hexdigest()
