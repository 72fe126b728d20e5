"""Recipients are asked once, remembered, and believed for a while when nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_near import NearStore
from gateway.checks.recipient import recipient, written
from gateway.checks.recipient_cache import flush_address, flush_domain, may_be_near
from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding, Outcome, Why
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import RecipientSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.store import Store


class Clock:
    time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Directory:
    """Counts its questions; ``out`` makes it fail; ``gate`` makes it wait."""

    def __init__(self, known: Known = Known.YES) -> None:
        self.known, self.asked, self.out = known, 0, False
        self.gate = asyncio.Event()
        self.gate.set()

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        self.asked += 1
        await self.gate.wait()
        if self.out or mailbox.local_part == "slow":
            raise PortFailure("mailstore", Why.TIMEOUT)
        known = Known.YES if mailbox.local_part == "real" else self.known
        return RecipientStatus(known, "250 2.1.5 ok")


class House:
    def __init__(self, known: Known = Known.YES, store: Store | None = None) -> None:
        self.clock, self.directory = Clock(), Directory(known)
        self.ports = Ports(BrokenResolver(), store or MemoryStore(self.clock), self.directory, self.clock)

    async def ask(self, user: str = "user", client: str = "192.0.2.1", **settings: float) -> Finding:
        """Ask, and let it be written down."""
        found = await self.answer(user, client, **settings)
        await written()
        return found

    async def answer(self, user: str = "user", client: str = "192.0.2.1", **settings: float) -> Finding:
        tx = Transaction("T", Connection("S", ip_address(client)), 0.0, rcpt=Mailbox(user, "example.org"))
        found = await recipient(tx, self.ports, RecipientSettings.model_validate(settings))
        assert found
        return found


@pytest.mark.parametrize(
    ("known", "outcome", "reason", "asked"),
    [
        (Known.YES, Outcome.PASS, "known", 1),
        (Known.NO, Outcome.FAIL, "no-such-recipient", 1),
        (Known.UNVERIFIABLE, Outcome.NONE, "unverifiable", 2),
    ],
)
async def test_answers_are_remembered(known: Known, outcome: Outcome, reason: str, asked: int) -> None:
    house = House(known)
    first, second = await house.ask(), await house.ask()
    assert (first.outcome, first.reason, first.evidence["cached"]) == (outcome, reason, False)
    assert (second.outcome, second.evidence["cached"]) == (outcome, known is not Known.UNVERIFIABLE)
    assert house.directory.asked == asked


async def test_a_new_mailbox_works_within_the_hour_and_a_known_one_is_asked_again_after_a_day() -> None:
    for known, lifetime in ((Known.NO, 3600), (Known.YES, 86400)):
        house = House(known)
        await house.ask()
        house.clock.time += lifetime - 1
        await house.ask()
        assert house.directory.asked == 1
        house.clock.time += 2
        await house.ask()
        assert house.directory.asked == 2


async def test_a_known_recipient_is_believed_while_nobody_answers() -> None:
    house = House()
    await house.ask()
    house.directory.out = True
    house.clock.time += 6 * 86400
    found = await house.ask()
    assert (found.outcome, found.evidence["stale"]) == (Outcome.PASS, True)
    house.clock.time += 2 * 86400
    with pytest.raises(PortFailure):
        await house.ask()


async def test_a_known_recipient_is_believed_while_the_mailstore_hangs() -> None:
    house = House()
    await house.ask()
    house.directory.gate.clear()
    house.clock.time += 2 * 86400
    async with asyncio.timeout(6):  # what the check has
        found = await house.ask()
    assert (found.outcome, found.evidence["stale"]) == (Outcome.PASS, True)
    house.directory.gate.set()


async def test_an_unknown_recipient_is_not_refused_on_old_knowledge() -> None:
    house = House(Known.NO)
    await house.ask()
    house.directory.out = True
    house.clock.time += 4000
    with pytest.raises(PortFailure):
        await house.ask()


async def test_a_dead_cache_never_matters() -> None:
    house = House(store=BrokenStore())
    assert (await house.ask()).outcome is Outcome.PASS
    assert (await house.ask()).evidence["cached"] is False


async def test_a_burst_asks_once_and_survives_an_asker_that_leaves() -> None:
    house = House(store=BrokenStore())
    house.directory.gate.clear()
    tasks = [asyncio.create_task(house.ask()) for _ in range(10)]
    await asyncio.sleep(0.05)
    tasks[0].cancel()
    house.directory.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(result, Finding) and result.outcome is Outcome.PASS for result in results[1:])
    assert house.directory.asked == 1


async def test_who_guesses_recipients_is_told_nothing_more_while_real_ones_are_served() -> None:
    house = House(Known.NO)
    for number in range(10):
        found = await house.ask(f"guess{number}", f"192.0.2.{number}")
        assert (found.outcome, found.evidence["unknown"], found.evidence["excess"]) == (Outcome.FAIL, number + 1, 0)
    found = await house.ask("guess10")
    assert (found.outcome, found.reason, found.evidence["excess"]) == (Outcome.POLICY, "too-many-unknown", 1)
    assert (await house.ask("guess0")).outcome is Outcome.POLICY  # from the cache too
    assert (await house.ask("real")).outcome is Outcome.PASS
    assert (await house.ask("guess11", "198.51.100.7")).outcome is Outcome.FAIL  # another network
    house.clock.time += 2 * 600
    assert (await house.ask("guess12")).outcome is Outcome.FAIL


async def test_being_deferred_does_not_prolong_the_deferral_nor_does_an_outage_count() -> None:
    house = House(Known.NO)
    for number in range(50):
        await house.ask(f"guess{number}")
    assert (await house.ask("guess")).evidence["unknown"] == 11
    fresh = House(Known.NO)
    for _ in range(20):
        with pytest.raises(PortFailure):
            await fresh.ask("slow")
    assert (await fresh.ask("guess")).evidence["unknown"] == 1


async def test_the_limit_can_be_set_and_switched_off_and_needs_the_store() -> None:
    house = House(Known.NO)
    outcomes = [(await house.ask(f"g{number}", unknown_limit=2)).outcome for number in range(3)]
    assert outcomes == [Outcome.FAIL, Outcome.FAIL, Outcome.POLICY]
    off = House(Known.NO)
    assert {(await off.ask(f"g{number}", unknown_limit=0)).outcome for number in range(30)} == {Outcome.FAIL}
    out = House(Known.NO, BrokenStore())
    assert {(await out.ask(f"g{number}")).outcome for number in range(30)} == {Outcome.FAIL}


async def test_an_address_and_a_domain_can_be_flushed() -> None:
    house = House(Known.NO)
    await house.ask()
    await house.ask("other")
    await flush_address(house.ports.store, Mailbox("user", "example.org"))
    assert ((await house.ask()).evidence["cached"], (await house.ask("other")).evidence["cached"]) == (False, True)
    house.clock.time += 1
    await flush_domain(house.ports.store, house.clock, "example.org", RecipientSettings())
    assert [(await house.ask(user)).evidence["cached"] for user in ("user", "other")] == [False, False]
    house.clock.time += 1
    assert (await house.ask()).evidence["cached"] is False  # kept at the second of the flush: asked once more
    house.clock.time += 1
    assert (await house.ask()).evidence["cached"] is True


async def test_an_open_session_is_asked_again_and_what_is_kept_counts_where_it_does_not_answer() -> None:
    house = House(Known.NO)
    await house.ask()
    house.ports = replace(house.ports, live=lambda domain: domain == "example.org")
    house.directory.known = Known.YES  # the mailbox was made a minute ago
    found = await house.ask()
    assert (found.outcome, found.evidence["cached"]) == (Outcome.PASS, False)
    house.directory.out = True
    found = await house.ask()
    assert (found.outcome, found.evidence["cached"], found.evidence["stale"]) == (Outcome.PASS, True, False)


async def test_a_yes_that_is_heard_again_is_written_once_an_hour() -> None:
    puts: list[str] = []

    class Told(MemoryStore):
        async def put(self, key: str, value: str, ttl: float) -> None:
            puts.append(key)
            await super().put(key, value, ttl)

    house = House()
    house.ports = replace(house.ports, store=Told(house.clock), live=lambda _: True)
    for minutes, times in ((0, 1), (1, 1), (58, 1), (2, 2), (1, 2)):
        house.clock.time += 60 * minutes
        found = await house.ask()
        assert (found.reason, found.evidence["cached"], len(puts)) == ("known", False, times)
    house.directory.known = Known.NO  # it has just gone: everybody is told at once
    assert (await house.ask()).outcome is Outcome.FAIL
    assert len(puts) == 3


async def test_a_momentary_no_at_one_node_refuses_nobody_for_an_hour() -> None:
    house = House()
    shared = house.ports.store
    one, two = (
        replace(house.ports, store=NearStore(shared, house.clock, keep=may_be_near), live=lambda _: True)
        for _ in range(2)
    )

    async def ask(node: Ports, known: Known, live: bool = True) -> Finding:
        house.ports, house.directory.known = replace(node, live=lambda _: live), known
        return await house.ask()

    assert (await ask(one, Known.YES)).outcome is Outcome.PASS
    for _ in range(2):
        assert (await ask(two, Known.NO)).outcome is Outcome.FAIL
        house.clock.time += 10
    assert (await ask(one, Known.YES)).outcome is Outcome.PASS  # it is near, so it is not written
    house.clock.time += 41
    found = await ask(two, Known.YES, live=False)
    assert (found.outcome, found.evidence["cached"]) == (Outcome.PASS, False)


async def test_a_mailbox_that_is_gone_is_kept_for_the_whole_time_by_the_second_no() -> None:
    house = House()
    await house.ask()
    house.ports = replace(house.ports, live=lambda _: True)
    house.directory.known = Known.NO
    await house.ask()
    house.clock.time += 61
    await house.ask()
    house.ports = replace(house.ports, live=lambda _: False)
    house.clock.time += 3599
    found = await house.ask()
    assert (found.outcome, found.evidence["cached"]) == (Outcome.FAIL, True)


@pytest.mark.parametrize("known", [Known.YES, Known.NO])
async def test_nobody_waits_until_an_answer_is_written_down_and_who_ends_can(known: Known) -> None:
    gate = asyncio.Event()

    class Slow(MemoryStore):
        async def put(self, key: str, value: str, ttl: float) -> None:
            await gate.wait()
            await super().put(key, value, ttl)

    house = House(known)
    house.ports = replace(house.ports, store=Slow(house.clock))
    for _ in range(2):
        found = await asyncio.wait_for(house.answer(), 30)
        assert found.evidence["cached"] is False
    gate.set()
    await written()
    assert (await house.ask()).evidence["cached"] is True


async def test_an_open_session_that_hangs_does_not_hold_up_what_is_known() -> None:
    house = House()
    await house.ask()
    house.ports = replace(house.ports, live=lambda _: True)
    house.directory.gate.clear()
    found = await house.ask()
    assert (found.outcome, found.evidence["cached"]) == (Outcome.PASS, True)
    house.directory.gate.set()


async def test_what_is_near_is_believed_while_the_store_is_away_but_nobody_is_refused_by_it() -> None:
    house = House()
    far = house.ports.store

    class Away(BrokenStore):
        """A store that answers as long as it is there."""

        here = True

        async def get(self, key: str) -> str | None:
            return await far.get(key) if self.here else await super().get(key)

        async def put(self, key: str, value: str, ttl: float) -> None:
            await far.put(key, value, ttl)

    store = Away()
    house.ports = replace(house.ports, store=NearStore(store, house.clock, keep=may_be_near))
    await house.ask("real")
    house.directory.known = Known.NO
    await house.ask("other")
    store.here = False
    assert (await house.ask("real")).evidence["cached"] is True
    house.directory.out = True
    with pytest.raises(PortFailure):
        await house.ask("other")
