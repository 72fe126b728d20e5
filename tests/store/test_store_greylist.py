"""The greylisting steps that every store takes alike: late retries, learning, looking, auto-allow, an operator's word;
and what one process remembers while the store is out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from store_subjects import HandClock

from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_near import NearStore
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.store import GreylistAnswer, GreylistMark, GreylistQuestion, Seen, Store

Subject = tuple[Store, Callable[[float], Awaitable[None]]]


def question(
    key: str = "k",
    *,
    client: str = "c",
    delay: float = 0.0,
    window: float = 60.0,
    enough: int = 2,
    sender: str = "",
    auto_window: float = 60.0,
    learn: bool = False,
    look: bool = False,
) -> GreylistQuestion:
    return GreylistQuestion(key, client, delay, window, 60.0, enough, sender, auto_window, learn, look)


async def seen(store: Store, asked: GreylistQuestion) -> Seen:
    return (await store.greylist(asked)).seen


async def test_a_retry_after_the_window_is_told_from_a_first_attempt(subject: Subject) -> None:
    store, passing = subject
    late = question(delay=0.1, window=1.0)
    await store.greylist(late)
    await passing(1.2)
    answer = await store.greylist(late)
    assert answer.seen is Seen.EXPIRED
    assert answer.wait == pytest.approx(0.1)
    assert answer.waited >= 1.2
    assert await seen(store, late) is Seen.EARLY, "the window begins anew"


async def test_passes_of_one_sender_allow_nobody(subject: Subject) -> None:
    store, _ = subject
    for key in ("a", "b", "c"):
        await store.greylist(question(key, sender="ann"))
        assert await seen(store, question(key, sender="ann")) is Seen.PASSED
    assert await seen(store, question("d", sender="bob", delay=30)) is Seen.FIRST
    await store.greylist(question("e", sender="bob"))
    assert await seen(store, question("e", sender="bob")) is Seen.PASSED
    assert await seen(store, question("f", sender="cid", delay=30)) is Seen.AUTO


async def test_passes_that_lie_far_apart_allow_nobody(subject: Subject) -> None:
    store, passing = subject
    for key in ("a", "b"):
        await store.greylist(question(key, auto_window=0.5))
        assert await seen(store, question(key, auto_window=0.5)) is Seen.PASSED
        await passing(0.8)
    assert await seen(store, question("c", delay=30)) is Seen.FIRST


async def test_what_is_learnt_waits_no_more_later(subject: Subject) -> None:
    store, passing = subject
    await store.greylist(question(learn=True, delay=0.2))
    assert await seen(store, question("new", client="", delay=0.2)) is Seen.FIRST
    await passing(0.4)
    answer = await store.greylist(question(delay=0.2, window=0.1))
    assert (answer.seen, answer.waited) == (Seen.KNOWN, 0.0), "a learnt key knows no window and tells no delay"
    assert await seen(store, question(delay=0.2)) is Seen.KNOWN


async def test_looking_changes_nothing(subject: Subject) -> None:
    store, passing = subject
    for _ in range(2):
        assert await seen(store, question(look=True, delay=0.2)) is Seen.FIRST
    await store.greylist(question(delay=0.2))
    await passing(0.3)
    for _ in range(2):
        assert await seen(store, question(look=True, delay=0.2)) is Seen.PASSED
    assert await seen(store, question(delay=0.2)) is Seen.PASSED


async def test_an_operators_word_counts(subject: Subject) -> None:
    store, passing = subject
    await store.greylist_mark([])
    await store.greylist_mark([GreylistMark("k", False, 60), GreylistMark("c", True, 60)])
    assert await seen(store, question("k", client="other", delay=30)) is Seen.KNOWN
    assert await seen(store, question("any", delay=30)) is Seen.AUTO
    await store.greylist_mark([GreylistMark("k", False, 0), GreylistMark("c", True, 0), GreylistMark("no", True, 0)])
    assert await seen(store, question("k", delay=30)) is Seen.FIRST
    await store.greylist_mark([GreylistMark("brief", False, 0.2)])
    await passing(0.4)
    assert await seen(store, question("brief", delay=30)) is Seen.FIRST


class Fallible:
    """A memory store that is out, or slow, when told so."""

    def __init__(self, clock: HandClock) -> None:
        self.inner: Store = MemoryStore(clock)
        self.hangs = False

    async def greylist(self, asked: GreylistQuestion) -> GreylistAnswer:
        if self.hangs:
            await asyncio.sleep(30)
        return await self.inner.greylist(asked)


@pytest.mark.parametrize("hangs", [False, True])
async def test_while_the_store_is_out_passes_of_the_last_day_are_known(hangs: bool) -> None:
    clock = HandClock()
    inner = Fallible(clock)
    store = NearStore(inner, clock)  # type: ignore[arg-type]
    await store.greylist(question("passes"))
    assert await seen(store, question("passes")) is Seen.PASSED
    assert await seen(store, question("waits", client="other", delay=30)) is Seen.FIRST
    inner.hangs, inner.inner = hangs, BrokenStore()
    assert await store.greylist(question("passes")) == GreylistAnswer(Seen.KNOWN, near=True)
    with pytest.raises(PortFailure) as caught:
        await store.greylist(question("waits"))
    assert caught.value.cause.why is (Why.BUDGET if hangs else Why.REFUSED)
    clock.time += 86401
    with pytest.raises(PortFailure):
        await store.greylist(question("passes"))
