"""Routes: which mailstores serve which recipient domains, and failover between them.

A hand-over runs in a task of its own: the client's hang-up or a cancelled caller never cuts it in half; ``drain``
waits for those that are on the way when the node stops.

Known gaps: no memory of a dead mailstore: each hand-over tries the preferred one first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.mail.address import Mailbox
from gateway.mail.finding import Cause, Why
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Mailstore, RecipientResult, RecipientStatus
from gateway.ports.observer import NullObserver, Observer

log = logging.getLogger("mxgw.delivery")

OnResult = Callable[[DeliveryResult], None]


@dataclass(frozen=True, slots=True)
class Route:
    """domains: A-labels in lower case or ``*.wildcards``; mailstores in order of preference; name: for records."""

    domains: tuple[str, ...]
    mailstores: tuple[Mailstore, ...]
    name: str = ""


class Router:
    """All routes of a worker. Also the RecipientDirectory of the checks."""

    def __init__(
        self, routes: Sequence[Route], observer: Observer | None = None, on_result: OnResult | None = None
    ) -> None:
        """on_result is called with each hand-over's result, also when the caller of ``deliver`` is gone; it must
        return at once."""
        self._routes = tuple(routes)
        self._exact = {domain: route for route in reversed(self._routes) for domain in route.domains}
        self._observer = observer or NullObserver()
        self._on_result = on_result
        self._running: set[asyncio.Task[DeliveryResult]] = set()

    @property
    def routes(self) -> tuple[Route, ...]:
        """As given."""
        return self._routes

    @property
    def inflight(self) -> int:
        """Hand-overs on the way."""
        return len(self._running)

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

    def _done(self, task: asyncio.Task[DeliveryResult]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # the caller may be gone: without this line nobody would ever hear of it
            log.error("%s crashed", task.get_name(), exc_info=error)

    async def _hand_over(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
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
        cause = Cause("mailstore", Why.REFUSED, f"no route for {envelope.recipients[0].domain}")
        used = ""
        for mailstore in route.mailstores if route else ():
            left = end - time.monotonic()
            if left <= 0:
                break
            used, started = mailstore.name, time.monotonic()
            try:
                result = await mailstore.deliver(tx, message, left)
            except PortFailure as failure:
                cause = failure.cause
                self._observer.mailstore_attempt(used, cause.why.value, time.monotonic() - started)
                log.warning("%s: %s took nothing: %s", tx.id, used, cause)
                continue
            self._observer.mailstore_attempt(used, worst(result).value, time.monotonic() - started)
            return result
        failed = RecipientResult(Handover.DEFERRED, cause=cause)
        return DeliveryResult(used, dict.fromkeys(envelope.recipients, failed))

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """Ask the mailstores of the route in order. Raises the last one's PortFailure when none can say."""
        route = self.route_for(mailbox.domain)
        failure = PortFailure("mailstore", Why.REFUSED, f"no route for {mailbox.domain}")
        for mailstore in route.mailstores if route else ():
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
        """Close every mailstore once. Call after ``drain``."""
        for mailstore in {id(m): m for route in self._routes for m in route.mailstores}.values():
            await mailstore.close()


_SEVERITY = (Handover.DELIVERED, Handover.REFUSED, Handover.DEFERRED, Handover.MAYBE)


def worst(result: DeliveryResult) -> Handover:
    """The result that counts for the whole hand-over: MAYBE before DEFERRED before REFUSED before DELIVERED."""
    return max((r.handover for r in result.results.values()), key=_SEVERITY.index, default=Handover.DEFERRED)
