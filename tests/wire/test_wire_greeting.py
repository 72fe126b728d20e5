"""The greeting: one line; unknown clients wait for it, and who talks meanwhile is found; nobody else waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from client import CLOSED, Said, connect
from house import House, house

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.pregreet import pregreet
from gateway.checks.run import Check
from gateway.mail import limits
from gateway.mail.finding import Finding, Outcome
from gateway.mail.phase import Phase
from gateway.policy.load import load
from gateway.smtp.greeting import Door, Slots
from gateway.smtp.identify import HeaderUse, Listener

LOCAL = (ip_network("127.0.0.0/8"),)
STRICT = Path(__file__).parents[2] / "policies" / "strict.yaml"
PREGREET = (Check("pregreet", Phase.HELO, pregreet, "", 1.0, needs_client=True),)
GREETING = Said(220, "", ("mx.example.com ESMTP mxgw",))
LONG = limits.TARPIT_SECONDS
"""No test waits so long: where the delay is this, what passes did not wait for it."""


class CountingSlots(Slots):
    """Says how many were held in all."""

    def __init__(self, free: int = 200) -> None:
        super().__init__(free)
        self.held = 0

    async def hold(self, wait: Awaitable[None]) -> bool:
        done = await super().hold(wait)
        self.held += done
        return done


def counting(h: House) -> CountingSlots:
    slots = h.server.slots = CountingSlots()
    return slots


def v1(client: str) -> bytes:
    return (
        f"PROXY TCP{6 if ':' in client else 4} {client} {'::1' if ':' in client else '127.0.0.1'} 5000 25\r\n".encode()
    )


async def greeted(h: House, client: str = "192.0.2.7") -> Said:
    async with connect(h.port) as c:
        await c.send(v1(client))
        return await c.reply()


async def test_the_greeting_is_one_line() -> None:
    async with house() as h, connect(h.port) as c:
        assert await c.reader.readuntil(b"\r\n") == b"220 mx.example.com ESMTP mxgw\r\n"
        await c.send(b"NOOP\r\n")
        assert await c.reader.readuntil(b"\r\n") == b"250 2.0.0 Ok\r\n", "nothing stood between"


async def test_a_client_waits_once_and_its_network_with_it() -> None:
    async with house(proxy_trusted=LOCAL, greeting_delay=0.3) as h:
        slots = counting(h)
        began = time.monotonic()
        assert await greeted(h) == GREETING
        assert time.monotonic() - began > 0.29
        assert await greeted(h) == GREETING
        assert slots.held == 1, "who waited is known"
        await greeted(h, "192.0.2.8")
        assert slots.held == 2, "an IPv4 address speaks for itself"
        await greeted(h, "2001:db8::1")
        await greeted(h, "2001:db8::2")
        assert slots.held == 3, "an IPv6 client has a /64"
        assert slots.free == 200


async def test_who_comes_every_day_stays_known() -> None:
    class Written(MemoryStore):
        puts = 0

        async def put(self, key: str, value: str, ttl: float) -> None:
            self.puts += 1
            await super().put(key, value, ttl)

    store = Written(SystemClock())
    await store.put("pregreet:192.0.2.7", str(int(time.time() - 30 * 86400)), 100)
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG, store=store) as h:
        for _ in range(3):
            assert await greeted(h) == GREETING
    assert store.puts == 2, "written down anew once, and not each time"
    assert abs(int(await store.get("pregreet:192.0.2.7") or 0) - time.time()) < 60


@pytest.mark.parametrize("octets", [b"EHLO client.example\r\n", b"EHLO clie"])
async def test_an_early_talker_waits_no_longer_and_is_refused_by_the_strict_policy(octets: bytes) -> None:
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG, checks=PREGREET) as h, connect(h.port) as c:
        h.policy[0] = load(STRICT)
        await c.send(v1("192.0.2.7"))
        await asyncio.sleep(0.1)
        await c.send(octets)
        assert (await c.reply()).code == 220
        if not octets.endswith(b"\n"):
            await c.send(b"nt.example\r\n")
        assert (await c.reply()).status == "554 5.7.1"
        assert await c.reply() == CLOSED
        (record,) = h.watcher.records
        assert (record["reason"], record["rules"][0]["id"]) == ("early-talker", "early-talker")
        assert record["findings"]["pregreet"]["outcome"] == "fail"
    slots = CountingSlots()
    async with house(proxy_trusted=LOCAL, greeting_delay=0.2, store=h.server.services.pipeline.ports.store) as h:
        h.server.slots = slots
        await greeted(h)
    assert slots.held == 1, "an early talker did not become known"


async def test_octets_that_are_there_without_any_wait_are_early_too() -> None:
    async with house(proxy_trusted=LOCAL, greeting_delay=0, checks=PREGREET) as h, connect(h.port) as c:
        await c.send(v1("192.0.2.7") + b"EHLO client.example\r\nRSET\r\nMAIL FROM:<a@sender.example>\r\n")
        assert [(await c.reply()).code for _ in range(4)] == [220, 250, 250, 250]
        assert (await c.ask("RCPT TO:<user@example.com>")).code == 250
        assert (await c.ask("RSET")).code == 250
        assert h.watcher.records[-1]["findings"]["pregreet"] == {"outcome": "fail", "reason": "early-talker"}


async def test_the_wait_runs_beside_the_look_ups() -> None:
    async def slow(*_: Any) -> Finding:
        await asyncio.sleep(1.0)
        return Finding("dnsbl", Outcome.PASS, "not-listed")

    checks = [Check("dnsbl", Phase.CONNECT, slow, "dns", 5.0, needs_client=True)]
    async with house(proxy_trusted=LOCAL, greeting_delay=1.2, checks=checks) as h:
        began = time.monotonic()
        assert await greeted(h) == GREETING
        assert 1.19 < time.monotonic() - began < 2.1


async def test_a_client_that_a_list_praises_waits_not() -> None:
    async def praised(*_: Any) -> Finding:
        return Finding("dnsbl", Outcome.PASS, "listed", {"score": -3.0})

    checks = [Check("dnsbl", Phase.CONNECT, praised, "dns", 5.0, needs_client=True)]
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG, checks=checks) as h:
        slots = counting(h)
        assert await greeted(h) == GREETING
        assert slots.held == 0


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"proxy_trusted": LOCAL, "listener": {"header": HeaderUse.NEVER}},
        {"proxy_trusted": LOCAL},
    ],
    ids=["exempt by the policy", "client not known", "balancer's probe"],
)
async def test_who_never_waits(given: dict[str, Any]) -> None:
    async with house(greeting_delay=LONG, checks=PREGREET, **given) as h, connect(h.port) as c:
        slots = counting(h)
        assert await c.reply() == GREETING
        assert slots.held == 0


async def test_a_host_that_may_say_xclient_waits_not() -> None:
    given = {"xclient": [ip_network("192.0.2.7/32")]}
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG, listener=given) as h:
        slots = counting(h)
        assert await greeted(h) == GREETING
        assert slots.held == 0


async def test_nobody_waits_while_the_store_is_out() -> None:
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG, store=BrokenStore()) as h:
        slots = counting(h)
        assert await greeted(h) == GREETING
        assert slots.held == 0


async def test_a_node_that_drains_holds_nobody() -> None:
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG) as h, connect(h.port) as c:
        await c.send(v1("192.0.2.7"))
        while h.server.slots.free == limits.TARPIT_SLOTS:
            await asyncio.sleep(0.01)
        drained = asyncio.create_task(h.server.drain(10))
        said = [(await c.reply()).code]
        while said[-1] == 220:
            said.append((await c.reply()).code)
        assert said[-1] == 421
        assert await drained


async def test_without_a_slot_nobody_waits() -> None:
    async with house(proxy_trusted=LOCAL, greeting_delay=LONG, tarpit_slots=1) as h, connect(h.port) as held:
        await held.send(v1("192.0.2.7"))
        while h.server.slots.free:
            await asyncio.sleep(0.01)
        for n in range(3):
            assert await greeted(h, f"198.51.100.{n}") == GREETING
        await held.send(b"QUIT\r\n")
        assert [(await held.reply()).code for _ in range(2)] == [220, 221]
        assert h.server.slots.free == 1


async def test_a_session_is_held_for_20_seconds_in_all() -> None:
    class Quick(Slots):
        held: ClassVar[list[float]] = []

        async def hold(self, wait: Any) -> bool:
            # asyncio.sleep's coroutine knows its seconds
            self.held.append(wait.cr_frame.f_locals["delay"])
            wait.close()
            return True

    server: Any = SimpleNamespace(slots=Quick(1))
    nothing: Any = None
    door = Door(server, Listener("test"), nothing, nothing)
    for _ in range(30):
        await door.tarpit(0.75)
    assert sum(server.slots.held) == limits.TARPIT_SECONDS == 20.0
    assert server.slots.held[-1] == 0.5


async def test_errors_are_answered_at_once_where_all_slots_are_taken() -> None:
    async with house(errors_soft=1, errors_hard=50, tarpit_slots=0) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        began = time.monotonic()
        for _ in range(40):
            assert (await c.ask("DATA")).status == "503 5.5.1"
        assert time.monotonic() - began < 20
