"""A mailstore that is down costs nobody time, and comes back without a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from parts import ANN, FAST, outgoing, relay, transaction
from scripted import Close, Hang, scripted

from gateway.delivery.breaker import FAILURES, LONGEST_PAUSE, Breaker, Standing
from gateway.delivery.open import open_mailstore
from gateway.delivery.routes import Route, Router
from gateway.delivery.smtp_client import RelayMailstore
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import Deadline, Timeouts
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(lambda: 0.5)
    for _ in range(FAILURES - 1):
        assert not breaker.failed("no")
    assert not breaker.succeeded()
    assert [breaker.failed("no") for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert not breaker.up
    assert not breaker.failed("again")  # opened already
    assert breaker.succeeded()
    assert breaker.up


def test_pause_doubles_from_one_second_to_thirty_with_jitter() -> None:
    drawn = 0.5
    breaker = Breaker(lambda: drawn)
    for _ in range(FAILURES):
        breaker.failed("no")
    pauses = []
    for _ in range(7):
        pauses.append(breaker.pause())
        breaker.probe_failed("no")
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    drawn = 0.0
    assert breaker.pause() == pytest.approx(LONGEST_PAUSE * 0.8)
    drawn = 1.0
    assert breaker.pause() == pytest.approx(LONGEST_PAUSE * 1.2)


async def test_down_mailstore_is_not_asked_and_a_probe_finds_it_again() -> None:
    greetings: list[str | Close | Hang] = [*["421 4.3.2 going down"] * (FAILURES + 1), "220 store.test ESMTP"]
    async with scripted({"connect": greetings}) as store:  # type: ignore[dict-item]
        url = MailstoreUrl.parse(f"smtp://127.0.0.1:{store.port}")
        mailstore = open_mailstore(url, "mx.test", timeouts=FAST, jitter=lambda: 0.0)
        assert isinstance(mailstore, RelayMailstore)
        for _ in range(FAILURES):
            with pytest.raises(PortFailure, match="421"):
                await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert mailstore.standing() is Standing.DOWN
        connections = len(store.sessions)
        with pytest.raises(PortFailure, match="down") as caught:
            await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert caught.value.cause.why is Why.OVERLOAD
        assert len(store.sessions) == connections
        assert mailstore.health().as_json()["detail"]
        await asyncio.sleep(0)  # the probe's task begins
        assert 0 < mailstore.health().retry_in <= 1
        # two probes: the first is still refused
        await until(lambda: mailstore.standing() is Standing.FREE)
        assert len(store.sessions) == connections + 2
        assert mailstore.idle == 1  # the probe's session serves the next message
        assert (await mailstore.deliver(transaction(ANN), outgoing(), 5)).results[ANN].handover is Handover.DELIVERED
        assert len(store.sessions) == connections + 2
        assert mailstore.health().as_json() == {"up": True, "sessions": 1, "waiting": 0}
        await mailstore.close()


async def test_hanging_mailstore_delays_three_messages_and_then_none() -> None:
    async with scripted({"connect": Hang()}) as hanging, scripted() as good:
        mailstores = (relay(hanging.port, timeouts=Timeouts(0.3, 0.3, 0.3)), relay(good.port))
        router = Router([Route(("example.com",), mailstores)])
        seconds = []
        for _ in range(6):
            started = time.monotonic()
            result = await router.deliver(transaction(ANN), outgoing(), 10)
            assert result.mailstore == mailstores[1].name
            seconds.append(time.monotonic() - started)
        assert min(seconds[:FAILURES]) >= 0.3
        assert max(seconds[FAILURES:]) < 0.3
        assert [health.up for health in router.health] == [False, True]
        await router.close()


async def test_a_mailstore_that_greets_and_then_says_nothing_is_down_until_its_mail_is_answered() -> None:
    async with scripted({"MAIL": [*[Hang()] * (FAILURES + 1), "451 4.3.0 but here"]}) as silent, scripted() as good:
        url = MailstoreUrl.parse(f"smtp://127.0.0.1:{silent.port}")
        first = open_mailstore(url, "mx.test", timeouts=Timeouts(2.0, 0.3, 2.0), jitter=lambda: 0.0)
        assert isinstance(first, RelayMailstore)
        router = Router([Route(("example.com",), (first, relay(good.port)))])
        seconds = []
        for _ in range(FAILURES + 2):
            started = time.monotonic()
            assert (await router.deliver(transaction(ANN), outgoing(), 10)).results[ANN].handover is Handover.DELIVERED
            seconds.append(time.monotonic() - started)
        assert first.standing() is Standing.DOWN
        assert min(seconds[:FAILURES]) >= 0.3
        assert max(seconds[FAILURES:]) < 0.3
        # the first probe is greeted and hears nothing more; the second is answered, by whatever
        await until(lambda: first.standing() is Standing.FREE)
        assert [session[-2:] for session in silent.sessions[-2:]] == [
            ["EHLO mx.test", "MAIL FROM:<>"],
            ["MAIL FROM:<>", "RSET"],
        ]
        await router.close()


@pytest.mark.parametrize("where", ["RCPT", "dot"])
async def test_what_a_stranger_can_cause_takes_no_mailstore_down(where: str) -> None:
    """Recipients and content are the client's: a mailstore that dies of them is up for everybody else."""
    script = {"EHLO": "250 store.test", where: Close()}
    async with scripted(script) as store:
        mailstore = relay(store.port)
        router = Router([Route(("example.com",), (mailstore,))])
        for _ in range(FAILURES + 2):
            result = await router.deliver(transaction(ANN), outgoing(), 10)
            assert result.results[ANN].handover in (Handover.DEFERRED, Handover.MAYBE)
        assert mailstore.standing() is Standing.FREE
        await router.close()


async def test_kept_sessions_that_died_say_nothing_of_the_mailstore() -> None:
    async with scripted({"MAIL": ["250 ok", Close()] * FAILURES + ["250 ok"]}) as store:
        mailstore = relay(store.port)
        for _ in range(FAILURES + 1):
            result = await mailstore.deliver(transaction(ANN), outgoing(), 10)
            assert result.results[ANN].handover is Handover.DELIVERED
        assert mailstore.health().as_json() == {"up": True, "sessions": 1, "waiting": 0}
        await mailstore.close()


async def test_all_down_is_deferred_at_once() -> None:
    async with scripted() as store:
        port = store.port
    mailstore = relay(port)
    router = Router([Route(("example.com",), (mailstore,))])
    for _ in range(FAILURES):
        await router.deliver(transaction(ANN), outgoing(), 5)
    result = await router.deliver(transaction(ANN), outgoing(), 5)
    assert result.results[ANN].handover is Handover.DEFERRED
    assert result.results[ANN].cause
    assert result.results[ANN].cause.why is Why.OVERLOAD
    await router.close()


async def test_kept_session_is_used_though_new_ones_are_refused() -> None:
    """A mailstore that is full refuses new sessions; those that it has go on working."""
    greetings: list[str] = ["220 store.test", "421 4.3.2 too many"]
    async with scripted({"connect": greetings}) as store:  # type: ignore[dict-item]
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        for _ in range(FAILURES):
            with pytest.raises(PortFailure):
                async with mailstore._pool.session(Deadline.after(5), fresh=True):
                    pass
        assert mailstore.standing() is Standing.DOWN
        assert (await mailstore.deliver(transaction(ANN), outgoing(), 5)).results[ANN].handover is Handover.DELIVERED
        await mailstore.close()
