"""Routes, failover, and hand-overs that outlive their caller."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from parts import ANN, outgoing, relay, transaction
from scripted import Hang, Slow, scripted

from gateway.delivery.routes import Route, Router
from gateway.delivery.wire import Timeouts
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known


@pytest.fixture
def dead() -> Iterator[int]:
    """A port that refuses: bound and not listening, so that nobody else gets it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_exact_name_before_longest_wildcard() -> None:
    a, b, c = Route(("example.org",), (), "a"), Route(("*.example.org",), (), "b"), Route(("*.x.example.org",), (), "c")
    router = Router([a, b, c, Route(("y.example.org",), (), "d")])
    names = {d: r.name if (r := router.route_for(d)) else None for d in (
        "example.org", "m.example.org", "m.x.example.org", "y.example.org", "x.example.org", "org", "*.example.org", "[192.0.2.1]")}
    assert names == {"example.org": "a", "m.example.org": "b", "m.x.example.org": "c", "y.example.org": "d",
                     "x.example.org": "b", "org": None, "*.example.org": None, "[192.0.2.1]": None}


async def test_failover_in_order_of_preference() -> None:
    async with scripted({"connect": "554 5.3.2 no"}) as bad, scripted() as good, scripted() as third:
        router = Router([Route(("example.com",), tuple(relay(s.port) for s in (bad, good, third)))])
        result = await router.deliver(transaction(ANN), outgoing(), 10)
        assert result.mailstore == f"smtp://127.0.0.1:{good.port}"
        assert result.results[ANN].handover is Handover.DELIVERED
        assert (await router.recipient(ANN)).known is Known.YES
        assert third.sessions == []
        await router.close()


async def test_no_failover_with_less_time_than_the_final_dot_needs() -> None:
    async with scripted({"MAIL": Slow(0.5, "421 4.3.2 later")}) as slow, scripted() as spare:
        mailstores = tuple(relay(store.port) for store in (slow, spare))
        router = Router([Route(("example.com",), mailstores)], least=9.6)
        told = (await router.deliver(transaction(ANN), outgoing(), 10)).results[ANN]
        assert (told.handover, told.text) == (Handover.DEFERRED, "later")
        assert spare.sessions == []
        await router.close()


async def test_no_failover_after_the_dot_nor_after_a_refusal() -> None:
    async with scripted({"dot": [Hang(), "550 5.7.1 no"]}) as first, scripted() as second:
        mailstores = (relay(first.port, timeouts=Timeouts(1, 1, 0.3)), relay(second.port))
        router = Router([Route(("example.com",), mailstores)])
        assert (await router.deliver(transaction(ANN), outgoing(), 10)).results[ANN].handover is Handover.MAYBE
        assert (await router.deliver(transaction(ANN), outgoing(), 10)).results[ANN].handover is Handover.REFUSED
        assert second.sessions == []


async def test_a_mailstore_that_lacks_an_extension_leaves_the_message_to_the_next_and_refuses_only_where_all_lack_it(
    dead: int,
) -> None:
    eight = outgoing("A: b\r\n\r\n\u00e4\r\n".encode())
    async with scripted({"EHLO": "250-old\n250 PIPELINING"}) as old, scripted() as new:
        for ports, wanted in (
            ((old.port, new.port), Handover.DELIVERED),
            ((old.port, dead), Handover.DEFERRED),
            ((dead, old.port), Handover.DEFERRED),
            ((old.port, old.port), Handover.REFUSED),
        ):
            router = Router([Route(("example.com",), tuple(relay(port) for port in ports))])
            assert (await router.deliver(transaction(ANN), eight, 10)).results[ANN].handover is wanted, ports
            await router.close()
        assert not [line for line in old.commands if line.startswith("MAIL")]


async def test_nobody_answers_is_deferred_with_the_cause(dead: int) -> None:
    router = Router([Route(("example.com",), (relay(dead),))])
    result = await router.deliver(transaction(ANN), outgoing(), 5)
    assert result.results[ANN].handover is Handover.DEFERRED
    assert result.results[ANN].cause is not None
    with pytest.raises(PortFailure):
        await router.recipient(ANN)


async def test_caller_that_goes_away_leaves_the_hand_over_running() -> None:
    seen: list[DeliveryResult] = []
    async with scripted({"dot": Slow(0.3, "250 2.0.0 ok")}) as store:
        router = Router([Route(("example.com",), (relay(store.port),))], on_result=seen.append)
        caller = asyncio.create_task(router.deliver(transaction(ANN), outgoing(), 10))
        await asyncio.wait_for(store.dot_seen.wait(), 5)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert router.inflight == 1
        assert await router.drain(5) == 0
        assert seen[0].results[ANN].handover is Handover.DELIVERED
        assert router.inflight == 0
