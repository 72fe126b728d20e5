"""The least rate of content: exactly at it all is well, below it the session ends, and short messages have their time."""

from __future__ import annotations

import asyncio
import time

import pytest
from client import connect
from house import house

from gateway.smtp.pace import Pace


def lasts(octets_a_step: int, step: float, steps: int = 200) -> bool:
    """A client that sends so much every step seconds: does it live? rate 500 over 30 s."""
    pace, now, received = Pace(500, 30.0, 0.0), 0.0, 0
    for _ in range(steps):
        deadline = pace.deadline(now, received)
        now += step
        if now > deadline:
            return False
        received += octets_a_step
    return True


@pytest.mark.parametrize(("octets", "step", "lives"), [(500, 1.0, True), (499, 1.0, False), (501, 1.0, True)])
def test_at_the_rate_below_and_above(octets: int, step: float, lives: bool) -> None:
    assert lasts(octets, step) is lives


@pytest.mark.parametrize(("octets", "step", "lives"), [(1, 0.0019, True), (1, 0.5, False), (15000, 29.0, True)])
def test_octet_by_octet_and_in_bursts(octets: int, step: float, lives: bool) -> None:
    assert lasts(octets, step, steps=40_000 if step < 0.01 else 200) is lives


def test_a_burst_is_no_credit_for_a_long_silence() -> None:
    pace = Pace(500, 30.0, 0.0)
    assert pace.deadline(1.0, 10_000_000) == pytest.approx(31.0)
    assert pace.deadline(30.0, 10_000_001) == pytest.approx(31.0)


def test_no_rate_no_deadline_and_few_samples() -> None:
    assert Pace(0, 30.0, 0.0).deadline(1e9, 0) == float("inf")
    pace = Pace(500, 30.0, 0.0)
    for n in range(100_000):
        pace.deadline(n / 1000, n)
    assert len(pace._samples) <= 101


async def test_a_drip_of_octets_ends_with_421_timeout() -> None:
    async with house(data_rate=200, data_rate_window=1.0) as h, connect(h.port) as c:
        await c.envelope()
        began = time.monotonic()
        refused = asyncio.create_task(c.reply())
        while not refused.done() and time.monotonic() - began < 20:
            await c.send(b"x")
            await asyncio.sleep(0.05)
        assert (await refused).status == "421 4.4.2"
        assert 0.9 < time.monotonic() - began < 10
        assert (await c.reply()).code == 0
        assert h.watcher.ended == ["timeout"] or not h.watcher.ended
        assert not h.relay.kept


async def test_a_client_above_the_rate_is_served() -> None:
    async with house(data_rate=200, data_rate_window=1.0) as h, connect(h.port) as c:
        await c.envelope()
        for _ in range(15):
            await c.send(b"y" * 98 + b"\r\n")
            await asyncio.sleep(0.1)
        assert (await c.ask(".")).status == "250 2.0.0"
        assert len(h.relay.kept) == 1
