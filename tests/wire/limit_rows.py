"""Scenarios for the rows of the table of limits: each goes as far as its limit allows, and returns what it heard beyond it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from client import RawClient, Said, connect
from house import house

HEADER = b"Subject: x\r\n\r\n"
Scenario = Callable[[], Awaitable[Said]]
SCENARIOS: dict[str, Scenario] = {}


def row(what: str) -> Callable[[Scenario], Scenario]:
    def keep(scenario: Scenario) -> Scenario:
        SCENARIOS[what] = scenario
        return scenario

    return keep


async def greeted(c: RawClient) -> None:
    assert (await c.reply()).code == 220
    assert (await c.ask("EHLO client.example")).code == 250


async def message(c: RawClient, content: bytes) -> Said:
    await c.data()
    await c.send(content + b".\r\n")
    return await c.reply()


async def both(well: bytes, over: bytes, **given: Any) -> Said:
    """Two messages in one session: the first is delivered octet by octet, the second is not."""
    async with house(**given) as h, connect(h.port) as c:
        await greeted(c)
        said = await message(c, well)
        assert said.status == "250 2.0.0", said
        assert h.relay.kept == [well]
        said = await message(c, over)
        assert len(h.relay.kept) == 1
        return said


async def asked(well: bytes, over: bytes, expected: str = "250", **given: Any) -> Said:
    """Two command lines in one session."""
    async with house(**given) as h, connect(h.port) as c:
        await greeted(c)
        if well.startswith(b"RCPT"):
            assert (await c.ask("MAIL FROM:<>")).code == 250
        assert (await c.ask(well)).status.startswith(expected)
        if well.startswith(b"MAIL"):
            assert (await c.ask("RSET")).code == 250
        return await c.ask(over)


async def seconds_of(c: RawClient, command: str) -> tuple[float, Said]:
    began = time.monotonic()
    said = await c.ask(command)
    return time.monotonic() - began, said


async def last(c: RawClient, said: Said) -> Said:
    assert (await c.reply()).code == 0, "the connection is closed behind it"
    return said
