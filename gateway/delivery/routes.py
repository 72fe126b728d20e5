"""Routes: which mailstores serve which recipient domains, and failover between them.

Mailstores are tried in order of preference, or in an order drawn by weight for each message; one that is busy comes
after those that are free, one that is down after both. So a slow mailstore holds its own waiting messages only.

A hand-over runs in a task of its own: the client's hang-up or a cancelled caller never cuts it in half; ``drain``
waits for those that are on the way when the node stops.

Known gaps: weights choose by chance, not by the load that a mailstore has.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.delivery.breaker import Health, Pooled, Standing, Watched, both
from gateway.delivery.ledger import DeliveryLedger
from gateway.delivery.requiretls import keeps
from gateway.delivery.wire import ClosingReply
from gateway.mail.address import Mailbox
from gateway.mail.finding import Why
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import (
    DeliveryResult,
    Handover,
    Mailstore,
    RecipientDirectory,
    RecipientResult,
    RecipientStatus,
)
from gateway.ports.observer import NullObserver, Observer

log = logging.getLogger("mxgw.delivery")

OnResult = Callable[[DeliveryResult], None]


@dataclass(frozen=True, slots=True)
class Route:
    """domains: A-labels in lower case or ``*.wildcards``; mailstores in order of preference; name: for records.
    weights: one for each mailstore, or none at all; a mailstore with weight 0 serves only when the others do not.
    recipients: who knows them, where that is not the mailstores."""

    domains: tuple[str, ...]
    mailstores: tuple[Mailstore, ...]
    name: str = ""
    weights: tuple[float, ...] = ()
    recipients: RecipientDirectory | None = None

    def order(self, chance: Callable[[], float] = random.random) -> list[Mailstore]:
        """In which order to try them for one message. chance gives numbers from 0 to 1."""
        order = _drawn(self.mailstores, self.weights, chance) if any(self.weights) else list(self.mailstores)
        return sorted(order, key=_standing)  # stable: among equals preference or the draw decides


class Relay(Protocol):
    """What the reception needs of a :class:`Router`; explain puts a dry one there."""

    def route_for(self, domain: str) -> Route | None:
        """The route of a recipient domain, or None: not ours."""
        ...

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand over inside ``budget`` seconds."""
        ...


class Router:
    """All routes of a worker. Also the RecipientDirectory of the checks."""

    def __init__(
        self,
        routes: Sequence[Route],
        observer: Observer | None = None,
        on_result: OnResult | None = None,
        chance: Callable[[], float] = random.random,
        ledger: DeliveryLedger | None = None,
        least: float = 0.0,
    ) -> None:
        """on_result is called with each hand-over's result, also when the caller of ``deliver`` is gone; it must
        return at once. chance (0 to 1) draws among weighted mailstores. ledger: without one a retry is a message like
        any other. least: seconds without which no further mailstore is tried, since it could not end its hand-over."""
        self._routes = tuple(routes)
        self._exact = {domain: route for route in reversed(self._routes) for domain in route.domains}
        self._observer = observer or NullObserver()
        self._on_result = on_result
        self._chance = chance
        self._ledger = ledger
        self._least = least
        self._running: set[asyncio.Task[DeliveryResult]] = set()

    @property
    def routes(self) -> tuple[Route, ...]:
        """As given."""
        return self._routes

    @property
    def inflight(self) -> int:
        """Hand-overs on the way."""
        return len(self._running)

    @property
    def health(self) -> tuple[Health, ...]:
        """How each mailstore is, once for each name."""
        found: dict[str, Health] = {}
        for store in self._mailstores():
            health = store.health() if isinstance(store, Watched) else Health(store.name, up=True)
            found[health.name] = both(found[health.name], health) if health.name in found else health
        return tuple(found.values())

    @property
    def keeps_requiretls(self) -> bool:
        """Whether every mailstore can take a message that asks for REQUIRETLS (RFC 8689)."""
        return all(keeps(store) for store in self._mailstores())

    def _mailstores(self) -> list[Mailstore]:
        return list({id(store): store for route in self._routes for store in route.mailstores}.values())

    def route_for(self, domain: str) -> Route | None:
        """The route of a domain (A-label, lower case): its exact name first, then the longest ``*.wildcard``."""
        if route := self._exact.get(domain):
            return None if domain.startswith("*") else route
        parent = domain
        while parent:
            _, _, parent = parent.partition(".")
            if parent and (route := self._exact.get(f"*.{parent}")):
                return route
        return None

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Hand over to the route of the first recipient, mailstore after mailstore while nothing was taken and
        seconds are left. Never raises PortFailure: when nobody answers, all recipients are DEFERRED with the cause.
        When the caller is cancelled, the hand-over goes on."""
        task = asyncio.create_task(self._hand_over(tx, message, budget), name=f"hand-over {tx.id}")
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def reply_read(self, delivery: DeliveryResult) -> None:
        """The client has read what we said about this delivery, and will not come again for those that have it."""
        if self._ledger:
            self._ledger.reply_read(delivery)

    def _done(self, task: asyncio.Task[DeliveryResult]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # the caller may be gone: without this line nobody would ever hear of it
            log.error("%s crashed", task.get_name(), exc_info=error)

    async def _hand_over(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        if self._ledger:
            result = await self._ledger.deliver(tx, message, budget, self._failover)
        else:
            result = await self._failover(tx, message, budget)
        if self._on_result:
            self._on_result(result)
        return result

    async def _failover(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        envelope = tx.envelope
        if envelope is None or not envelope.recipients:
            raise ValueError(f"{tx.id}: a hand-over needs recipients")
        route = self.route_for(envelope.recipients[0].domain)
        end = time.monotonic() + budget
        used = ""
        failed: RecipientResult | None = None
        lacking: DeliveryResult | None = None
        for mailstore in route.order(self._chance) if route else ():
            left = end - time.monotonic()
            if left <= (self._least if used else 0.0):
                failed = failed or _unserved(PortFailure("mailstore", Why.BUDGET, "nothing left for the hand-over"))
                break
            used, started = mailstore.name, time.monotonic()
            try:
                result = await mailstore.deliver(tx, message, left)
            except PortFailure as failure:
                cause = failure.cause
                failed = _unserved(failure)
                # a message can be refused too
                word = "unreachable" if cause.why is Why.REFUSED else cause.why.value
                self._observer.mailstore_attempt(used, word, time.monotonic() - started)
                log.warning("%s: %s took nothing: %s", tx.id, used, cause)
                continue
            self._observer.mailstore_attempt(used, worst(result).value, time.monotonic() - started)
            if not result.lacking:
                return result
            lacking = result
        if lacking and not failed:
            return lacking  # for good: no mailstore of the route can take it; where one did not answer, it might
        failed = failed or _unserved(
            PortFailure("mailstore", Why.REFUSED, f"no route for {envelope.recipients[0].domain}")
        )
        return DeliveryResult(used, dict.fromkeys(envelope.recipients, failed))

    def listed(self, domain: str) -> bool:
        """Whether the recipients of that domain are known without asking a mailstore."""
        route = self.route_for(domain)
        return route is not None and route.recipients is not None

    def live(self, domain: str) -> bool:
        """Whether the mailstore that would be asked for that domain's recipients has an open session for it."""
        route = self.route_for(domain)
        if route is None or route.recipients is not None:
            return False
        first = sorted(route.mailstores, key=_standing)[0]
        return isinstance(first, Pooled) and first.ready

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """Ask the mailstores of the route in order. Raises the last one's PortFailure when none can say."""
        route = self.route_for(mailbox.domain)
        if route and route.recipients:
            return await route.recipients.recipient(mailbox)
        failure = PortFailure("mailstore", Why.REFUSED, f"no route for {mailbox.domain}")
        for mailstore in route.order(self._chance) if route else ():
            try:
                return await mailstore.recipient(mailbox)
            except PortFailure as error:
                failure = error
        raise failure

    async def drain(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for hand-overs on the way. Returns how many are still running."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=timeout)
        return len(self._running)

    async def close(self) -> None:
        """Close every mailstore once. Call after ``drain`` and before the store of the ledger is closed."""
        if self._ledger:
            await self._ledger.close()
        for mailstore in self._mailstores():
            await mailstore.close()


def _unserved(failure: PortFailure) -> RecipientResult:
    # a mailstore that says 421 and why is not one that does not answer; its words are worth more than ours
    if isinstance(failure, ClosingReply):
        reply = failure.reply
        return RecipientResult(Handover.DEFERRED, reply.code, reply.enhanced, reply.text, failure.cause)
    return RecipientResult(Handover.DEFERRED, cause=failure.cause)


def _standing(mailstore: Mailstore) -> Standing:
    return mailstore.standing() if isinstance(mailstore, Watched) else Standing.FREE


def _drawn(mailstores: Sequence[Mailstore], weights: Sequence[float], chance: Callable[[], float]) -> list[Mailstore]:
    """Drawn without putting back, each draw by weight; those of weight 0 last, as they stand."""
    left = [(store, weight) for store, weight in zip(mailstores, weights, strict=True) if weight > 0]
    order: list[Mailstore] = []
    while left:
        mark = chance() * sum(weight for _, weight in left)
        for n, (_, weight) in enumerate(left):
            mark -= weight
            if mark < 0 or n == len(left) - 1:
                order.append(left.pop(n)[0])
                break
    return order + [store for store, weight in zip(mailstores, weights, strict=True) if weight == 0]


_SEVERITY = (
    Handover.DELIVERED,
    Handover.BEFORE,
    Handover.REFUSED,
    Handover.BUSY,
    Handover.DEFERRED,
    Handover.MAYBE,
)


def worst(result: DeliveryResult) -> Handover:
    """The result that counts for the whole hand-over: MAYBE before DEFERRED before REFUSED before DELIVERED."""
    return max((r.handover for r in result.results.values()), key=_SEVERITY.index, default=Handover.DEFERRED)
