"""Each question is asked once while its answer lives."""

from __future__ import annotations

import asyncio

import pytest

from gateway.adapters.dns_cache import CachingResolver
from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Counting:
    """Answers from a script; counts; waits for a gate when there is one."""

    def __init__(self, answer: Answer | PortFailure) -> None:
        self.answer = answer
        self.asked = 0
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def lookup(self, name: str, rtype: str) -> Answer:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, PortFailure):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed = True


OK = Answer(Status.OK, ("192.0.2.1",), 100)


async def test_positive_answer_lives_for_its_ttl():
    clock, inner = Clock(), Counting(OK)
    cache = CachingResolver(inner, clock)
    await cache.lookup("a.test", "A")
    clock.seconds += 60
    assert (await cache.lookup("A.test.", "A")).ttl == 40
    assert (inner.asked, cache.hits, cache.misses) == (1, 1, 1)
    clock.seconds += 41
    await cache.lookup("a.test", "A")
    assert inner.asked == 2


@pytest.mark.parametrize(
    ("answer", "lives"),
    [
        (Answer(Status.OK, ("x",), 10**6), 3600),
        (Answer(Status.NXDOMAIN), 60),
        (Answer(Status.NODATA, (), 10**6), 900),
        (PortFailure("dns", Why.TIMEOUT), 5),
    ],
)
async def test_lifetimes_are_clamped(answer, lives):
    clock, inner = Clock(), Counting(answer)
    cache = CachingResolver(inner, clock)

    async def ask() -> None:
        try:
            await cache.lookup("a.test", "A")
        except PortFailure:
            assert isinstance(answer, PortFailure)

    await ask()
    clock.seconds += lives - 1
    await ask()
    assert inner.asked == 1
    clock.seconds += 2
    await ask()
    assert inner.asked == 2


async def test_zero_ttl_is_not_kept():
    inner = Counting(Answer(Status.OK, ("x",), 0))
    cache = CachingResolver(inner, Clock())
    await cache.lookup("a.test", "A")
    await cache.lookup("a.test", "A")
    assert inner.asked == 2


async def test_single_flight_survives_the_first_waiters_cancellation():
    inner = Counting(OK)
    inner.gate = asyncio.Event()
    cache = CachingResolver(inner, Clock())
    waiters = [asyncio.create_task(cache.lookup("a.test", "A")) for _ in range(5)]
    await asyncio.sleep(0.01)
    waiters[0].cancel()
    await asyncio.sleep(0.01)
    inner.gate.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [result.records for result in results[1:]] == [OK.records] * 4
    assert inner.asked == 1


async def test_failure_reaches_all_waiters():
    inner = Counting(PortFailure("dns", Why.REFUSED))
    inner.gate = asyncio.Event()
    cache = CachingResolver(inner, Clock())
    waiters = [asyncio.create_task(cache.lookup("a.test", "A")) for _ in range(3)]
    await asyncio.sleep(0.01)
    inner.gate.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(result, PortFailure) for result in results)
    assert inner.asked == 1


async def test_least_recently_used_goes_first():
    inner = Counting(OK)
    cache = CachingResolver(inner, Clock(), most_octets=1500)
    for name in ("a", "b", "a", "c", "a"):
        await cache.lookup(f"{name}.test", "A")
    assert (inner.asked, len(cache)) == (3, 2)


async def test_what_is_kept_is_bounded_by_octets_and_a_huge_answer_is_asked_for_again():
    inner = Counting(Answer(Status.OK, ("x" * 2000,), 100))
    cache = CachingResolver(inner, Clock(), most_octets=100_000)
    for number in range(500):
        await cache.lookup(f"{number}.test", "TXT")
    assert 20 < len(cache) <= 50
    inner.answer, kept = Answer(Status.OK, ("x" * 255,) * 250, 100), len(cache)
    for _ in range(2):
        assert len((await cache.lookup("huge.test", "TXT")).records) == 250
    assert inner.asked == 502
    assert len(cache) == kept


async def test_observer_sees_real_questions_only():
    seen: list[tuple[str, str]] = []
    cache = CachingResolver(Counting(OK), Clock(), on_lookup=lambda rtype, result, _: seen.append((rtype, result)))
    await cache.lookup("a.test", "A")
    await cache.lookup("a.test", "A")
    assert seen == [("A", "ok")]


async def test_close_cancels_what_is_open():
    inner = Counting(OK)
    inner.gate = asyncio.Event()
    cache = CachingResolver(inner, Clock())
    waiter = asyncio.create_task(cache.lookup("a.test", "A"))
    await asyncio.sleep(0.01)
    await cache.close()
    with pytest.raises((asyncio.CancelledError, PortFailure)):
        await waiter
    assert inner.closed
