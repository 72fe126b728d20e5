"""A worker's accounts: what is counted beside the checks and never makes a session wait.

Sessions are leases in the store: each worker says how many it serves of a client and a network, again before the lease
ends, and a worker that dies says nothing any more. What the checks have charged for a message is given back where the
client hears 4yz or is gone, for an attempt that must be made again is no message. Errors, unknown recipients and
refused messages are charged. All goes out in one call some hundredths of a second later.

Known gaps: what stands in the books when a worker is killed is lost, which is some hundredths of a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter as Bag
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from gateway.checks.charges import (
    Charge,
    clients,
    error_charges,
    exempt,
    refused_charges,
    subjects,
    transaction_charges,
    unknown_charges,
)
from gateway.checks.standing import lessons
from gateway.cluster.agent import Agent, Duty
from gateway.mail.finding import Outcome
from gateway.mail.network import network_of
from gateway.mail.reply import Reply
from gateway.mail.transaction import Address, Transaction
from gateway.mail.verdict import Verdict
from gateway.policy.model import Policy, Profile
from gateway.policy.settings import RateSettings
from gateway.ports.failure import PortFailure
from gateway.ports.presence import Held, Limiter
from gateway.ports.store import Counter, Store, Tally

log = logging.getLogger("mxgw.cluster")

GATHER_SECONDS: Final = 0.05
RENEW_SECONDS: Final = 20.0
"""Or a third of the lease, where that is less."""
MOST: Final = 5_000
"""So many counters are kept while the store is out; more are dropped."""
_CALL: Final = 200


class Accounts:
    """``ports.presence.Presence`` and what ``services.Accounts`` asks for. owner: this process, unique in the cluster.
    limiter: what the checks count with while the store is out, so that it gets back what they charged there."""

    def __init__(self, store: Store, limiter: Limiter, policy: Callable[[], Policy], owner: str) -> None:
        self._store = store
        self._limiter = limiter
        self._policy = policy
        self._owner = owner
        self._here: Bag[str] = Bag()
        self._leases: dict[str, float] = {}
        self._changed: set[str] = set()
        self._renew_at = 0.0
        self._books: dict[tuple[Tally, str, float], float] = {}
        self._wake = asyncio.Event()

    # ---- sessions

    def enter(self, client: Address) -> None:
        """A session of this client begins."""
        self._here.update(key for _, _, key in _held_by(client))

    def leave(self, client: Address) -> None:
        """It has ended. What the store was told is taken back."""
        for _, _, key in _held_by(client):
            self._here[key] -= 1
            if self._here[key] <= 0:
                del self._here[key]
            if key in self._leases:
                self._changed.add(key)
                self._wake.set()

    def held(self, client: Address, lease: float) -> Sequence[Held]:
        """The sessions of the client and of its network here, to be said to the store now and renewed later."""
        found = []
        for by, whom, key in _held_by(client):
            if self._here[key]:
                self._leases[key] = lease
                if (renew_at := time.monotonic() + lease / 3) < self._renew_at:
                    self._renew_at = renew_at
                    self._wake.set()
                found.append(Held(by, whom, self._said(key)))
        return found

    def _said(self, key: str) -> Counter:
        return Counter(key, self._here.get(key, 0), self._leases[key], Tally.HELD, owner=self._owner)

    # ---- charges

    def error(self, client: Address) -> None:
        """The client gets a 5yz."""
        settings = self._policy().default.checks.rate
        if settings.enabled and not exempt(client, settings):
            self._add(error_charges(clients(client, settings), settings))

    def recipient_refused(self, tx: Transaction, profile: Profile) -> None:
        """A recipient that does not exist is charged."""
        settings, found = profile.checks.rate, tx.findings.get("recipient")
        if found and found.outcome is Outcome.FAIL and _counts(tx, settings):
            self._add(unknown_charges(subjects(tx, settings), settings))

    def ended(self, tx: Transaction, verdict: Verdict | None, reply: Reply | None, profile: Profile) -> None:
        """4yz, or nobody there to hear it: what was charged is given back. 5yz before the content came: the message is
        charged. The verdict teaches about the client's network and the domain that has proven itself."""
        settings, found = profile.checks.rate, tx.findings.get("rate")
        if reply is not None:
            self.note(lessons(tx, verdict, reply.code, profile))
        if tx.envelope is None or not _counts(tx, settings):
            return
        charged = bool(found and found.evidence.get("charged"))
        if charged and (reply is None or 400 <= reply.code < 500):
            self._add(transaction_charges(tx, settings, -1))
        elif not charged and reply is not None and reply.code >= 500:
            self._add(refused_charges(tx, settings))

    def _add(self, charges: Iterable[Charge]) -> None:
        self.note(charge.counter for charge in charges)

    def note(self, counters: Iterable[Counter]) -> None:
        """Count these soon."""
        for counter in counters:
            key = (counter.tally, counter.key, counter.window)
            if key in self._books or len(self._books) < MOST:
                self._books[key] = self._books.get(key, 0.0) + counter.amount
                self._wake.set()

    # ---- to the store

    async def run(self) -> None:
        """Carry it to the store, until cancelled. An error of ours is logged, and does not end it."""
        await Agent((Duty("accounts", GATHER_SECONDS, self._turn),)).run()

    async def _turn(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._renew_at - time.monotonic())):
                await self._wake.wait()
        # on a busy worker the wait never runs out
        if (now := time.monotonic()) >= self._renew_at:
            self._changed.update(self._leases)
            self._renew_at = now + min((RENEW_SECONDS, *(lease / 3 for lease in self._leases.values())))
        await asyncio.sleep(GATHER_SECONDS)
        await self.flush()

    async def flush(self) -> None:
        """All that has gathered. Never raises: what the store does not take, the worker's own limiter does."""
        self._wake.clear()
        books, self._books = self._books, {}
        changed, self._changed = self._changed, set()
        counters = [Counter(key, amount, window, tally) for (tally, key, window), amount in books.items() if amount]
        counters += [self._said(key) for key in changed]
        for start in range(0, len(counters), _CALL):
            call = counters[start : start + _CALL]
            try:
                await self._store.count(call)
            except PortFailure as failure:
                log.debug("accounts not carried: %s", failure)
                # the rest is not tried, lest a store that hangs costs its time for each call
                self._not_taken(counters[start:])
                break
        for key in changed - self._changed:
            if key not in self._here:
                self._leases.pop(key, None)

    def _not_taken(self, call: Sequence[Counter]) -> None:
        windows = [counter for counter in call if counter.tally is Tally.WINDOW]
        self._limiter.count(windows, [0.0] * len(windows))
        # what decays is knowledge that is worth waiting for the store
        for counter in call:
            key = (counter.tally, counter.key, counter.window)
            if counter.tally is Tally.DECAY and len(self._books) < MOST:
                self._books[key] = self._books.get(key, 0.0) + counter.amount
            elif counter.tally is Tally.HELD and counter.key in self._here:
                # of sessions that have ended the lease runs out by itself
                self._changed.add(counter.key)

    async def close(self) -> None:
        """Give back all sessions, and carry the rest."""
        self._here.clear()
        self._changed.update(self._leases)
        await self.flush()


def _held_by(client: Address) -> tuple[tuple[str, str, str], ...]:
    """By, whom and the store's key, for the client and for its network (/24, /64)."""
    both = (("client", str(client)), ("network", network_of(client)))
    return tuple((by, whom, f"sessions:{by}:{whom}") for by, whom in both)


def sessions_of(client: Address) -> tuple[Held, ...]:
    """Counters that look how many sessions the client and its network have on all nodes."""
    return tuple(Held(by, whom, Counter(key, 0, 1.0, Tally.HELD)) for by, whom, key in _held_by(client))


def _counts(tx: Transaction, settings: RateSettings) -> bool:
    """Whether anything of this client is counted."""
    return settings.enabled and tx.connection.client_known and not exempt(tx.connection.client_ip, settings)
