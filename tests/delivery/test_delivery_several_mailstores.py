"""Several mailstores a route: order, weights, caps of sessions and rate, and a slow one beside a fast one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from random import Random

import pytest
from parts import ANN, BOB, outgoing, relay, transaction
from scripted import Hang, Slow, scripted

from gateway.delivery.breaker import Health, Standing
from gateway.delivery.open import open_mailstore
from gateway.delivery.pool import PoolLimits
from gateway.delivery.routes import Route, Router
from gateway.delivery.smtp_client import RelayMailstore
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import Timeouts
from gateway.mail.address import Mailbox
from gateway.mail.finding import Why
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known, RecipientResult, RecipientStatus

CROWD = 100
FAST_BUT_PATIENT = Timeouts(connect=2, command=5, dot=5, dot_least=0.1)


class Shelf:
    """A mailstore that only says how it stands."""

    def __init__(self, name: str, standing: Standing = Standing.FREE) -> None:
        self.name = name
        self._standing = standing

    def standing(self) -> Standing:
        return self._standing

    def health(self) -> Health:
        return Health(self.name, up=self._standing is not Standing.DOWN)

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        assert tx.envelope
        return DeliveryResult(self.name, dict.fromkeys(tx.envelope.recipients, RecipientResult(Handover.DELIVERED)))

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        raise PortFailure("mailstore", Why.REFUSED, self.name)

    async def close(self) -> None:
        """Nothing."""


def names(route: Route, chance: Random) -> list[str]:
    return [store.name for store in route.order(chance.random)]


def test_order_of_preference_without_weights() -> None:
    route = Route(("example.com",), (Shelf("a"), Shelf("b"), Shelf("c")))
    assert names(route, Random(1)) == ["a", "b", "c"]


def test_busy_after_free_and_down_last() -> None:
    route = Route(
        ("example.com",),
        (Shelf("down", Standing.DOWN), Shelf("busy", Standing.BUSY), Shelf("free"), Shelf("free2")),
    )
    assert names(route, Random(1)) == ["free", "free2", "busy", "down"]


def test_weights_share_the_messages_and_weight_zero_waits_behind() -> None:
    route = Route(("example.com",), (Shelf("spare"), Shelf("a"), Shelf("b")), weights=(0, 3, 1))
    random = Random(4711)
    orders = [names(route, random) for _ in range(4000)]
    first: Mapping[str, int] = Counter(order[0] for order in orders)
    assert first["a"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert first["b"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert all(order[2] == "spare" for order in orders)


async def test_weighted_deliveries_reach_both() -> None:
    route = Route(("example.com",), (Shelf("a"), Shelf("b")), weights=(1, 1))
    router = Router([route], chance=Random(7).random)
    used = Counter([(await router.deliver(transaction(ANN), outgoing(), 5)).mailstore for _ in range(60)])
    assert set(used) == {"a", "b"}
    assert min(used.values()) >= 15


async def test_two_clients_of_one_mailstore_show_as_one_that_is_down_when_either_is() -> None:
    shelves = (Shelf("smtp://a:25"), Shelf("smtp://a:25", Standing.DOWN), Shelf("smtp://b:25"))
    router = Router([Route((f"{n}.example",), (shelf,)) for n, shelf in enumerate(shelves)])
    assert [(health.name, health.up) for health in router.health] == [("smtp://a:25", False), ("smtp://b:25", True)]


async def test_never_more_sessions_than_the_url_allows() -> None:
    async with scripted({"dot": Slow(0.05, "250 2.0.0 ok")}) as store:
        url = MailstoreUrl.parse(f"smtp://127.0.0.1:{store.port}?sessions=3")
        mailstore = open_mailstore(url, "mx.test")
        assert isinstance(mailstore, RelayMailstore)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, mailstore.health().sessions)
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        done = await asyncio.gather(*(mailstore.deliver(transaction(ANN), outgoing(), 20) for _ in range(20)))
        watching.cancel()
        assert all(each.results[ANN].handover is Handover.DELIVERED for each in done)
        assert most == 3
        assert len(store.sessions) == 3
        await mailstore.close()


async def test_waiting_for_a_session_ends_with_the_budget_and_the_message_is_deferred() -> None:
    async with scripted({"dot": Slow(2, "250 2.0.0 ok")}) as store:
        mailstore = relay(store.port, pool=PoolLimits(sessions=1), timeouts=FAST_BUT_PATIENT)
        router = Router([Route(("example.com",), (mailstore,))])
        first = asyncio.create_task(router.deliver(transaction(ANN), outgoing(), 10))
        await store.dot_seen.wait()
        assert mailstore.standing() is Standing.BUSY
        started = time.monotonic()
        result = await router.deliver(transaction(ANN), outgoing(), 0.4)
        assert 0.15 < time.monotonic() - started < 1.5
        assert result.results[ANN].handover is Handover.DEFERRED
        assert result.results[ANN].cause
        assert result.results[ANN].cause.why is Why.OVERLOAD
        assert (await first).results[ANN].handover is Handover.DELIVERED
        await router.close()


async def test_too_many_that_wait_are_refused_at_once() -> None:
    async with scripted({"dot": Slow(0.5, "250 2.0.0 ok")}) as store:
        mailstore = relay(store.port, pool=PoolLimits(sessions=1, waiting=2))
        tasks = [asyncio.create_task(mailstore.deliver(transaction(ANN), outgoing(), 10)) for _ in range(3)]
        await store.dot_seen.wait()
        with pytest.raises(PortFailure, match="2 hand-overs wait"):
            await mailstore.deliver(transaction(ANN), outgoing(), 10)
        await asyncio.gather(*tasks)
        await mailstore.close()


async def test_callouts_that_hang_leave_sessions_and_queue_to_the_hand_overs() -> None:
    async with scripted(by_recipient={"bob@example.com": Hang()}) as store:
        mailstore = relay(store.port, pool=PoolLimits(sessions=4, waiting=2), timeouts=FAST_BUT_PATIENT)
        asking = [asyncio.create_task(mailstore.recipient(BOB)) for _ in range(10)]
        while "RCPT TO:<bob@example.com>" not in store.commands:
            await asyncio.sleep(0.01)
        done = await asyncio.gather(*(mailstore.deliver(transaction(ANN), outgoing(), 10) for _ in range(3)))
        assert {each.results[ANN].handover for each in done} == {Handover.DELIVERED}
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert (await mailstore.recipient(ANN)).known is Known.YES
        await mailstore.close()


@pytest.mark.parametrize("sessions", [1, 4])
async def test_a_callout_that_finds_no_session_says_so_while_the_check_still_waits(sessions: int) -> None:
    async with scripted({"dot": Hang()}, by_recipient={"bob@example.com": Hang()}) as store:
        patient = Timeouts(connect=30, command=30, dot=30, dot_least=0.1)
        mailstore = relay(store.port, pool=PoolLimits(sessions=sessions), timeouts=patient)
        # another callout has the one session that callouts may have, or hand-overs have all
        busy = [mailstore.recipient(BOB)] if sessions > 1 else [mailstore.deliver(transaction(ANN), outgoing(), 30)]
        tasks = [asyncio.ensure_future(each) for each in busy]
        while not any(line.startswith("RCPT") for line in store.commands):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(6):
            with pytest.raises(PortFailure) as caught:
                await mailstore.recipient(ANN)
        assert caught.value.cause.why is Why.OVERLOAD
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await mailstore.close()


async def test_a_busy_first_choice_overflows_to_the_second() -> None:
    async with scripted({"dot": Slow(1, "250 2.0.0 ok")}) as slow, scripted() as spare:
        mailstores = (relay(slow.port, pool=PoolLimits(sessions=1)), relay(spare.port))
        router = Router([Route(("example.com",), mailstores)])
        first = asyncio.create_task(router.deliver(transaction(ANN), outgoing(), 10))
        await slow.dot_seen.wait()
        assert (await router.deliver(transaction(ANN), outgoing(), 10)).mailstore == mailstores[1].name
        assert (await first).mailstore == mailstores[0].name
        await router.close()


async def test_rate_spreads_the_messages_and_what_the_budget_cannot_wait_for_is_refused() -> None:
    async with scripted() as store:
        mailstore = relay(store.port, "?rate=10")
        started = time.monotonic()
        await asyncio.gather(*(mailstore.deliver(transaction(ANN), outgoing(), 10) for _ in range(16)))
        seconds = time.monotonic() - started
        assert 0.5 <= seconds < 3  # a burst of 10, then 6 more at 10 a second
        assert mailstore.standing() is Standing.BUSY
        with pytest.raises(PortFailure, match="10 messages a second"):
            await mailstore.deliver(transaction(ANN), outgoing(), 0.01)
        await mailstore.close()


async def test_workers_share_caps() -> None:
    url = MailstoreUrl.parse("smtp://127.0.0.1:25?sessions=10&rate=8")
    mailstore = open_mailstore(url, "mx.test", share=4)
    assert isinstance(mailstore, RelayMailstore)
    assert (mailstore._pool._limits.sessions, mailstore._pool._limits.rate) == (2, 2.0)


async def test_a_slow_mailstore_does_not_slow_the_other_routes() -> None:
    """Figures: 100 messages stand before a mailstore that takes 1 s for each, on 5 sessions; the other route's
    messages take as long as without them."""
    async with AsyncExitStack() as stack:
        fast = await stack.enter_async_context(scripted())
        slow = await stack.enter_async_context(scripted({"dot": Slow(1, "250 2.0.0 ok")}))
        router = Router(
            [
                Route(("example.com",), (relay(fast.port),)),
                Route(("slow.example",), (relay(slow.port, pool=PoolLimits(sessions=5), timeouts=FAST_BUT_PATIENT),)),
            ]
        )

        async def seconds_of(count: int) -> list[float]:
            spent = []
            for _ in range(count):
                started = time.monotonic()
                result = await router.deliver(transaction(ANN), outgoing(), 10)
                assert result.results[ANN].handover is Handover.DELIVERED
                spent.append(time.monotonic() - started)
            return spent

        alone = statistics.median(await seconds_of(50))
        crowd = [
            asyncio.create_task(router.deliver(transaction(Mailbox("x", "slow.example")), outgoing(), 6))
            for _ in range(CROWD)
        ]
        await slow.dot_seen.wait()
        beside = await seconds_of(50)
        assert router.inflight == CROWD
        print(f"median {alone * 1000:.1f} ms alone, {statistics.median(beside) * 1000:.1f} ms beside the slow one")
        assert statistics.median(beside) < alone + 0.1
        assert max(beside) < 1.0
        results = Counter(next(iter(done.results.values())).handover for done in await asyncio.gather(*crowd))
        assert results[Handover.DELIVERED] >= 10
        # the rest had waited for half of its budget, and nothing of it had been said
        assert results[Handover.DELIVERED] + results[Handover.DEFERRED] == CROWD
        assert len(slow.contents) == results[Handover.DELIVERED]
        await router.close()
