"""One contract for all stores: memory, SQLite and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.ports.store import Counter, GreylistQuestion, Seen, Store, Tally

Subject = tuple[Store, Callable[[float], Awaitable[None]]]


def question(key: str = "k", client: str = "c", delay: float = 0.2, **more: float) -> GreylistQuestion:
    return GreylistQuestion(
        key, client, delay, more.get("window", 60.0), more.get("lifetime", 60.0), int(more.get("auto", 2))
    )


async def test_first_early_passed_known(subject: Subject) -> None:
    store, passing = subject
    first = await store.greylist(question())
    assert (first.seen, first.wait) == (Seen.FIRST, pytest.approx(0.2))
    early = await store.greylist(question())
    assert early.seen is Seen.EARLY
    assert 0 < early.wait <= 0.2
    await passing(0.3)
    passed = await store.greylist(question())
    assert passed.seen is Seen.PASSED
    assert passed.waited >= 0.2
    assert (await store.greylist(question())).seen is Seen.KNOWN


async def test_early_retries_do_not_restart_the_clock(subject: Subject) -> None:
    store, passing = subject
    await store.greylist(question(delay=0.4))
    await passing(0.25)
    assert (await store.greylist(question(delay=0.4))).seen is Seen.EARLY
    await passing(0.25)
    assert (await store.greylist(question(delay=0.4))).seen is Seen.PASSED


async def test_a_retry_after_the_window_is_a_first_attempt(subject: Subject) -> None:
    store, passing = subject
    await store.greylist(question(window=0.2, delay=0.05))
    await passing(0.4)
    assert (await store.greylist(question(window=0.2, delay=0.05))).seen is Seen.FIRST


async def test_a_pass_runs_out_and_use_prolongs_it(subject: Subject) -> None:
    store, passing = subject
    await store.greylist(question(delay=0, lifetime=1.0, auto=0))
    assert (await store.greylist(question(delay=0, lifetime=1.0, auto=0))).seen is Seen.PASSED
    for _ in range(3):
        await passing(0.4)
        assert (await store.greylist(question(delay=0, lifetime=1.0, auto=0))).seen is Seen.KNOWN
    await passing(1.3)
    assert (await store.greylist(question(delay=0, lifetime=1.0, auto=0))).seen is Seen.FIRST


async def test_a_client_with_enough_passes_waits_no_more(subject: Subject) -> None:
    store, _ = subject
    for key in ("one", "two"):
        await store.greylist(question(key, delay=0))
        assert (await store.greylist(question(key, delay=0))).seen is Seen.PASSED
    assert (await store.greylist(question("three"))).seen is Seen.AUTO
    assert (await store.greylist(question("three", client="another"))).seen is Seen.FIRST
    assert (await store.greylist(question("four", auto=0))).seen is Seen.FIRST


async def test_the_same_key_from_another_client_is_the_same_key(subject: Subject) -> None:
    store, _ = subject
    await store.greylist(question(client="one"))
    assert (await store.greylist(question(client="two"))).seen is Seen.EARLY
    assert (await store.greylist(question(client=""))).seen is Seen.EARLY


async def test_of_many_at_once_exactly_one_is_first(subject: Subject) -> None:
    store, _ = subject
    answers = await asyncio.gather(*(store.greylist(question(delay=30)) for _ in range(20)))
    assert sorted(answer.seen for answer in answers) == ["early"] * 19 + ["first"]


async def test_counts_add_up_and_fade(subject: Subject) -> None:
    store, passing = subject
    assert await store.count([Counter("a", 3, 0.5), Counter("b", 1, 0.5)]) == (3.0, 1.0)
    (number,) = await store.count([Counter("a", 2, 0.5)])
    assert 2 <= number <= 5
    await passing(1.1)
    assert await store.count([Counter("a", 1, 0.5)]) == (1.0,)
    assert await store.count([]) == ()


async def test_the_window_slides(subject: Subject) -> None:
    store, passing = subject
    await store.count([Counter("s", 100, 0.4)])
    await passing(0.4)
    (number,) = await store.count([Counter("s", 0, 0.4)])
    assert 0 <= number < 100.001


async def test_values_are_kept_for_their_time(subject: Subject) -> None:
    store, passing = subject
    assert await store.get("v") is None
    await store.put("v", "wert ü \U0001f4e7", 0.3)
    assert await store.get("v") == "wert ü \U0001f4e7"
    await store.put("v", "other", 0.3)
    assert await store.get("v") == "other"
    await passing(0.5)
    assert await store.get("v") is None


async def test_it_answers_a_ping(subject: Subject) -> None:
    await subject[0].ping()


async def test_a_deleted_value_is_gone_and_deleting_it_twice_is_no_fault(subject: Subject) -> None:
    store, _ = subject
    await store.put("d", "one", 60)
    await store.put("e", "other", 60)
    await store.delete("d")
    await store.delete("d")
    assert await store.get("d") is None
    assert await store.get("e") == "other"
    await store.put("d", "two", 60)
    assert await store.get("d") == "two"


async def test_a_count_can_be_taken_back(subject: Subject) -> None:
    store, _ = subject
    await store.count([Counter("u", 3, 60)])
    await store.count([Counter("u", -1, 60)])
    assert await store.count([Counter("u", 0, 60)]) == (2.0,)


DAY = 86400.0
"""A window whose end no test comes across, but at midnight."""


async def test_looking_adds_nothing(subject: Subject) -> None:
    store, _ = subject
    assert await store.count([Counter("l", 0, DAY)]) == (0.0,)
    await store.count([Counter("l", 2, DAY)])
    assert await store.count([Counter("l", 0, DAY)]) == (2.0,)
    assert await store.count([Counter("l", 0.5, DAY)]) == (2.5,)


async def test_above_one_limit_nothing_that_has_a_limit_is_added(subject: Subject) -> None:
    store, _ = subject
    wide, narrow, free = Counter("w", 1, DAY, limit=9), Counter("n", 1, DAY, limit=2), Counter("f", 1, DAY)
    assert await store.count([wide, narrow, free]) == (1.0, 1.0, 1.0)
    assert await store.count([wide, narrow, free]) == (2.0, 2.0, 2.0)
    for n in (3.0, 4.0):
        # the answers are as if it had been added; only the counter without a limit has been
        assert await store.count([wide, narrow, free]) == (3.0, 3.0, n)
    await store.count([Counter("n", -1, DAY)])
    assert await store.count([wide, narrow, free]) == (3.0, 2.0, 5.0)


async def test_of_many_at_once_no_more_than_the_limit_are_added(subject: Subject) -> None:
    store, _ = subject
    answers = await asyncio.gather(*(store.count([Counter("m", 1, DAY, limit=5)]) for _ in range(20)))
    assert sum(number <= 5 for (number,) in answers) == 5
    assert await store.count([Counter("m", 0, DAY)]) == (5.0,)


async def test_a_sum_halves_in_its_time_and_takes_parts_and_debts(subject: Subject) -> None:
    store, passing = subject
    half = 0.6
    await store.count([Counter("d", 8, half, Tally.DECAY)])
    await passing(half)
    (number,) = await store.count([Counter("d", 0, half, Tally.DECAY)])
    assert 1 < number <= 4.001
    (number,) = await store.count([Counter("d", 0.25, half, Tally.DECAY)])
    assert 1 < number <= 4.251
    (number,) = await store.count([Counter("d", -10, half, Tally.DECAY)])
    assert number < 0
    # the same key in another way of counting is another counter
    assert await store.count([Counter("d", 0, half)]) == (0.0,)


async def test_what_owners_hold_adds_up_and_a_dead_owner_gives_it_back(subject: Subject) -> None:
    store, passing = subject

    async def held(owner: str = "", number: float = 0, lease: float = 60) -> float:
        (found,) = await store.count([Counter("h", number, lease, Tally.HELD, owner=owner)])
        return found

    assert await held("mx1/1", 2, 0.5) == 2
    assert await held("mx2/1", 3) == 5
    assert await held("mx2/1", 1) == 3  # a number, not an addition
    assert await held() == 3
    await passing(0.6)
    assert await held() == 1  # mx1 has said nothing any more
    assert await held("mx1/1", 1, 0.9) == 2
    await passing(0.5)
    assert await held("mx1/1", 1, 0.9) == 2  # renewed
    await passing(0.5)
    assert await held() == 2
    assert await held("mx2/1", 0) == 1
    assert await held("mx1/1", 0) == 0


async def test_forgetting_a_counter(subject: Subject) -> None:
    store, _ = subject
    for tally in (Tally.WINDOW, Tally.DECAY):
        await store.count([Counter("x", 7, DAY, tally), Counter("y", 7, DAY, tally)])
        assert await store.count([Counter("x", 0, DAY, tally, forget=True)]) == (0.0,)
        assert await store.count([Counter("x", 1, DAY, tally)]) == (1.0,)
        (number,) = await store.count([Counter("y", 0, DAY, tally)])
        assert number > 6
